"""Jump mode: a letter at every pane and field that can take keys; pressing it goes there."""

from collections.abc import Iterable, Sequence
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.geometry import Offset
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from workbench.tui.modals.base import WorkbenchModal

LETTERS = "asdfghjklqwertyuiopzxcvbnm1234567890"


class JumpModal(WorkbenchModal[Widget]):
    """Letters over the screen; the answer is the widget to go to.

    Args:
        targets: what can be gone to.
    """

    DEFAULT_CSS = """
    JumpModal { align: left top; background: $background 35%; }
    JumpModal > Static {
        position: absolute; width: 3; height: 1; text-style: bold; text-align: center;
        background: $accent; color: $background;
    }
    JumpModal > Static:ansi { background: ansi_default; color: ansi_default; text-style: bold reverse; }
    """
    BINDINGS = [("ctrl+o", "close", "Close")]

    def __init__(self, targets: Sequence[Widget]) -> None:
        super().__init__()
        self.targets = dict(zip(LETTERS, targets, strict=False))

    def compose(self) -> ComposeResult:
        """The letters, each where its pane begins."""
        for letter, target in self.targets.items():
            label = Static(letter, markup=False)
            label.styles.offset = _place(target)
            yield label

    def on_resize(self, event: events.Resize) -> None:
        """Letters would stand in the wrong places: the person presses the key again."""
        if event.size != self.app.size or any(not target.is_attached for target in self.targets.values()):
            self.dismiss(None)

    def on_key(self, event: events.Key) -> None:
        """Go where the letter stands; any other key leaves."""
        if event.key in ("escape", "ctrl+o", "ctrl+q", "f10"):
            return
        event.stop()
        event.prevent_default()
        self.dismiss(self.targets.get(event.character or ""))


def targets_of(screen: Screen[Any]) -> list[Widget]:
    """What can take keys on a screen and is in sight, in the order of tab."""
    return [widget for widget in screen.focus_chain if _in_sight(widget)]


def _in_sight(widget: Widget) -> bool:
    """Whether any of it can be seen: fields of a form may be scrolled away."""
    region = widget.region
    for around in _containers(widget):
        region = region.intersection(around.region)
    return region.area > 0


def _containers(widget: Widget) -> Iterable[Widget]:
    return (each for each in widget.ancestors if isinstance(each, Widget))


def _place(widget: Widget) -> Offset:
    """Where the letter stands: on the border of a pane, before a field."""
    region = widget.region
    return Offset(region.x, region.y) if region.height > 1 else Offset(max(0, region.x - 3), region.y)
