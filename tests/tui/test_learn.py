"""Learn, by keys: on every screen it explains what has the focus, with the numbers that are known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.widgets import Input, TextArea

from workbench import language
from workbench.events import Event, StageStarted, StepFinished
from workbench.learn.topics import all_topics, topic
from workbench.profile import list_profiles
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.learning import INSPECTED, PANES, SAMPLING, TOKEN_VIEW
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.modals.chats import ChatsModal
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.diagnosis import DiagnosisModal
from workbench.tui.modals.jump import JumpModal
from workbench.tui.modals.learn import LearnModal
from workbench.tui.modals.log import LogModal
from workbench.tui.modals.profiles import ProfilesModal
from workbench.tui.modals.quit import QuitModal
from workbench.tui.modals.source import SourceModal
from workbench.tui.modals.start import StartModal
from workbench.tui.run_state import RunState, StageState
from workbench.tui.screens.inspect import VIEWS
from workbench.tui.widgets.settings_form import SettingsForm

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]
SIZES = [(80, 24), (120, 36)]


def modal(app: WorkbenchApp) -> LearnModal:
    assert isinstance(app.screen, LearnModal)
    return app.screen


async def shown(app: WorkbenchApp, pilot: Any, wait: Wait) -> LearnModal:
    """The modal, its facts read."""
    await wait(pilot, lambda: isinstance(app.screen, LearnModal) and app.screen.told is not None)
    await app.workers.wait_for_complete()
    await pilot.pause(0.1)
    return modal(app)


def test_every_topic_of_a_pane_is_there() -> None:
    named = {name for panes in (*PANES.values(), INSPECTED) for names in panes.values() for name in names}
    assert {name for name in (*named, *SAMPLING, *TOKEN_VIEW) if topic(name) is None} == set()


@pytest.mark.parametrize("key", ["1", "2", "3", "4", "5", "6", "7"])
@pytest.mark.parametrize("size", SIZES)
async def test_every_screen_explains_itself_even_without_a_run(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, key: str, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await pilot.press(f"alt+{key}")
        await wait_until(pilot, lambda: app.current.is_mounted)
        await pilot.pause(0.2)
        await pilot.press("f10")  # also in the text field that Chat begins in
        box = await shown(app, pilot, wait_until)
        assert len(box.names) >= 3
        text = screen_text(app)
        assert box.told is not None and box.told.title in text and "esc close" in text
        assert max(map(len, text.splitlines())) <= size[0]
        await pilot.press("f10")
        assert not isinstance(app.screen, LearnModal)


@pytest.mark.parametrize("size", SIZES)
async def test_the_focused_chart_comes_first_with_the_numbers_of_the_run(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    run_beginning: Callable[..., list[Event]],
    make_step: Callable[..., StepFinished],
    size: tuple[int, int],
) -> None:
    app = workbench([*run_beginning(), make_step(1, loss=7.5), make_step(2, loss=2.0)])
    async with app.run_test(size=size) as pilot:
        await app.start_job(JobRequest(name="tiny"))
        await wait_until(pilot, lambda: app.bridge.active.state.stage is not None)  # type: ignore[union-attr]
        await wait_until(pilot, lambda: app.bridge.active.state.stage.step == 2)  # type: ignore[union-attr]
        app.current.query_one("#loss").focus()
        await pilot.pause()
        await pilot.press("w")
        box = await shown(app, pilot, wait_until)
        assert box.names[0] == "loss" and box.facts.figures["loss"] == 2.0
        assert "= exp(2) = 7.3891" in screen_text(app)
        await pilot.press("j")
        await pilot.pause(0.1)
        assert box.told is not None and box.told.name == "first_loss"
        assert "ln(2,048) = 7.6246" in screen_text(app)
        await pilot.press("escape")
        assert app.current.MODE == "train" and len(app.screen_stack) == 1


async def test_a_field_of_a_profile_is_explained_while_it_is_typed_in(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("3")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.draft is not None and screen.values is not None)
        screen._section = next(n for n, each in enumerate(screen.draft.sections()) if each.title == "pretrain")
        await screen._show()
        assert screen.query_one(SettingsForm).focus_field("learning_rate")
        await pilot.pause()
        before = screen.query_one(SettingsForm).current.query_one(Input).value
        await pilot.press("f10")
        box = await shown(app, pilot, wait_until)
        assert box.names[0] == "stage.learning_rate" and "stage.optimizer.name" in box.names
        text = screen_text(app)
        assert "learning_rate = 0.005" in text and "default 0.001" in text
        await pilot.press("f10")
        assert screen.query_one(SettingsForm).current.query_one(Input).value == before


async def test_the_source_opens_at_its_line(workbench: MakeApp, wait_until: Wait) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4", "w")
        box = await shown(app, pilot, wait_until)
        place = box.told.place if box.told is not None else None
        assert place is not None
        await pilot.press("o")
        await wait_until(pilot, lambda: isinstance(app.screen, SourceModal))
        area = app.screen.query_one(TextArea)
        await wait_until(pilot, lambda: area.cursor_location[0] == place.first_line - 1)
        assert area.read_only and area.text == place.path.read_text(encoding="utf-8")
        await pilot.press("escape")
        assert app.screen is box
        await pilot.press("escape")
        assert app.current.MODE == "train"


async def test_digits_follow_what_stands_beside_and_search_finds_every_topic(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4", "w")
        box = await shown(app, pilot, wait_until)
        assert box.told is not None
        beside = box.told.see[0]
        await pilot.press("1")
        await pilot.pause(0.1)
        assert box.told.name == beside
        await pilot.press("slash", *"rope")
        await wait_until(pilot, lambda: "model.rope_theta" in box.names)
        assert "w" not in box.query_one(Input).value
        await pilot.press("enter", "G", "escape")
        assert app.screen is box and box.names == box.lesson.names
        await pilot.press("slash", *"qqqq")
        await pilot.pause(0.1)
        assert list(box.names) == []
        await pilot.press("escape", "escape")
        assert len(app.screen_stack) == 1


async def test_a_real_run_is_explained_from_home_in_chinese(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, tmp_path: Path
) -> None:
    app = workbench()
    stage = tmp_path / "runs" / "tiny" / "pretrain"
    stage.mkdir(parents=True)
    (stage.parent / "profile.toml").write_text(
        '[[stage]]\nkind = "pretrain"\ndata = "x"\nsteps = 10\n', encoding="utf-8"
    )
    line = '{"step": 5, "tokens": 40960, "loss": 3.5, "val_loss": 3.0, "tokens_per_second": 4096.0}\n'
    (stage / "metrics.jsonl").write_text(line, encoding="utf-8")
    (stage.parent / "state.json").write_text('{"status": "done", "stage": "pretrain"}', encoding="utf-8")
    language.use_language("zh")
    try:
        async with app.run_test(size=(80, 24)) as pilot:
            await wait_until(pilot, lambda: getattr(app.current, "run", None) is not None)
            await pilot.press("w")
            box = await shown(app, pilot, wait_until)
            assert box.facts.run == "tiny" and box.names[0] == "run"
            await pilot.press("slash", *"tokens_per_step", "enter")
            await pilot.pause(0.1)
            text = screen_text(app)
            assert "每步词元数" in text and "32 × 1 × 256 = 8,192" in text and "讲解" in text
    finally:
        language.use_language("en")


async def test_every_topic_fits_a_narrow_terminal(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    from workbench.learn.explanation import explain
    from workbench.learn.facts import Facts
    from workbench.tui.widgets.explanation_view import ExplanationView

    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        await shown(app, pilot, wait_until)
        view = app.screen.query_one(ExplanationView)
        for spoken in ("en", "zh"):
            for each in all_topics().values():
                view.told = explain(each, Facts(), spoken)
                assert max(line.cell_length for line in view._lines(72)) <= 72, (each.name, spoken)


@pytest.mark.parametrize("key", ["w", "f10"])
async def test_a_box_over_the_screen_is_explained_first_and_stays(
    workbench: MakeApp, wait_until: Wait, key: str
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: app.current.is_mounted)
        for box in boxes():
            app.push_screen(box)
            await wait_until(pilot, lambda box=box: app.screen is box and box.is_mounted)
            if key == "w" and isinstance(app.focused, Input):
                assert isinstance(box, AskModal)  # a letter is written there
            else:
                await pilot.press(key)
                lesson = await shown(app, pilot, wait_until)
                assert lesson.names[: len(box.topics)] == box.topics and len(box.topics) > 0, box
                assert all(topic(name) for name in box.topics), box
                await pilot.press(key)
            assert app.screen is box
            await pilot.press("escape")
            await wait_until(pilot, lambda: len(app.screen_stack) == 1)


def boxes() -> list[WorkbenchModal[Any]]:
    """Boxes that stand over screens and have topics of their own."""
    state = RunState("tiny")
    return [
        DiagnosisModal(StageState("pretrain", vocab_size=2048), None),
        ChatsModal([Content("a talk")], 0, "chats"),
        LogModal(state),
        QuitModal("tiny"),
        StartModal(list_profiles()),
        ProfilesModal(list_profiles(), []),
        ChoiceModal("3 findings", [Content("one")], topics=("lint", "bad_rows")),
        AskModal("Peak", "", "1e-3", ("learning_rate",)),
    ]


async def test_jump_leads_to_learn_and_its_letters_stay_letters(workbench: MakeApp, wait_until: Wait) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: app.current.is_mounted)
        await pilot.press("ctrl+o")
        await wait_until(pilot, lambda: isinstance(app.screen, JumpModal))
        await pilot.press("f10")
        await wait_until(pilot, lambda: isinstance(app.screen, LearnModal))
        await pilot.press("escape")
        await wait_until(pilot, lambda: isinstance(app.screen, JumpModal))
        await pilot.press("w")
        await wait_until(pilot, lambda: len(app.screen_stack) == 1)


@pytest.mark.parametrize("view", VIEWS)
async def test_every_view_of_inspect_is_explained(workbench: MakeApp, wait_until: Wait, view: str) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        screen: Any = app.current
        await wait_until(pilot, lambda: screen.is_mounted)
        while screen.view != view:
            await pilot.press("f2")
        await pilot.press("w")
        box = await shown(app, pilot, wait_until)
        assert box.names[: len(INSPECTED[view])] == INSPECTED[view]


@pytest.mark.parametrize(("kind", "first"), [("generate", "tokens_per_second_written"), ("distill", "distill_loss")])
async def test_stages_of_every_kind_are_explained_on_train(
    workbench: MakeApp, wait_until: Wait, run_beginning: Callable[..., list[Event]], kind: str, first: str
) -> None:
    events = [replace(event, kind=kind) if isinstance(event, StageStarted) else event for event in run_beginning()]
    app = workbench(events)
    async with app.run_test(size=(120, 36)) as pilot:
        await app.start_job(JobRequest(name="tiny"))
        await wait_until(pilot, lambda: app.bridge.active.state.stage is not None)  # type: ignore[union-attr]
        app.current.query_one("#throughput" if kind == "generate" else "#loss").focus()
        await pilot.press("w")
        box = await shown(app, pilot, wait_until)
        assert box.names[0] == first
        assert kind != "distill" or "stage.teacher" in box.names
