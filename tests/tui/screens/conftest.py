"""What tests of the Chat screen share: a tiny model on the disk, the screen with it open, and answers by the letter."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.config import TokenizerSettings
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.chat import ChatScreen
from workbench.tui.widgets.message_field import MessageField


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory: a few thousand random weights over bytes."""
    import torch

    from workbench.model.configuration import ModelConfig
    from workbench.model.initialize import initialize
    from workbench.model.transformer import Transformer
    from workbench.model.weights import save_model
    from workbench.tokenizer.bpe import train_tokenizer

    directory = tmp_path_factory.mktemp("model")
    settings = TokenizerSettings(kind="bytes")
    tokenizer = train_tokenizer(settings, [], on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    model = Transformer(ModelConfig(tokenizer.vocab_size, 16, 32, 1, 2, 2, 8, 4096))
    initialize(model, seed=0)
    with torch.no_grad():  # an "a" after everything, so that no answer ends by itself
        model.model.embed_tokens.weight[:, 0] = -9.0
        model.model.embed_tokens.weight[:, 1] = 9.0
        model.model.norm.weight[0] = 0.0
        model.model.embed_tokens.weight[list(tokenizer.stop_token_ids), 1] = -9.0
    save_model(model, directory)
    tokenizer.save(directory)
    return directory


@pytest.fixture
def app_with_model(workbench: Callable[..., WorkbenchApp], model_files: Path) -> WorkbenchApp:
    """An app over one run, whose stage has a result and a checkpoint."""
    app = workbench()
    stage = app.workspace / "small" / "sft"
    (stage / "checkpoints").mkdir(parents=True)
    (stage.parent / "profile.toml").write_text("", encoding="utf-8")
    for place in ("model", "checkpoints/step-000007"):
        (stage / place).symlink_to(model_files)
    return app


class Driven:
    """The Chat screen of a running app, driven by keys."""

    def __init__(self, app: WorkbenchApp, pilot: Any, wait_until: Any) -> None:
        self.app, self.pilot, self._wait = app, pilot, wait_until
        screen = app.current
        assert isinstance(screen, ChatScreen)
        self.screen = screen

    async def until(self, condition: Callable[[], bool]) -> None:
        await self._wait(self.pilot, condition)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def say(self, text: str) -> None:
        """Send a message and wait for the answers."""
        self.screen.query_one(MessageField).load_text(text)
        self.screen.query_one(MessageField).focus()
        await self.press("enter")
        await self.rest()

    async def rest(self) -> None:
        """Wait until nothing is being written."""
        await self.pilot.pause()
        await self.until(lambda: not self.screen.answering)
        await self.pilot.pause()

    def set(self, **values: object) -> None:
        """Fill fields of the sampling pane."""
        for name, value in values.items():
            self.screen.query_one(f"#{name}").value = str(value)  # type: ignore[attr-defined]

    @property
    def told(self) -> list[str]:
        """The texts of the conversation that is shown."""
        assert self.screen.session is not None
        return [message["content"] for message in self.screen.session.messages]

    @property
    def views(self) -> list[str]:
        """The texts on the left side of the screen."""
        return [view.text for view in self.screen.talks[0].view.turns]


@pytest.fixture
def drive(wait_until: Any) -> Callable[..., Any]:
    """Opens the Chat screen and waits for its model; answers are then short."""

    async def opened(app: WorkbenchApp, pilot: Any) -> Driven:
        await pilot.press("5")
        await wait_until(pilot, lambda: isinstance(app.current, ChatScreen) and app.current.session is not None)
        driven = Driven(app, pilot, wait_until)
        driven.set(max_new_tokens=12)
        return driven

    return opened


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str | Exception]:
    """What models say, in this order, in place of what they would."""
    import workbench.inference.chat as chat
    from workbench.tokenizer.characters import byte_tokenizer
    from workbench.tokenizer.tokenizer import Tokenizer

    tokenizer, said = Tokenizer(byte_tokenizer(), {}, None), list[str | Exception]()

    def generate(*_: Any, **__: Any) -> Iterator[int]:
        answer = said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield from tokenizer.encode_with_specials(answer)
        return "end"

    monkeypatch.setattr(chat, "generate", generate)
    return said
