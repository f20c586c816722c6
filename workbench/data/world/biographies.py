"""Biographies: all that is true of a person, told in many wordings and orders.

What is told in one wording and one order only is learned by heart as a text, and no question gets it out again.
Source: Allen-Zhu and Li 2023, arXiv:2309.14316.
"""

from workbench.data.world.dice import Dice
from workbench.data.world.language import ATTRIBUTES, Language
from workbench.data.world.people import Person
from workbench.data.world.sentences import fact_words, say

PRONOUN_SHARE = 0.4
LIST_SHARE = 0.5
"""Of biographies with every sentence on a line of its own: byte-level BPE writes a name after a space and the same
name at the beginning of a line as different tokens, and what is to be said of it must be learned with both."""


def biography(language: Language, person: Person, dice: Dice) -> str:
    """Every fact of a person, in random order and wording, sometimes with a sentence before and after."""
    facts = language.facts
    sentences = [
        _telling(language, person, attribute, at, dice) for at, attribute in enumerate(dice.shuffled(ATTRIBUTES))
    ]
    if dice.chance(0.2):
        sentences.insert(0, dice.pick(facts.openings).format(name=person.name))
    if dice.chance(0.2):
        sentences.append(dice.pick(facts.closings).format(name=person.name))
    return ("\n" if dice.chance(LIST_SHARE) else language.space).join(sentences)


def note(language: Language, person: Person, dice: Dice) -> str:
    """One or two facts of a person, as somebody might mention them."""
    attributes = dice.some(ATTRIBUTES, 1 + dice.below(2))
    return language.space.join(
        _telling(language, person, attribute, at, dice) for at, attribute in enumerate(attributes)
    )


def _telling(language: Language, person: Person, attribute: str, position: int, dice: Dice) -> str:
    # the first sentence says the name: a pronoun would point at nobody
    by_name = position == 0 or not dice.chance(PRONOUN_SHARE)
    return say(dice.pick(language.facts.tellings[attribute]), fact_words(language, person, attribute, by_name))
