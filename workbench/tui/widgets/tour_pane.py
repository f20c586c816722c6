"""The pane of the tour: a few lines above the keys, which take nothing from the screen but their room."""

from typing import TYPE_CHECKING, cast

from textual.app import RenderResult
from textual.content import Content
from textual.events import Click
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Input, TextArea

from workbench.cells import wrap
from workbench.language import tr

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp


class TourPane(Widget):
    """Title, text, and the keys of the tour; hidden while it is closed. A click goes on."""

    DEFAULT_CSS = """
    TourPane { display: none; height: auto; border: round $accent; padding: 0 1; background: $surface;
        border-title-color: $accent; border-title-style: bold; border-subtitle-color: $text-muted; }
    TourPane.-open { display: block; }
    """
    can_focus = False

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def show(self, title: str, text: str, place: int, of: int) -> None:
        """Show a step."""
        self.add_class("-open")
        heading = tr("Tour {place}/{of}", place=place, of=of)
        self.border_title = f"{heading}  {title}".replace("[", r"\[")
        self._name_keys()
        if text != self.text:
            self.text = text
            self.refresh(layout=True)

    def on_mount(self) -> None:
        """Keys differ where letters are written."""
        self.watch(self.screen, "focused", self._name_keys, init=False)

    def _name_keys(self) -> None:
        if isinstance(self.screen.focused, Input | TextArea):
            self.border_subtitle = tr("f12 next   esc leaves the field: then < back, X leave")
        else:
            self.border_subtitle = tr("f12 or > next   < back   X leave")

    def close(self) -> None:
        """Give the room back."""
        self.remove_class("-open")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the text takes."""
        return len(wrap(self.text, width))

    def render(self) -> RenderResult:
        """The lines."""
        return Content("\n".join(wrap(self.text, self.content_size.width)))

    async def on_click(self, event: Click) -> None:
        """Go on."""
        await cast("WorkbenchApp", self.app).action_tour_next()
