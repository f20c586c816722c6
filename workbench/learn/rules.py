"""What a formula is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.learn.values import Values


@dataclass(frozen=True)
class Rule:
    """One formula, not filled yet.

    Args:
        symbols: the formula in names of settings and figures.
        filled: the same in braces for numbers, `{val_loss}`; it is arithmetic whose result is `value`.
        value: computes it; raises `MissingValueError` while something is not known. None for a rule that has no one
            number: it is shown in symbols alone.
        unit: of the value.
    """

    symbols: str
    filled: str = ""
    value: Callable[[Values], float | int] | None = None
    unit: str = ""


Rules = Sequence[Rule] | Callable[[Values], Sequence[Rule]]
