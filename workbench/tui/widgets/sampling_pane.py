"""How the next token is chosen, as fields that hold from the next answer on."""

from collections.abc import Iterable
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, Label

# name of the setting, label, its value at first, and what it does
_FIELDS = (
    ("temperature", "temperature", "0.8", "0 takes the likeliest token; higher surprises more"),
    ("top_p", "top-p", "0.95", "the fewest likeliest tokens that reach this share; 1 is off"),
    ("top_k", "top-k", "0", "only so many likeliest tokens; 0 is off"),
    ("min_p", "min-p", "0", "only tokens this share as likely as the likeliest; 0 is off"),
    ("repetition_penalty", "repetition", "1.0", "above 1 makes what was said less likely; 1 is off"),
    ("max_new_tokens", "max tokens", "256", "length of an answer at most"),
    ("seed", "seed", "", "empty draws new random numbers for each answer"),
)
_WHOLE = ("top_k", "max_new_tokens", "seed")


class SamplingPane(VerticalScroll, can_focus=False):
    """Fields for sampling and the system prompt."""

    def __init__(self) -> None:
        super().__init__(id="sampling", classes="pane")
        self.border_title = "Sampling"

    def compose(self) -> ComposeResult:
        """A line a setting, then the system prompt."""
        for name, label, value, tooltip in _FIELDS:
            with Horizontal(classes="field"):
                yield Label(label)
                field = Input(value, id=name, compact=True)
                field.tooltip = tooltip
                yield field
        yield Label("system prompt", classes="above")
        yield Input("", id="system-prompt", placeholder="none", compact=True)

    @property
    def system_prompt(self) -> str:
        """What the model is told before everything else; may be empty."""
        return self.query_one("#system-prompt", Input).value

    def values(self) -> dict[str, Any]:
        """The fields as numbers, by the names of `SamplingSettings`.

        Raises:
            ValueError: a field holds no number; the message names it.
        """
        return {name: _number(name, label, self.query_one(f"#{name}", Input).value) for name, label, _, _ in _FIELDS}

    def show(self, values: dict[str, Any], system_prompt: str) -> None:
        """Put other settings into the fields."""
        for name, value in values.items():
            field = self.query_one_optional(f"#{name}", Input)
            if field is not None:
                field.value = "" if value is None else f"{value}"
        self.query_one("#system-prompt", Input).value = system_prompt

    def fields(self) -> Iterable[Widget]:
        """The fields in their order."""
        return self.query(Input)


def _number(name: str, label: str, text: str) -> int | float | None:
    if name == "seed" and not text.strip():
        return None
    try:
        return int(text) if name in _WHOLE else float(text)
    except ValueError:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise ValueError(f"{label}: {text!r} is not {kind}") from None
