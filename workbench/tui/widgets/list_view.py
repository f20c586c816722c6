"""A list whose keys come from the table of actions: arrows and j k g G; enter is left to the screen."""

from textual.style import Style
from textual.widgets import OptionList

from workbench.tui.actions import bindings


class KeyList(OptionList, inherit_bindings=False):
    """An option list with the workbench's list keys."""

    BINDINGS = bindings("list")
    DEFAULT_CSS = """
    KeyList { border: none; padding: 0; background: transparent; height: 1fr; scrollbar-size-vertical: 1; }
    KeyList:focus { border: none; background: transparent; }
    KeyList > .option-list--option { padding: 0; }
    KeyList > .option-list--option-highlighted { background: $primary 20%; }
    KeyList:focus > .option-list--option-highlighted { background: $primary 40%; text-style: none; }
    KeyList:ansi > .option-list--option-highlighted {
        color: ansi_default; background: ansi_default; text-style: underline;
    }
    KeyList:ansi:focus > .option-list--option-highlighted {
        color: ansi_default; background: ansi_default; text-style: reverse;
    }
    """

    def get_visual_style(self, *component_classes: str, partial: bool = False) -> Style:
        """The style of a line, turned round where the style sheet says so, which Textual's own leaves out."""
        style = super().get_visual_style(*component_classes, partial=partial)
        turned = any(self.get_component_styles(name).text_style.reverse for name in component_classes)
        return style + Style(reverse=True) if turned else style

    def action_page_up(self) -> None:
        """A page up, where there are lines to be seen: Textual's list fails on one that takes no room."""
        if self._has_lines:
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        """A page down, likewise."""
        if self._has_lines:
            super().action_page_down()  # type: ignore[no-untyped-call]

    @property
    def _has_lines(self) -> bool:
        return self.scrollable_content_region.area > 0
