"""Form of Chinese verse: whether every line of a poem has five characters, or every line seven."""

import re
from collections.abc import Iterable

HAN = r"\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LINES = re.compile(rf"(?:[{HAN}]+[，。？！；、：]\s*)+")
_LINE = re.compile(rf"[{HAN}]+")
WIDTHS = (5, 7)
FEWEST_LINES = 4


def verse_form_share(texts: Iterable[str]) -> float:
    """Share of `texts` that are in form (`is_in_form`), between 0 and 1; 0 where there are none."""
    judged = [is_in_form(text) for text in texts]
    return sum(judged) / len(judged) if judged else 0.0


def is_in_form(text: str) -> bool:
    """Whether all lines of a poem are of five characters, or all of seven, each ended by a punctuation mark.

    A first row without punctuation is a title and does not count. A poem has FEWEST_LINES lines at least; one that
    breaks off within a line, or holds anything but Chinese characters and punctuation, is not in form.
    """
    title, newline, rest = text.strip().partition("\n")
    verses = rest if newline and _LINE.fullmatch(title.strip()) else text.strip()
    if not _LINES.fullmatch(verses.strip()):
        return False
    lines = _LINE.findall(verses)
    widths = {len(line) for line in lines}
    return len(lines) >= FEWEST_LINES and len(widths) == 1 and widths <= set(WIDTHS)
