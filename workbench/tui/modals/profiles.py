"""Which profile to edit: a bundled one, one of the current folder, or any file."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from workbench.bundled import profiles_folder
from workbench.language import retell, tr
from workbench.profile import ProfileEntry
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.widgets.hanging import hanging, room_in_box
from workbench.tui.widgets.list_view import KeyList


class ProfilesModal(WorkbenchModal[str]):
    """Lists profiles and takes a path; the answer is a bundled name or a path."""

    topics = ("run", "stage", "measured")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Open", id="profiles.open")]

    def __init__(self, bundled: Sequence[ProfileEntry], files: Sequence[Path]) -> None:
        super().__init__()
        self.bundled, self.files = bundled, files

    def compose(self) -> ComposeResult:
        """The list, then a field for a path."""
        with Vertical(classes="box -profiles") as box:
            box.border_title = tr("Open a profile")
            box.border_subtitle = tr("enter open   tab path   esc close")
            own = [Option(Content(str(path)), id=str(path)) for path in self.files]
            width = room_in_box(90, self.app.size.width)
            yield KeyList(*own, *(Option(_line(entry, width), id=entry.name) for entry in self.bundled))
            yield Input(placeholder=tr("or the path of a file"), compact=True)

    def on_mount(self) -> None:
        """The first one is ready to be taken."""
        rows = self.query_one(KeyList)
        rows.highlighted = 0
        rows.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click opens."""
        self.action_choose()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A path that was typed."""
        event.stop()
        if event.value.strip():
            self.dismiss(event.value.strip())

    def action_choose(self) -> None:
        """Answer with the one under the cursor."""
        rows = self.query_one(KeyList)
        if rows.highlighted is not None:
            self.dismiss(rows.get_option_at_index(rows.highlighted).id)


def _line(entry: ProfileEntry, width: int) -> Content:
    head = Content.assemble((entry.name, "bold"), (f"   {tr('comes with the workbench')}", "$accent"))
    return hanging(head, retell(entry.description), width, below=True)


def profile_files(folder: Path) -> list[Path]:
    """The profiles of a folder and of `profiles` in it, by name; those that come with the program apart."""
    found = sorted([*folder.glob("*.toml"), *(folder / "profiles").glob("*.toml")])
    return [path for path in found if path.name != "pyproject.toml" and path.resolve().parent != profiles_folder()]
