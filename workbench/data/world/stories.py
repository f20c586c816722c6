"""Stories: a plot told beat by beat about a hero and a friend."""

from collections.abc import Sequence
from string import Formatter

from workbench.data.world.dice import Dice
from workbench.data.world.language import ATTRIBUTES, Language
from workbench.data.world.people import Person
from workbench.data.world.sentences import cast_words, say

EVERYTHING = (*ATTRIBUTES, *(f"friend_{attribute}" for attribute in ATTRIBUTES))


def story(language: Language, hero: Person, friend: Person, dice: Dice, tellable: Sequence[str] = EVERYTHING) -> str:
    """A story about two people, with what is true of them woven in.

    Args:
        tellable: the facts that may be told: attributes of the hero, and of the friend as `friend_ATTRIBUTE`.
    """
    stories = language.stories
    words = cast_words(language, hero, friend, tellable)
    words |= {name: dice.pick(choices) for name, choices in stories.scenery.items()}
    beats = (dice.pick(_possible(beat, words)) for beat in dice.pick(stories.plots))
    return language.space.join(say(beat, words) for beat in beats)


def _possible(wordings: Sequence[str], words: dict[str, str]) -> list[str]:
    return [wording for wording in wordings if all(key in words for _, key, _, _ in Formatter().parse(wording) if key)]
