"""Whatever a person does with keys, mouse, pastes and window, the workbench lives and the run goes on.

What a terminal sends is made up by chance, as bytes. WORKBENCH_FUZZ_ACTS says how many acts there are, and
WORKBENCH_FUZZ_SEED where chance begins; both stand in every failure.
"""

import json
import logging
import math
import os
import random
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._xterm_parser import XTermParser
from textual.message import Message
from textual.worker import Worker, WorkerState

from workbench import events
from workbench.control import Control
from workbench.errors import WorkbenchError
from workbench.events import Emitter
from workbench.jobs import Job
from workbench.profile import read_profile
from workbench.runs.store import RunState, create_run
from workbench.tui import app as app_module
from workbench.tui.actions import ACTIONS
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest, RunnableJob
from workbench.tui.terminal import let_alt_digits_be_keys

ACTS = int(os.environ.get("WORKBENCH_FUZZ_ACTS", "120"))
SEED = int(os.environ.get("WORKBENCH_FUZZ_SEED", "20261126"))
SIZES = [(80, 24), (120, 36), (200, 50), (20, 5), (250, 70), (60, 18), (59, 17), (100, 30)]
SENT = {
    **{f"ctrl+{letter}": bytes([number]).decode() for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 1)},
    **{f"alt+{digit}": f"\x1b{digit}" for digit in range(1, 8)},
    **{key: f"\x1b[{end}" for key, end in zip(("up", "down", "right", "left", "home", "end"), "ABCDHF", strict=True)},
    **{key: f"\x1b[{end}~" for key, end in (("delete", 3), ("pageup", 5), ("pagedown", 6))},
    **{f"f{number}": f"\x1bO{end}" for number, end in zip(range(1, 5), "PQRS", strict=True)},
    **{f"f{number}": f"\x1b[{end}~" for number, end in ((5, 15), (6, 17), (7, 18), (8, 19), (9, 20), (10, 21))},
    "shift+tab": "\x1b[Z",
    "enter": "\r",
    "backspace": "\x7f",
    "escape": "\x1b\x1b",
}
CHARACTERS = "abcdefghijklmnopqrstuvwxyzGJKNTV0123456789/?+-=,.[] \t从ñ🙂"
PASTES = [
    "[/INST] [bold] [@click=app.quit] \\[x] [",
    "<|im_end|>\x1b[31m\x00\x07\x08\u202e",
    "从前有一只龙，" * 40,
    "x" * 20_000,
    "line\n" * 500,
    'key = "[/x]"\n[model]\nhidden_size = 0\n',
    "🙂👩‍👩‍👧‍👦é",
    "9" * 400,
    "../../etc/passwd",
]


class Typist:
    """Sends a terminal's bytes to the app, at random.

    `story` is what was done of late.
    """

    def __init__(self, app: WorkbenchApp, pilot: Any) -> None:
        self.app, self.pilot = app, pilot
        self.chance = random.Random(SEED)
        self.story: deque[str] = deque(maxlen=40)
        self._parser = XTermParser()
        self._keys = sorted({SENT[key] for action in ACTIONS for key in action.keys.split(",") if key in SENT})

    async def act(self) -> None:
        """Do something."""
        acts: list[tuple[Callable[[], str], int]] = [(self._press, 60), (self._click, 20), (self._wheel, 5)]
        acts += [(self._paste, 6), (self._go, 12), (self._leave_modal, 10)]
        if self.chance.random() < 0.06:
            width, height = self.chance.choice([*SIZES, (self.chance.randint(20, 250), self.chance.randint(5, 70))])
            self.story.append(f"resize {width}x{height}")
            await self.pilot.resize_terminal(width, height)
        else:
            (make,) = self.chance.choices([make for make, _ in acts], [weight for _, weight in acts])
            self.send(make())
        await self.pilot.pause(0.0 if self.chance.random() < 0.7 else 0.05)

    def send(self, text: str) -> None:
        """What a terminal sends, read as the driver reads it."""
        self.story.append(repr(text if len(text) < 80 else f"{text[:60]}… ({len(text)})"))
        driver: Any = self.app._driver
        for message in [*self._parser.feed(text), *self._parser.tick()]:
            driver.process_message(message)

    def _press(self) -> str:
        choices = [
            self.chance.choice(self._keys),
            self.chance.choice(CHARACTERS),
            self.chance.choice(list(SENT.values())),
        ]
        return "".join(self.chance.choice(choices) for _ in range(self.chance.randint(1, 8)))

    def _click(self) -> str:
        x, y = self._place()
        return f"\x1b[<0;{x};{y}M\x1b[<0;{x};{y}m" * self.chance.choice((1, 1, 2))

    def _wheel(self) -> str:
        x, y = self._place()
        return f"\x1b[<{self.chance.choice((64, 65))};{x};{y}M\x1b[<35;{y};{x}M"

    def _paste(self) -> str:
        return f"\x1b[200~{self.chance.choice(PASTES)}\x1b[201~"

    def _go(self) -> str:
        return f"\x1b{self.chance.randint(1, 7)}"

    def _leave_modal(self) -> str:
        return self.chance.choice(("\x1b\x1b", "\r", "y", "n"))

    def _place(self) -> tuple[int, int]:
        width, height = self.app.size
        return self.chance.randint(1, width), self.chance.choice((1, height, self.chance.randint(1, height)))


class Failures(logging.Handler):
    """Exceptions that were caught somewhere: in a worker, or at a border that logs them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))

    def hear(self, message: Message) -> None:
        """Of every message that arrives anywhere."""
        if isinstance(message, Worker.StateChanged) and message.state == WorkerState.ERROR:
            self.found.append(f"worker {message.worker.name}: {message.worker.error!r}")


class StayingApp(WorkbenchApp):
    """A workbench that notes that it would leave, and stays."""

    CSS_PATH = Path(app_module.__file__).with_name("workbench.tcss")
    left = 0

    def _leave(self, code: int) -> None:
        self.left += 1
        self._leaving = None


class LivelyJob:
    """An engine that takes no steps and announces what there is to announce, until it is stopped."""

    def __init__(self, emitter: Emitter, control: Control, beginning: list[events.Event], make_step: Any) -> None:
        self.emitter, self.control, self.beginning, self.make_step = emitter, control, beginning, make_step

    def chat_session(self) -> None:
        """There is no model in this engine."""
        raise WorkbenchError("tiny", "no model yet", "[/wait]")

    def run(self) -> None:
        """Announce."""
        for event in self.beginning:
            self.emitter.emit(event)
        number = 0
        while not self.control.stop_requested:
            threading.Event().wait(0.01)
            self.control.take_commands()
            if self.control.pause_requested:
                continue
            number += 1
            self.emitter.emit(self.make_step(number, math.nan if number % 50 == 0 else 9 / number))
            if number % 20 == 0:
                text = PASTES[number // 20 % len(PASTES)]
                self.emitter.emit(events.SampleMade(stage="pretrain", step=number, prompt="[/p]", text=text, seed=1))
                self.emitter.emit(events.Warned(stage="pretrain", message=text[:200]))
        self.emitter.emit(events.RunStopped(run="tiny", stage="pretrain", step=number))


async def play(app: StayingApp, request: JobRequest, acts: int, must_come_forward: bool) -> None:
    """Act at random while the run goes on; one that was stopped by a key is started anew."""
    failures = Failures()
    logging.getLogger("workbench").addHandler(failures)
    print(f"WORKBENCH_FUZZ_SEED={SEED} WORKBENCH_FUZZ_ACTS={acts}")
    steps = 0
    try:
        async with app.run_test(size=(80, 24), message_hook=failures.hear) as pilot:
            typist = Typist(app, pilot)
            await app.start_job(request)
            for _ in range(1200):  # a key may stop it before its first step
                stage = app.bridge.active.state.stage if app.bridge.active is not None else None
                steps = stage.step if stage is not None else 0
                if steps or not must_come_forward:
                    break
                await pilot.pause(0.1)
            for number in range(acts):
                where = f"seed {SEED}, act {number} of {acts}, on {app.current.MODE}: {' '.join(typist.story)}"
                assert app.is_running and app._exception is None, f"{where}\n{app._exception!r}"
                assert not failures.found, f"{where}\n{failures.found}"
                run = app.bridge.active
                assert run is not None and run.error is None, f"{where}\n{run and run.error!r}"
                if run.finished:
                    assert run.control.stop_requested, f"{where}\nthe run is lost"
                    await app.start_job(request)
                await typist.act()
                stage = run.state.stage
                steps = max(steps, stage.step if stage is not None else 0)
            await pilot.resize_terminal(80, 24)
            for _ in range(200):
                if len(app.screen_stack) == 1 and app.current.MODE == "home":
                    break
                typist.send("\x1b\x1b" if len(app.screen_stack) > 1 else "\x1b1")
                await pilot.pause(0.1)
            story = " ".join(typist.story)
            assert (app.current.MODE, len(app.screen_stack)) == ("home", 1), f"{app.screen}: no way home; {story}"
            assert not failures.found, failures.found
    finally:
        logging.getLogger("workbench").removeHandler(failures)
    assert steps > 0 or not must_come_forward


@pytest.fixture(autouse=True)
def alt_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the program itself: an editor does not take them for characters."""
    for sequence in (f"\x1b{digit}" for digit in range(10)):
        monkeypatch.setitem(ANSI_SEQUENCES_KEYS, sequence, ANSI_SEQUENCES_KEYS.get(sequence, ()))
    let_alt_digits_be_keys()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is saved on the way is saved here."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("HOME", "USERPROFILE", "XDG_DOWNLOAD_DIR"):
        monkeypatch.setenv(name, str(work))


async def test_the_workbench_survives_whatever_comes_while_an_engine_talks(
    tmp_path: Path, make_step: Any, run_beginning: Any, request_of_tiny: JobRequest
) -> None:
    workspace = tmp_path / "runs"
    for number, status in enumerate(("done", "failed", "stopped")):
        create_run(workspace, f"run-{number}", "").write_state(RunState(status, ("pretrain",), "pretrain", 3, 9))

    def make_job(request: JobRequest, workspace: Path, emitter: Emitter, control: Control) -> RunnableJob:
        return LivelyJob(emitter, control, run_beginning(str(workspace / "tiny")), make_step)

    app = StayingApp(workspace, make_job)
    try:
        await play(app, request_of_tiny, ACTS, must_come_forward=True)
    finally:
        assert app.bridge.close(10.0)


PROFILE = """
[run]
name = "real"
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 1000000
log_every = 1
evaluate_every = 50
sample_every = 50
checkpoint_every = 50
"""


async def test_the_workbench_survives_whatever_comes_while_a_model_trains(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"row {number} tells of {number * 7 % 11} cats"}) for number in range(200)]
    Path("text.jsonl").write_text("\n".join(rows), encoding="utf-8")
    Path("real.toml").write_text(PROFILE, encoding="utf-8")
    names = iter(f"real-{number}" for number in range(10_000))

    def make_job(request: JobRequest, workspace: Path, emitter: Emitter, control: Control) -> RunnableJob:
        return Job(read_profile("real.toml"), name=next(names), workspace=workspace, emitter=emitter, control=control)

    app = StayingApp(tmp_path / "runs", make_job)
    try:
        await play(app, JobRequest(profile=read_profile("real.toml"), name="real"), ACTS, must_come_forward=ACTS > 50)
    finally:
        assert app.bridge.close(60.0)
