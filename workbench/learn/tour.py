"""The five-minute tour: its steps, their words filled with a run's figures, and where a person left it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tomli

from workbench.atomic import write_atomically
from workbench.learn.topics import TITLE_JOINT, Words
from workbench.learn.values import number
from workbench.locations import state_folder

_FILE = Path(__file__).parent / "tour.toml"
UNKNOWN = "…"


@dataclass(frozen=True)
class TourStep:
    """One step.

    Args:
        screen: the mode it is shown on.
        text: with placeholders for figures.
        waits: what the step is about, where that may not be there yet: run, tokenizer, step (the first), second
            (the second stage).
        waiting: what is said until it is there.
    """

    name: str
    screen: str
    title: Words
    text: Words
    waits: str = ""
    waiting: Words | None = None

    def told(self, there: bool) -> Words:
        """What is said, by whether what it waits for is there."""
        return self.text if there or self.waiting is None else self.waiting


@cache
def tour_steps() -> tuple[TourStep, ...]:
    """The steps in their order."""
    steps = []
    for each in tomli.loads(_FILE.read_text(encoding="utf-8"))["step"]:
        english, _, chinese = each["title"].partition(TITLE_JOINT)
        title, text = Words(english, chinese), Words(each["en"], each["zh"])
        waits = each.get("waits", "")
        waiting = Words(each["en_waiting"], each["zh_waiting"]) if waits else None
        steps.append(TourStep(each["name"], each["screen"], title, text, waits, waiting))
    return tuple(steps)


def filled(text: str, figures: Mapping[str, Any]) -> str:
    """`text` with figures in place of its placeholders."""
    return text.format_map(_Figures(figures))


def figures_of_loss(vocab_size: int | None, loss: float | None) -> dict[str, Any]:
    """What a loss is beside a blind guess."""
    figures: dict[str, Any] = {}
    if vocab_size:
        figures["guess"] = f"{math.log(vocab_size):.2f}"
    if loss is not None and 0 <= loss < 50:
        figures["among"] = f"{math.exp(loss):,.0f}"
    return figures


def left_at() -> int:
    """The number of the step where the tour was left; 0 where it never began, or was gone through."""
    try:
        name = json.loads(_place().read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    names = [step.name for step in tour_steps()[:-1]]
    return names.index(name) if name in names else 0


def leave_at(number: int) -> None:
    """Remember the step.

    Raises:
        OSError: the person's state folder cannot be written.
    """
    _place().parent.mkdir(parents=True, exist_ok=True)
    write_atomically(_place(), json.dumps({"step": tour_steps()[number].name}) + "\n")


def _place() -> Path:
    return state_folder() / "tour.json"


class _Figures(dict[str, Any]):
    """Figures as text; what is missing is a dot of suspense."""

    def __getitem__(self, key: str) -> str:
        value = self.get(key)
        return UNKNOWN if value is None else value if isinstance(value, str) else number(value)
