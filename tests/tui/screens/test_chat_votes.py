"""Two answers side by side, and blind votes, by keys."""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.data.preferences import to_preference
from workbench.tui.app import WorkbenchApp
from workbench.tui.chat_models import all_choices
from workbench.tui.chat_votes import folder_of_votes
from workbench.tui.widgets.message_field import MessageField

SIZES = ((80, 24), (120, 36))


@pytest.mark.parametrize("size", SIZES)
async def test_two_models_answer_the_same_beside_or_above_each_other(
    app_with_model: WorkbenchApp, drive: Any, size: tuple[int, int]
) -> None:
    async with app_with_model.run_test(size=size) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.say("before")
        await chat.press("f4", "enter")
        await chat.until(lambda: chat.screen.contest is not None)
        await chat.say("hello")
        left, right = chat.screen.talks
        assert [view.text for view in left.view.turns] == [view.text for view in right.view.turns]  # equal weights
        assert left.session is not right.session and left.session.tree.nodes[-1].writing.model == "small sft"
        assert right.session.tree.nodes[-1].writing.model == "small sft @ 7"
        assert len(right.view.turns) == 4
        one, other = left.view.region, right.view.region
        if size[0] >= 100:
            assert one.y == other.y and one.right <= other.x and abs(one.width - other.width) <= 1
        else:
            assert one.x == other.x and one.bottom <= other.y and abs(one.height - other.height) <= 1
        await chat.press("ctrl+r")
        await chat.rest()
        assert [len(talk.session.tree.nodes) for talk in chat.screen.talks] == [5, 5]
        await chat.press("f4")
        await pilot.pause()
        assert chat.screen.contest is None and not right.view.display and len(left.view.turns) == 4


def votes(app: WorkbenchApp) -> list[Any]:
    path = app.workspace / "small" / "votes.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.mark.parametrize("size", SIZES)
async def test_a_blind_vote_becomes_a_pair_in_the_data_of_the_run(
    app_with_model: WorkbenchApp, drive: Any, screen_text: Any, size: tuple[int, int]
) -> None:
    async with app_with_model.run_test(size=size, notifications=True) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.press("f8")
        chat.set(seed=1)
        await chat.say("hello [/INST]")
        assert chat.screen.waiting and not chat.screen.query_one(MessageField).display
        assert "small sft" not in screen_text(app_with_model) and "tok/s" not in screen_text(app_with_model)
        texts = [talk.view.turns[-1].text for talk in chat.screen.talks]
        assert texts[0] != texts[1]
        await chat.press("b")
        assert not chat.screen.waiting and "small sft" in screen_text(app_with_model)
        [pair] = (app_with_model.workspace / "small" / "preferences.jsonl").read_text(encoding="utf-8").splitlines()
        found = to_preference(json.loads(pair))
        assert found.prompt == [{"role": "user", "content": "hello [/INST]"}]
        assert [found.chosen[0]["content"], found.rejected[0]["content"]] == [texts[1], texts[0]]
        assert chat.told == ["hello [/INST]", texts[1]]
        assert any("Pair 1 in" in note.message for note in app_with_model._notifications)
        await chat.say("more")
        assert chat.told[:2] == ["hello [/INST]", texts[1]]
        assert str(chat.screen.query_one("#vote").border_subtitle).startswith("1 vote: 1 for one of two samples")
        await chat.press("t")
        assert [vote["verdict"] for vote in votes(app_with_model)] == ["right", "tie"]


async def test_keys_of_a_vote_mean_nothing_before_both_answers_are_there(
    app_with_model: WorkbenchApp, drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(model: Any, ids: Any, settings: Any, stop_ids: Any, should_stop: Any, **_: Any) -> Iterator[int]:
        while not should_stop():
            time.sleep(0.01)
            yield 97
        return "stopped"

    monkeypatch.setattr("workbench.inference.chat.generate", generate)
    async with app_with_model.run_test(size=(80, 24)) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.press("f8")
        chat.screen.query_one(MessageField).load_text("hello")
        await chat.press("enter")
        await chat.until(lambda: chat.screen.answering)
        await chat.press("a", "b", "n")
        assert votes(app_with_model) == []
        await chat.press("escape")
        await chat.rest()
        await chat.until(lambda: chat.screen.waiting)
        await chat.press("escape")
        assert votes(app_with_model) == [] and not chat.screen.waiting and len(chat.told) == 2
        tree = chat.screen.session.tree
        assert len(tree.siblings(tree.last)) == 2
        await pilot.pause()
        assert chat.screen.query_one(MessageField).has_focus


async def test_an_answer_that_fails_gives_the_message_back_and_leaves_both_as_they_were(
    app_with_model: WorkbenchApp, drive: Any, answers: list[Any]
) -> None:
    async with app_with_model.run_test(size=(120, 36)) as pilot:
        chat = await drive(app_with_model, pilot)
        answers += ["one", "two", "three", RuntimeError("out of memory")]
        await chat.press("f8")
        await chat.say("a")
        await chat.press("a")
        told = chat.told
        await chat.say("b")
        assert chat.told == told and chat.screen.query_one(MessageField).text == "b"
        assert not chat.screen.waiting and chat.screen.query_one(MessageField).display
        assert [len(talk.view.turns) for talk in chat.screen.talks] == [2, 2]


async def test_votes_that_cannot_be_kept_are_told(app_with_model: WorkbenchApp, drive: Any) -> None:
    (app_with_model.workspace / "small" / "votes.jsonl").mkdir()
    async with app_with_model.run_test(size=(120, 36), notifications=True) as pilot:
        chat = await drive(app_with_model, pilot)
        await chat.press("f8")
        await chat.say("a")
        await chat.press("a")
        await pilot.pause()
        assert any("cannot be written" in note.message for note in app_with_model._notifications)
        assert len(chat.told) == 2


def test_votes_lie_in_the_run_of_the_model(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "small"
    model = run / "sft" / "model"
    model.mkdir(parents=True)
    (run / "profile.toml").write_text("", encoding="utf-8")
    assert folder_of_votes(model, None, tmp_path / "runs") == run
    assert folder_of_votes(tmp_path / "elsewhere", None, tmp_path / "runs") == tmp_path / "runs"
    assert folder_of_votes(None, run, tmp_path / "runs") == run


async def test_of_a_chat_model_and_one_that_continues_text_nothing_tells_which_is_which_before_the_vote(
    app_with_model: WorkbenchApp, drive: Any, model_files: Path, screen_text: Any
) -> None:
    directory = app_with_model.workspace / "small" / "pretrain" / "model"
    shutil.copytree(model_files, directory)
    lineage = {"base": None, "stages": [{"name": "pretrain", "kind": "pretrain"}]}
    (directory / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")
    async with app_with_model.run_test(size=(120, 36)) as pilot:
        chat = await drive(app_with_model, pilot)
        choices = {each.what: each for each in all_choices(app_with_model.bridge)}
        chat.screen._choose(choices["sft"])
        await chat.until(lambda: chat.screen.choice == choices["sft"])
        chat.screen._choose(choices["pretrain"], second=True)
        await chat.until(lambda: chat.screen.contest is not None)
        left, right = (talk.view for talk in chat.screen.talks)
        assert (left.border_subtitle, right.border_subtitle) == ("chat", "continues text")
        await chat.press("f8")
        for first in (True, False):
            chat.screen.contest._shuffle = Shuffled(first)
            await chat.say("hello")
            assert chat.screen.waiting and (left.border_subtitle, right.border_subtitle) == ("", "")
            await chat.press("a")
            kinds = ("chat", "continues text") if first else ("continues text", "chat")
            assert (left.border_subtitle, right.border_subtitle) == kinds
        assert [vote["verdict"] for vote in votes(app_with_model)] == ["left", "left"]
        kept = app_with_model.workspace / "small" / "preferences.jsonl"
        assert not kept.exists(), "what continues a text is no answer to train on"


class Shuffled(random.Random):
    """Puts the main model at the left, or at the right."""

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.left = left

    def random(self) -> float:
        return 0.0 if self.left else 0.9
