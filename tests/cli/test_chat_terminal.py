"""Chat on a terminal, with a session that only pretends to be a model."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench.cli import chat_terminal
from workbench.cli.chat_commands import carry_out, parse_settings
from workbench.cli.chat_terminal import Conversation, answer_lines
from workbench.errors import UsageError


@dataclass(frozen=True)
class Settings:
    temperature: float = 0.8
    top_k: int = 0
    seed: int | None = None


class Session:
    """Answers with the question, letter by letter."""

    mode = "chat"

    def __init__(self) -> None:
        self.settings, self.system_prompt, self.stopped = Settings(), "", False
        self.messages: list[dict[str, str]] = []
        self.last_stats = SimpleNamespace(
            tokens=3, tokens_per_second=38.0, stopped_by="end", dropped_turns=0, dropped_tokens=0
        )

    def send(self, text: str) -> Iterator[str]:
        if text == "too long":
            raise UsageError("message", "too long for the model")
        self.messages.append({"role": "user", "content": text})
        return iter(f"<{text}\x1b[2J>")

    def retry(self) -> Iterator[str]:
        return iter("again")

    def edit_last(self, text: str) -> Iterator[str]:
        self.messages.pop()
        return self.send(text)

    def reset(self) -> None:
        self.messages = []

    def save(self, path: Path) -> None:
        path.write_text("saved", encoding="utf-8")

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def session() -> Session:
    return Session()


def talk(session: Session, monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> Conversation:
    """The person types `lines`; an exception stands for Ctrl+C or Ctrl+D at the prompt."""
    typed = iter(lines)

    def read(prefill: str = "") -> str:
        line = next(typed, EOFError)
        if isinstance(line, str):
            return prefill + line
        raise line

    monkeypatch.setattr(chat_terminal, "_read_line", read)
    conversation = Conversation(session)  # type: ignore[arg-type]
    while not conversation.over:
        conversation.take_turn()
    assert next(typed, None) is None, "left before all was typed"
    return conversation


def test_piped_lines_are_answered_on_stdout_alone(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer_lines(session, ["hello\n", "\n", "/quit\r\n", "春"]) == 0  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert captured.out == "<hello\\x1b[2J>\n</quit\\x1b[2J>\n<春\\x1b[2J>\n"
    assert captured.err == ""
    assert [message["content"] for message in session.messages] == ["hello", "/quit", "春"]


def test_a_piped_line_without_an_answer_is_told_and_the_later_ones_are_answered(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["hello\n", " \t \n", "too long\n", "again\n"]
    assert answer_lines(session, lines) == UsageError.exit_code  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert captured.out == "<hello\\x1b[2J>\n<again\\x1b[2J>\n"
    assert captured.err == "line 3: message: too long for the model\n"


def test_answers_stream_to_stdout_and_figures_to_stderr(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(session, monkeypatch, "hello", "", "  ")
    captured = capsys.readouterr()
    assert captured.out == "<hello\\x1b[2J>\n\n"
    assert "3 tokens, 38 tok/s" in captured.err


def test_an_error_is_told_and_the_conversation_goes_on(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(session, monkeypatch, "too long", "/levitate", "fine")
    captured = capsys.readouterr()
    assert "message: too long for the model" in captured.err
    assert "/levitate: no such command" in captured.err
    assert captured.out.startswith("<fine")


def test_the_second_interrupt_at_an_empty_prompt_leaves(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(session, monkeypatch, KeyboardInterrupt, "hello", KeyboardInterrupt, KeyboardInterrupt)
    assert len(session.messages) == 1


def test_commands_reach_the_session(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["one", "/system be brief", "/set temperature=0.5 top-k=40 seed=7", "/save chat.json", "/edit", "/retry"]
    talk(session, monkeypatch, *lines[:4], "/edit two", lines[5], "/quit")
    assert session.system_prompt == "be brief"
    assert session.settings == Settings(0.5, 40, 7)
    assert Path("chat.json").read_text(encoding="utf-8") == "saved"
    assert [message["content"] for message in session.messages] == ["two"]
    assert "again\n" in capsys.readouterr().out


def test_edit_alone_begins_with_the_last_message(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(session, monkeypatch, "one", "/edit", " more")
    assert [message["content"] for message in session.messages] == ["one more"]


def test_an_edit_that_is_given_up_changes_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    talk(session, monkeypatch, "one", "/edit", KeyboardInterrupt, "/quit")
    assert [message["content"] for message in session.messages] == ["one"]


def test_the_system_prompt_can_be_taken_away(session: Session) -> None:
    told: list[str] = []
    for line in ("/system be brief", "/system", "/system -"):
        carry_out(line, session, told.append, input)  # type: ignore[arg-type]
    assert told == ["system prompt: be brief", "system prompt: be brief", "system prompt: none"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temprature=1", "did you mean temperature"),
        ("temperature", "no such setting"),
        ("temperature=hot", "'hot' is not a number"),
        ("top_k=1.5", "not a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_settings(text, {"temperature": 0.8, "top_k": 0, "seed": None})


def test_a_seed_can_be_taken_away() -> None:
    assert parse_settings("seed=none", {"seed": 3}) == {"seed": None}
    assert parse_settings("seed=5", {"seed": None}) == {"seed": 5}


SLOW_CHAT = """
import sys, time
from workbench.cli.chat_terminal import converse

class Session:
    mode, system_prompt, stopping = "chat", "", False
    last_stats = None
    def send(self, text):
        self.stopping = False
        while not self.stopping:
            yield "word "
            time.sleep(0.02)
        yield "[kept]"
    def stop(self):
        self.stopping = True

sys.exit(converse(Session(), "model"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_an_interrupt_stops_the_answer_and_the_next_leaves(start: Callable[..., subprocess.Popen]) -> None:
    primary, secondary = os.openpty()
    process = start(SLOW_CHAT, stdin=secondary, stdout=secondary, stderr=secondary)
    os.close(secondary)
    shown = b""

    def read_until(sign: bytes) -> None:
        nonlocal shown
        deadline = time.monotonic() + 120
        while sign not in shown and time.monotonic() < deadline:
            shown += os.read(primary, 4096)
        assert sign in shown, shown

    read_until(b"you> ")
    os.write(primary, b"hello\n")
    read_until(b"word word ")
    process.send_signal(signal.SIGINT)
    read_until(b"[kept]")
    shown = shown[shown.index(b"[kept]") :]
    read_until(b"you> ")
    time.sleep(0.3)  # the prompt is drawn a moment before readline listens for signals
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 0
    os.close(primary)
