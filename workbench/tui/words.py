"""Fixed words of widgets, said again when the person changes the language.

A widget that shows other words than these, and does not draw them itself in `render`, has a method `speak_again`.
"""

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from textual.widget import Widget

from workbench.language import tr

_SAID: WeakKeyDictionary[Widget, dict[str, str]] = WeakKeyDictionary()


def say(widget: Any, **words: str) -> None:
    """Set attributes of a widget to sentences of the catalogue: `say(pane, border_title="Runs")`.

    They stay the widget's words, to be said again in another language; to show other text there, set the attribute.
    """
    _SAID.setdefault(widget, {}).update(words)
    for attribute, message in words.items():
        setattr(widget, attribute, tr(message))


def say_again(widgets: Iterable[Widget]) -> None:
    """Say their fixed words in the language that is in use now."""
    for widget in widgets:
        for attribute, message in _SAID.get(widget, {}).items():
            setattr(widget, attribute, tr(message))
