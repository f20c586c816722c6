"""What this screen is for, and every key that works here, from the one table of actions."""

from importlib.metadata import version

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult, RenderResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from workbench.language import tr
from workbench.locations import config_folder, state_folder
from workbench.tui.actions import Action, actions_of
from workbench.tui.modals.base import WorkbenchModal


class KeyTable(Widget):
    """Keys and what they do."""

    def __init__(self, title: str, actions: list[Action], keymap: dict[str, str]) -> None:
        super().__init__()
        self.heading, self.actions, self.keymap = title, actions, keymap

    def render(self) -> RenderResult:
        """One line for each action that has a key."""
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for action in self.actions:
            keys = self.keymap.get(action.id, action.keys)
            if keys:
                table.add_row(Text(self._display(keys)), Text(tr(action.tooltip)))
        return Group(Text(self.heading, style="bold underline"), table)

    def _display(self, keys: str) -> str:
        from textual.binding import Binding

        parts = [part.strip() for part in keys.split(",")]
        return " ".join(self.app.get_key_display(Binding(part, "")) for part in parts)


class HelpModal(WorkbenchModal[None]):
    """Help for one screen.

    Args:
        title: the screen's name; about: what it is for.
        scopes: of the actions to list beside those that work everywhere.
    """

    BINDINGS = [("question_mark,f1,q", "close", "Close")]

    def __init__(self, title: str, about: str, scopes: list[str], keymap: dict[str, str]) -> None:
        super().__init__()
        self.heading, self.about, self.scopes, self.keymap = title, about, scopes, keymap

    def compose(self) -> ComposeResult:
        """What the screen is for, its keys, the keys of every screen, where the files lie."""
        with Vertical(classes="box -help") as box:
            box.border_title = tr("Help: {screen}", screen=self.heading)
            box.border_subtitle = tr("esc close")
            with VerticalScroll():
                yield Static(self.about, classes="about", markup=False)
                with Horizontal(classes="columns"):
                    here = [action for scope in self.scopes for action in actions_of(scope)]
                    if here:
                        yield KeyTable(tr("This screen"), here, self.keymap)
                    yield KeyTable(tr("Everywhere"), actions_of("app"), self.keymap)
                yield Static(_places(), classes="detail", markup=False)


def _places() -> str:
    keys = tr("Keys can be changed by id under [keymap] in {file}", file=config_folder() / "config.toml")
    return f"{keys}\n{tr('Logs: {folder}', folder=state_folder() / 'log')}   textual {version('textual')}"
