"""Sentences on a screen, in lines of as many cells as there are."""

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from workbench.cells import wrap


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
