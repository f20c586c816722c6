"""A list whose keys come from the table of actions: arrows and j k g G; enter is left to the screen."""

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
    """
