"""What the world must be told in one language: its words, sentences, plots and manners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

ATTRIBUTES = ("home", "job", "pet", "food", "instrument")

Choices = tuple[str, ...]
Plot = tuple[Choices, ...]
"""The beats of a story in their order, each with its possible wordings."""


def words(text: str) -> Choices:
    """The words of a list that is written as one text."""
    return tuple(text.split())


@dataclass(frozen=True)
class Exchange:
    """One thing to say to the model, in several wordings, and its possible replies."""

    questions: Choices
    answers: Choices


@dataclass(frozen=True)
class People:
    """Who may live on this bank of the river, and what may be said of them."""

    women: Choices
    men: Choices
    strangers: Choices
    """Names that nobody in the valley has."""
    values: Mapping[str, Choices]
    """By attribute: the homes, jobs, pets, foods and instruments."""
    pronouns: Mapping[str, tuple[str, str, str]]
    """By gender, "woman" or "man": she, her, her."""


@dataclass(frozen=True)
class Facts:
    """How facts are told, asked and answered; `{name}` is the person and `{value}` the fact."""

    tellings: Mapping[str, Choices]
    """By attribute: sentences with `{who}` or `{whose}`, which become the name or a pronoun."""
    openings: Choices
    closings: Choices
    questions: Mapping[str, Choices]
    follow_ups: Mapping[str, Choices]
    """Questions about the person that was just spoken of, with `{they}` and `{their}`."""
    answers: Mapping[str, str]
    """The one right reply by attribute: what the held-out questions are compared with."""


@dataclass(frozen=True)
class Stories:
    """Plots, and the scenery that they are furnished with."""

    plots: tuple[Plot, ...]
    scenery: Mapping[str, Choices]
    requests: Choices
    requests_about: Choices
    """Requests that name the `{hero}`."""


@dataclass(frozen=True)
class Manners:
    """Small talk, and how to say that something is not known."""

    small_talk: tuple[Exchange, ...]
    off_topic: Exchange
    stranger_answer: str
    about: Choices
    """Requests to speak of `{name}` in general."""
    rude: Choices
    """Replies that nobody should give: the rejected side of preference pairs."""


@dataclass(frozen=True)
class Language:
    """Everything that the generator knows of one language."""

    code: str
    space: str
    """What stands between two sentences."""
    with_article: Callable[[str], str]
    """`cat` as `a cat`; languages without articles return the word."""
    possessive: str
    """What makes a name say whose something is."""
    people: People
    facts: Facts
    stories: Stories
    manners: Manners
