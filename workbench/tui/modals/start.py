"""Which profile to start a run from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from workbench.language import retell, tr
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.widgets.hanging import hanging, room_in_box
from workbench.tui.widgets.list_view import KeyList

if TYPE_CHECKING:
    from workbench.profile import ProfileEntry


@dataclass(frozen=True)
class StartChoice:
    """A profile and what to do with it."""

    profile: str
    then: Literal["run", "edit"]


class StartModal(WorkbenchModal[StartChoice]):
    """Lists the profiles with what they make and how long they take."""

    topics = ("run", "stage", "measured", "time_estimate")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose('run')", "Start", id="start.run"),
        Binding("e", "choose('edit')", "Edit first", id="start.edit"),
    ]

    def __init__(self, profiles: Sequence["ProfileEntry"]) -> None:
        super().__init__()
        self.profiles = profiles

    def compose(self) -> ComposeResult:
        """Two lines for each profile."""
        with Vertical(classes="box -start") as box:
            box.border_title = tr("Start a run")
            box.border_subtitle = tr("enter start   e edit first   esc close")
            width = room_in_box(96, self.app.size.width)
            yield KeyList(*(Option(_entry(profile, width), id=profile.name) for profile in self.profiles))

    def on_mount(self) -> None:
        """The first profile is the one for beginners."""
        rows = self.query_one(KeyList)
        rows.highlighted = 0 if self.profiles else None
        rows.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click starts."""
        self.action_choose("run")

    def action_choose(self, then: Literal["run", "edit"]) -> None:
        """Answer with the profile under the cursor."""
        rows = self.query_one(KeyList)
        if rows.highlighted is not None:
            self.dismiss(StartChoice(rows.get_option_at_index(rows.highlighted).id or "", then))


def _entry(profile: "ProfileEntry", width: int) -> Content:
    name = Content.assemble((profile.name, "bold"), "   " if profile.measured else "")
    head = hanging(name, retell(profile.measured), width, style="$accent")
    return Content("").join(
        [hanging(head, retell(profile.description), width, below=True, style="$foreground 70%"), Content("\n")]
    )
