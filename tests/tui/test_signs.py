"""What a model says never steers the terminal."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.segment import Segment
from textual.color import Color
from textual.geometry import Region
from textual.widgets import Static

from workbench import events
from workbench.events import Event
from workbench.runs.compare import Comparison, Saying, Side
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.signs import OBEYED, Harmless
from workbench.tui.widgets.comparison_panes import answer_table

HOSTILE = "a\x1b[31mb\x1b]52;c;aGk=\x07c\x9b2Jd\x7f[/INST] [red]e\u3000汉👩‍🚀"


def test_control_characters_are_left_out_and_all_else_stays() -> None:
    lines = [Segment("plain"), Segment(HOSTILE), Segment("", control=[])]
    filtered = Harmless().apply(lines, Color(0, 0, 0))
    assert filtered[1].text == "a[31mb]52;c;aGk=c2Jd[/INST] [red]e\u3000汉👩‍🚀"
    harmless = [Segment("汉 ▏ é")]
    assert Harmless().apply(harmless, Color(0, 0, 0)) is harmless


@pytest.mark.parametrize("colours", ["workbench-dark", "ansi-dark"])
async def test_a_sample_is_shown_and_not_obeyed(
    workbench: Callable[..., WorkbenchApp],
    run_beginning: Callable[..., list[Event]],
    screen_text: Callable[[WorkbenchApp], str],
    wait_until: Callable[..., Any],
    colours: str,
) -> None:
    sample = events.SampleMade(stage="pretrain", step=0, prompt="\x1b[32mOnce", text=HOSTILE, seed=1)
    app = workbench([*run_beginning(), sample])
    async with app.run_test(size=(120, 36)) as pilot:
        app.theme = colours
        await app.start_job(JobRequest(name="tiny"))
        await wait_until(pilot, lambda: "␛[32mOnce" in screen_text(app))
        text = screen_text(app)
        assert "a␛[31mb" in text and not OBEYED.search(text.replace("\n", ""))


async def test_no_pane_lets_control_characters_through(
    workbench: Callable[..., WorkbenchApp], screen_text: Callable[[WorkbenchApp], str], wait_until: Callable[..., Any]
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        app.screen.mount(Static(HOSTILE, markup=False, id="hostile"))
        await wait_until(pilot, lambda: app.screen.query_one("#hostile").content_size.width > 40)
        strip: Any = app.screen.query_one("#hostile").render_line(0)
        assert OBEYED.search(strip.text), "the pane itself lets them through"
        lines = app.screen.query_one("#hostile").render_lines(Region(0, 0, 60, 1))
        assert lines[0].text.startswith("a[31mb") and not OBEYED.search(lines[0].text)


def test_answers_side_by_side_are_shown_and_not_obeyed() -> None:
    sides = tuple(Side(name, Path("run"), "sft") for name in ("one", "two"))
    said = Saying("\x1b[2Jhello", (HOSTILE, None), (3, None), (1, None))
    out = io.StringIO()
    Console(file=out, width=100).print(answer_table(Comparison(sides, (), {}, (said,), ([], []))))
    assert "␛[2Jhello" in out.getvalue() and "a␛[31mb" in out.getvalue() and "\x1b" not in out.getvalue()


@pytest.mark.parametrize("width", range(30, 60))
def test_no_character_of_an_answer_is_lost_at_the_end_of_a_line(width: int) -> None:
    said = "米拉住在 Fernhill 村，第 90 步种子 1337，她每天晚上都去 the old mill 听故事。"
    sides = (Side("one", Path("run"), "sft"),)
    out = io.StringIO()
    table = answer_table(Comparison(sides, (), {}, (Saying("讲", (said,), (3,), (1,)),), ([],)))
    Console(file=out, width=width).print(table)
    assert "".join(said.split()) in "".join(out.getvalue().split())
