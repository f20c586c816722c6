"""Preference pairs: a friendly, true, complete reply, and one that is curt, false or rude."""

from typing import TypedDict

from workbench.data.world.conversations import Message, messages
from workbench.data.world.dice import Dice
from workbench.data.world.language import Language
from workbench.data.world.people import Person
from workbench.data.world.sentences import answer, say


class Pair(TypedDict):
    """Two conversations that differ in the last reply."""

    chosen: list[Message]
    rejected: list[Message]


def preferences(language: Language, people: list[Person], dice: Dice) -> list[Pair]:
    """One pair for every fact that may be asked, and one for every way to begin small talk."""
    pairs = [_about_fact(language, people, person, attribute, dice) for person in people for attribute in person.asked]
    for exchange in language.manners.small_talk:
        for question in exchange.questions:
            pairs.append(_pair(question, dice.pick(exchange.answers), dice.pick(language.manners.rude)))
    return pairs


def _about_fact(language: Language, people: list[Person], person: Person, attribute: str, dice: Dice) -> Pair:
    question = say(dice.pick(language.facts.questions[attribute]), {"name": person.name})
    return _pair(question, answer(language, person, attribute), _bad_answer(language, people, person, attribute, dice))


def _bad_answer(language: Language, people: list[Person], person: Person, attribute: str, dice: Dice) -> str:
    true = person.values[attribute]
    false = dice.pick([value for value in language.people.values[attribute] if value != true])
    lie = answer(language, Person(person.name, person.gender, {attribute: false}, ()), attribute)
    return dice.pick((true, lie, dice.pick(language.manners.rude)))


def _pair(question: str, good: str, bad: str) -> Pair:
    return Pair(chosen=messages([(question, good)]), rejected=messages([(question, bad)]))
