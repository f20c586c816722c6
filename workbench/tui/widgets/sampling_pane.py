"""How the next token is chosen, as fields that hold from the next answer on."""

from collections.abc import Iterable
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, Label

from workbench.language import mark, tr
from workbench.tui.words import say

# name of the setting, label, its value at first, and what it does
_FIELDS = (
    ("temperature", mark("temperature"), "0.8", mark("0 takes the likeliest token; higher surprises more")),
    ("top_p", "top-p", "0.95", mark("the fewest likeliest tokens that reach this share; 1 is off")),
    ("top_k", "top-k", "0", mark("only so many likeliest tokens; 0 is off")),
    ("min_p", "min-p", "0", mark("only tokens this share as likely as the likeliest; 0 is off")),
    ("repetition_penalty", mark("repetition"), "1.0", mark("above 1 makes what was said less likely; 1 is off")),
    ("max_new_tokens", mark("max tokens"), "256", mark("length of an answer at most")),
    ("seed", mark("seed"), "", mark("empty draws new random numbers for each answer")),
)
_WHOLE = ("top_k", "max_new_tokens", "seed")


class SamplingPane(VerticalScroll, can_focus=False):
    """Fields for sampling and the system prompt."""

    def __init__(self) -> None:
        super().__init__(id="sampling", classes="pane")
        say(self, border_title="Sampling")

    def compose(self) -> ComposeResult:
        """A line a setting, then the system prompt."""
        for name, label, value, tooltip in _FIELDS:
            with Horizontal(classes="field"):
                yield _spoken(Label(), content=label)
                field = Input(value, id=name, compact=True)
                yield _spoken(field, tooltip=tooltip)
        above = Label(classes="above")
        say(above, content="system prompt")
        yield above
        prompt = Input("", id="system-prompt", compact=True)
        say(prompt, placeholder="none")
        yield prompt

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


def _spoken(widget: Widget, **words: str) -> Widget:
    say(widget, **words)
    return widget


def _number(name: str, label: str, text: str) -> int | float | None:
    if name == "seed" and not text.strip():
        return None
    try:
        return int(text) if name in _WHOLE else float(text)
    except ValueError:
        setting, value = tr(label), repr(text)
        if name in _WHOLE:
            problem = tr("{setting}: {value} is not a whole number", setting=setting, value=value)
        else:
            problem = tr("{setting}: {value} is not a number", setting=setting, value=value)
        raise ValueError(problem) from None
