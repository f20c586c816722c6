"""Changing the language while the workbench runs."""

from typing import TYPE_CHECKING

from textual.content import Content

from workbench.language import LANGUAGES, NAMES, Language, language, tr, use_language
from workbench.preferences import remember
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.words import say_again

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp


async def ask_language(app: "WorkbenchApp") -> None:
    """Let the person choose a language, speak it at once, and remember it."""
    lines = [Content(NAMES[each]) for each in LANGUAGES]
    chosen = await app.push_screen_wait(ChoiceModal(tr("Language"), lines, LANGUAGES.index(language())))
    if chosen is not None:
        speak(app, LANGUAGES[chosen])


def speak(app: "WorkbenchApp", chosen: Language) -> None:
    """Say everything in another language from now on; the choice is remembered."""
    use_language(chosen)
    for screen in app.opened_screens():
        widgets = list(screen.query("*"))
        say_again([screen, *widgets])
        for widget in widgets:
            if (again := getattr(widget, "speak_again", None)) is not None:
                again()
            widget.refresh(layout=True)
        screen.speak_again()
    try:
        remember("language", chosen)
    except (OSError, ValueError) as error:
        app.notify(tr("The language is not remembered: {error}", error=error), severity="warning", markup=False)
