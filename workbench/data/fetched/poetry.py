"""Chinese poetry: the whole collection, and the Tang dynasty's poems in the four strict forms.

The poems of Tang and Song are in traditional characters, lyrics (ci), songs (qu) and the older books in simplified
ones, as the collection has them.
"""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from workbench.data.fetched.archives import read_members
from workbench.data.fetched.progress import Progress
from workbench.data.fetched.rows import write_jsonl

# Files below dist/ by collection. Prose, primers, word counts, tone patterns and lives of authors are left out, and so
# is quantangshi/error: poems with lost characters.
COLLECTIONS = {
    "quantangshi/poet.tang.*.json": "唐詩",
    "quantangshi/poet.song.*.json": "宋詩",
    "songci/ci.song.*.json": "宋词",
    "yuanqu/yuanqu.json": "元曲",
    "wudaishici/huajianji/*-juan.json": "花间集",
    "wudaishici/nantang/poetrys.json": "南唐二主词",
    "shijing/shijing.json": "诗经",
    "chuci/chuci.json": "楚辞",
    "caocaoshiji/caocao.json": "曹操诗集",
    "nalanxingde/*.json": "纳兰性德诗集",
}
FORMS = {(4, 5): "五言絕句", (4, 7): "七言絕句", (8, 5): "五言律詩", (8, 7): "七言律詩"}
"""Number of lines and characters a line, by name."""

Poem = dict[str, str]


def convert(archive: Path, folder: Path, progress: Progress) -> None:
    """Write `poems.jsonl`, every poem, and `tang-regulated.jsonl` into `folder`."""
    regulated: dict[str, Poem] = {}  # by text: some poems stand in the collection under several authors

    def poems() -> Iterator[Poem]:
        for collection, verses, poem in _poems(archive):
            if collection == "唐詩" and (form := form_of(verses)):
                row = {"text": f"{form}\n{verses}\n", "title": poem["title"], "author": poem["author"]}
                regulated.setdefault(row["text"], row)
            yield poem

    write_jsonl(folder / "poems.jsonl", poems(), progress)
    write_jsonl(folder / "tang-regulated.jsonl", regulated.values(), progress)


def form_of(verses: str) -> str | None:
    """The strict form of a poem in couplets, one a line; None for every other form and where characters are lost."""
    if not re.fullmatch(r"([^\W\da-zA-Z_]+，[^\W\da-zA-Z_]+[。？！]\n?)+", verses):
        return None
    lines = re.findall(r"\w+", verses)
    widths = {len(line) for line in lines}
    return FORMS.get((len(lines), widths.pop())) if len(widths) == 1 else None


def _poems(archive: Path) -> Iterator[tuple[str, str, Poem]]:
    """Collection, verses alone, and row of each poem that has any."""
    for name, content in read_members(archive, lambda name: _collection(name) is not None):
        collection = _collection(name) or ""
        for poem in json.loads(content):
            lines = [line.strip() for line in _lines(poem)]
            verses = "\n".join(line for line in lines if line)
            if verses:
                title = (poem.get("title") or poem.get("rhythmic") or "").strip()
                author = (poem.get("author") or "").strip()
                text = "\n".join(part for part in (title, author, verses) if part)
                yield collection, verses, {"text": text + "\n", "title": title, "author": author, "from": collection}


def _collection(name: str) -> str | None:
    _, _, path = name.partition("/dist/")
    return next((title for pattern, title in COLLECTIONS.items() if fnmatch(path, pattern)), None)


def _lines(poem: dict[str, Any]) -> list[str]:
    for key in ("paragraphs", "content", "para"):
        if key in poem:
            return list(poem[key])
    return []
