"""What a new stage may be: a few settings each, which the form then shows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from workbench.language import mark, tr
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.confirm import ConfirmModal

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp
    from workbench.tui.profile_draft import ProfileDraft


@dataclass(frozen=True)
class StageTemplate:
    """A stage to begin with.

    Args:
        title: what people call it; about: what it does, in a line. Both are shown by `tr`.
        name: of the stage, where it is free.
        settings: its first settings; a table within is one of the stage's own tables. BEFORE in a text stands for the
            name of the stage before it.
    """

    title: str
    about: str
    name: str
    settings: dict[str, Any]


BEFORE = "{before}"
_STUDENT = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_PAIRS = {"kind": "dpo", "data": "bundled:preferences.jsonl", "validation_fraction": 0.15, "batch_size": 16}

TEMPLATES = (
    StageTemplate(
        mark("Pretraining"),
        mark("learn from text, every token of it"),
        "pretrain",
        {"kind": "pretrain", "data": "bundled:pretrain.jsonl", "steps": 200},
    ),
    StageTemplate(
        mark("Fine-tuning (SFT)"),
        mark("learn to answer from conversations"),
        "sft",
        {"kind": "sft", "data": "bundled:sft.jsonl", "steps": 200},
    ),
    StageTemplate(
        mark("Fine-tuning by LoRA"),
        mark("likewise, by small matrices beside weights that stand still"),
        "lora",
        {
            "kind": "sft",
            "data": "bundled:sft.jsonl",
            "steps": 200,
            "learning_rate": 1e-3,
            "lora": {"rank": 16, "alpha": 32.0},
        },
    ),
    StageTemplate(
        mark("Preferences (DPO)"),
        mark("of two answers make the better one likelier"),
        "dpo",
        {**_PAIRS, "steps": 100, "learning_rate": 2e-5, "dpo": {"loss": "sigmoid", "beta": 0.1}},
    ),
    StageTemplate(
        mark("Preferences by LoRA"),
        mark("likewise, by small matrices; the model is its own reference"),
        "dpo-lora",
        {
            **_PAIRS,
            "steps": 100,
            "learning_rate": 1e-4,
            "dpo": {"loss": "sigmoid", "beta": 0.1},
            "lora": {"rank": 16, "alpha": 32.0},
        },
    ),
    StageTemplate(
        mark("Distillation"),
        mark("a small student learns the probabilities of the model before it"),
        "distill",
        {
            "kind": "distill",
            "teacher": BEFORE,
            "data": "bundled:sft.jsonl",
            "steps": 200,
            "distill": {"alpha": 0.5, "temperature": 2.0, "baseline": True},
            "model": _STUDENT,
        },
    ),
    StageTemplate(
        mark("Answers of a model"),
        mark("train nothing: the model before it answers prompts, as data for the next stage"),
        "generate",
        {
            "kind": "generate",
            "data": "bundled:sft.jsonl",
            "generate": {"temperature": 0.8, "max_new_tokens": 128, "limit": 1000},
        },
    ),
    StageTemplate(
        mark("Fine-tuning on answers"),
        mark("a small student learns what a model answered in the stage before it"),
        "student",
        {"kind": "sft", "data": f"stage:{BEFORE}", "steps": 200, "model": _STUDENT},
    ),
)


def usual_template(kinds: list[str]) -> StageTemplate:
    """What most people add next, after stages of these kinds."""
    usual = "dpo" if "sft" in kinds else "sft" if "pretrain" in kinds else "pretrain"
    return next(template for template in TEMPLATES if template.name == usual)


async def ask_stage(app: "WorkbenchApp", draft: "ProfileDraft") -> StageTemplate | None:
    """Let the person choose what the new stage is; None where they do not want one."""
    width = max(cell_len(tr(template.title)) for template in TEMPLATES)
    lines = [
        Content.assemble(
            (set_cell_size(tr(template.title), width + 2), "bold"), (tr(template.about), "$foreground 60%")
        )
        for template in TEMPLATES
    ]
    at = TEMPLATES.index(usual_template(draft.stage_kinds()))
    chosen = await app.push_screen_wait(ChoiceModal(tr("Add a stage"), lines, at))
    return None if chosen is None else TEMPLATES[chosen]


async def may_remove(app: "WorkbenchApp", stage: str) -> bool:
    """Whether the person wants to lose a stage."""
    question = tr("Remove the stage {stage}?", stage=stage)
    return await app.push_screen_wait(ConfirmModal(question, tr("ctrl+z brings it back."), yes=tr("Remove")))
