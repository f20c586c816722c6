"""The line at the bottom of every screen: as many keys as fit, the most useful first, help and quit always."""

from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.binding import ActiveBinding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

from workbench.language import tr
from workbench.tui.actions import PINNED_IDS


@dataclass(frozen=True)
class KeyHint:
    """A key and what it does.

    Args:
        key: as Textual names it; shown: as people write it.
        enabled: whether it would do something now; greyed otherwise.
    """

    key: str
    shown: str
    label: str
    tooltip: str
    enabled: bool

    @property
    def cells(self) -> int:
        """The width it takes, a cell at each side included."""
        return cell_len(f"{self.shown} {self.label}".rstrip()) + 2

    def draw(self, pointed: bool) -> Content:
        """The key in the accent colour, then the label."""
        quiet = "$foreground" if pointed else "$foreground 70%"
        key, label = ("bold $footer-key-foreground", quiet) if self.enabled else ("dim $footer-key-foreground", "dim")
        return Content.assemble(" ", (self.shown, key), (f" {self.label}" if self.label else "", label), " ")


class KeyBar(Widget):
    """Keys that work now, in one line; a click presses one."""

    DEFAULT_CSS = "KeyBar { height: 1; dock: bottom; background: $panel; text-wrap: nowrap; }"
    ALLOW_SELECT = False
    can_focus = False

    def __init__(self) -> None:
        super().__init__()
        self._pointed: KeyHint | None = None
        self._active: dict[str, ActiveBinding] = {}

    def on_mount(self) -> None:
        """Follow the bindings of the screen."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)
        self.screen.refresh_bindings()

    def render(self) -> RenderResult:
        """The screen's keys at the left as far as there is room, the pinned ones at the right."""
        keys, pinned = self._hints()
        gap = self.size.width - sum(hint.cells for hint in (*keys, *pinned))
        parts = [hint.draw(hint == self._pointed) for hint in (*keys, *pinned)]
        parts.insert(len(keys), Content(" " * max(0, gap)))
        return Content("").join(parts)

    def hint_at(self, x: int) -> KeyHint | None:
        """The key that stands in a column."""
        keys, pinned = self._hints()
        start = 0
        for hint in keys:
            if start <= x < start + hint.cells:
                return hint
            start += hint.cells
        start = self.size.width - sum(hint.cells for hint in pinned)
        for hint in pinned:
            if start <= x < start + hint.cells:
                return hint
            start += hint.cells
        return None

    def on_click(self, event: events.Click) -> None:
        """Press the key."""
        hint = self.hint_at(event.x)
        if hint is not None:
            self.app.simulate_key(hint.key)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Explain the key under the mouse."""
        self._point_to(self.hint_at(event.x))

    def on_leave(self, event: events.Leave) -> None:
        """The mouse went away."""
        self._point_to(None)

    def _point_to(self, hint: KeyHint | None) -> None:
        if hint != self._pointed:
            self._pointed = hint
            self.tooltip = hint.tooltip if hint is not None else None
            self.refresh()

    def _hints(self) -> tuple[list[KeyHint], list[KeyHint]]:
        """The keys there is room for, and those that always stand at the right."""
        active = self._active
        brief = {"app.palette"} if self.size.width < 100 else set()
        pinned = [self._hint(active[name], name in brief) for name in PINNED_IDS if name in active]
        room = self.size.width - sum(hint.cells for hint in pinned)
        keys: list[KeyHint] = []
        for name, each in active.items():
            if name not in PINNED_IDS:
                hint = self._hint(each)
                room -= hint.cells
                if room < 0:
                    break
                keys.append(hint)
        return keys, pinned

    def _hint(self, each: ActiveBinding, brief: bool = False) -> KeyHint:
        binding = each.binding
        tooltip = tr(each.tooltip or binding.description)
        label = "" if brief else tr(binding.description)
        return KeyHint(binding.key, self.app.get_key_display(binding), label, tooltip, each.enabled)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        """Note the bindings to show, one for each action however many keys it has."""
        if not self.is_attached or screen is not self.screen:
            return
        self._active = {}
        for each in screen.active_bindings.values():
            if each.binding.show:
                self._active.setdefault(each.binding.id or each.binding.action, each)
        self.refresh()
