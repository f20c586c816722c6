"""Chat sessions: what is said is kept, what fails leaves no trace, and the cache changes nothing."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import ModelError, UsageError
from workbench.inference import generate as generate_module
from workbench.inference.chat import ChatSession, load_session
from workbench.inference.sampling import SamplingSettings
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model
from workbench.tokenizer.chat_template import encode_prompt
from workbench.tokenizer.tokenizer import Tokenizer

Parrot = Any  # conftest's model that says what it is told

GREEDY = SamplingSettings(temperature=0, max_new_tokens=100)


@pytest.fixture
def session(parrot: Parrot, tokenizer: Tokenizer) -> ChatSession:
    return ChatSession(parrot, tokenizer, GREEDY)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_a_conversation_goes_back_and_forth(session: ChatSession, parrot: Parrot, tokenizer: Tokenizer) -> None:
    parrot.say("Hello!", "I am fine.")
    assert "".join(session.send("Hi")) == "Hello!"
    assert "".join(session.send("How are you?")) == "I am fine."
    expected = [user("Hi"), assistant("Hello!"), user("How are you?"), assistant("I am fine.")]
    assert session.messages == expected
    assert parrot.seen[1] == encode_prompt(tokenizer, expected[:3])


def test_the_system_prompt_stands_first_and_holds_from_the_next_answer_on(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    parrot.say("a", "b")
    list(session.send("1"))
    session.system_prompt = "Be short."
    list(session.send("2"))
    opening = {"role": "system", "content": "Be short."}
    assert parrot.seen[1] == encode_prompt(tokenizer, [opening, user("1"), assistant("a"), user("2")])
    assert session.messages[0] == user("1")


def test_a_character_of_several_tokens_comes_whole(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("né 你好 🙂")
    pieces = list(session.send("Hi"))
    assert pieces == list("né 你好 🙂")


def test_special_tokens_are_hidden_and_thinking_and_tool_tags_stay(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    text = "<think>\nhm\n</think>\n\nyes <tool_call>{}</tool_call>"
    [start_of_turn] = tokenizer.encode_with_specials("<|im_start|>")
    parrot.say([start_of_turn, *tokenizer.encode_with_specials(text)])
    assert "".join(session.send("Hi")) == text


def test_what_was_stopped_stays_as_the_answer(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("Hello there", "again")
    told = []
    for piece in session.send("Hi"):
        told.append(piece)
        if len(told) == 5:
            session.stop()
    assert "".join(told) == "Hello"
    assert session.messages == [user("Hi"), assistant("Hello")]
    assert session.last_stats is not None and session.last_stats.stopped_by == "stopped"
    assert "".join(session.send("Go on")) == "again"


def test_a_stop_from_another_thread_ends_the_answer(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("x" * 90)
    steps = iter(range(1000))

    def stop_at_the_third() -> None:
        if next(steps) == 2:
            thread = threading.Thread(target=session.stop)
            thread.start()
            thread.join()

    parrot.on_token = stop_at_the_third
    assert "".join(session.send("Hi")) == "xxx"


def test_a_stop_before_the_first_piece_counts(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("never said")
    pieces = session.send("Hi")
    session.stop()
    assert list(pieces) == []
    assert session.messages == [user("Hi"), assistant("")]


def test_half_a_character_is_not_kept_when_the_answer_is_cut(session: ChatSession, parrot: Parrot) -> None:
    session.settings = SamplingSettings(temperature=0, max_new_tokens=5)
    parrot.say("你好")
    assert "".join(session.send("Hi")) == "你"
    assert session.messages[-1] == assistant("你")
    assert session.last_stats is not None and session.last_stats.stopped_by == "length"


def test_an_iterator_closed_early_keeps_what_was_told(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("Hello there", "again")
    pieces = session.send("Hi")
    assert next(pieces) + next(pieces) == "He"
    pieces.close()  # type: ignore[attr-defined]
    assert session.messages == [user("Hi"), assistant("He")]
    assert "".join(session.send("Go on")) == "again"


@pytest.mark.parametrize("at_token", [0, 3])
def test_a_failure_takes_the_message_back_out(session: ChatSession, parrot: Parrot, at_token: int) -> None:
    parrot.say("fine", "half an answer", "good")
    list(session.send("first"))
    before = session.messages
    steps = iter(range(1000))

    def fail() -> None:
        if next(steps) == at_token:
            raise RuntimeError("out of memory")

    parrot.on_token = fail
    with pytest.raises(RuntimeError):
        list(session.send("second"))
    assert session.messages == before
    parrot.on_token = lambda: None
    assert "".join(session.send("third")) == "good"


def test_a_failed_retry_keeps_the_answer_there_was(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("fine", RuntimeError("out of memory"))
    list(session.send("Hi"))
    with pytest.raises(RuntimeError):
        list(session.retry())
    assert session.messages == [user("Hi"), assistant("fine")]


def test_retry_answers_the_last_message_again(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("one", "two", "three")
    list(session.send("a"))
    list(session.send("b"))
    assert "".join(session.retry()) == "three"
    assert session.messages == [user("a"), assistant("one"), user("b"), assistant("three")]
    assert parrot.seen[1] == parrot.seen[2]


def test_retry_draws_other_numbers_and_the_same_ones_in_a_session_of_the_same_seed(
    long_model: Transformer, tokenizer: Tokenizer
) -> None:
    settings = SamplingSettings(temperature=1.5, top_p=1.0, seed=3, max_new_tokens=20)

    def told() -> list[str]:
        session = ChatSession(long_model, tokenizer, settings)
        return ["".join(session.send("Hi")), "".join(session.retry()), "".join(session.retry())]

    first = told()
    assert len(set(first)) == 3
    assert told() == first


def test_editing_replaces_the_last_message_and_its_answer(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("one", "two", "three")
    list(session.send("a"))
    list(session.send("b"))
    assert "".join(session.edit_last("c")) == "three"
    assert session.messages == [user("a"), assistant("one"), user("c"), assistant("three")]


def test_there_is_nothing_to_retry_or_edit_before_the_first_message(session: ChatSession) -> None:
    for ask in (session.retry, lambda: session.edit_last("x")):
        with pytest.raises(UsageError, match="no message"):
            ask()


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_message_is_refused(session: ChatSession, empty: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        session.send(empty)
    assert session.messages == []


def test_one_answer_at_a_time(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("Hello", "again")
    pieces = session.send("Hi")
    next(pieces)
    for ask in (lambda: session.send("b"), session.retry, session.reset):
        with pytest.raises(UsageError):
            ask()
    assert session.messages == [user("Hi")]
    list(pieces)
    assert "".join(session.send("b")) == "again"


def test_while_an_answer_is_written_its_question_is_the_last_message(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("one", "two")
    list(session.send("a"))
    seen = [session.messages for _ in session.send("b")]
    assert all(messages == [user("a"), assistant("one"), user("b")] for messages in seen)


def test_oldest_turns_are_dropped_when_they_do_not_fit_and_told(
    session: ChatSession, parrot: Parrot, tokenizer: Tokenizer
) -> None:
    session.system_prompt = "Be kind."
    parrot.say("a" * 60, "b" * 60, "c" * 60)
    list(session.send("1" * 60))
    list(session.send("2" * 60))
    list(session.send("3" * 60))
    kept = [{"role": "system", "content": "Be kind."}, user("2" * 60), assistant("b" * 60), user("3" * 60)]
    assert parrot.seen[2] == encode_prompt(tokenizer, kept)
    assert session.last_stats is not None and session.last_stats.dropped_turns == 1
    assert len(session.messages) == 6


def test_a_message_too_long_for_the_model_is_refused_and_not_kept(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("ok")
    with pytest.raises(UsageError, match="400"):
        list(session.send("x" * 500))
    assert session.messages == []
    assert "".join(session.send("x")) == "ok"


def test_a_later_answer_reads_only_what_is_new(session: ChatSession, parrot: Parrot) -> None:
    parrot.say("Hello!", "I am fine.")
    list(session.send("Hi"))
    list(session.send("How are you?"))
    assert parrot.read[1] < len(parrot.seen[1]) - len(parrot.seen[0])
    assert session.last_stats is not None
    assert session.last_stats.reused_tokens == len(parrot.seen[1]) - parrot.read[1]
    assert session.last_stats.prompt_tokens == len(parrot.seen[1])


def test_answers_over_a_reused_cache_equal_those_of_a_fresh_session(
    long_model: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    settings = SamplingSettings(temperature=0, max_new_tokens=15)
    session = ChatSession(long_model, tokenizer, settings, "Be kind.")
    list(session.send("One"))
    list(session.send("Two, which is longer"))
    list(session.edit_last("Two"))
    session.save(tmp_path / "before.json")
    fresh = ChatSession(long_model, tokenizer, settings)
    fresh.load(tmp_path / "before.json")
    assert "".join(session.send("Three")) == "".join(fresh.send("Three"))
    assert session.last_stats is not None and session.last_stats.reused_tokens > 0
    assert fresh.last_stats is not None and fresh.last_stats.reused_tokens == 0


def test_after_a_failure_answers_equal_those_of_a_fresh_session(
    long_model: Transformer, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SamplingSettings(temperature=0, max_new_tokens=15)
    session = ChatSession(long_model, tokenizer, settings)
    list(session.send("One"))
    session.save(tmp_path / "before.json")
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(generate_module, "sample", lambda *_: 1 // 0)
        # It writes over the cache where the first message stood, and breaks off.
        list(session.edit_last("Quite another and longer message"))
    fresh = ChatSession(long_model, tokenizer)
    fresh.load(tmp_path / "before.json")
    assert list(session.send("Two")) == list(fresh.send("Two"))


def test_settings_changed_during_a_conversation_hold_from_the_next_answer_on(
    session: ChatSession, parrot: Parrot
) -> None:
    parrot.say("Hello", "Hello")
    list(session.send("a"))
    session.settings = SamplingSettings(temperature=0, max_new_tokens=2)
    assert "".join(session.send("b")) == "He"


def test_reset_forgets_the_conversation_and_keeps_the_system_prompt(session: ChatSession, parrot: Parrot) -> None:
    session.system_prompt = "Be kind."
    parrot.say("one", "two")
    list(session.send("a"))
    session.reset()
    assert session.messages == []
    list(session.send("a"))
    assert session.system_prompt == "Be kind." and parrot.seen[0] == parrot.seen[1]


def test_a_saved_conversation_opens_as_it_was(session: ChatSession, parrot: Parrot, tmp_path: Path) -> None:
    session.system_prompt = "Sei kurz 你好"
    session.settings = SamplingSettings(temperature=0, seed=4, max_new_tokens=50)
    parrot.say("one 🙂", "two", "three")
    list(session.send("a"))
    list(session.send("b"))
    session.save(tmp_path / "chats" / "chat.json")
    opened = ChatSession(parrot, session.tokenizer)
    opened.load(tmp_path / "chats" / "chat.json")
    assert opened.messages == session.messages
    assert (opened.settings, opened.system_prompt) == (session.settings, session.system_prompt)
    assert "".join(opened.send("c")) == "three"
    assert [path.name for path in (tmp_path / "chats").iterdir()] == ["chat.json"]


def test_a_saved_conversation_is_in_the_form_that_fine_tuning_reads(
    session: ChatSession, parrot: Parrot, tmp_path: Path
) -> None:
    session.system_prompt = "S"
    parrot.say("one")
    list(session.send("a"))
    session.save(tmp_path / "chat.json")
    messages = json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))["messages"]
    told = [(message["role"], message["content"]) for message in messages]
    assert told == [("system", "S"), ("user", "a"), ("assistant", "one")]


GOOD_FILE: dict[str, Any] = {
    "version": 1,
    "settings": {},
    "messages": [user("a"), {**assistant("b"), "stopped_by": "end"}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"settings": {"temperature": -1}},
        {"settings": {"unknown": 1}},
        {"messages": [user("a")]},
        {"messages": [user("a"), user("b")]},
        {"messages": [user("a"), assistant("b")]},
        {"messages": [user("a"), {**assistant("b"), "content": 3, "stopped_by": "end"}]},
        {"messages": 5},
    ],
)
def test_a_file_that_is_no_conversation_is_refused_and_changes_nothing(
    session: ChatSession, parrot: Parrot, tmp_path: Path, change: dict[str, Any]
) -> None:
    parrot.say("one")
    list(session.send("a"))
    before = session.messages
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(GOOD_FILE), encoding="utf-8")
    ChatSession(session.model, session.tokenizer).load(path)
    path.write_text(json.dumps(GOOD_FILE | change), encoding="utf-8")
    with pytest.raises(UsageError):
        session.load(path)
    assert session.messages == before


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"\xff"])
def test_a_missing_or_damaged_file_is_refused(session: ChatSession, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "chat.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"chat\.json"):
        session.load(path)


def test_without_a_template_the_model_goes_on_with_the_text(text_parrot: Parrot, plain_tokenizer: Tokenizer) -> None:
    session = ChatSession(text_parrot, plain_tokenizer, SamplingSettings(temperature=0, max_new_tokens=6))
    assert session.mode == "completion"
    text_parrot.say(" upon a time", " time there")
    assert "".join(session.send("Once")) == " upon "
    list(session.send("a"))
    assert text_parrot.seen[1] == plain_tokenizer.encode("Once upon a")
    assert "".join(session.send("")) == "there"


def test_after_the_end_of_a_text_the_next_message_begins_a_new_one(
    text_parrot: Parrot, plain_tokenizer: Tokenizer
) -> None:
    session = ChatSession(text_parrot, plain_tokenizer, GREEDY)
    text_parrot.say(" is red.", " is blue.", " is grey.", "Some text.")
    list(session.send("The rose"))
    list(session.send("The sky"))
    assert text_parrot.seen[1] == plain_tokenizer.encode("The sky")
    list(session.retry())
    assert text_parrot.seen[2] == text_parrot.seen[1]
    list(session.send(""))
    assert text_parrot.seen[3] == [plain_tokenizer.eos_token_id]


def test_a_text_too_long_for_the_model_loses_its_start(text_parrot: Parrot, plain_tokenizer: Tokenizer) -> None:
    session = ChatSession(text_parrot, plain_tokenizer, GREEDY)
    text_parrot.say("ok")
    list(session.send("x" * 100 + "y" * 40))
    assert text_parrot.seen[0] == plain_tokenizer.encode("x" * 8 + "y" * 40)
    assert session.last_stats is not None and session.last_stats.dropped_tokens == 92


def test_chat_mode_needs_a_template(text_parrot: Parrot, plain_tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="template"):
        ChatSession(text_parrot, plain_tokenizer, mode="chat")


PRETRAINED = {"base": None, "stages": [{"name": "pretrain", "kind": "pretrain"}]}
TUNED = {"base": None, "stages": [*PRETRAINED["stages"], {"name": "sft", "kind": "sft"}]}  # type: ignore[misc]
GROWN = {"base": "some/chat-model", "stages": PRETRAINED["stages"]}


@pytest.mark.parametrize(
    ("lineage", "mode"), [(None, "chat"), (PRETRAINED, "completion"), (TUNED, "chat"), (GROWN, "chat")]
)
def test_a_model_that_was_only_pretrained_opens_in_completion_mode(
    long_model: Transformer, tokenizer: Tokenizer, tmp_path: Path, lineage: dict[str, Any] | None, mode: str
) -> None:
    save_model(long_model, tmp_path)
    tokenizer.save(tmp_path)
    if lineage is not None:
        (tmp_path / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")
    session = load_session(tmp_path, settings=SamplingSettings(temperature=0, max_new_tokens=3))
    assert session.mode == mode
    fresh = ChatSession(long_model, tokenizer, session.settings, mode=session.mode)
    assert list(session.send("Hi")) == list(fresh.send("Hi"))


def test_a_lineage_that_cannot_be_read_is_an_error_that_names_the_file(
    long_model: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_model(long_model, tmp_path)
    tokenizer.save(tmp_path)
    (tmp_path / "lineage.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"lineage\.json"):
        load_session(tmp_path)


def test_a_model_with_the_tokenizer_of_another_is_refused(
    long_model: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    small = Transformer(replace(long_model.config, vocab_size=10))
    save_model(small, tmp_path)
    tokenizer.save(tmp_path)
    with pytest.raises(ModelError, match=r"has 10 embeddings, its tokenizer \d+ tokens"):
        load_session(tmp_path)


def test_chatting_disturbs_no_training_in_the_same_process(long_model: Transformer, tokenizer: Tokenizer) -> None:
    session = ChatSession(long_model, tokenizer, SamplingSettings(max_new_tokens=5, seed=1))
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    weight = torch.ones(3, requires_grad=True)
    for _ in session.send("Hi"):
        (weight * 2).sum().backward()  # a training step between two pieces
    assert weight.grad is not None
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads
    assert all(parameter.grad is None for parameter in long_model.parameters())
