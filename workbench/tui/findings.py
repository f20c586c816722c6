"""What is suspicious in the file of the Data screen: looked for on a thread, listed, and one key from its row."""

from functools import partial
from typing import TYPE_CHECKING

from textual.worker import get_current_worker

from workbench.data.lint import Finding, lint
from workbench.errors import WorkbenchError
from workbench.language import retell, tr, tr_many
from workbench.tui.data_file import DataFile
from workbench.tui.lint_lines import finding_line
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.widgets.hanging import room_in_box
from workbench.tui.widgets.rows_pane import RowsPane

if TYPE_CHECKING:
    from workbench.tui.screens.data import DataScreen

EXPLAINED = ("lint", "bad_rows", "duplicates")  # by Learn, of the list


class Findings:
    """The findings of the file that `screen` shows, and the one that was looked at last."""

    def __init__(self, screen: "DataScreen") -> None:
        self._screen = screen
        self._found: list[Finding] = []
        self._at = 0

    def forget(self) -> None:
        """Another file is shown."""
        self._found, self._at = [], 0

    def show(self) -> None:
        """Look for flaws, or show again what was found."""
        screen = self._screen
        if self._found:
            screen.run_worker(self._list(), exclusive=True, group="ask")
        elif screen.file is not None:
            screen.notify(tr("Looking through the file…"), timeout=3)
            look = partial(self._look, screen.file)
            screen.run_worker(look, thread=True, exclusive=True, exit_on_error=False, group="lint")

    def _look(self, file: DataFile) -> None:
        screen, worker = self._screen, get_current_worker()
        kind = (screen.survey.kind if screen.survey is not None else None) or "pretrain"
        try:
            found = lint(
                file.path,
                kind,
                screen.tokenizer,
                sequence_length=screen.limit,
                should_stop=lambda: worker.is_cancelled,
            )
        except (WorkbenchError, OSError) as error:
            told = tr("This file cannot be looked through"), retell(str(error))
            screen.app.call_later(screen.workbench.show_error, *told)
            return
        if not worker.is_cancelled:
            screen.app.call_later(self._looked, file, found)

    def _looked(self, file: DataFile, found: list[Finding]) -> None:
        screen = self._screen
        if file is not screen.file or not screen.is_attached:
            return
        self._found, self._at = found, 0
        if found:
            self.show()
        else:
            screen.notify(tr("Nothing suspicious in {file}", file=file.path.name), markup=False)

    async def _list(self) -> None:
        screen = self._screen
        width = room_in_box(96, screen.app.size.width)
        lines = [finding_line(finding, width) for finding in self._found]
        title = tr_many("{count} finding", "{count:,} findings", len(lines))
        asked = ChoiceModal(title, lines, self._at, tr("f again"), EXPLAINED)
        number = await screen.workbench.push_screen_wait(asked)
        if number is not None:
            self._at = number
            screen.query_one(RowsPane).go_to_line(self._found[number].line)
