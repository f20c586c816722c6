"""A screen as text: its characters, and below them how they look; and what differs between two such pictures."""

from difflib import unified_diff
from pathlib import Path
from string import ascii_lowercase
from typing import Any
from zlib import crc32

from workbench.cells import width

RENEW = "pytest tests/tui/snapshots --renew"
SHOWN_LINES = 80  # of a difference


def picture(app: Any) -> str:
    """The screen: its lines without the blanks at their ends; the styles of each line, run by run; what they mean."""
    lines, looks, legend = [], [], {}
    for strip in app.screen._compositor.render_strips(app.screen.size):
        lines.append("".join(segment.text for segment in strip).rstrip())
        runs: list[list[Any]] = []
        for segment in strip:
            style = str(segment.style) if segment.style else "none"
            legend[name := _name(style)] = style
            if runs and runs[-1][0] == name:
                runs[-1][1] += width(segment.text)
            else:
                runs.append([name, width(segment.text)])
        looks.append(" ".join(f"{name}{cells}" for name, cells in runs if cells))
    meanings = [f"{name} {style}" for name, style in sorted(legend.items())]
    return "\n".join([*lines, "", *looks, "", *meanings, ""])


def _name(style: str) -> str:
    """Three letters for a style, the same in every picture, so that a new style changes no other line."""
    number, letters = crc32(style.encode()), ""
    for _ in range(3):
        number, place = divmod(number, len(ascii_lowercase))
        letters += ascii_lowercase[place]
    return letters


def difference(kept: Path, now: str) -> str:
    """How the screen differs from its picture, line by line; empty where it does not."""
    before = kept.read_text(encoding="utf-8") if kept.is_file() else ""
    changes = list(
        unified_diff(before.splitlines(), now.splitlines(), f"{kept.name}, kept", "the screen now", n=0, lineterm="")
    )
    more = [f"... and {len(changes) - SHOWN_LINES} lines more"] if len(changes) > SHOWN_LINES else []
    return "\n".join([*changes[:SHOWN_LINES], *more])
