"""Formulas by topic: as symbols, with a run's numbers in them, and what comes out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.learn.facts import Facts
from workbench.learn.formulas_of_models import MODEL_RULES
from workbench.learn.formulas_of_text import TEXT_RULES
from workbench.learn.formulas_of_training import TRAINING_RULES
from workbench.learn.rules import Rule, Rules
from workbench.learn.shapes import SHAPES
from workbench.learn.values import MissingValueError, Values, number

RULES: dict[str, Rules] = {**TRAINING_RULES, **MODEL_RULES, **TEXT_RULES}


@dataclass(frozen=True)
class Formula:
    """One formula.

    Args:
        symbols: `perplexity = exp(val_loss)`.
        filled: `exp(1.234)`; empty while a number is missing, and `value` is then None.
        unit: of the value; empty where it has none.
        waits: without a value, whether one will come once more is known.
    """

    symbols: str
    filled: str = ""
    value: float | int | None = None
    unit: str = ""
    waits: bool = True

    @property
    def result(self) -> str:
        """The value for people."""
        return "" if self.value is None else f"{number(self.value)} {self.unit}".rstrip()

    @property
    def lines(self) -> list[str]:
        """The formula, and below its equals sign the numbers."""
        if self.value is None:
            return [self.symbols]
        if self.filled == number(self.value) or "=" not in self.symbols:
            return [f"{self.symbols} = {self.result}"]
        indent = " " * self.symbols.index("=")
        return [self.symbols, f"{indent}= {self.filled} = {self.result}"]


def formulas_of(name: str, facts: Facts) -> list[Formula]:
    """The formulas of a topic, filled as far as numbers are known."""
    values = Values(facts)
    return [_filled(rule, values) for rule in _rules(name, values)]


def shapes_of(name: str, facts: Facts) -> list[str]:
    """The tensors of a topic, with this model's sizes where they are known."""
    values = Values(facts)
    lines = []
    for tensor, dimensions in SHAPES.get(name, ()):
        symbols = ", ".join(dimensions)
        sizes = ", ".join(_size(each, values) for each in dimensions)
        lines.append(f"{tensor}  ({symbols})" + (f" = ({sizes})" if sizes != symbols else ""))
    return lines


def _size(dimension: str, values: Values) -> str:
    return number(getattr(values, dimension)) if values.knows(dimension) else dimension


def _rules(name: str, values: Values) -> Sequence[Rule]:
    rules = RULES.get(name, ())
    return rules(values) if callable(rules) else rules


def _filled(rule: Rule, values: Values) -> Formula:
    if rule.value is None:
        return Formula(rule.symbols, waits=False)
    try:
        value = rule.value(values)
        filled = rule.filled.format_map(values)  # type: ignore[arg-type]
    except (MissingValueError, ZeroDivisionError, OverflowError):
        return Formula(rule.symbols)
    if isinstance(value, float) and not math.isfinite(value):
        return Formula(rule.symbols)
    return Formula(rule.symbols, filled, value, rule.unit)
