"""The Compare screen, driven by keys over runs that are files alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from workbench.tui.app import WorkbenchApp
from workbench.tui.modals.ask import AskModal
from workbench.tui.screens.compare import _cell as as_cell
from workbench.tui.widgets.line_chart import LineChart

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two runs whose rates differ."""
    for age, (name, rate) in enumerate((("one", 0.01), ("two", 0.02))):
        stage = tmp_path / "runs" / name / "pretrain"
        stage.mkdir(parents=True)
        steps = [
            {"step": s, "tokens": s * 8, "seconds": s / 2, "loss": 5 - rate * s, "val_loss": 5.1 - rate * s}
            for s in range(0, 101, 10)
        ]
        (stage / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps), encoding="utf-8")
        sample = {"step": 100, "prompt": "Once [/INST]", "text": f"{name} [bold]", "seed": 7}
        (stage / "samples.jsonl").write_text(json.dumps(sample) + "\n", encoding="utf-8")
        profile = f'[[stage]]\nname = "pretrain"\nkind = "pretrain"\nlearning_rate = {rate}\n'
        (tmp_path / "runs" / name / "profile.toml").write_text(profile, encoding="utf-8")
        state = json.dumps({"updated_at": 9.0 - age})
        (tmp_path / "runs" / name / "state.json").write_text(state, encoding="utf-8")
    return tmp_path / "runs"


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_two_runs_are_compared_at_once_and_pages_turn(
    workspace: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await pilot.press("7")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        await pilot.pause()
        text = screen_text(app)
        assert "● one:pretrain" in text and "■ two:pretrain" in text and "val loss by step" in text
        assert any("\u2801" <= character <= "\u28ff" for character in text), "the curves themselves"
        await pilot.press("n")
        await pilot.pause()
        assert "stage.pretrain.learning_rate" in screen_text(app)
        await pilot.press("n")
        await pilot.pause()
        answers = " ".join(str(screen.comparison.sayings).split())
        assert "two [bold]" in answers and "Answers" in screen_text(app)
        await pilot.press("m", "x")
        await pilot.pause()
        assert (screen.metric, screen.along) != ("val_loss", "step")
        assert "by tokens" in str(screen.query_one(LineChart).border_title)


async def test_what_differs_stands_beside_the_scores_on_a_very_wide_terminal(
    workspace: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("7")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        await wait_until(pilot, lambda: "stage.pretrain.learning_rate" in screen_text(app))
        assert "best val loss" in screen_text(app) and "1/2" in screen_text(app)
        await pilot.press("n")
        await wait_until(pilot, lambda: "two [bold]" in screen_text(app) and "2/2" in screen_text(app))
        assert "stage.pretrain.learning_rate" not in screen_text(app), "answers have all the width"
        await pilot.press("n")
        await wait_until(pilot, lambda: "stage.pretrain.learning_rate" in screen_text(app))
        await pilot.resize_terminal(120, 36)
        await wait_until(pilot, lambda: "1/3" in screen_text(app))
        assert "stage.pretrain.learning_rate" not in screen_text(app)
        await pilot.press("n")
        await wait_until(pilot, lambda: "stage.pretrain.learning_rate" in screen_text(app))
        await pilot.resize_terminal(160, 40)
        await wait_until(pilot, lambda: "1/2" in screen_text(app) and "best val loss" in screen_text(app))


async def test_marks_and_added_checkpoints_change_the_comparison(
    workspace: Path, workbench: MakeApp, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("7")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        await pilot.press("space")
        await wait_until(pilot, lambda: screen.comparison is None)
        assert len(screen.marked) == 1
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press(*"one@50", "enter")
        await wait_until(pilot, lambda: screen.comparison is not None)
        assert [side.label for side in screen.comparison.sides][-1] == "one@50"
        assert screen.comparison.scores["step"][-1] == 50
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press(*"nobody", "enter")
        await wait_until(pilot, lambda: any("no run 'nobody'" in notice.message for notice in app._notifications))


async def test_without_runs_it_says_how_it_works(workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("7")
        await wait_until(pilot, lambda: "Mark two sides" in screen_text(app))
        await pilot.press("space", "m", "x", "n", "y", "l", "v", "plus", "left", "0")
        await pilot.pause()
        assert app.is_running


async def test_all_sides_are_asked_the_same_with_the_same_seed(
    workspace: Path,
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    model_files: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("one", "two"):
        (workspace / name / "pretrain" / "model").symlink_to(model_files)
    copied: list[str] = []
    app = workbench()
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("7")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        await pilot.press("s")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        assert app.screen.query_one(Input).value == "Once [/INST]"
        await pilot.press("ctrl+u", *"Hi [b]", "enter")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal) and app.screen.query_one(Input).value == "7")
        await pilot.press("enter")
        await wait_until(pilot, lambda: bool(screen.asked) and not screen.asked[0].waiting)
        await wait_until(pilot, lambda: "seed 7" in screen_text(app))
        (asked,) = screen.asked
        assert (asked.prompt, asked.seed) == ("Hi [b]", 7)
        one, other = (asked.texts[side] for side in screen.comparison.sides)
        assert one == other and len(one) > 50, "the same model with the same random numbers"
        text = screen_text(app)
        assert "Hi [b]" in text and "seed 7" in text and "Answers" in text
        await pilot.press("y")
        await wait_until(pilot, lambda: bool(copied))
        assert f"| Hi [b] | {as_cell(one)} | {as_cell(one)} |" in copied[0]
        await pilot.press("s")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal) and app.screen.query_one(Input).value == "8")
        await pilot.press("x", "enter")
        told = "'8x' is not a whole number"
        await wait_until(pilot, lambda: any(told in each.message for each in app._notifications))


async def test_a_side_without_a_model_says_so_where_its_answer_would_stand(
    workspace: Path, workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, model_files: Path
) -> None:
    (workspace / "one" / "pretrain" / "model").symlink_to(model_files)
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("7")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        await pilot.press("s")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal) and app.screen.query_one(Input).value == "7")
        await pilot.press("enter")
        await wait_until(pilot, lambda: bool(screen.asked) and not screen.asked[0].waiting)
        one, two = screen.comparison.sides
        assert len(screen.asked[0].texts[one]) > 50
        assert screen.asked[0].texts[two].startswith("two:pretrain: no model of it is kept")


async def test_a_zoomed_part_is_told_in_the_unit_of_its_axis(
    workspace: Path, workbench: MakeApp, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("7")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        chart = screen.query_one(LineChart)
        told = []
        for _ in range(3):
            await pilot.press("plus")
            await pilot.pause()
            told.append(str(chart.border_subtitle))
            await pilot.press("x")
        assert told == ["steps 50-100", "tokens 400 - 800", "seconds 25 s - 50 s"]


async def test_what_was_compared_is_compared_at_the_next_start(
    workspace: Path, workbench: MakeApp, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("7")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        await pilot.press("a")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        app.screen.query_one(Input).value = "two:pretrain@50"
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(screen.marked) == 3)
        await pilot.press("j", "space")  # without the first
        left = [side.label for side in screen.marked]
        assert "two:pretrain@50" in left and len(left) == 2
        await pilot.press("q")
        await wait_until(pilot, lambda: app.return_code == 0)
    again = workbench()
    async with again.run_test(size=(120, 36)) as pilot:
        await wait_until(pilot, lambda: again.current.MODE == "compare")
        screen = again.current
        await wait_until(pilot, lambda: screen.comparison is not None)
        assert [side.label for side in screen.marked] == left
