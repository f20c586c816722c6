"""Alternatives in the terminal chat, with a small model of random weights."""

from pathlib import Path

import pytest
import torch

from workbench.cli.chat_commands import COMMANDS, Leave, carry_out
from workbench.errors import UsageError
from workbench.inference.chat import ChatSession
from workbench.inference.sampling import SamplingSettings
from workbench.model.configuration import ModelConfig
from workbench.model.transformer import Transformer
from workbench.tokenizer.characters import byte_tokenizer
from workbench.tokenizer.chatml import DEFAULT_TEMPLATE
from workbench.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def session() -> ChatSession:
    tokenizer = Tokenizer(byte_tokenizer(), {}, DEFAULT_TEMPLATE)
    model = Transformer(ModelConfig(tokenizer.vocab_size, 16, 32, 1, 2, 2, 8, 512))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    settings = SamplingSettings(temperature=1.0, top_p=1.0, seed=1, max_new_tokens=8)
    return ChatSession(model.eval(), tokenizer, settings, name="small")


def carried_out(session: ChatSession, line: str) -> str:
    """What a command tells, and the answer that it gives."""
    told: list[str] = []
    answer = carry_out(line, session, told.append, lambda _: "")
    return "\n".join(told) + "".join(answer or ())


def test_help_lists_every_command_and_every_command_exists(session: ChatSession, tmp_path: Path) -> None:
    told = carried_out(session, "/help")
    saved = tmp_path / "chat"
    list(session.send("a"))
    session.save(saved)
    arguments = {"/edit": "text", "/save": str(saved), "/load": str(saved), "/export": str(tmp_path / "c.md")}
    arguments["/branch"] = "1 2"
    for command in COMMANDS:
        assert command in told
        session.load(saved)
        list(session.retry())
        if command == "/next":
            session.walk(session.tree.last, -1)
        try:
            carried_out(session, f"{command} {arguments.get(command, '')}")
        except Leave:
            assert command == "/quit"


def test_an_answer_again_stays_beside_the_first(session: ChatSession) -> None:
    first, second = "".join(session.send("a")), "".join(session.retry())
    assert first != second
    assert carried_out(session, "/previous") == f"answer 1 of 2:\n{first}"
    assert carried_out(session, "/next") == f"answer 2 of 2:\n{second}"
    with pytest.raises(UsageError, match="no alternative after this one, of 2"):
        carried_out(session, "/next")


def test_an_xray_names_what_branch_can_take(session: ChatSession) -> None:
    list(session.send("a"))
    table = carried_out(session, "/xray").splitlines()
    assert table[0].split() == ["#", "token", "chance", "drawn", "rank", "bits", "1", "2", "3"]
    ids = session.tree.nodes[1].writing.token_ids  # type: ignore[union-attr]
    assert len(table) == 1 + len(ids) + 1 + 2 and "(cut here)" in table[-3]
    carried_out(session, "/branch 3 2")
    taken = session.tree.nodes[session.tree.last].writing.token_ids  # type: ignore[union-attr]
    assert taken[:2] == ids[:2] and session.tree.siblings(1) == [1, 2]
    assert f" {session.tokenizer.token_label(taken[2])} " in table[3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/branch", "is not a token's number"),
        ("/branch 1", "is not a token's number"),
        ("/branch x 1", "is not a token's number"),
        ("/branch 0 1", "there is no token 0"),
        ("/branch 10 1", "there is no token 10"),
        ("/branch 1 4", "there is no alternative 4"),
        ("/export", "needs a file"),
    ],
)
def test_what_cannot_be_done_is_told(session: ChatSession, line: str, message: str) -> None:
    list(session.send("a"))
    with pytest.raises(UsageError, match=message):
        carried_out(session, line)


@pytest.mark.parametrize("line", ["/xray", "/branch 1 1", "/next", "/export x.md"])
def test_before_the_first_answer_there_is_nothing_to_look_at(session: ChatSession, line: str) -> None:
    with pytest.raises(UsageError, match="no answer yet"):
        carried_out(session, line)


def test_a_conversation_is_exported_once(session: ChatSession, tmp_path: Path) -> None:
    list(session.send("hello"))
    carried_out(session, f"/export {tmp_path / 'c.md'}")
    assert "## You\n\nhello\n\n## small" in (tmp_path / "c.md").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="exists already"):
        carried_out(session, f"/export {tmp_path / 'c.md'}")
