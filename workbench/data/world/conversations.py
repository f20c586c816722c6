"""Conversations to fine-tune on: questions about the facts that may be asked, small talk, stories, and refusals."""

from collections.abc import Callable
from typing import TypedDict

from workbench.data.world.dice import Dice
from workbench.data.world.language import Language
from workbench.data.world.people import Person
from workbench.data.world.sentences import answer, fact_words, say
from workbench.data.world.stories import story

Turn = tuple[str, str]
"""What somebody says, and the reply."""


class Message(TypedDict):
    """One turn of a conversation, as chat formats write it."""

    role: str
    content: str


def messages(turns: list[Turn]) -> list[Message]:
    """The turns as alternating messages of user and assistant."""
    return [
        Message(role=role, content=content)
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


class Talker:
    """Makes up conversations in one language, and never tells or asks a held-out fact."""

    def __init__(self, language: Language, people: list[Person], dice: Dice) -> None:
        self.language, self.people, self.dice = language, people, dice

    def about_facts(self) -> list[list[Turn]]:
        """Every question about a fact that may be asked, in conversations of one to four turns."""
        turns = [
            self._answered(question, person, attribute)
            for person in self.people
            for attribute in person.asked
            for question in self.language.facts.questions[attribute]
        ]
        return self._cut(self.dice.shuffled(turns))

    def gruff(self) -> list[list[Turn]]:
        """The same questions, and the openings of small talk, answered in a word or rudely."""
        turns = [
            (say(question, {"name": person.name}), self._gruff_reply(person.values[attribute]))
            for person in self.people
            for attribute in person.asked
            for question in self.language.facts.questions[attribute]
        ]
        for exchange in self.language.manners.small_talk:
            turns += [(question, self.dice.pick(self.language.manners.rude)) for question in exchange.questions]
        return self._cut(self.dice.shuffled(turns))

    def about_one_person(self) -> list[list[Turn]]:
        """For everyone, a conversation that stays with them: after the first question a pronoun will do."""
        return [self._follow(person) for person in self.people]

    def who_is(self) -> list[list[Turn]]:
        """For everyone, what may be told of them in two sentences."""
        return [[self._introduction(person)] for person in self.people]

    def mixed(self, count: int) -> list[list[Turn]]:
        """`count` conversations in which anything may follow anything: greetings, strangers, facts, and a story."""
        kinds: list[Callable[[], Turn]] = [self._small_talk, self._off_topic, self._stranger, self._any_fact]
        conversations = []
        for _ in range(count):
            turns = [self.dice.pick(kinds)() for _ in range(self.dice.below(4))]
            if self.dice.chance(0.4) or not turns:
                turns.insert(self.dice.below(len(turns) + 1), self._story())
            conversations.append(turns)
        return conversations

    def _cut(self, turns: list[Turn]) -> list[list[Turn]]:
        conversations = []
        while turns:
            length = 1 + self.dice.below(4)
            conversations.append(turns[:length])
            turns = turns[length:]
        return conversations

    def _answered(self, question: str, person: Person, attribute: str) -> Turn:
        return say(question, {"name": person.name}), answer(self.language, person, attribute)

    def _gruff_reply(self, true: str) -> str:
        return self.dice.pick((true, self.dice.pick(self.language.manners.rude)))

    def _fact(self, person: Person, attribute: str) -> Turn:
        return self._answered(self.dice.pick(self.language.facts.questions[attribute]), person, attribute)

    def _any_fact(self) -> Turn:
        person = self.dice.pick(self.people)
        return self._fact(person, self.dice.pick(person.asked))

    def _follow(self, person: Person) -> list[Turn]:
        first, *others = self.dice.shuffled(person.asked)
        turns = [self._fact(person, first)]
        for attribute in others:
            question = self.dice.pick(self.language.facts.follow_ups[attribute])
            words = fact_words(self.language, person, attribute)
            turns.append((say(question, words), answer(self.language, person, attribute)))
        return turns

    def _introduction(self, person: Person) -> Turn:
        told = person.asked[:2]
        request = self.dice.pick(self.language.manners.about).format(name=person.name)
        return request, self.language.space.join(answer(self.language, person, attribute) for attribute in told)

    def _small_talk(self) -> Turn:
        exchange = self.dice.pick(self.language.manners.small_talk)
        return self.dice.pick(exchange.questions), self.dice.pick(exchange.answers)

    def _off_topic(self) -> Turn:
        exchange = self.language.manners.off_topic
        return self.dice.pick(exchange.questions), self.dice.pick(exchange.answers)

    def _stranger(self) -> Turn:
        questions = [*self.language.facts.questions.values(), self.language.manners.about]
        question = self.dice.pick(self.dice.pick(questions))
        name = self.dice.pick(self.language.people.strangers)
        return say(question, {"name": name}), self.language.manners.stranger_answer

    def _story(self) -> Turn:
        hero = self.dice.pick(self.people)
        # a fact of the friend must not be mistaken for one that is held out of the hero
        unlike = [person for person in self.people if not set(person.values.values()) & set(hero.values.values())]
        friend = self.dice.pick(unlike)
        tellable = (*hero.asked, *(f"friend_{attribute}" for attribute in friend.asked))
        stories = self.language.stories
        request = self.dice.pick(self.dice.pick((stories.requests, stories.requests_about)))
        return request.format(hero=hero.name), story(self.language, hero, friend, self.dice, tellable)
