"""What every modal has: a titled box in the middle of the screen, and a way out."""

from typing import ClassVar, TypeVar

from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

Answer = TypeVar("Answer")


class WorkbenchModal(ModalScreen[Answer]):
    """A box over the screen; `escape` closes it without an answer.

    `topics` are what Learn explains first over it; behind them come those of the screen below.
    """

    topics: tuple[str, ...] = ()
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="modal.close"),
        Binding("w,f10", "app.learn", "Learn", show=False),
        Binding("ctrl+q", "app.quit", "Quit", show=False, id="modal.quit"),
    ]

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Close with an answer; nothing happens where it is closed already.

        A second key or click may come before it is gone. Textual would close what is below it, or end with an error.
        """
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_close(self) -> None:
        """Close without an answer."""
        self.dismiss(None)
