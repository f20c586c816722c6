"""What Textual itself would say in English, said in the language in use."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from rich.align import Align
from rich.text import Text
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.command import CommandList, CommandPalette
from textual.filter import LineFilter
from textual.theme import ThemeProvider
from textual.widgets.option_list import Option

from workbench.language import tr
from workbench.preferences import remember
from workbench.tui.ascii_screen import AsciiFilter, spelled
from workbench.tui.signs import Harmless

Code = TypeVar("Code")


class SpokenPalette(CommandPalette):
    """The palette, which says in the language in use that nothing was found."""

    def dismiss(self, result: Any = None) -> AwaitComplete:
        """Close, unless it is closed already: a second click may come before it is gone."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError):  # a page up or down in a list that has not been laid out yet
            super()._action_command_list(action)

    def _start_no_matches_countdown(self, search_value: str) -> None:
        self._stop_no_matches_countdown()

        def tell() -> None:
            if search_value:
                words = Align.center(Text(tr("Nothing found"), style="not bold"))
                self.query_one(CommandList).add_option(Option(words, disabled=True, id=self._NO_MATCHES))
            self._list_visible = bool(search_value)

        self._no_matches_timer = self.set_timer(self._NO_MATCHES_COUNTDOWN, tell)


class SpokenApp(App[Code]):
    """An app whose palette, choice of colours and hint about leaving come from the catalogue.

    Nothing that it shows can steer the terminal.

    Attributes:
        ascii: whether signs are drawn in ASCII.
    """

    ascii = False
    _harmless = Harmless()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What every line passes on its way to the terminal."""
        return [*super().get_line_filters(), self._harmless]

    def remember_theme(self, theme: str) -> None:
        """The colours somebody chose hold at the next start too."""
        try:
            remember("theme", theme)
        except (OSError, ValueError) as error:
            self.notify(tr("The colours are not remembered: {error}", error=error), severity="warning", markup=False)

    def draw_in_ascii(self) -> None:
        """From now on, draw every line, block and arrow with characters that any font has."""
        self.ascii = True
        self._filters.append(AsciiFilter())

    def get_key_display(self, binding: Binding) -> str:
        """The key as people write it."""
        shown = super().get_key_display(binding)
        return spelled(shown) if self.ascii else shown

    def action_command_palette(self) -> None:
        """Show the palette."""
        app: Any = self
        if self.use_command_palette and not CommandPalette.is_open(app):
            self.push_screen(SpokenPalette(placeholder=tr("Search for commands…"), id="--command-palette"))

    def search_themes(self) -> None:
        """Show the colours there are."""
        self.push_screen(SpokenPalette(providers=[ThemeProvider], placeholder=tr("Search for colours…")))

    def action_help_quit(self) -> None:
        """Say how to leave: ctrl+c copies."""
        for each in self.active_bindings.values():
            if each.binding.action in ("quit", "app.quit"):
                key = self.get_key_display(each.binding)
                self.notify(tr("Press {key} to leave the workbench.", key=key), markup=False)
                return
