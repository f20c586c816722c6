"""Words in lines of so many cells: broken at spaces, and between Chinese characters, which stand without spaces."""

from collections.abc import Iterator

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

NO_START = "，。；：！？、）》」』”’…%)]},.;:!?"
"""What must not begin a line."""
NO_END = "（《「『“‘([{"
"""What must not end one."""
_CHINESE_FROM = "\u2e80"


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells; its own line breaks stay, spaces where a line breaks go."""
    return [line for part in text.splitlines() for line in _wrap_line(part, max(2, width))]


def _wrap_line(text: str, width: int) -> Iterator[str]:
    line = ""
    for piece in _pieces(text):
        if cell_len(line) + cell_len(piece.rstrip()) <= width:
            line += piece
            continue
        if line:
            yield line.rstrip()
        line = piece.lstrip()
        while cell_len(line.rstrip()) > width:  # a word longer than a line
            cut = next(at for at in range(len(line), 0, -1) if cell_len(line[:at]) <= width)
            yield line[:cut]
            line = line[cut:]
    yield line.rstrip()


def _pieces(text: str) -> Iterator[str]:
    """What is not broken: words with the spaces behind them, and Chinese characters with their punctuation."""
    piece = ""
    for place, character in enumerate(text):
        piece += character
        after = text[place + 1 : place + 2]
        if not after:
            break
        breakable = character == " " or character >= _CHINESE_FROM or after >= _CHINESE_FROM
        if breakable and after != " " and after not in NO_START and character not in NO_END:
            yield piece
            piece = ""
    yield piece


class Prose(Widget):
    """Plain sentences as wide as there is room, as high as they need."""

    DEFAULT_CSS = "Prose { height: auto; width: 1fr; }"

    def __init__(self, text: str = "", *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.text = text

    def update(self, text: str) -> None:
        """Show other sentences."""
        if text != self.text:
            self.text = text
            self.refresh(layout=True)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """As wide as the longest line would be."""
        return max((cell_len(line) for line in self.text.splitlines()), default=0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as it takes."""
        return len(wrap(self.text, width))

    def render(self) -> RenderResult:
        """The lines."""
        return Content("\n".join(wrap(self.text, self.content_size.width)))
