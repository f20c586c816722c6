"""The tour, by keys: it leads from text to chat, fits every screen, takes no key from it, and remembers its place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, TextArea

from workbench import language
from workbench.events import Event, RunStarted, StageStarted, StepFinished, to_json
from workbench.learn.tour import filled, leave_at, left_at, tour_steps
from workbench.runs.metrics import encode_record
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.widgets.section_list import SectionList
from workbench.tui.widgets.tour_pane import TourPane
from workbench.tui.wrapping import wrap

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]
LAST = len(tour_steps()) - 1

FIGURES = {
    **{"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "vocab_size": 32_768, "guess": "10.40"},
    **{"first_loss": "10.40", "loss": "3.21", "among": "1,234", "val_loss": "3.30", "learning_rate": "3.00e-4"},
    **{"stage": "pretrain", "step": 12_000, "steps": 20_000, "eta": "1 h 04 m"},
}

PROFILE = """
[run]
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 6
log_every = 1
prompts = ["The"]
sample_tokens = 4
[[stage]]
kind = "sft"
data = "chat.jsonl"
sequence_length = 64
batch_size = 4
steps = 3
log_every = 1
"""


def pane(app: WorkbenchApp) -> TourPane:
    return app.current.query_one(TourPane)


def test_the_steps_name_screens_and_speak_both_languages() -> None:
    names = [step.name for step in tour_steps()]
    assert len(set(names)) == len(names) and names[0] == "welcome" and names[-1] == "end"
    screens = [step.screen for step in tour_steps()]
    assert {"home", "data", "profile", "train", "inspect", "chat"} == set(screens)
    for step in tour_steps():
        assert step.title.zh and not any("\u4e00" <= letter <= "\u9fff" for letter in step.title.en)
        for words in filter(None, (step.text, step.waiting)):
            assert any("\u4e00" <= letter <= "\u9fff" for letter in words.zh)
            for text in (words.en, words.zh):
                assert len(wrap(filled(text, FIGURES), 76)) <= 4, step.name  # on 80 columns, inside the frame
                assert "…" not in filled(text, FIGURES), f"a figure of {step.name} that nobody gives"


def test_the_place_is_remembered_and_a_damaged_memory_begins_anew(tmp_path: Path) -> None:
    assert left_at() == 0
    leave_at(5)
    assert left_at() == 5
    leave_at(LAST)  # gone through: it begins again
    assert left_at() == 0
    next(tmp_path.glob("home/state/tour.json")).write_text("{", encoding="utf-8")
    assert left_at() == 0


@pytest.mark.parametrize("spoken", ["en", "zh"])
@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_every_step_fits_its_screen(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    run_beginning: Callable[..., list[Event]],
    make_step: Callable[..., StepFinished],
    size: tuple[int, int],
    spoken: language.Language,
) -> None:
    app = workbench([*run_beginning(), make_step(1, loss=7.6), make_step(50, loss=2.3)])
    language.use_language(spoken)
    try:
        async with app.run_test(size=size) as pilot:
            await wait_until(pilot, lambda: app.current.is_mounted)
            await app.start_job(JobRequest(name="tiny"))
            await wait_until(pilot, lambda: app.bridge.active.state.stage is not None)  # type: ignore[union-attr]
            await pilot.press("1", "t")
            for place, step in enumerate(tour_steps()):
                await wait_until(
                    pilot, lambda n=place: app.tour.place == n and tour_steps()[n].screen == app.current.MODE
                )
                await wait_until(pilot, lambda: bool(app.current.query(TourPane)) and pane(app).has_class("-open"))
                await pilot.pause(0.1)
                shown = pane(app)
                assert shown.size.height <= 4 and step.title.of(spoken)[:6] in str(shown.border_title)
                lines = screen_text(app).splitlines()
                assert len(lines) == size[1] and "X" in lines[-2], step.name  # the pane stands above the keys
                await pilot.press("f12")
            await wait_until(pilot, lambda: not app.tour.open)
            assert not pane(app).has_class("-open")
    finally:
        language.use_language("en")


async def test_the_curve_is_explained_with_the_figures_of_now(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    run_beginning: Callable[..., list[Event]],
    make_step: Callable[..., StepFinished],
) -> None:
    app = workbench([*run_beginning(), make_step(1, loss=7.5), make_step(50, loss=2.0)])
    leave_at([step.name for step in tour_steps()].index("curve"))
    async with app.run_test(size=(80, 24)) as pilot:
        await app.start_job(JobRequest(name="tiny"))
        await wait_until(pilot, lambda: app.bridge.active.state.stage is not None)  # type: ignore[union-attr]
        await wait_until(pilot, lambda: app.bridge.active.state.stage.step == 50)  # type: ignore[union-attr]
        await pilot.press("1", "t")
        await wait_until(pilot, lambda: app.current.MODE == "train" and pane(app).has_class("-open"))
        await pilot.pause(0.4)
        text = pane(app).text
        assert "ln(2,048) = 7.62" in text and "began at 7.50" in text and "now at 2.00" in text


async def test_a_step_waits_for_what_it_is_about_and_then_tells_of_it(
    workbench: MakeApp,
    wait_until: Wait,
    run_beginning: Callable[..., list[Event]],
    make_step: Callable[..., StepFinished],
) -> None:
    second = StageStarted(
        **{"stage": "sft", "kind": "sft", "step": 0, "steps": 9, "parameters": 10, "trained_parameters": 10},
        **{"vocab_size": 2048, "tokens_per_step": 64, "flops_per_token": 1.0, "micro_batch_size": 1},  # type: ignore[arg-type]
    )
    app = workbench(run_beginning())
    at = {step.name: place for place, step in enumerate(tour_steps())}
    leave_at(at["sizes"])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("t")
        profile: Any = app.current
        await wait_until(pilot, lambda: profile.MODE == "profile" and profile.draft is not None)
        await wait_until(pilot, lambda: profile.section.title == "model")
        assert profile.query_one(SectionList).has_focus
        await pilot.press("f12")
        await wait_until(pilot, lambda: "Press f5" in pane(app).text)
        await pilot.press("f12")
        await wait_until(pilot, lambda: "learns its tokens first" in pane(app).text)
        await pilot.press("f12")
        await wait_until(pilot, lambda: "will be drawn here" in pane(app).text)
        await app.start_job(JobRequest(name="tiny"))
        await wait_until(pilot, lambda: app.bridge.active.state.stage is not None)  # type: ignore[union-attr]
        assert "will be drawn here" in pane(app).text
        app.bridge.active.job.emitter.emit(make_step(1, loss=7.5))  # type: ignore[union-attr]
        await wait_until(pilot, lambda: "began at 7.50" in pane(app).text)
        while app.tour.place < at["finetuning"]:
            before = app.tour.place
            await pilot.press("f12")
            await wait_until(pilot, lambda last=before: app.tour.place > last)
        await wait_until(pilot, lambda: "First the pretraining has to end: step 1 of 100" in pane(app).text)
        app.bridge.active.job.emitter.emit(second)  # type: ignore[union-attr]
        await wait_until(pilot, lambda: "Now: sft" in pane(app).text)
        while app.tour.place > at["start"]:
            before = app.tour.place
            await pilot.press("less_than_sign")
            await wait_until(pilot, lambda last=before: app.tour.place < last)
        await wait_until(pilot, lambda: "It has begun" in pane(app).text)


async def test_who_comes_back_is_told_of_the_run_that_went_on_without_the_workbench(
    workbench: MakeApp, wait_until: Wait, tmp_path: Path
) -> None:
    app = workbench()
    run = app.workspace / "quickstart"
    (run / "sft").mkdir(parents=True)
    told = [
        RunStarted(
            **{"run": "quickstart", "directory": str(run), "stages": ("pretrain", "sft"), "device": "cpu"},
            **{"precision": "fp32", "threads": 1, "resumed": False},  # type: ignore[arg-type]
        ),
        *(
            StageStarted(
                **{"stage": stage, "kind": stage, "step": 0, "steps": 9, "parameters": 10, "trained_parameters": 10},
                **{"vocab_size": 2048, "tokens_per_step": 4, "flops_per_token": 1.0, "micro_batch_size": 1},  # type: ignore[arg-type]
            )
            for stage in ("pretrain", "sft")
        ),
    ]
    (run / "events.jsonl").write_text("".join(encode_record(to_json(each)) for each in told), encoding="utf-8")
    (run / "profile.toml").write_text("", encoding="utf-8")
    leave_at([step.name for step in tour_steps()].index("talk"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("t")
        await wait_until(pilot, lambda: app.current.MODE == "chat" and "Ask it:" in pane(app).text)


async def test_the_tour_takes_no_key_from_the_screen_and_goes_on_where_it_was_left(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: "five-minute tour" in screen_text(app))  # offered on a first, empty start
        await pilot.press("greater_than_sign")
        assert not app.tour.open  # closed, its keys do nothing
        await pilot.press("t")
        await wait_until(pilot, lambda: app.tour.open)
        await pilot.press("greater_than_sign")
        await wait_until(pilot, lambda: app.current.MODE == "data" and app.tour.place == 1)
        data: Any = app.current
        await wait_until(pilot, lambda: data.file is not None and data.file.rows_known > 3)
        assert data.file.path.name == "pretrain.jsonl"
        view = data.view
        await pilot.press("t")  # of the screen, not of the tour
        assert data.view != view
        await pilot.press("w")
        await pilot.pause(0.2)
        assert len(app.screen_stack) == 2
        await pilot.press("escape", "less_than_sign")
        await wait_until(pilot, lambda: app.tour.place == 0 and app.current.MODE == "home")
        await pilot.press("slash", *"a>b<X")
        assert app.current.query_one(Input).value == "a>b<X" and app.tour.place == 0
        assert "esc leaves the field" in str(pane(app).border_subtitle)
        await pilot.press("escape")
        assert "> next   < back   X leave" in str(pane(app).border_subtitle)
        await pilot.press("f12", "X")
        await wait_until(pilot, lambda: not app.tour.open)
        await pilot.press("1", "t")
        await wait_until(pilot, lambda: app.tour.open and app.tour.place == 1 and app.current.MODE == "data")


async def test_a_real_run_from_text_to_talk(
    tmp_path: Path, wait_until: Wait, screen_text: ReadScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    rows = [{"text": f"The number {n} follows {n - 1}."} for n in range(60)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    talks = [
        {"messages": [{"role": "user", "content": f"Who is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
        for n in range(40)
    ]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in talks), encoding="utf-8")
    (tmp_path / "small.toml").write_text(PROFILE, encoding="utf-8")
    (tmp_path / "runs").mkdir()
    app = WorkbenchApp(tmp_path / "runs", tour_profile=str(tmp_path / "small.toml"))
    at = {step.name: place for place, step in enumerate(tour_steps())}

    async def go_to(name: str) -> None:
        while app.tour.place < at[name]:
            before = app.tour.place
            await pilot.press("f12")
            await wait_until(pilot, lambda last=before: app.tour.place > last)
            await wait_until(pilot, lambda: app.tour.step.screen == app.current.MODE)

    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("t")
        await wait_until(pilot, lambda: app.tour.open and app.tour.profile is not None)
        await go_to("start")
        profile: Any = app.current
        await wait_until(pilot, lambda: profile.draft is not None and profile.draft.name == "small")
        await go_to("tokens")
        await wait_until(pilot, lambda: "learns its tokens first" in pane(app).text)
        await pilot.press("less_than_sign")
        await wait_until(pilot, lambda: app.current.MODE == "profile")
        await pilot.press("f5")
        await wait_until(pilot, lambda: app.bridge.active is not None and app.bridge.active.finished)
        assert app.bridge.active is not None and app.bridge.active.error is None
        await wait_until(pilot, lambda: app.bridge.active.state.status == "done")  # type: ignore[union-attr]
        await go_to("tokens")
        data: Any = app.current
        await wait_until(pilot, lambda: data.tokenizer is not None and data.file is not None)
        await wait_until(pilot, lambda: "The run has learnt" in pane(app).text)
        assert data.file.path.name == "text.jsonl"
        await go_to("curve")
        await wait_until(pilot, lambda: "…" not in pane(app).text and "ln(" in pane(app).text)
        await go_to("inside")
        inspect: Any = app.current
        await wait_until(pilot, lambda: inspect.inspected is not None)
        await go_to("mask")
        await wait_until(pilot, lambda: data.file is not None and data.file.path.name == "chat.jsonl")
        await go_to("talk")
        await wait_until(pilot, lambda: isinstance(app.focused, TextArea))
        await wait_until(pilot, lambda: app.current.session is not None)  # type: ignore[attr-defined]
        await pilot.press("f10")  # Learn knows whom the person talks to
        await wait_until(pilot, lambda: getattr(app.screen, "facts", None) is not None and bool(app.screen.facts.run))
        assert app.screen.facts.config.hidden_size == 32 and app.screen.facts.context["temperature"] == 0.8
        await pilot.press("f10")
        await pilot.press("f12")  # also from the field
        await wait_until(pilot, lambda: app.tour.place == at["end"])
    assert app.bridge.close(20.0)
