"""Markdown for reports.

What models and data say is data here: it stands in fenced blocks, which it cannot close, or is escaped.
"""

import re
from collections.abc import Sequence

from workbench.language import tr

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!~&$])")
_BACKTICKS = re.compile(r"`+")


def escaped(text: object) -> str:
    """`text` as one line of Markdown that shows it and does nothing else."""
    return _MARKUP.sub(r"\\\1", " ".join(_visible(str(text)).split()))


def fenced(text: str) -> str:
    """`text` as a block of code that no line of it can end."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{_visible(text)}\n{fence}"


def _visible(text: str) -> str:
    """Control characters as pictures of themselves: a terminal that shows the report must not obey them."""
    return "".join(
        chr(0x2400 + ord(char)) if char < " " and char not in "\n\t" else "␡" if "\x7f" <= char <= "\x9f" else char
        for char in text
    )


def duration(seconds: float) -> str:
    """Seconds for people, such as `4 min 05 s`."""
    whole = round(seconds)
    if whole < 60:
        return tr("{seconds:.1f} s", seconds=seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return tr("{hours} h {minutes:02} min", hours=hours, minutes=minutes)
    return tr("{minutes} min {seconds:02} s", minutes=minutes, seconds=whole % 60)


def section(title: str, body: str) -> str:
    """A part with its heading; nothing where it has no body."""
    return f"## {title}\n\n{body}" if body else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> str:
    """A table; empty without rows.

    Args:
        numbers_from: the first column whose cells stand at the right.
    """
    if not rows:
        return ""
    right = len(head) if numbers_from is None else numbers_from
    lines = [head, ["---" if column < right else "---:" for column in range(len(head))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
