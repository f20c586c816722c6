"""Short questions and answers on many subjects, in English and Chinese."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import yaml

from workbench.data.fetched.archives import read_members
from workbench.data.fetched.progress import Progress
from workbench.data.fetched.rows import conversation, write_jsonl

FOLDERS = {"en": "english", "zh": "chinese"}


def convert(archive: Path, folder: Path, progress: Progress) -> None:
    """Write `chatterbot-en.jsonl` and `chatterbot-zh.jsonl` into `folder`."""
    for language, subfolder in FOLDERS.items():
        turns = _conversations(archive, subfolder)
        rows = (row for said in turns if (row := conversation(said)) is not None)
        write_jsonl(folder / f"chatterbot-{language}.jsonl", rows, progress)


def _conversations(archive: Path, subfolder: str) -> Iterator[list[str]]:
    def wanted(name: str) -> bool:
        return PurePosixPath(name).match(f"chatterbot_corpus/data/{subfolder}/*.yml")

    for _, content in sorted(read_members(archive, wanted)):
        # BaseLoader makes every scalar a string ("yes" stays an answer) and can build nothing else.
        subject = yaml.load(content, Loader=yaml.BaseLoader)
        for said in subject["conversations"]:
            if all(isinstance(turn, str) for turn in said):
                yield said
