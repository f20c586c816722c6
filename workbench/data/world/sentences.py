"""Templates become sentences: the words of a person filled in, with article, pronoun and capital letter."""

from collections.abc import Sequence

from workbench.data.world.language import ATTRIBUTES, Language
from workbench.data.world.people import Person


def say(template: str, words: dict[str, str]) -> str:
    """The template with its words filled in, its first letter a capital."""
    sentence = template.format_map(words)
    return sentence[0].upper() + sentence[1:]


def fact_words(language: Language, person: Person, attribute: str, by_name: bool = True) -> dict[str, str]:
    """What a telling, a question or an answer about one fact needs.

    Args:
        by_name: call the person by name; by a pronoun otherwise.
    """
    they, them, their = language.people.pronouns[person.gender]
    value = person.values[attribute]
    return {
        "name": person.name,
        "value": value,
        "a_value": language.with_article(value),
        "they": they,
        "their": their,
        "who": person.name if by_name else they,
        "who_object": person.name if by_name else them,
        "whose": person.name + language.possessive if by_name else their,
        "whose_own": their,
    }


def answer(language: Language, person: Person, attribute: str) -> str:
    """The one right reply to a question about this fact."""
    return say(language.facts.answers[attribute], fact_words(language, person, attribute))


def cast_words(language: Language, hero: Person, friend: Person, tellable: Sequence[str]) -> dict[str, str]:
    """What a story about two people needs, with the facts of theirs that it may tell.

    Args:
        tellable: keys such as `home` (of the hero) and `friend_home` that may be used; others stay out, so that
            wordings which need them can be recognised.
    """
    they, them, their = language.people.pronouns[hero.gender]
    words = {"hero": hero.name, "friend": friend.name, "they": they, "They": they.capitalize()}
    words |= {"them": them, "their": their}
    for prefix, person in (("", hero), ("friend_", friend)):
        for attribute in ATTRIBUTES:
            if prefix + attribute in tellable:
                words[prefix + attribute] = person.values[attribute]
                words[f"{prefix}a_{attribute}"] = language.with_article(person.values[attribute])
    return words
