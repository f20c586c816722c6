"""Alternatives in a session: answers beside each other, messages edited further back, answers cut and gone on with."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import UsageError
from workbench.inference.chat import ChatSession
from workbench.inference.sampling import SamplingSettings
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer

Parrot = Any  # conftest's model that says what it is told

GREEDY = SamplingSettings(temperature=0, max_new_tokens=100)


@pytest.fixture
def session(parrot: Parrot, tokenizer: Tokenizer) -> ChatSession:
    return ChatSession(parrot, tokenizer, GREEDY)


def texts(session: ChatSession) -> list[str]:
    return [message["content"] for message in session.messages]


def test_answering_again_keeps_the_answer_there_was(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("one", "two")
    list(session.send("a"))
    list(session.retry())
    assert texts(session) == ["a", "two"]
    session.walk(session.tree.last, -1)
    assert texts(session) == ["a", "one"]


def test_a_conversation_goes_on_from_the_answer_that_is_shown(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    parrot.say("one", "two", "three")
    list(session.send("a"))
    list(session.retry())
    session.walk(session.tree.last, -1)
    list(session.send("b"))
    assert parrot.seen[-1] == encode_prompt(tokenizer, session.messages[:3]) and texts(session)[1] == "one"


def test_an_earlier_message_can_be_edited_and_both_ways_stay(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    parrot.say("one", "two", "three")
    list(session.send("a"))
    list(session.send("b"))
    list(session.edit(0, "A"))
    assert texts(session) == ["A", "three"]
    assert parrot.seen[-1] == encode_prompt(tokenizer, [{"role": "user", "content": "A"}])
    session.walk(session.tree.path()[0], -1)
    assert texts(session) == ["a", "one", "b", "two"]


def test_an_earlier_answer_can_be_given_again(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("one", "two", "three")
    list(session.send("a"))
    list(session.send("b"))
    list(session.retry(1))
    assert texts(session) == ["a", "three"]


def test_no_walking_while_an_answer_is_written(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("one", "two")
    list(session.send("a"))
    pieces = session.retry()
    next(pieces)
    with pytest.raises(UsageError, match="still being written"):
        session.walk(1, 1)
    list(pieces)


@pytest.mark.parametrize("settings", [GREEDY, SamplingSettings(temperature=0, repetition_penalty=1.3)])
@pytest.mark.parametrize("place", [0, 1, 7])
def test_branching_at_the_token_that_stood_there_gives_the_same_answer(
    long_model: Transformer, tokenizer: Tokenizer, settings: SamplingSettings, place: int
) -> None:
    session = ChatSession(long_model, tokenizer, settings, "Be kind.")
    list(session.send("Once"))
    list(session.send("Twice"))
    before = session.tree.last
    written = session.written(before)
    told = "".join(session.branch(before, place, written.token_ids[place]))
    tree = session.tree
    first, second = tree.nodes[before], tree.nodes[tree.last]
    assert second.writing is not None and first.writing is not None
    assert second.writing.token_ids == first.writing.token_ids and told == second.text == first.text
    assert second.writing.stopped_by == first.writing.stopped_by and tree.siblings(before) == [before, tree.last]


def test_another_token_is_put_in_and_the_model_goes_on_from_it(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    parrot.say("The cat sat", "og ran")
    list(session.send("a"))
    [d] = tokenizer.encode("d")
    assert "".join(session.branch(1, 4, d)) == "The dog ran"
    assert texts(session) == ["a", "The dog ran"]
    assert parrot.seen[-1] == [*encode_prompt(tokenizer, session.messages[:1]), *tokenizer.encode("The d")]
    writing = session.tree.nodes[session.tree.last].writing
    assert writing is not None and writing.branched_at == 4


def test_branching_into_the_end_cuts_the_answer_there(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("The cat sat")
    list(session.send("a"))
    end = max(session.stop_ids)
    assert "".join(session.branch(1, 3, end)) == "The"
    writing = session.tree.nodes[session.tree.last].writing
    assert writing is not None and writing.stopped_by == "end"


def test_a_cut_answer_goes_on_from_the_place_behind_its_last_token(
    long_model: Transformer, tokenizer: Tokenizer
) -> None:
    whole = ChatSession(long_model, tokenizer, SamplingSettings(temperature=0, max_new_tokens=12))
    list(whole.send("Hi"))
    ids = whole.written(1).token_ids
    assert len(ids) == 12
    cut = ChatSession(long_model, tokenizer, SamplingSettings(temperature=0, max_new_tokens=5))
    list(cut.send("Hi"))
    list(cut.branch(1, 5, ids[5]))
    assert cut.written(cut.tree.last).token_ids == ids[:11]


def test_a_place_that_is_not_there_is_refused(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("one")
    list(session.send("a"))
    with pytest.raises(UsageError, match="no place 4"):
        session.branch(1, 4, 7)


def test_a_branch_is_read_under_the_system_prompt_of_its_answer(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    session.system_prompt = "Be kind."
    parrot.say("one", "x")
    list(session.send("a"))
    session.system_prompt = "Be short."
    list(session.branch(1, 1, tokenizer.encode("f")[0]))
    opening = {"role": "system", "content": "Be kind."}
    assert parrot.seen[-1] == [*encode_prompt(tokenizer, [opening, session.messages[0]]), *tokenizer.encode("of")]  # type: ignore[list-item]


def test_a_tree_survives_saving_with_tokens_and_settings(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    session.name, session.system_prompt = "parrot", "Be kind."
    parrot.say("one", "two", "three", "four")
    list(session.send("a"))
    list(session.retry())
    list(session.send("b"))
    list(session.edit(0, "A"))
    session.save(tmp_path / "chat.json", "On parrots")
    opened = ChatSession(parrot, tokenizer)
    transcript = opened.load(tmp_path / "chat.json")
    assert opened.tree == session.tree and (transcript.title, transcript.model) == ("On parrots", "parrot")
    opened.walk(opened.tree.path()[0], -1)
    assert texts(opened) == ["a", "two", "b", "three"]


def test_what_another_tokenizer_cut_is_cut_anew(session: ChatSession, parrot: Parrot, tokenizer: Tokenizer) -> None:
    parrot.say("<think>\nhm\n</think>\n\nyes")
    list(session.send("a"))
    kept = session.written(1).token_ids
    tree = session.tree
    [node] = [node for node in tree.nodes if node.writing is not None]
    foreign = type(tree)(
        (tree.nodes[0], type(node)(node.parent, node.role, node.text, type(node.writing)(tokenizer="other"))),  # type: ignore[misc]
        tree.chosen,
    )
    session.take(foreign)
    assert session.written(1).token_ids == tokenizer.encode_with_specials(node.text)
    assert len(kept) > len(tokenizer.encode_with_specials(node.text))  # the parrot spelled the tags out


@pytest.mark.parametrize(
    "change",
    [
        {"tree": [{"role": "assistant", "content": "x", "parent": -1, "stopped_by": "end"}]},
        {"tree": [{"role": "user", "content": "x", "parent": -1}], "chosen": []},
        {"tree": [{"role": "user", "content": "x", "parent": 0}]},
        {"tree": [{"role": "user", "content": "x", "parent": "0"}]},
        {"chosen": [[-1, 1]]},
        {"chosen": [[-1, 0], [0, 9]]},
        {"chosen": [[1]]},
        {"chosen": None},
        {"tree": 5},
    ],
)
def test_a_damaged_tree_is_refused_in_one_message(
    session: ChatSession, parrot: Parrot, tmp_path: Path, change: dict[str, Any]
) -> None:
    parrot.say("one")
    list(session.send("a"))
    path = tmp_path / "chat.json"
    session.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | change), encoding="utf-8")
    with pytest.raises(UsageError, match=r"chat\.json: is no saved conversation"):
        session.load(path)
    assert texts(session) == ["a", "one"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("token_ids", ["x"]), ("token_ids", 7), ("stopped_by", "bored"), ("settings", {"top_p": 9}), ("model", 3)],
)
def test_a_damaged_answer_is_refused(
    session: ChatSession, parrot: Parrot, tmp_path: Path, key: str, value: object
) -> None:
    parrot.say("one")
    list(session.send("a"))
    path = tmp_path / "chat.json"
    session.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["tree"][1][key] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match=r"chat\.json"):
        session.load(path)
