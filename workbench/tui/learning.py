"""What can be explained where the person is: topics of the focused pane, then of the rest of the screen."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from textual.widget import Widget
from textual.widgets import Input

from workbench.config import Profile
from workbench.errors import WorkbenchError
from workbench.learn.facts import Facts, facts_of_profile, facts_of_run
from workbench.learn.topics import topic
from workbench.tui.run_state import RunState, StageState
from workbench.tui.screens.base import WorkbenchScreen

Panes = dict[str, tuple[str, ...]]
"""Topics by the id of a pane, in the order in which the screen is read."""

_RUN = ("run", "stage", "state", "step", "val_loss", "tokens_per_second")
PANES: dict[str, Panes] = {
    "home": {
        "runs": _RUN,
        "details": ("state", "device", "loss", "best_val_loss", "checkpoint", "disk_estimate"),
        "start": ("run", "stage"),
        "device": ("machine", "memory_bytes"),
    },
    "train": {
        "progress": ("step", "stage", "eta"),
        "finding": ("diagnosis",),
        "loss": ("loss", "first_loss", "val_loss", "reference", "val_perplexity", "val_bits_per_byte"),
        "rate": ("learning_rate", "stage.schedule", "stage.warmup"),
        "norm": ("grad_norm", "stage.clip"),
        "speed": ("tokens_per_second", "mfu", "step_time"),
        "now": ("loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu", "memory_bytes"),
        "throughput": ("tokens_per_second", "mfu", "step_time", "tokens", "memory_bytes", "eta", "flops_per_token"),
        "model": ("device", "stage", "parameters", "trained_parameters", "vocab_size", "best_val_loss", "exact_match"),
        "sample": ("samples", "stage.prompts", "sampling.temperature"),
        "log": ("log", "checkpoint", "tokens_per_step", "epochs"),
    },
    "data": {
        "rows": ("rows", "bad_rows", "lint"),
        "detail": ("chat_template", "loss_mask", "bpe"),
        "statistics": (
            *("rows", "bad_rows", "duplicates", "scripts", "mean_length", "data_tokens", "bytes_per_token", "bpe"),
            "stage.sequence_length",
        ),
        "lengths": ("mean_length", "cut_off", "stage.sequence_length"),
        "sources": ("rows", "stage.data"),
    },
    "chat": {
        "conversation": (
            *("chat_template", "tokens_per_second_written", "probability", "entropy", "context_window", "kv_cache"),
        ),
        "xray": ("probability", "entropy", "rank", "expert_load", "sampling.temperature"),
        "message": ("chat_template", "context_window"),
        "models": ("checkpoint", "stage", "lora"),
    },
    "compare": {
        "curves": ("val_loss",),
        "page": (),
        "differences": (),
        "sides": ("run", "stage", "checkpoint"),
    },
}
INSPECTED: Panes = {
    "tokens": ("bpe", "merges", "bytes_per_token", "vocab_size", "embeddings"),
    "next": ("probability", "entropy", "rank"),
    "attention": ("attention_map", "attention", "rotary", "kv_cache"),
    "lens": ("logit_lens", "probability"),
    "experts": ("expert_load", "experts", "balance_loss"),
    "norms": ("activation_norms", "gradient_norms", "rms_norm", "feed_forward"),
    "weights": ("kv_cache", "weight_rms", "weight_change", "lora_update", "parameters"),
    "kernels": ("kernels", "attention", "rms_norm", "rotary", "feed_forward", "cross_entropy"),
}
TOKEN_VIEW = ("loss_mask", "cut_off", "control_tokens", "bpe", "chat_template")
SAMPLING = tuple(
    f"sampling.{name}"
    for name in (
        *("temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
        *("max_new_tokens", "seed", "system_prompt"),
    )
)
ESTIMATES = ("parameters", "memory_estimate", "disk_estimate", "time_estimate", "tokens_per_step")
PREFERENCES = ("dpo_loss", "reward_margin", "reward_accuracy", "chosen_likelier", "chosen_logp", "rejected_logp", "kl")
WRITING = (
    *("tokens_per_second_written", "stage.generate.limit", "stage.generate.samples"),
    *("stage.generate.max_new_tokens", "cut_off"),
)
DISTILLATION = ("distill_loss", "kl", "cross_entropy", "agreement")
EXPERTS = ("expert_load", "balance_loss", "router_z_loss")


@dataclass(frozen=True)
class Lesson:
    """What to explain.

    Args:
        names: topics; the first is what the person points at.
        read: tells what is known, from files; it may take a moment, and runs on a thread.
    """

    names: tuple[str, ...]
    read: Callable[[], Facts]


def lesson_here(screen: WorkbenchScreen, first: tuple[str, ...] = ()) -> Lesson:
    """The lesson of a screen, for what has the focus there; before that the topics of a box over it."""
    names = [*first, *_focused(screen), *_rest(screen)]
    known = tuple(dict.fromkeys(name for name in names if topic(name) is not None))
    return Lesson(known, _reader(screen))


# --- topics ---------------------------------------------------------------------------------------------------------


def _focused(screen: WorkbenchScreen) -> list[str]:
    focused = screen.focused
    if screen.MODE == "profile":
        return _profile_topics(screen)
    if focused is None:
        return []
    if screen.MODE == "chat" and isinstance(focused, Input) and focused.id is not None:
        return [f"sampling.{focused.id.replace('-', '_')}"]
    panes = _panes(screen)
    pane = next((each.id for each in _with_ancestors(focused) if each.id in panes), None)
    return list(panes[pane]) if pane is not None else []


def _rest(screen: WorkbenchScreen) -> list[str]:
    more = [name for names in _panes(screen).values() for name in names]
    if screen.MODE == "chat":
        return [*SAMPLING, *more] if isinstance(screen.focused, Input) else [*more, *SAMPLING]
    return more


def _panes(screen: WorkbenchScreen) -> Panes:
    """The panes of a screen as it is now."""
    panes = dict(PANES.get(screen.MODE, {}))
    shown: Any = screen
    if screen.MODE == "train":
        return _train_panes(panes, shown.stage)
    if screen.MODE == "data" and shown.view == "tokens":
        panes["detail"] = TOKEN_VIEW
    if screen.MODE == "inspect":
        others = (name for view, names in INSPECTED.items() if view != shown.view for name in names)
        return {"view": INSPECTED[shown.view], "others": tuple(others)}
    if screen.MODE == "compare" and shown.comparison is not None:
        measured = tuple(shown.comparison.scores)
        differing = tuple(_setting_of(each.key) for each in shown.comparison.differences)
        panes["curves"] = (shown.metric, *(name for name in shown.comparison.metrics() if name != shown.metric))
        panes["page"] = (*measured, "settings_that_differ", *differing, "answers_side_by_side")
        panes["differences"] = ("settings_that_differ", *differing)
    return panes


def _train_panes(panes: Panes, stage: StageState | None) -> Panes:
    """What the kind of the stage adds to its charts and figures."""
    if stage is None:
        return panes
    if stage.kind == "dpo":
        panes["loss"] = (*PREFERENCES, "val_loss")
    elif stage.kind == "distill":
        panes["loss"] = (*DISTILLATION, *panes["loss"])
        panes["model"] = (*panes["model"], "stage.teacher", "kl", "agreement")
    elif stage.kind == "generate":
        panes["throughput"] = panes["now"] = WRITING
    if stage.latest is not None and stage.latest.expert_load:
        panes["model"] = (*panes["model"], *EXPERTS)
    if 0 < stage.trained_parameters < stage.parameters:
        panes["model"] = (*panes["model"], "lora", "lora_update")
    panes["model"] = (*panes["model"], *stage.scores)
    return panes


def _profile_topics(screen: Any) -> list[str]:
    """The focused setting, then those of its part, then the estimate."""
    from workbench.tui.setting_fields import fields_shown
    from workbench.tui.widgets.settings_form import SettingsForm

    draft = screen.draft
    if draft is None:
        return list(ESTIMATES)
    section = screen.section
    table = str(section.location[0]) if section.location else ""
    fields = fields_shown(section.schema, draft.get((*section.location, "kind")))
    names = [f"{table}.{field.label}".removeprefix(".") for field in fields]
    form = screen.query_one_optional(SettingsForm)
    current = form.current if form is not None else None
    first = [f"{table}.{current.field.label}".removeprefix(".")] if current is not None else []
    focused = screen.focused
    if focused is not None and focused.id == "estimate":
        return [*ESTIMATES, *names]
    return [*first, *names, *ESTIMATES]


def _setting_of(key: str) -> str:
    """The setting that a key with a stage's name means: stage.sft.learning_rate is stage.learning_rate."""
    if topic(key) is not None:
        return key
    table, _, rest = key.partition(".")
    return f"{table}.{rest.partition('.')[2]}" if table == "stage" else key.replace("resolved.", "run.", 1)


def _with_ancestors(widget: Widget) -> Iterable[Any]:
    return widget.ancestors_with_self


# --- facts ----------------------------------------------------------------------------------------------------------


def _reader(screen: Any) -> Callable[[], Facts]:
    """Gathers what the screen knows now; the function that it gives reads the files."""
    workspace: Path = screen.workbench.workspace
    match screen.MODE:
        case "train":
            return _of_train(screen.state, screen.stage)
        case "home":
            return _of_run(screen.run.path if screen.run is not None else None)
        case "profile":
            return _of_profile(screen)
        case "data":
            return _of_data(screen, workspace)
        case "chat":
            return _of_chat(screen, workspace)
        case "inspect":
            return _of_inspected(screen.inspected, screen.token)
        case "compare":
            side = screen.marked[0] if screen.marked else None
            return _of_run(side.directory, side.stage) if side is not None else Facts
    return Facts


def _of_run(
    directory: Path | None, stage: str | None = None, context: dict[str, Any] | None = None
) -> Callable[[], Facts]:
    def read() -> Facts:
        facts = Facts()
        if directory is not None and directory.is_dir():
            with suppress(WorkbenchError, OSError):  # it was deleted, or has no such stage
                facts = facts_of_run(directory, stage)
        return facts.with_figures({}, **(context or {}))

    return read


def _of_train(state: RunState | None, stage: StageState | None) -> Callable[[], Facts]:
    if state is None or stage is None:
        return Facts
    figures, context = _live_figures(stage), _live_context(stage)
    read_files = _of_run(state.directory, stage.name)
    name = state.name

    def read() -> Facts:
        facts = read_files()
        if facts.started is not None:
            return facts.with_figures(figures)
        return Facts(run=name, profile=facts.profile, stage=facts.stage).with_figures(figures, **context)

    return read


def _live_figures(stage: StageState) -> dict[str, Any]:
    """The newest figures, which may not be on the disk yet."""
    first = next((point[1] for line in stage.train_loss.lines() for point in line), None)
    figures: dict[str, Any] = {
        "first_loss": first,
        "val_loss": stage.val_loss.last,
        "best_val_loss": stage.best_val_loss,
    }
    if stage.latest is not None:
        figures |= {name: value for name, value in vars(stage.latest).items() if not isinstance(value, str | dict)}
        figures |= stage.latest.measures
        del figures["at"], figures["steps"]
    return {**figures, **stage.scores}


def _live_context(stage: StageState) -> dict[str, Any]:
    known = {
        "steps": stage.steps,
        "tokens_per_step": stage.tokens_per_step,
        "all_parameters": stage.parameters,
        "trained_count": stage.trained_parameters,
        "vocab_size": stage.vocab_size,
        "kind": stage.kind,
    }
    return {name: value for name, value in known.items() if value}


def _of_profile(screen: Any) -> Callable[[], Facts]:
    profile, draft = screen.values, screen.draft
    if not isinstance(profile, Profile) or draft is None:
        return Facts
    section = screen.section
    place = section.location[1] if len(section.location) > 1 and isinstance(section.location[1], int) else 0
    stage = profile.stage[min(place, len(profile.stage) - 1)].name
    return lambda: facts_of_profile(profile, stage, draft.name)


def _of_data(screen: Any, workspace: Path) -> Callable[[], Facts]:
    context: dict[str, Any] = {}
    file, survey = screen.file, screen.survey
    if file is not None:
        context["rows_read"] = file.rows_known
    if survey is not None and survey.lengths and file is not None:
        mean = sum(survey.lengths) / len(survey.lengths)
        context |= {
            "documents": file.rows_known,
            "data_tokens": round(mean * file.rows_known),
            "rows_rejected": survey.bad,
        }
    if screen.limit:
        context["sequence_length"] = screen.limit
    run = screen.choice.run if screen.choice is not None else ""
    kind = survey.kind if survey is not None else None

    def read() -> Facts:
        for stage in (kind, None):  # of the run, the stage that reads such data
            with suppress(WorkbenchError, OSError):
                if run:
                    return facts_of_run(workspace / run, stage).with_figures({}, **context)
        return Facts().with_figures({}, **context)

    return read


def _of_chat(screen: Any, workspace: Path) -> Callable[[], Facts]:
    """What is known of the model that is talked to; nothing of its run while its name is hidden."""
    hidden = any(talk.alias for talk in screen.talks)
    choice, session = (None, None) if hidden else (screen.choice, screen.session)
    read = _of_run(workspace / choice.run if choice is not None else None, context=_sampling(screen))
    config = session.model.config if session is not None else None

    def with_sizes() -> Facts:
        facts = read()
        return replace(facts, config=config or facts.config)

    return with_sizes


def _sampling(screen: Any) -> dict[str, Any]:
    with suppress(Exception):  # a field that holds no number, or a screen that has no such pane yet
        from workbench.tui.widgets.sampling_pane import SamplingPane

        return {name: value for name, value in screen.query_one(SamplingPane).values().items() if value is not None}
    return {}


def _of_inspected(inspected: Any, token: int) -> Callable[[], Facts]:
    if inspected is None:
        return Facts
    context: dict[str, Any] = {"text_tokens": len(inspected.ids)}
    places: Sequence[Any] = inspected.known("next") or ()
    if token < len(places):
        context["entropy"] = places[token].entropy
        context["probability"] = places[token].choices[0].probability
        if places[token].rank is not None:
            context["rank"] = places[token].rank
    found = inspected.known("tokens")
    if found is not None and found.labels:
        context["bytes_per_token"] = found.text_bytes / len(found.labels)
    facts = Facts(run=inspected.name, config=inspected.model.config)
    directory = inspected.directory

    def read() -> Facts:
        run = (
            next((each for each in directory.parents if (each / "profile.toml").is_file()), None) if directory else None
        )
        known = _of_run(run)() if run is not None else facts
        return Facts(
            run=facts.run, profile=known.profile, stage=known.stage, config=facts.config, started=known.started
        ).with_figures({}, **context)

    return read
