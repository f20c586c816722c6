"""A TOML text to edit, in the colours of the theme."""

from rich.color import Color as TerminalColor
from rich.style import Style
from textual.color import Color
from textual.widgets import TextArea
from textual.widgets.text_area import TextAreaTheme

THEME = "workbench"
COLOURS = ("accent", "secondary", "success", "foreground", "primary", "error")


class TomlEditor(TextArea):
    """A text area for TOML whose text can be replaced without losing the place in it."""

    DEFAULT_CSS = "TomlEditor { padding: 0; background: $background; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(
            language="toml",
            theme="css",
            soft_wrap=False,
            tab_behavior="focus",
            show_line_numbers=True,
            id=id,
            classes="pane",
        )

    def on_mount(self) -> None:
        """Follow the app's theme."""
        self._colour()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._colour())

    def show(self, text: str) -> None:
        """Show another text; the cursor stays in its line."""
        if text == self.text:
            return
        cursor, scroll = self.cursor_location, self.scroll_offset
        with self.prevent(TextArea.Changed):
            self.load_text(text)
        self.move_cursor((min(cursor[0], self.document.line_count - 1), cursor[1]))
        self.scroll_to(scroll.x, scroll.y, animate=False)

    def go_to_line(self, line: int) -> None:
        """Put the cursor on a line, counted from 0, and bring it into view."""
        self.move_cursor((max(0, min(line, self.document.line_count - 1)), 0))
        self.scroll_cursor_visible(animate=False)

    def _colour(self) -> None:
        colours = {name: _terminal_colour(self.app.theme_variables[name]) for name in COLOURS}
        accent, quiet, good = colours["accent"], colours["secondary"], colours["success"]
        styles = {
            "comment": Style(color=quiet, dim=True, italic=True),
            "string": Style(color=good),
            "number": Style(color=accent),
            "float": Style(color=accent),
            "boolean": Style(color=accent),
            "property": Style(color=colours["foreground"]),
            "type": Style(color=colours["primary"], bold=True),
            "toml.type": Style(color=colours["primary"], bold=True),
            "toml.error": Style(color=colours["error"], underline=True),
            "toml.datetime": Style(color=accent),
        }
        self.register_theme(TextAreaTheme(THEME, syntax_styles=styles))
        self.theme = THEME


def _terminal_colour(value: str) -> TerminalColor:
    """A colour of the theme for the terminal: themes may also name the terminal's own, as in `ansi_cyan`."""
    return Color.parse(value).rich_color
