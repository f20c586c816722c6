"""The Train screen, driven by keys over a job that announces and does nothing."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from workbench import events
from workbench.control import Command
from workbench.events import Event, StepFinished
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.screens.train import TrainScreen
from workbench.tui.widgets.figures import Figures
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.sample_pane import SamplePane

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]


@pytest.fixture
def script(run_beginning: Callable[..., list[Event]], make_step: Callable[..., StepFinished]) -> list[Event]:
    """A run that is at step 40, with samples and validation."""
    history = run_beginning()
    for number in range(1, 41):
        history.append(make_step(number, loss=8 - number / 10))
        if number % 10 == 0:
            history.append(
                events.SampleMade(stage="pretrain", step=number, prompt="Once", text=f" upon {number}", seed=1)
            )
            history.append(
                events.Validated(
                    stage="pretrain",
                    step=number,
                    val_loss=8 - number / 11,
                    val_perplexity=20.0,
                    val_bits_per_byte=1.1,
                    best=True,
                    seconds=0.2,
                )
            )
    return history


async def begin(app: WorkbenchApp, pilot: Any, wait: Wait) -> None:
    await app.start_job(JobRequest(name="tiny"))
    await wait(pilot, lambda: app.bridge.active is not None and app.bridge.active.state.status == "running")
    run: Any = app.bridge.active
    await wait(pilot, lambda: run.job is not None and run.job.announced.is_set() and not run._queue)
    await wait(pilot, lambda: isinstance(app.current, TrainScreen) and _drawn(app.current))
    await pilot.pause()


def _drawn(screen: TrainScreen) -> bool:
    """Whether the curves stand there, of a run that has some."""
    return screen.stage is None or bool(screen.query_one("#loss", LineChart).shown)


async def test_without_a_run_it_says_how_to_get_one(workbench: MakeApp, screen_text: ReadScreen) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await pilot.pause()
        assert "No run is shown" in screen_text(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50), (60, 18)])
async def test_a_run_is_shown_at_every_size(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event], size: tuple[int, int]
) -> None:
    app = workbench(script)
    async with app.run_test(size=size) as pilot:
        await begin(app, pilot, wait_until)
        text = screen_text(app)
        assert "train 4.000" in text and "val 4.364" in text
        assert "40%" in text and "Pause" in text
        assert any("\u2801" <= character <= "\u28ff" for character in text)  # the curve itself
        assert max(map(len, text.splitlines())) <= size[0]
        assert text.splitlines()[0].endswith("tiny 40%" if size[0] == 80 else "tiny pretrain 40/100")
        assert text.splitlines()[-2].startswith("╰")  # nothing is pushed below the edge


async def test_pause_and_continue_take_turns_on_one_key(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        await pilot.press("p")
        await wait_until(pilot, lambda: app.bridge.active.state.status == "paused")  # type: ignore[union-attr]
        await pilot.pause(0.3)
        assert "p Continue" in screen_text(app) and "‖ paused" in screen_text(app)
        await pilot.press("p")
        await wait_until(pilot, lambda: app.bridge.active.state.status == "running")  # type: ignore[union-attr]
        await pilot.pause(0.3)
        assert "p Pause" in screen_text(app)


async def test_commands_reach_the_engine(workbench: MakeApp, wait_until: Wait, script: list[Event]) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        await pilot.press("c", "e", "g")
        job: Any = app.bridge.active.job  # type: ignore[union-attr]
        await wait_until(pilot, lambda: job.commands == ["checkpoint", "evaluate", "sample"])


async def test_stopping_asks_first(workbench: MakeApp, wait_until: Wait, script: list[Event]) -> None:
    app = workbench(script)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(app, pilot, wait_until)
        await pilot.press("x")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmModal)
        await pilot.press("escape")
        await pilot.pause(0.3)
        assert app.bridge.busy
        await pilot.press("x")
        await pilot.pause()
        await pilot.press("y")
        await wait_until(pilot, lambda: app.bridge.active.state.status == "stopped")  # type: ignore[union-attr]


async def test_steering_is_greyed_when_the_run_is_over(
    workbench: MakeApp, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        app.bridge.active.stop()  # type: ignore[union-attr]
        await wait_until(pilot, lambda: app.bridge.active.state.status == "stopped")  # type: ignore[union-attr]
        assert app.current.check_action("stop", ()) is None
        assert app.current.check_action("pause", ()) is False
        assert app.current.check_action("resume_run", ()) is True


async def test_looking_keys_change_the_charts(workbench: MakeApp, wait_until: Wait, script: list[Event]) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        chart = app.screen.query_one("#loss", LineChart)
        await pilot.press("l", "v", "plus")
        assert (chart.log_y, chart.smoothing, chart.window) == (True, 0.6, (20.5, 40.0))
        await pilot.press("left")
        assert chart.window == (10.75, 30.25)
        await pilot.press("0", "v", "v", "l")
        assert (chart.log_y, chart.smoothing, chart.window) == (False, 0.0, None)


async def test_enter_maximises_the_focused_pane_and_escape_brings_it_back(
    workbench: MakeApp, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        chart = app.screen.query_one("#norm", LineChart)
        chart.focus()
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen.maximized is chart and chart.size.width > 100
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen.maximized is None and app.current.MODE == "train"


async def test_narrow_screens_turn_the_pages_of_charts(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(app, pilot, wait_until)
        seen = []
        for _ in range(5):
            seen.append([chart.id for chart in app.screen.query(LineChart) if chart.region.area > 0])
            await pilot.press("n")
            await pilot.pause(0.1)
        assert seen == [["loss"], ["rate"], ["norm"], ["speed"], ["loss"]]


async def test_samples_can_be_browsed_and_the_newest_is_followed(
    workbench: MakeApp, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        pane = app.screen.query_one(SamplePane)
        assert pane.current is not None and pane.current.step == 40
        await pilot.press("comma", "comma")
        assert pane.current.step == 20
        app.bridge.active.state.apply(  # type: ignore[union-attr]
            events.SampleMade(stage="pretrain", step=50, prompt="a", text="b", seed=1)
        )
        app.current.refresh_run()
        assert pane.current.step == 20  # reading is not disturbed
        await pilot.press("full_stop", "full_stop", "full_stop")
        assert pane.current.step == 50


async def test_a_diverged_loss_does_not_end_the_program(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    run_beginning: Callable[..., list[Event]],
    make_step: Callable[..., StepFinished],
) -> None:
    losses = [3.0, 2.0, math.nan, math.inf, -math.inf, 0.0, 1e300, 2.5]
    steps = [make_step(number, loss=loss) for number, loss in enumerate(losses, start=1)]
    app = workbench([*run_beginning(), *steps])
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        await pilot.press("l")
        await pilot.pause(0.3)
        assert "3 not finite" in screen_text(app)


async def test_a_task_before_training_is_shown(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, run_beginning: Callable[..., list[Event]]
) -> None:
    progress = events.WorkProgressed(stage="", task="learning merges", done=500, total=2000, unit="merges")
    app = workbench([*run_beginning()[:1], progress])
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(app, pilot, wait_until)
        text = screen_text(app)
        assert "learning merges" in text and "25%" in text


async def test_copying_gives_the_sample(workbench: MakeApp, wait_until: Wait, script: list[Event]) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        await pilot.press("y")
        assert app.clipboard == "Once upon 40"


async def test_a_stopped_run_can_be_resumed_from_here(
    workbench: MakeApp, wait_until: Wait, script: list[Event], tmp_path: Path
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        first = app.bridge.active
        assert first is not None
        first.stop()
        await wait_until(pilot, lambda: first.state.status == "stopped" and first.finished)
        await pilot.press("r")
        await wait_until(pilot, lambda: app.bridge.active is not first)
        assert app.bridge.active is not None
        assert app.bridge.active.request_made.resume == Path("runs/tiny")


async def test_the_time_left_has_its_place_at_the_smallest_size(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(app, pilot, wait_until)
        await wait_until(pilot, lambda: "eta 30 s" in screen_text(app).splitlines()[1])


async def test_what_is_over_has_no_time_left(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        pane = app.current.query_one("#throughput", Figures)
        await wait_until(pilot, lambda: "eta" in pane.plain)
        app.bridge.active.stop()  # type: ignore[union-attr]
        await wait_until(pilot, lambda: pane.border_title == "Throughput at the end")
        assert "eta" not in pane.plain and "tokens/s" in pane.plain


async def test_the_best_validation_is_marked(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        await wait_until(pilot, lambda: "◆" in screen_text(app))
        assert "4.364 @ 40" in app.current.query_one("#model", Figures).plain


async def test_another_learning_rate_is_asked_for_and_sent(
    workbench: MakeApp, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(app, pilot, wait_until)
        assert app.bridge.active is not None
        asked: list[Any] = []
        app.bridge.active.request = asked.append  # type: ignore[method-assign]
        await pilot.press("m")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        app.screen.query_one(Input).value = "none"
        await pilot.press("enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, AskModal))
        assert asked == []
        await pilot.press("m")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        app.screen.query_one(Input).value = "3e-4"
        await pilot.press("enter")
        await wait_until(pilot, lambda: bool(asked))
        assert asked == [Command("learning_rate", 3e-4)]


async def test_a_stage_that_writes_and_one_that_is_taught_are_shown(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    run_beginning: Callable[..., list[Event]],
    make_step: Callable[..., StepFinished],
) -> None:
    ready = events.TeacherReady(
        stage="pretrain", teacher="elder", parameters=77_000_000, top_k=0, cache_bytes=None, from_cache=False
    )
    taught = replace(make_step(3), measures={"kl": 0.432})
    written = events.AnswersWritten(
        stage="generate",
        prompts=8,
        total=20,
        rows=1_234,
        tokens=9_000,
        empty=1,
        cut=2,
        unusable=0,
        seconds=3.0,
        path="data.jsonl",
        finished=False,
        samples=(("Who is Mira?", "Mira sails."),),
    )
    app = workbench([*run_beginning(), ready, taught, written])
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        await wait_until(pilot, lambda: "1,234" in screen_text(app) and "Mira sails." in screen_text(app))
        screen = app.current
        assert isinstance(screen, TrainScreen)
        screen.action_browse_stages(-1)
        await wait_until(pilot, lambda: "0.432" in screen_text(app) and "77M" in screen_text(app))


async def test_a_point_of_the_curves_is_read_and_moved_by_keys(
    workbench: MakeApp, wait_until: Wait, script: list[Event]
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        loss = app.screen.query_one("#loss", LineChart)
        await pilot.press("i")
        assert loss.cursor == 40 and "step 40" in str(loss.border_subtitle)
        assert "train 4" in str(loss.border_subtitle) and "val 4.364" in str(loss.border_subtitle)
        await pilot.press("left", "left", "right")
        assert [chart.cursor for chart in app.screen.query(LineChart)] == [39.0] * 4
        assert "train 4.1" in str(loss.border_subtitle)
        await pilot.press("i")
        assert loss.cursor is None and "step" not in str(loss.border_subtitle)


async def test_the_experts_of_a_mixture_have_a_line_a_layer(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event]
) -> None:
    script[-3:] = [
        dataclasses.replace(event, expert_load=((0.5, 0.25, 0.25, 0.0),)) if isinstance(event, StepFinished) else event
        for event in script[-3:]
    ]
    app = workbench(script)
    async with app.run_test(size=(120, 50)) as pilot:
        await begin(app, pilot, wait_until)
        text = screen_text(app)
        assert "0% - 50%" in text and "█▅▅▁" in text


@pytest.mark.parametrize(("device", "size"), [("cuda", (120, 36)), ("cuda x2", (80, 24)), ("cpu", (120, 36))])
async def test_memory_is_told_of_the_device_it_is_on_and_how_busy_that_is(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event], device: str, size: Any
) -> None:
    script[0] = dataclasses.replace(script[0], device=device)  # type: ignore[call-arg]
    latest = next(event for event in reversed(script) if isinstance(event, StepFinished))
    script.append(dataclasses.replace(latest, step=41, memory_bytes=61 * 2**30, utilisation=0.93))
    app = workbench(script)
    async with app.run_test(size=size) as pilot:
        await begin(app, pilot, wait_until)
        await wait_until(pilot, lambda: "61.0 GiB" in screen_text(app))
        text = " ".join(screen_text(app).split())
        assert ("device 93% busy" in text) == (size[0] >= 100), "where there is room"
        assert ("GPU memory 61.0 GiB" in text) == (device != "cpu")
        assert ("program" in text) == (device == "cpu"), "a GPU's memory is no part of the host's"
