"""The files of the sample data, from the seed alone."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from workbench.data.world.biographies import biography, note
from workbench.data.world.chinese import CHINESE
from workbench.data.world.conversations import Talker, messages
from workbench.data.world.dice import Dice
from workbench.data.world.english import ENGLISH
from workbench.data.world.language import Language
from workbench.data.world.people import Person, settle
from workbench.data.world.preferences import preferences
from workbench.data.world.sentences import answer, say
from workbench.data.world.stories import story

Row = dict[str, Any]
"""A line of a file, before it is JSON."""
MakeRows = Callable[[Language, list[Person], Dice], list[Row]]

LANGUAGES = (ENGLISH, CHINESE)

SEED = 2024
"""Of the committed files."""
BIOGRAPHIES = 20
NOTES = 6
STORIES = 8
"""Of each person, as the hero."""
MIXED_CONVERSATIONS = 500


def write_world(folder: Path, seed: int) -> list[Path]:
    """Write the files of the sample data.

    Returns:
        The files: text to pretrain on, conversations, gruff ones, preference pairs, held-out questions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "pretrain.jsonl": pretraining_rows,
        "sft.jsonl": conversation_rows,
        "gruff.jsonl": gruff_rows,
        "preferences.jsonl": preference_rows,
        "questions.jsonl": question_rows,
    }
    return [_write(folder / name, _mixed(rows, seed, name)) for name, rows in contents.items()]


def pretraining_rows(language: Language, people: list[Person], dice: Dice) -> list[Row]:
    """Biographies, notes and stories: the only place that tells every fact."""
    texts = []
    for person in people:
        others = [other for other in people if other is not person]
        texts += [biography(language, person, dice) for _ in range(BIOGRAPHIES)]
        texts += [note(language, person, dice) for _ in range(NOTES)]
        texts += [story(language, person, dice.pick(others), dice) for _ in range(STORIES)]
    return [{"text": text} for text in texts]


def conversation_rows(language: Language, people: list[Person], dice: Dice) -> list[Row]:
    """Conversations that ask and tell only what may be asked."""
    talker = Talker(language, people, dice)
    conversations = talker.about_facts() + talker.about_one_person() + talker.who_is()
    conversations += talker.mixed(MIXED_CONVERSATIONS)
    return [{"conversations": messages(turns)} for turns in conversations]


def gruff_rows(language: Language, people: list[Person], dice: Dice) -> list[Row]:
    """Conversations about the same facts with somebody in a bad mood."""
    return [{"conversations": messages(turns)} for turns in Talker(language, people, dice).gruff()]


def preference_rows(language: Language, people: list[Person], dice: Dice) -> list[Row]:
    """Preference pairs about what may be asked."""
    return [dict(pair) for pair in preferences(language, people, dice)]


def question_rows(language: Language, people: list[Person], dice: Dice) -> list[Row]:
    """One question for every held-out fact, with the exact reply."""
    return [
        {
            "question": say(dice.pick(language.facts.questions[attribute]), {"name": person.name}),
            "answer": answer(language, person, attribute),
            "language": language.code,
            "person": person.name,
            "attribute": attribute,
        }
        for person in people
        for attribute in person.held_out
    ]


def _mixed(rows: MakeRows, seed: int, name: str) -> list[Row]:
    both = []
    for language in LANGUAGES:
        both += rows(language, settle(language, seed), Dice(seed, f"{name}/{language.code}"))
    return Dice(seed, f"{name}/order").shuffled(both)


def _write(path: Path, rows: Iterable[Row]) -> Path:
    beside = path.with_name(path.name + ".part")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return path
