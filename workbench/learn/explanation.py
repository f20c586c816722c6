"""One topic explained: words, formulas with a run's numbers, tensors, source, sane range, paper."""

from dataclasses import dataclass

from workbench.language import tr
from workbench.learn.facts import Facts
from workbench.learn.formulas import Formula, formulas_of, shapes_of
from workbench.learn.settings import Setting, all_settings, value_in
from workbench.learn.sources import Place, find_place
from workbench.learn.topics import Topic, topic
from workbench.learn.values import MissingValueError, Values, number


@dataclass(frozen=True)
class Explanation:
    """Everything about a topic, ready to be shown.

    Args:
        title, what, sane: in the language asked for.
        here: what holds, or what was measured, in this run; empty where nothing is known.
        allowed: default and choices of a setting; empty for others.
        formulas, shapes: with numbers as far as they are known.
        place: where it is computed.
        see: names of topics beside it.
    """

    name: str
    title: str
    what: str
    here: str
    allowed: str
    formulas: tuple[Formula, ...]
    shapes: tuple[str, ...]
    sane: str
    place: Place | None
    paper: str
    see: tuple[str, ...]

    @property
    def incomplete(self) -> bool:
        """Whether a formula waits for numbers."""
        return any(formula.value is None and formula.waits for formula in self.formulas)


def explain(subject: Topic, facts: Facts, language: str, name: str = "") -> Explanation:
    """The topic in a language, filled with what is known.

    Args:
        name: what it is called here, where that is not the topic's own name: `val_kl` for `kl`.
    """
    called = name or subject.name
    setting = all_settings().get(called) or all_settings().get(subject.name)
    source = subject.source or (setting.declared if setting is not None else "")
    return Explanation(
        name=called,
        title=subject.title.of(language),
        what=subject.what.of(language),
        here=_here(called, setting, facts),
        allowed=_allowed(setting),
        formulas=tuple(formulas_of(subject.name, facts)),
        shapes=tuple(shapes_of(subject.name, facts)),
        sane=subject.sane.of(language),
        place=_place(source),
        paper=subject.paper,
        see=tuple(each for each in subject.see if topic(each) is not None),
    )


def plain_text(told: Explanation, run: str = "") -> str:
    """The explanation as text, for a terminal without screens or for the clipboard."""
    parts = [f"{told.title}  ({told.name})" if told.title != told.name else told.title, "", told.what]
    for heading, lines in sections(told, run):
        parts += ["", heading, *(f"  {line}" for line in lines)]
    return "\n".join(parts) + "\n"


def sections(told: Explanation, run: str = "") -> list[tuple[str, list[str]]]:
    """Everything behind the words, as headings with their lines; what is empty is left out."""
    formulas = [line for formula in told.formulas for line in formula.lines]
    if told.incomplete:
        formulas.append(tr("(the numbers come with a run)") if not run else tr("(a number is not known yet)"))
    found = [
        (tr("In {run}", run=run) if run else tr("Here"), [told.here] if told.here else []),
        (tr("Allowed"), [told.allowed] if told.allowed else []),
        (tr("Formula, in {run}", run=run) if run else tr("Formula"), formulas),
        (tr("Tensors"), list(told.shapes)),
        (tr("Sane range"), [told.sane] if told.sane else []),
        (tr("Source"), [str(told.place)] if told.place is not None else []),
        (tr("Read more"), [told.paper] if told.paper else []),
        (
            tr("See also"),
            ["   ".join(f"{number} {name}" for number, name in enumerate(told.see, 1))] if told.see else [],
        ),
    ]
    return [(heading, lines) for heading, lines in found if lines]


def _here(name: str, setting: Setting | None, facts: Facts) -> str:
    if setting is not None:
        value = value_in(facts.profile, setting.key, facts.stage) if facts.profile is not None else ""
        return f"{setting.key.rpartition('.')[2]} = {value}" if value else ""
    plain = name.removeprefix("sampling.")
    try:
        value = getattr(Values(facts), plain)
    except MissingValueError:
        return ""
    return f"{plain} = {number(value)}" if isinstance(value, int | float | str) else ""


def _allowed(setting: Setting | None) -> str:
    if setting is None:
        return ""
    parts = [", ".join(setting.choices)] if setting.choices else []
    if setting.default not in ("", "[]"):
        parts.append(tr("default {value}", value=setting.default))
    return "   ".join(parts)


def _place(source: str) -> Place | None:
    try:
        return find_place(source) if source else None
    except (LookupError, OSError, SyntaxError):
        return None  # the tests see to it that this is so nowhere
