"""What every modal has: a titled box in the middle of the screen, and a way out."""

from typing import ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

Answer = TypeVar("Answer")


class WorkbenchModal(ModalScreen[Answer]):
    """A box over the screen; `escape` closes it without an answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="modal.close"),
        Binding("ctrl+q", "app.quit", "Quit", show=False, id="modal.quit"),
    ]

    def action_close(self) -> None:
        """Close without an answer."""
        self.dismiss(None)
