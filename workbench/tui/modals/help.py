"""What this screen is for, and every key that works here, from the one table of actions."""

from dataclasses import dataclass
from importlib.metadata import version
from itertools import takewhile

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult, RenderResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

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
        parts = [part.strip() for part in keys.split(",")]
        return " ".join(self.app.get_key_display(Binding(part, "")) for part in parts)


@dataclass(frozen=True)
class PaneHelp:
    """What has the keys: its title, its own keys, and whether somebody types there."""

    title: str
    actions: list[Action]
    typing: bool


def help_of_pane(focused: Widget | None) -> PaneHelp | None:
    """The keys of the widget that has the focus and of what is around it; None where nothing has it."""
    if focused is None:
        return None
    around = list(takewhile(lambda node: not isinstance(node, Screen), focused.ancestors_with_self))
    titles = (str(node.border_title or "") for node in around if isinstance(node, Widget))
    title = next(filter(None, titles), "").replace("\\[", "[")
    keys: dict[str, Action] = {}
    for kind in (kind for node in around for kind in type(node).__mro__ if kind.__module__.startswith("workbench.")):
        for each in Binding.make_bindings(kind.__dict__.get("BINDINGS", ())):
            told = each.tooltip or each.description
            before = keys.get(each.action)
            if told and (before is None or before.tooltip == told):
                joined = f"{before.keys},{each.key}" if before is not None else each.key
                keys[each.action] = Action(each.id or "", joined, each.action, each.description, told)
    return PaneHelp(title, list(keys.values()), isinstance(focused, Input | TextArea))


class HelpModal(WorkbenchModal[None]):
    """Help for one screen, and first for the pane that has the keys.

    Args:
        title: the screen's name; about: what it is for.
        scopes: of the actions to list beside those that work everywhere.
        pane: what has the focus.
    """

    BINDINGS = [("question_mark,f1,q", "close", "Close")]

    def __init__(
        self, title: str, about: str, scopes: list[str], keymap: dict[str, str], pane: PaneHelp | None = None
    ) -> None:
        super().__init__()
        self.heading, self.about, self.scopes, self.keymap, self.pane = title, about, scopes, keymap, pane

    def compose(self) -> ComposeResult:
        """What the screen is for, its keys, the keys of every screen, where the files lie."""
        with Vertical(classes="box -help") as box:
            box.border_title = tr("Help: {screen}", screen=self.heading)
            box.border_subtitle = tr("esc close")
            with VerticalScroll():
                yield Static(self.about, classes="about", markup=False)
                if self.pane is not None and (self.pane.actions or self.pane.typing):
                    yield from self._of_pane(self.pane)
                with Horizontal(classes="columns"):
                    here = [action for scope in self.scopes for action in actions_of(scope)]
                    if here:
                        yield KeyTable(tr("This screen"), here, self.keymap)
                    yield KeyTable(tr("Everywhere"), actions_of("app"), self.keymap)
                yield Static(_places(), classes="detail", markup=False)

    def _of_pane(self, pane: PaneHelp) -> ComposeResult:
        """The keys of what has the focus."""
        title = tr("This pane: {title}", title=pane.title) if pane.title else tr("This pane")
        yield KeyTable(title, pane.actions, self.keymap)
        words = tr("While you type, keys are letters: esc leaves the field, alt with a digit goes to a screen.")
        yield Static(words if pane.typing else "", classes="about", markup=False)


def _places() -> str:
    keys = tr("Keys can be changed by id under [keymap] in {file}", file=config_folder() / "config.toml")
    return f"{keys}\n{tr('Logs: {folder}', folder=state_folder() / 'log')}   textual {version('textual')}"
