"""Saved conversations on the Chat screen, by keys."""

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from workbench.inference.chats import ChatShelf
from workbench.tui.app import WorkbenchApp
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.chats import ChatsModal
from workbench.tui.modals.error import ErrorModal
from workbench.tui.widgets.model_list import ModelChoice


async def saved(chat: Any, app: WorkbenchApp, count: int = 1) -> list[Path]:
    await chat.until(lambda: len(list((app.workspace / "chats").glob("chat-*.json"))) == count)
    await app.workers.wait_for_complete()
    return sorted((app.workspace / "chats").glob("chat-*.json"))


async def listed(chat: Any, app: WorkbenchApp) -> None:
    await chat.press("f3")
    await chat.until(lambda: isinstance(app.screen, ChatsModal))


async def test_a_conversation_is_saved_and_opened_with_its_alternatives_and_settings(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str], screen_text: Any
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", "two", "three"]
        chat.set(temperature=0.25, seed=9)
        chat.screen.query_one("#system-prompt", Input).value = "Be kind."
        await chat.say("a")
        await chat.press("ctrl+r")
        await chat.rest()
        await saved(chat, app_with_model)
        await chat.press("ctrl+n")
        chat.set(temperature=1, seed="")
        chat.screen.query_one("#system-prompt", Input).value = ""
        await chat.say("b")
        await saved(chat, app_with_model, 2)
        await listed(chat, app_with_model)
        assert "small sft  2 messages" in screen_text(app_with_model)
        await chat.press("j", "enter")
        await chat.until(lambda: chat.told == ["a", "two"])
        await pilot.pause()
        assert chat.views == ["a", "two"] and "2/2" in screen_text(app_with_model)
        assert chat.screen.query_one("#temperature", Input).value == "0.25"
        assert chat.screen.query_one("#system-prompt", Input).value == "Be kind."
        await chat.press("escape", "left")
        assert chat.told == ["a", "one"]
        await saved(chat, app_with_model, 2)


async def test_a_damaged_file_is_one_message_and_changes_nothing(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str], screen_text: Any
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one"]
        await chat.say("a")
        [path] = await saved(chat, app_with_model)
        path.write_text("{", encoding="utf-8")
        await listed(chat, app_with_model)
        assert "damaged" in screen_text(app_with_model)
        await chat.press("enter")
        await chat.until(lambda: isinstance(app_with_model.screen, ErrorModal))
        assert "is no saved conversation" in screen_text(app_with_model)
        await chat.press("escape")
        assert chat.told == ["a", "one"]


async def test_a_conversation_is_renamed_exported_deleted_and_brought_back(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str], screen_text: Any, tmp_path: Path
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one [/INST]"]
        await chat.say("a")
        [path] = await saved(chat, app_with_model)

        async def answer(key: str, text: str) -> None:
            await chat.press(key)
            await chat.until(lambda: isinstance(app_with_model.screen, AskModal))
            app_with_model.screen.query_one(Input).value = text
            await chat.press("enter")
            await chat.until(lambda: isinstance(app_with_model.screen, ChatsModal))

        await listed(chat, app_with_model)
        await answer("r", "On [/INST] 春")
        assert "On [/INST] 春" in screen_text(app_with_model)
        await answer("e", str(tmp_path / "talk.md"))
        assert "one [/INST]" in (tmp_path / "talk.md").read_text(encoding="utf-8")
        await chat.press("d")
        await chat.until(lambda: not path.exists())
        await chat.until(lambda: isinstance(app_with_model.screen, ChatsModal))
        await chat.press("u")
        await chat.until(path.exists)
        await chat.until(lambda: isinstance(app_with_model.screen, ChatsModal))
        await chat.press("escape")
        await chat.until(lambda: app_with_model.screen is chat.screen)


async def test_with_nothing_saved_the_list_says_so(app_with_model: WorkbenchApp, drive: Any) -> None:
    async with app_with_model.run_test(size=(80, 24), notifications=True) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.press("f3")
        await chat.until(lambda: any("No conversation is saved" in n.message for n in app_with_model._notifications))


async def test_a_workspace_that_cannot_be_written_is_told_and_the_talk_goes_on(
    app_with_model: WorkbenchApp, drive: Any, answers: list[str]
) -> None:
    (app_with_model.workspace / "chats").write_text("", encoding="utf-8")
    async with app_with_model.run_test(size=(80, 24), notifications=True) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", "two"]
        await chat.say("a")
        await chat.until(lambda: any("cannot be written" in n.message for n in app_with_model._notifications))
        await chat.say("b")
        assert chat.told == ["a", "one", "b", "two"]


async def test_two_columns_are_saved_under_titles_that_tell_whose_answers_they_hold(
    app_with_model: WorkbenchApp, drive: Any
) -> None:
    async with app_with_model.run_test(size=(120, 36)) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.press("f4", "enter")
        await chat.until(lambda: chat.screen.contest is not None)
        await chat.say("hello [/INST]")
        await saved(chat, app_with_model, 2)
        titles = {each.title for each in ChatShelf(app_with_model.workspace).list()}
        assert titles == {"hello [/INST] · small sft", "hello [/INST] · small sft @ 7"}
        await chat.say("again")
        await saved(chat, app_with_model, 2)
        await chat.press("f4")
        await chat.say("alone")
        await saved(chat, app_with_model, 2)
        assert {each.title for each in ChatShelf(app_with_model.workspace).list()} == titles


async def test_a_title_given_in_the_list_stays_as_the_conversation_goes_on(
    app_with_model: WorkbenchApp, drive: Any
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.say("a")
        [path] = await saved(chat, app_with_model)
        ChatShelf(app_with_model.workspace).rename(path, "On spring")
        await chat.say("b")
        await app_with_model.workers.wait_for_complete()
        [kept] = ChatShelf(app_with_model.workspace).list()
        assert (kept.title, kept.messages) == ("On spring", 4)


async def test_the_conversation_that_was_left_goes_on_at_the_next_start(
    app_with_model: WorkbenchApp, workbench: Any, drive: Any, answers: list[str]
) -> None:
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one"]
        await chat.say("a")
        await saved(chat, app_with_model)
        await pilot.press("ctrl+q")
        await chat.until(lambda: app_with_model.return_code == 0)
    again = workbench()
    async with again.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        chat = await drive(again, pilot)
        await chat.until(lambda: chat.told == ["a", "one"])
        answers += ["two"]
        await chat.say("b")
        assert chat.told == ["a", "one", "b", "two"]
        assert len(await saved(chat, again)) == 1


async def test_a_conversation_with_the_model_in_training_goes_on_with_what_its_run_made(
    app_with_model: WorkbenchApp, workbench: Any, drive: Any, answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = app_with_model.workspace / "small"
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one"]
        await chat.say("a")
        await saved(chat, app_with_model)
        chat.screen._choice = ModelChoice("small", "in training", None)
        monkeypatch.setattr("workbench.tui.screens.chat.run_directory", lambda _: run)
        await pilot.press("ctrl+q")
        await chat.until(lambda: app_with_model.return_code == 0)
    again = workbench()
    async with again.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        chat = await drive(again, pilot)
        await chat.until(lambda: chat.told == ["a", "one"])
        assert chat.screen.choice is not None and chat.screen.choice.directory == run / "sft" / "model"
