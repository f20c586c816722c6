"""The line at the bottom of every screen: as many keys as fit, the most useful first, help and quit always."""

from rich.cells import cell_len
from textual.app import ComposeResult, RenderResult
from textual.binding import ActiveBinding
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.screen import Screen
from textual.widget import Widget

from workbench.tui.actions import PINNED_IDS


class KeyHint(Widget):
    """A key and what it does; a click presses it.

    Args:
        key: as Textual names it; shown: as people write it.
        enabled: whether it would do something now; greyed otherwise.
    """

    DEFAULT_CSS = """
    KeyHint { width: auto; height: 1; padding: 0 1; color: $text-muted; }
    KeyHint:hover { background: $surface; color: $foreground; }
    KeyHint.-disabled { text-style: dim; }
    """
    ALLOW_SELECT = False

    def __init__(self, key: str, shown: str, label: str, tooltip: str, enabled: bool) -> None:
        super().__init__(classes="" if enabled else "-disabled")
        self.key, self.shown, self.label = key, shown, label
        self.tooltip = tooltip

    @property
    def cells(self) -> int:
        """The width it takes, padding included."""
        return cell_len(f"{self.shown} {self.label}".rstrip()) + 2

    def render(self) -> RenderResult:
        """The key in the accent colour, then the label."""
        label = f" {self.label}" if self.label else ""
        return Content.assemble((self.shown, "bold $footer-key-foreground"), label)

    def on_click(self) -> None:
        """Press the key."""
        self.app.simulate_key(self.key)


class KeyBar(Horizontal):
    """Keys that work now."""

    DEFAULT_CSS = """
    KeyBar { height: 1; dock: bottom; background: $panel; overflow: hidden hidden; }
    KeyBar #pinned { height: 1; dock: right; background: $panel; }
    """
    can_focus = False

    def on_mount(self) -> None:
        """Follow the bindings of the screen."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def on_resize(self, event: Resize) -> None:
        """Fit anew."""
        self.refresh(recompose=True)

    def compose(self) -> ComposeResult:
        """The screen's keys at the left as far as there is room, the pinned ones at the right."""
        active = self._active()
        brief = {"app.palette"} if self.size.width < 100 else set()
        pinned = [self._hint(active[name], name in brief) for name in PINNED_IDS if name in active]
        room = self.size.width - sum(hint.cells for hint in pinned)
        for name, each in active.items():
            if name not in PINNED_IDS:
                hint = self._hint(each)
                room -= hint.cells
                if room < 0:
                    break
                yield hint
        with Horizontal(id="pinned") as right:
            right.styles.width = sum(hint.cells for hint in pinned)
            yield from pinned

    def _active(self) -> dict[str, ActiveBinding]:
        """Bindings to show, one for each action however many keys it has."""
        shown: dict[str, ActiveBinding] = {}
        for each in self.screen.active_bindings.values():
            if each.binding.show:
                shown.setdefault(each.binding.id or each.binding.action, each)
        return shown

    def _hint(self, each: ActiveBinding, brief: bool = False) -> KeyHint:
        binding = each.binding
        shown = self.app.get_key_display(binding)
        tooltip = each.tooltip or binding.description
        return KeyHint(binding.key, shown, "" if brief else binding.description, tooltip, each.enabled)

    def _bindings_changed(self, screen: Screen) -> None:
        if self.is_attached and screen is self.screen and screen.app.app_focus:
            self.refresh(recompose=True)  # one way only: two at a time would mount the pinned keys twice
