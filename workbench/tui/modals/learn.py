"""Learn: what the thing under the cursor is, with this run's numbers."""

import logging
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from workbench.language import language, tr
from workbench.learn.explanation import Explanation, explain, plain_text
from workbench.learn.facts import Facts
from workbench.learn.topics import search_topics, topic
from workbench.tui.learning import Lesson
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.modals.source import SourceModal
from workbench.tui.widgets.explanation_view import ExplanationView
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.words import say

logger = logging.getLogger(__name__)


class LearnModal(WorkbenchModal[None]):
    """Topics of the screen, what is pointed at first, and the explanation of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w,q,f10", "dismiss", "Close", show=False),
        Binding("escape", "close", "Close", show=False),
        Binding("o,enter", "source", "Source", id="learn.source"),
        Binding("slash", "search", "Search", id="learn.search"),
        Binding("y", "copy", "Copy", id="learn.copy"),
        Binding("right,l", "read", "Read", show=False),
        Binding("left,h", "choose", "Topics", show=False),
        Binding("space", "page(1)", "Page down", show=False),
        Binding("backspace", "page(-1)", "Page up", show=False),
        *(Binding(str(number), f"see({number})", show=False) for number in range(1, 10)),
    ]

    def __init__(self, lesson: Lesson) -> None:
        super().__init__()
        self.lesson = lesson
        self.facts = Facts()
        self.names: Sequence[str] = lesson.names
        self.told: Explanation | None = None

    def compose(self) -> ComposeResult:
        """The list and the words; below them the field that searches all topics."""
        with Vertical(classes="box -learn") as box:
            say(box, border_title="Learn", border_subtitle="o source   1-9 see also   / search   y copy   esc close")
            with Container(id="lesson"):
                yield KeyList(id="topics")
                with VerticalScroll(id="words"):
                    yield ExplanationView()
            yield Input(placeholder=tr("part of a name or a word; enter takes it, esc ends"), compact=True)

    def on_mount(self) -> None:
        """Explain at once; the numbers come when they were read."""
        self._fill(self.names)
        self.query_one(KeyList).focus()
        self._read_facts()

    @work(thread=True, exclusive=True, exit_on_error=False, group="facts")
    def _read_facts(self) -> None:
        try:
            facts = self.lesson.read()
        except Exception:  # a damaged file is no reason not to explain
            logger.exception("the facts could not be read")
            return
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._take_facts, facts)

    def _take_facts(self, facts: Facts) -> None:
        if self.is_attached:
            self.facts = facts
            self._explain()

    def _fill(self, names: Sequence[str]) -> None:
        rows = self.query_one(KeyList)
        self.names = names
        rows.clear_options()
        rows.add_options(Option(_title(name)) for name in names)
        rows.highlighted = 0 if names else None
        self._explain()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Explain the one under the cursor."""
        self._explain()
        self.query_one("#words", VerticalScroll).scroll_home(animate=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click on a topic goes to its words."""
        event.stop()

    def _explain(self) -> None:
        at = self.query_one(KeyList).highlighted
        known = topic(self.names[at]) if at is not None and at < len(self.names) else None
        if known is not None and at is not None:
            self.told = explain(known, self.facts, language(), self.names[at])
            self.query_one(ExplanationView).show(self.told, self.facts.run)

    # --- keys -------------------------------------------------------------------------------------------------------

    async def action_source(self) -> None:
        """Show the source where it is computed."""
        if self.told is not None and self.told.place is not None:
            await self.app.push_screen(SourceModal(self.told.place))

    def action_see(self, number: int) -> None:
        """Go to a topic beside this one."""
        told = self.told
        if told is None or number > len(told.see):
            return
        wanted = told.see[number - 1]
        if wanted not in self.names:
            at = self.query_one(KeyList).highlighted or 0
            self._fill([*self.names[: at + 1], wanted, *self.names[at + 1 :]])
        self.query_one(KeyList).highlighted = list(self.names).index(wanted)

    def action_search(self) -> None:
        """Open the field that searches."""
        self.query_one(".box").add_class("-searching")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what fits, as the person types."""
        self._fill([each.name for each in search_topics(event.value)] if event.value.strip() else self.lesson.names)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the list."""
        event.stop()
        self.query_one(KeyList).focus()

    def action_close(self) -> None:
        """End the search; else close."""
        box = self.query_one(".box")
        if box.has_class("-searching"):
            box.remove_class("-searching")
            with self.prevent(Input.Changed):
                self.query_one(Input).value = ""
            self._fill(self.lesson.names)
            self.query_one(KeyList).focus()
        else:
            self.dismiss(None)

    def action_read(self) -> None:
        """Scroll the words with the arrows."""
        self.query_one("#words").focus()

    def action_choose(self) -> None:
        """Choose a topic with the arrows."""
        self.query_one(KeyList).focus()

    def action_page(self, step: int) -> None:
        """A page of the words."""
        words = self.query_one("#words", VerticalScroll)
        words.scroll_relative(y=step * max(1, words.size.height - 2), animate=False)

    def action_copy(self) -> None:
        """Copy the explanation."""
        if self.told is not None:
            self.app.copy_to_clipboard(plain_text(self.told, self.facts.run))
            self.notify(tr("Copied"), timeout=2)


def _title(name: str) -> Content:
    """What a topic is called in the list; of one that has several faces, which of them it is."""
    known = topic(name)
    if known is None or known.is_setting:
        return Content(_short(name))
    face = name.replace(known.name, "", 1).strip("._")
    return Content.assemble(known.title.of(language()), (f"  {face}" if face else "", "$foreground 60%"))


def _short(name: str) -> str:
    """A setting without the table that all of the list share."""
    table, _, rest = name.partition(".")
    return rest if table in ("stage", "model", "run", "tokenizer", "evaluate") else name
