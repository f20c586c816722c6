"""Events of stages in which one model learns from another."""

from dataclasses import dataclass

from workbench.event import Event


@dataclass(frozen=True, kw_only=True)
class TeacherReady(Event):
    """A distill stage has its teacher, or will now ask it once about everything.

    Args:
        teacher: the stage or the model directory; `parameters` is how many numbers it has.
        top_k: how many of its likeliest tokens are kept by target; 0 where it is asked in every step.
        cache_bytes: what is kept of it on the disk; None where nothing is.
        from_cache: all of that is there from before.
    """

    stage: str
    teacher: str
    parameters: int
    top_k: int
    cache_bytes: int | None
    from_cache: bool


@dataclass(frozen=True, kw_only=True)
class StudentCompared(Event):
    """A student has learned, and stands beside its teacher: how many numbers each has, and how fast each writes."""

    stage: str
    teacher: str
    teacher_parameters: int
    parameters: int
    teacher_tokens_per_second: float
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class AnswersWritten(Event):
    """A generate stage came further: a chunk of answers is on the disk.

    Args:
        prompts: answered so far, of `total`; those that cannot be used are among them.
        rows: conversations written; tokens: of their answers.
        empty: answers that said nothing, and were left out; cut: those that were not over at their longest.
        unusable: prompts that hold no question, or are too long for the model.
        seconds: of writing so far, over all starts.
        path: of the file; finished: it is complete.
        samples: a few of the chunk, as (prompt, answer).
    """

    stage: str
    prompts: int
    total: int
    rows: int
    tokens: int
    empty: int
    cut: int
    unusable: int
    seconds: float
    path: str
    finished: bool
    samples: tuple[tuple[str, str], ...] = ()

    @property
    def tokens_per_second(self) -> float:
        """Written by second."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0
