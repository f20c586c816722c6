"""What a seeded fault is: one place of a kernel's source changed in a way that a slip of the hand might."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """In triton_ops/`module`.py, `old` becomes `new`.

    Args:
        tests: the files, without .py, whose tests must notice.
        at: which of several places that hold `old`, from 0; -1 where there must be only one.
    """

    module: str
    name: str
    old: str
    new: str
    tests: tuple[str, ...]
    at: int = -1

    @property
    def key(self) -> str:
        """Names it in `EQUIVALENT`."""
        return f"{self.module}: {self.name}"


def faults_in(module: str, tests: tuple[str, ...], *changes: tuple) -> list[Fault]:
    """Faults of one module: each change is a name, the old source, the new source, and perhaps which place."""
    return [Fault(module, name, old, new, tests, *rest) for name, old, new, *rest in changes]
