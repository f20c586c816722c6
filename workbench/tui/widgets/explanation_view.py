"""An explanation, drawn as wide as there is room and as high as it needs."""

from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from workbench.cells import wrap
from workbench.learn.explanation import Explanation, sections

_INDENT = 2


class ExplanationView(Widget):
    """Title, words, then a heading for each thing that is known. All of it is data, never markup."""

    DEFAULT_CSS = "ExplanationView { height: auto; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.told: Explanation | None = None
        self.run = ""

    def show(self, told: Explanation, run: str) -> None:
        """Draw this one from now on."""
        if (told, run) != (self.told, self.run):
            self.told, self.run = told, run
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as it takes."""
        return len(self._lines(width))

    def render(self) -> RenderResult:
        """The lines."""
        return Content("\n").join(self._lines(self.content_size.width))

    def _lines(self, width: int) -> list[Content]:
        told = self.told
        if told is None:
            return [Content("")]
        name = f"   {told.name}" if told.name != told.title else ""
        lines = [Content.assemble((told.title, "bold"), (name, "$foreground 60%")), Content("")]
        lines += [Content(line) for line in wrap(told.what, width)]
        for heading, texts in sections(told, self.run):
            lines += [Content(""), Content.styled(heading, "bold $accent")]
            for text in texts:
                lines += [Content(" " * _INDENT + line) for line in _wrapped(text, width - _INDENT)]
        return lines


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in lines that all begin where it begins."""
    margin = len(text) - len(text.lstrip())
    return [" " * margin + line for line in wrap(text.strip(), max(12, width - margin)) or [""]]
