"""Alternatives on the Chat screen, by keys: answers beside each other, messages edited further back, parts folded."""

from typing import Any

import pytest

from workbench.tui.app import WorkbenchApp
from workbench.tui.widgets.conversation import Conversation
from workbench.tui.widgets.message_field import MessageField

SIZES = ((80, 24), (120, 36))


@pytest.mark.parametrize("size", SIZES)
async def test_arrows_walk_between_answers(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str], screen_text: Any, size: tuple[int, int]
) -> None:
    async with app_with_model.run_test(size=size) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", "two", "three"]
        await chat.say("a")
        await chat.press("ctrl+r")
        await chat.rest()
        assert chat.told == chat.views == ["a", "two"] and "2/2" in screen_text(app_with_model)
        await chat.press("escape", "left")
        await pilot.pause()
        assert chat.told == chat.views == ["a", "one"] and "1/2" in screen_text(app_with_model)
        await chat.press("left")
        assert chat.told == ["a", "one"]
        await chat.press("m")
        await chat.say("b")
        assert chat.told == chat.views == ["a", "one", "b", "three"]
        await chat.press("escape", "up", "up", "right")
        assert chat.told == chat.views == ["a", "two"]
        await chat.press("left")
        assert chat.told == chat.views == ["a", "one", "b", "three"]


async def test_an_earlier_message_is_edited_and_both_ways_stay(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str]
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", "two", "three"]
        await chat.say("a")
        await chat.say("b")
        await chat.press("escape", "up", "up", "up", "ctrl+e")
        field = chat.screen.query_one(MessageField)
        assert field.has_focus and field.text == "a"
        await chat.press("b", "enter")
        await chat.rest()
        assert chat.told == chat.views == ["ab", "three"]
        await chat.press("escape", "up", "left")
        assert chat.told == chat.views == ["a", "one", "b", "two"]


async def test_again_on_an_earlier_answer_begins_another_way(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str]
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", "two", "three"]
        await chat.say("a")
        await chat.say("b")
        await chat.press("escape", "up", "up", "ctrl+r")
        await chat.rest()
        assert chat.told == chat.views == ["a", "three"]


async def test_an_answer_again_that_fails_leaves_what_was_shown(
    app_with_model: WorkbenchApp, drive: Any, answers: list[Any]
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", RuntimeError("out of memory"), RuntimeError("out of memory")]
        await chat.say("a")
        await chat.press("ctrl+r")
        await chat.rest()
        assert chat.told == chat.views == ["a", "one"]
        await chat.say("next")
        assert chat.told == chat.views == ["a", "one"]
        assert chat.screen.query_one(MessageField).text == "next"


HOSTILE = "<think>\nsecret [/INST]\nmore\n</think>\n\n[bold]\x1b[2J\u202eok [/INST] \x00\u200f"


async def test_thoughts_and_tool_calls_are_folded_and_what_a_model_says_is_no_markup(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str], screen_text: Any
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += [f'{HOSTILE}\n<tool_call>\n{{"name": "[red]add", "arguments": {{}}}}\n</tool_call>']
        await chat.say("a [/INST]")
        shown = screen_text(app_with_model)
        assert "▸ thought  2 lines" in shown and "▸ tool call [red]add  1 line" in shown
        assert "secret" not in shown and "arguments" not in shown and "<think>" not in shown
        assert "[bold]␛[2J\ufffdok [/INST] ␀\ufffd" in shown
        await chat.press("escape", "enter")
        await pilot.pause()
        shown = screen_text(app_with_model)
        assert "▾ thought" in shown and "│ secret [/INST]" in shown and '│ {"name": "[red]add"' in shown
        await chat.press("enter")
        await pilot.pause()
        assert "secret" not in screen_text(app_with_model)


async def test_esc_goes_outward_one_step_at_a_time(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str]
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one"]
        await chat.say("a")
        await chat.press("escape")
        assert isinstance(chat.screen.focused, Conversation) and app_with_model.current is chat.screen
        await chat.press("escape")
        assert app_with_model.current is not chat.screen


async def test_another_model_goes_on_with_the_same_conversation(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str], screen_text: Any
) -> None:
    async with app_with_model.run_test(size=(120, 36)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", "two"]
        await chat.say("a")
        before = chat.screen.session
        await chat.press("f9", "j", "enter")
        await chat.until(lambda: chat.screen.session is not before)
        assert chat.told == chat.views == ["a", "one"]
        await chat.press("ctrl+r")
        await chat.rest()
        assert chat.told == chat.views == ["a", "two"]
        assert "small sft @ 7  ◂ 2/2 ▸" in screen_text(app_with_model)
