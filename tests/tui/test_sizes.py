"""Every screen on terminals of three sizes, in both languages: no line too long, nothing cut, the focus seen."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from textual.widget import Widget

from workbench import events
from workbench.cells import width
from workbench.language import Language, tr, use_language
from workbench.runs.store import RunState, create_run
from workbench.tui.actions import MODES
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest

SIZES = [(80, 24), (120, 36), (200, 50)]
MakeApp = Callable[..., WorkbenchApp]


@pytest.fixture(params=["en", "zh"])
def chosen(request: pytest.FixtureRequest) -> Iterator[Language]:
    """The language that is spoken."""
    use_language(request.param)
    yield request.param
    use_language("en")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
async def test_every_screen_fits_its_terminal(
    workbench: MakeApp,
    request_of_tiny: JobRequest,
    run_beginning: Any,
    make_step: Any,
    wait_until: Any,
    size: tuple[int, int],
    chosen: Language,
) -> None:
    said = events.SampleMade(stage="pretrain", step=3, prompt="从前", text="有一只怕火的龙，[/b] 🙂 " * 9, seed=1)
    app = workbench([*run_beginning(), *(make_step(number, 9 / number) for number in range(1, 60)), said])
    for number, status in enumerate(("done", "failed", "stopped")):
        run = create_run(app.workspace, f"a-run-with-a-name-of-some-length-{number}", "")
        run.write_state(RunState(status, ("pretrain", "sft"), "sft", 300, 500, 2.5, 2.6, 4100.0, message="烧完了 [/b]"))
    async with app.run_test(size=size) as pilot:
        await app.start_job(request_of_tiny)
        await wait_until(pilot, lambda: app.bridge.active.state.status == "running")  # type: ignore[union-attr]
        for mode in MODES:
            await app.action_go(mode)
            await pilot.pause(0.1)
            lines = [text for text, _ in drawn(app)]
            where = f"{mode} at {size} in {chosen}\n" + "\n".join(lines)
            assert len(lines) == size[1] and {width(line) for line in lines} == {size[0]}, where
            assert all(f"{n} {tr(name)}" in lines[0] for n, name in enumerate(MODES.values(), start=1)), where
            assert tr("Help") in lines[-1] and lines[-1].rstrip().endswith(tr("Quit")), where
            for pane in panes(app):
                title = str(pane.border_title or "").split("  ")[0]
                assert pane.region in app.screen.region, f"{pane} leaves {where}"
                assert title in lines[pane.region.y] or size[1] < 30, f"{title!r} of {pane} is cut on {where}"
            assert panes(app) and app.screen.focus_chain, where
            for widget in app.screen.focus_chain if chosen == "en" else ():
                await focus_is_seen(app, pilot, widget, where)


def drawn(app: WorkbenchApp) -> list[tuple[str, list[str]]]:
    """The lines on the screen: what they say, and how each column looks."""
    screen: Any = app.screen
    lines = []
    for strip in screen._compositor.render_strips(app.screen.size):
        looks = [f"{segment.text} {segment.style}" for segment in strip for _ in range(width(segment.text))]
        lines.append(("".join(segment.text for segment in strip), looks))
    return lines


def panes(app: WorkbenchApp) -> list[Widget]:
    """The panes that are shown, with a frame around them."""
    return [
        pane for pane in app.screen.query(".pane") if pane.region and pane.is_on_screen and pane.styles.border_top[0]
    ]


async def focus_is_seen(app: WorkbenchApp, pilot: Any, widget: Widget, where: str) -> None:
    """The widget, or the pane it is in, looks otherwise when it has the focus."""
    frame = next((each for each in widget.ancestors_with_self if each.has_class("pane")), widget)
    looks = []
    for focused in (widget, None):
        app.screen.set_focus(focused)
        await pilot.pause(0.02)
        region = frame.region.intersection(app.screen.region)  # type: ignore[union-attr]
        rows = drawn(app)[region.y : region.bottom]
        looks.append([row[1][region.x : region.right] for row in rows])
    assert looks[0] != looks[1], f"no sign that {widget} has the focus: {where}"
