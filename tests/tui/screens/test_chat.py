"""Talking on the Chat screen: by keys, with a real (tiny, untrained) model on the disk."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import WorkbenchError
from workbench.inference.reply import ReplyStats
from workbench.inference.sampling import SamplingSettings
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.chat import ChatScreen
from workbench.tui.talk import note as talk_note
from workbench.tui.widgets.conversation import TurnView, printable
from workbench.tui.widgets.message_field import MessageField
from workbench.tui.widgets.model_list import ModelList, find_models

SIZES = ((80, 24), (120, 36))


async def opened(app: WorkbenchApp, pilot: Any, wait_until: Any) -> ChatScreen:
    """The Chat screen with its model loaded."""
    await pilot.press("5")
    await wait_until(pilot, lambda: isinstance(app.current, ChatScreen) and app.current.session is not None)
    screen = app.current
    assert isinstance(screen, ChatScreen)
    screen.query_one("#max_new_tokens").value = "12"  # type: ignore[attr-defined]
    return screen


def test_results_come_before_checkpoints(app_with_model: WorkbenchApp) -> None:
    assert [choice.label for choice in find_models(app_with_model.workspace)] == ["small sft", "small sft @ 7"]


@pytest.mark.parametrize("size", SIZES)
async def test_a_message_is_answered_and_stands_as_plain_text(
    app_with_model: WorkbenchApp, wait_until: Any, screen_text: Any, size: tuple[int, int]
) -> None:
    async with app_with_model.run_test(size=size) as pilot:
        screen = await opened(app_with_model, pilot, wait_until)
        screen.query_one(MessageField).load_text("hello [/INST] [bold]")
        await pilot.press("enter")
        await wait_until(pilot, lambda: not screen.answering and len(screen.query(TurnView)) == 2)
        await pilot.pause()
        assert "hello [/INST] [bold]" in screen_text(app_with_model)
        assert "12 tok" in screen_text(app_with_model)
        assert screen.session is not None and len(screen.session.messages) == 2


async def test_lines_stay_short_enough_to_read_on_a_very_wide_terminal(
    app_with_model: WorkbenchApp, wait_until: Any
) -> None:
    async with app_with_model.run_test(size=(200, 50)) as pilot:
        screen = await opened(app_with_model, pilot, wait_until)
        screen.query_one(MessageField).load_text("word " * 60)
        await pilot.press("enter")
        await wait_until(pilot, lambda: not screen.answering and len(screen.query(TurnView)) == 2)
        await wait_until(pilot, lambda: screen.query(TurnView).first().size.height == 5)  # a name, 300 cells, a gap
        assert {turn.outer_size.width for turn in screen.query(TurnView)} == {100}
        assert screen.query_one("#conversation").size.width > 120


async def test_esc_stops_an_answer_which_stays_as_far_as_it_came(app_with_model: WorkbenchApp, wait_until: Any) -> None:
    async with app_with_model.run_test(size=(120, 36)) as pilot:
        screen = await opened(app_with_model, pilot, wait_until)
        screen.query_one("#max_new_tokens").value = "3000"  # type: ignore[attr-defined]
        await pilot.press("h", "i", "enter")
        await wait_until(pilot, lambda: screen.answering and bool(list(screen.query(TurnView))[-1].text))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not screen.answering)
        assert screen.session is not None
        assert screen.session.last_stats is not None and screen.session.last_stats.stopped_by == "stopped"
        assert len(screen.session.messages) == 2


async def test_again_and_edit_replace_the_last_turn(app_with_model: WorkbenchApp, wait_until: Any) -> None:
    async with app_with_model.run_test(size=(120, 36)) as pilot:
        screen = await opened(app_with_model, pilot, wait_until)
        session = screen.session
        assert session is not None
        await pilot.press("a", "enter")
        await wait_until(pilot, lambda: not screen.answering and len(session.messages) == 2)
        first = session.messages[1]["content"]
        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: not screen.answering and session.messages[1]["content"] != first)
        assert len(screen.query(TurnView)) == 2
        await pilot.press("ctrl+e")
        await pilot.press("b", "enter")
        await wait_until(pilot, lambda: not screen.answering and session.messages[0]["content"] != "a")
        assert len(session.messages) == len(screen.query(TurnView)) == 2
        await pilot.press("ctrl+n")
        assert session.messages == []


async def test_a_bad_number_gives_the_message_back(
    app_with_model: WorkbenchApp, wait_until: Any, screen_text: Any
) -> None:
    async with app_with_model.run_test(size=(120, 36)) as pilot:
        screen = await opened(app_with_model, pilot, wait_until)
        for value in ("warm", "-1"):  # no number, and one that sampling refuses
            screen.query_one("#temperature").value = value  # type: ignore[attr-defined]
            screen.query_one(MessageField).load_text("hello")
            await pilot.press("enter")
            await wait_until(pilot, lambda: screen.query_one(MessageField).text == "hello" and not screen.answering)
        assert screen.session is not None and screen.session.messages == []
        await pilot.pause()
        assert "temperature" in screen_text(app_with_model)


async def test_a_damaged_model_is_one_message(app_with_model: WorkbenchApp, wait_until: Any, screen_text: Any) -> None:
    broken = app_with_model.workspace / "small" / "sft" / "model"
    broken.unlink()
    broken.mkdir()
    (broken / "config.json").write_text("{", encoding="utf-8")
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await wait_until(pilot, lambda: "could not be opened" in screen_text(app_with_model))


async def test_without_any_model_the_screen_says_how_to_get_one(
    workbench: Callable[..., WorkbenchApp], wait_until: Any, screen_text: Any
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await wait_until(pilot, lambda: "No model yet" in screen_text(app))


def test_control_characters_of_a_model_are_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[2Jb\n你好\u200b") == "a␛[2Jb\n你好\ufffd"


async def test_ctrl_x_takes_no_line_that_is_being_written(app_with_model: WorkbenchApp, wait_until: Any) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        screen = await opened(app_with_model, pilot, wait_until)
        await pilot.press(*"draft", "ctrl+x")
        field = screen.query_one(MessageField)
        assert field.text == "draft"
        field.select_all()
        await pilot.press("ctrl+x")
        assert field.text == ""


async def test_what_is_typed_while_a_model_is_loaded_stays(
    app_with_model: WorkbenchApp, wait_until: Any, screen_text: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = threading.Event()
    before = ChatScreen._open

    def slowly(screen: ChatScreen, choice: Any) -> Any:
        ready.wait(120)
        return before(screen, choice)

    monkeypatch.setattr(ChatScreen, "_open", slowly)
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await wait_until(pilot, lambda: "Loading small sft" in screen_text(app_with_model))
        screen = app_with_model.current
        assert isinstance(screen, ChatScreen)
        assert "Quit" in screen_text(app_with_model)  # bar and keys stay
        await pilot.press(*"the cat", "enter")
        ready.set()
        await wait_until(pilot, lambda: screen.session is not None)
        assert screen.query_one(MessageField).text == "the cat"


async def test_paging_through_models_that_have_no_room_is_harmless(
    app_with_model: WorkbenchApp, wait_until: Any
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        screen = await opened(app_with_model, pilot, wait_until)
        await pilot.press("f9")
        models = screen.query_one(ModelList)
        await wait_until(pilot, lambda: models.has_focus)
        for size in ((50, 14), (59, 30), (80, 17)):
            await pilot.resize_terminal(*size)
            await wait_until(pilot, lambda: not models.size)
            models.show(models.choices, None)  # as a look at the disk does
            models.action_page_up()
            models.action_page_down()
            await pilot.press("pageup", "pagedown", "j", "k", "g", "G")
        await pilot.resize_terminal(80, 24)
        await pilot.press("pagedown")
        assert app_with_model.is_running


def test_an_answer_says_why_it_was_cut() -> None:
    class Session:
        settings = SamplingSettings(max_new_tokens=256)
        context_length = 64

    def note(tokens: int, dropped: int = 0) -> str:
        stats = ReplyStats(10, 0, tokens, 1.0, 30.0, "length", dropped, 0)
        return talk_note(stats, Session())  # type: ignore[arg-type]

    assert note(36).endswith("cut: the context of 64 is full")
    assert note(256).endswith("cut at max tokens")
    assert note(256, 1).endswith("1 earlier turn did not fit") and note(256, 2).endswith("2 earlier turns did not fit")


async def test_the_model_in_training_is_talked_to_and_taken_anew(
    workbench: Callable[..., WorkbenchApp],
    run_beginning: Any,
    make_step: Any,
    request_of_tiny: Any,
    model_files: Path,
    wait_until: Any,
    screen_text: Any,
) -> None:
    from workbench.inference.chat import ChatSession, load_session

    app = workbench([*run_beginning(), make_step(7)])
    taken: list[ChatSession] = []

    def snapshot() -> ChatSession:
        taken.append(load_session(model_files))
        return taken[-1]

    async with app.run_test(size=(120, 36)) as pilot:
        await app.start_job(request_of_tiny)
        await wait_until(pilot, lambda: app.bridge.active is not None and app.bridge.active.state.stage is not None)
        await wait_until(pilot, lambda: "7" in screen_text(app))
        app.bridge.active.job.chat_session = snapshot  # type: ignore[union-attr]
        screen = await opened(app, pilot, wait_until)
        assert "tiny in training, pretrain about step 7" in screen_text(app)
        await pilot.press("h", "i", "enter")
        await wait_until(pilot, lambda: not screen.answering and len(screen.query(TurnView)) == 2)
        said = screen.session.messages if screen.session is not None else []
        await pilot.press("f5")
        await wait_until(pilot, lambda: screen.session is taken[-1] and len(taken) == 2)
        assert taken[1].messages == said  # the newer weights go on with the same conversation

        def between_stages() -> ChatSession:
            raise WorkbenchError("run tiny", "no stage is in training now", "try again when one is")

        app.bridge.active.job.chat_session = between_stages  # type: ignore[union-attr]
        await pilot.press("f5")
        await wait_until(pilot, lambda: any("no stage is in" in notice.message for notice in app._notifications))
        assert screen.session is taken[1] and len(screen.query(TurnView)) == 2  # it goes on with what it had
        result = app.workspace / "tiny" / "pretrain" / "model"
        result.parent.mkdir(parents=True)
        result.symlink_to(model_files)
        (app.workspace / "tiny" / "profile.toml").write_text("", encoding="utf-8")
        app.bridge.active.state.directory = app.workspace / "tiny"  # type: ignore[union-attr]
        app.bridge.active.stop()  # type: ignore[union-attr]
        await wait_until(pilot, lambda: app.bridge.active.finished)  # type: ignore[union-attr]
        await pilot.press("f5")  # nothing is in training any more: what came of it
        await wait_until(pilot, lambda: screen.session is not taken[1] and screen.choice.label == "tiny pretrain")  # type: ignore[union-attr]
        assert screen.session is not None and screen.session.messages == said
