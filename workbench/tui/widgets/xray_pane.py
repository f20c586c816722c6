"""Token X-ray: the tokens of an answer, and of the one pointed at everything the model thought of it."""

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.cells import padded
from workbench.language import tr
from workbench.tui.widgets.hanging import hanging
from workbench.tui.widgets.spark import bar
from workbench.tui.widgets.token_flow import FlowToken, TokenFlow
from workbench.tui.words import say
from workbench.tui.xrayed import XRayed

QUIET = "$foreground 60%"
_LABEL = 14
_BAR = 8


class XRayPane(Container):
    """The flow of tokens beside (or, where it is narrow, above) the details of one."""

    def __init__(self) -> None:
        super().__init__(id="xray")
        self.found: XRayed | None = None
        self.at = self.choice = 0

    def compose(self) -> ComposeResult:
        """Tokens, facts, alternatives."""
        yield TokenFlow(id="xray-flow")
        with Vertical(id="xray-detail"):
            with VerticalScroll(id="xray-facts", classes="pane", can_focus=False):
                yield Static(markup=False)
            with VerticalScroll(id="xray-choices", classes="pane", can_focus=False):
                yield Static(markup=False)

    def on_mount(self) -> None:
        """Titles."""
        say(self.query_one("#xray-choices"), border_title="Alternatives", border_subtitle="enter branch from it")
        say(self.query_one(TokenFlow), border_subtitle="▁ unlikely … █ sure, by the model itself")

    def wait(self, text: str) -> None:
        """Say that there is nothing to be seen yet."""
        self.found = None
        flow = self.query_one(TokenFlow)
        flow.border_title = text.replace("[", r"\[")
        flow.show([])
        for pane in ("#xray-facts", "#xray-choices"):
            self.query_one(pane).query_one(Static).update("")

    def show(self, found: XRayed, title: str) -> None:
        """Show an answer, its first token pointed at."""
        self.found = found
        flow = self.query_one(TokenFlow)
        flow.border_title = title.replace("[", r"\[")
        pairs = zip(found.labels, found.places, strict=True)
        tokens = [
            FlowToken(label, None if place.chosen is None else place.chosen.probability, label.endswith("\\n"))
            for label, place in pairs
        ]
        flow.show(tokens)
        self.point_to(0)

    def point_to(self, at: int) -> None:
        """Point at another token; the cursor stands on the likeliest alternative that is not there already."""
        if self.found is None:
            return
        self.at = max(0, min(len(self.found.places) - 1, at))
        place = self.found.places[self.at]
        others = [number for number, each in enumerate(place.alternatives) if each.token_id != place.token_id]
        self.choice = others[0] if others else 0
        self.query_one(TokenFlow).point_to(self.at)
        self._redraw()

    def choose(self, step: int) -> None:
        """Move the cursor over the alternatives."""
        if self.found is not None:
            count = len(self.found.places[self.at].alternatives)
            self.choice = max(0, min(count - 1, self.choice + step))
            self._redraw()

    def scroll_facts(self, pages: int) -> None:
        """Show facts that there was no room for."""
        facts = self.query_one("#xray-facts")
        facts.scroll_relative(y=pages * max(1, facts.content_size.height - 1), animate=False)

    @property
    def alternative(self) -> int | None:
        """The token under the cursor."""
        return None if self.found is None else self.found.places[self.at].alternatives[self.choice].token_id

    def _redraw(self) -> None:
        found = self.found
        if found is None:
            return
        facts, choices = self.query_one("#xray-facts"), self.query_one("#xray-choices", VerticalScroll)
        facts.border_title = tr("Token {place:,} of {tokens:,}", place=self.at + 1, tokens=len(found.places))
        facts.query_one(Static).update(draw_facts(found, self.at, max(24, facts.content_size.width or 24)))
        choices.query_one(Static).update(draw_choices(found, self.at, self.choice))
        choices.scroll_to(y=max(0, self.choice + 2 - choices.content_size.height), animate=False)

    def speak_again(self) -> None:
        """The language was changed."""
        self._redraw()

    def on_resize(self) -> None:
        """Bars of another length."""
        self._redraw()


def draw_facts(found: XRayed, at: int, width: int) -> Content:
    """What is known of one place."""
    place = found.places[at]
    rows: list[tuple[str, str]] = []
    if place.token_id is not None and place.chosen is not None:
        rows.append((tr("token"), f"{found.labels[at]}   id {place.token_id}"))
        rows.append((tr("bytes"), found.pieces[at].hex(" ") or tr("a control token")))
        if found.cut[at]:
            rows.append((tr("part of"), found.cut[at]))
        rows.append((tr("model"), percent(place.chosen.probability)))
        rows.append((tr("drawn"), percent(place.chosen.drawn)))
        rows.append((tr("rank"), tr("{rank:,} of {tokens:,}", rank=place.rank, tokens=found.vocab_size)))
    else:
        rows.append((tr("token"), tr("none: cut here")))
    rows.append((tr("entropy"), tr("{bits:.2f} bits", bits=place.entropy)))
    rows.append((tr("as among"), tr("{tokens:,.1f} tokens", tokens=2**place.entropy)))
    rows.append((tr("drawable"), f"{place.possible:,}"))
    rows.append((tr("sampling"), found.sampling))
    if found.read_by:
        rows.append((tr("read by"), found.read_by))
    for layer, visits in enumerate(place.experts):
        rows.append(
            (tr("experts {layer}", layer=layer), "  ".join(f"{expert} {weight:.0%}" for expert, weight in visits))
        )
    return Content("\n").join(
        hanging(Content.styled(padded(name, 10), QUIET), value, width, style="") for name, value in rows
    )


def draw_choices(found: XRayed, at: int, cursor: int) -> Content:
    """The alternatives of one place, with both probabilities."""
    place = found.places[at]
    model, drawn = tr("model"), tr("drawn")
    gap = " " * (_LABEL + _BAR + 4 + max(0, 6 - cell_len(model)))
    lines = [Content.styled(f"{gap}{model} {' ' * (6 - cell_len(drawn))}{drawn}", QUIET)]
    for number, each in enumerate(place.alternatives):
        here, stands = number == cursor, each.token_id == place.token_id
        label = set_cell_size(_clip(found.label(each.token_id)), _LABEL)
        text = f"{label} {bar(each.probability, _BAR)} {percent(each.probability):>6} {percent(each.drawn):>6}"
        mark = "▸" if here else " "
        style = "bold reverse" if here else "bold" if stands else ""
        lines.append(Content.assemble(mark, "•" if stands else " ", (text, style)))
    return Content("\n").join(lines)


def percent(share: float) -> str:
    """A probability in six cells, small ones too."""
    if share >= 0.9995:
        return "100 %"
    if share >= 0.0005:
        return f"{share:.1%}"
    return "0" if share == 0 else "<0.1%"


def _clip(label: str) -> str:
    return label if cell_len(label) <= _LABEL else f"{set_cell_size(label, _LABEL - 1).rstrip()}…"
