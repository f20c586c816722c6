"""The same words to several sides of a comparison, drawn with the same random numbers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workbench.errors import ModelError
from workbench.inference.chat import load_session
from workbench.inference.sampling import SamplingSettings
from workbench.runs.compare import Side

ANSWER_TOKENS = 160
"""Of one answer at most: as much as can be read beside another one."""


@dataclass(frozen=True)
class Asking:
    """What every side is asked.

    Args:
        seed: of the random numbers. Whoever asks a prompt of a stage's samples with the seed that stands beside the
            sample hears the sample again.
    """

    prompt: str
    seed: int
    max_new_tokens: int = ANSWER_TOKENS


def ask(side: Side, asking: Asking, should_stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """What the model of `side` says, in pieces: its answer, or how it goes on with the text where it only learnt texts.

    The model is in memory only as long as it speaks.

    Raises:
        ModelError: no model is kept of this side, or it cannot be read; TokenizerError likewise.
        UsageError: the prompt is longer than the model can read.
    """
    directory = side.model
    if directory is None:
        remedy = "mark its newest checkpoint or its end" if side.step is not None else "wait for its first checkpoint"
        raise ModelError(side.label, "no model of it is kept", remedy)
    settings = SamplingSettings(seed=asking.seed, max_new_tokens=asking.max_new_tokens)
    session = load_session(directory, settings=settings, name=side.label)
    for piece in session.send(asking.prompt):
        yield piece
        if should_stop():
            session.stop()
