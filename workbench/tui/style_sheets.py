"""Style sheets that are read once: what was parsed is kept until the colours change."""

from textual.cache import LRUCache
from textual.css.stylesheet import Stylesheet

KEPT_SHEETS = 1024  # more than there are kinds of widgets


class LastingStylesheet(Stylesheet):
    """Textual's style sheet, for an app whose screens bring sheets of their own.

    Textual's forgets what it parsed whenever a screen is opened first, and reads everything again, twice:
    a fifth of the work until the first paint, and half of that of opening another screen first.
    """

    def __init__(self, *, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._parse_cache = LRUCache(KEPT_SHEETS)

    def set_variables(self, variables: dict[str, str]) -> None:
        """Take on colours; nothing is forgotten where they are the same."""
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        """Parse what is new."""
        self.parse()
