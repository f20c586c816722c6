"""A form over one part of a profile: a line for each setting."""

from collections.abc import Iterable, Sequence
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Label, Select

from workbench.language import tr
from workbench.tui.setting_fields import SettingField


class ChoiceField(Select[str], inherit_bindings=False):
    """A choice that opens by enter or space, and leaves the arrows to the form."""

    BINDINGS = [Binding("enter,space", "show_overlay", "Choose", show=False)]


class FieldRow(Horizontal):
    """A setting: its name, its value, its default."""

    class Changed(Message):
        """A person gave another value; None takes it out, so that the default holds."""

        def __init__(self, row: "FieldRow", value: Any) -> None:
            super().__init__()
            self.row, self.value = row, value

    def __init__(self, field: SettingField) -> None:
        super().__init__(classes="field")
        self.field = field

    def compose(self) -> ComposeResult:
        """Name, control, note."""
        yield Label(self.field.label, classes="name", markup=False)
        yield self._control()
        if self.field.kind == "number":
            note = tr("default {value}", value=self.field.default) if self.field.default else ""
            yield Label(note, classes="note", markup=False)

    @property
    def control(self) -> Widget:
        """What is typed or chosen in."""
        return self.query_one(".control")

    def show(self, value: Any, effective: str, broken: bool, *, refill: bool) -> None:
        """Show a value.

        Args:
            effective: what holds where there is none.
            refill: also change what stands in a field that somebody is typing in: its keys may be ahead of `value`.
        """
        control, text = self.control, self.field.show(value)
        self.set_class(broken, "-broken")
        self.set_class(value is not None, "-given")
        self.query_one(".name", Label).update(f"{'! ' if broken else ''}{self.field.label}")
        if isinstance(control, Checkbox):
            with control.prevent(Checkbox.Changed):
                control.value = (text or effective) == "true"
        elif isinstance(control, Select):
            with control.prevent(Select.Changed):
                control.value = text if text in self.field.choices else Select.NULL
        elif isinstance(control, Input):
            control.placeholder = "" if effective == "[]" else effective
            if text != control.value and (refill or not control.has_focus):
                with control.prevent(Input.Changed):
                    control.value = text

    @on(Input.Changed)
    @on(Checkbox.Changed)
    @on(Select.Changed)
    def _tell(self, event: Input.Changed | Checkbox.Changed | Select.Changed) -> None:
        event.stop()
        given = event.value
        if isinstance(given, bool):
            self.post_message(self.Changed(self, given))
        else:
            text = given if isinstance(given, str) else ""
            self.post_message(self.Changed(self, self.field.read(text) if text.strip() else None))

    def _control(self) -> Widget:
        if self.field.kind == "switch":
            return Checkbox(compact=True, classes="control")
        if self.field.kind == "choice":
            options = [(choice, choice) for choice in self.field.choices]
            return ChoiceField(options, prompt=self.field.default or tr("choose"), compact=True, classes="control")
        wide = " -wide" if self.field.kind in ("text", "list") else ""
        return Input(compact=True, select_on_focus=False, classes=f"control{wide}")


class SettingsForm(VerticalScroll, can_focus=False):
    """The fields of a part; the one with the focus is told by `Pointed`, every change by `FieldRow.Changed`."""

    BINDINGS = [
        Binding("down", "step(1)", "Next field", show=False),
        Binding("up", "step(-1)", "Field before", show=False),
    ]

    class Pointed(Message):
        """Another field has the focus."""

        def __init__(self, field: SettingField) -> None:
            super().__init__()
            self.field = field

    async def build(self, fields: Sequence[SettingField]) -> None:
        """Show these fields in place of the others."""
        async with self.batch():
            await self.remove_children()
            await self.mount_all(FieldRow(field) for field in fields)
        self.scroll_home(animate=False)

    def rows(self) -> Iterable[FieldRow]:
        """The fields in their order."""
        return self.query(FieldRow).results()

    def focus_field(self, label: str = "") -> bool:
        """Give a field the focus, the first one where none is named; False where there is no such field."""
        row = next((row for row in self.rows() if label in ("", row.field.label)), None)
        if row is None:
            return False
        self.screen.set_focus(row.control)  # at once, as the next key may be here already; `focus` would wait
        return True

    @property
    def current(self) -> FieldRow | None:
        """The row that has the focus."""
        focused = self.screen.focused
        return next((row for row in self.rows() if focused is not None and row in focused.ancestors), None)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Tell which field it is."""
        row = self.current
        if row is not None:
            self.post_message(self.Pointed(row.field))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the next field."""
        event.stop()
        self.action_step(1)

    def action_step(self, step: int) -> None:
        """The next field, or the one before."""
        rows = list(self.rows())
        here = self.current
        place = rows.index(here) + step if here in rows else 0
        if 0 <= place < len(rows):
            self.screen.set_focus(rows[place].control)
