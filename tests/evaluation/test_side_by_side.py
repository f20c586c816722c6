"""The same words to several sides of a comparison."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.errors import ModelError
from workbench.evaluation.samples import answer_prompt, continue_prompt
from workbench.evaluation.side_by_side import Asking, ask
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model
from workbench.runs.compare import Side
from workbench.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def side(tmp_path: Path, model: Transformer, tokenizer: Tokenizer) -> Callable[[str, int | None], Side]:
    """Makes a side whose model learnt by stages of one kind."""

    def make(kind: str, step: int | None = None) -> Side:
        place = f"checkpoints/step-{step:06d}" if step is not None else "model"
        directory = tmp_path / "run" / kind / place
        directory.mkdir(parents=True)
        save_model(model, directory)
        tokenizer.save(directory)
        lineage = {"base": None, "stages": [{"name": kind, "kind": kind}]}
        (directory / "lineage.json").write_text(json.dumps(lineage), encoding="utf-8")
        return Side(f"run:{kind}", tmp_path / "run", kind, step=step)

    return make


@pytest.mark.parametrize("kind", ["pretrain", "sft"])
@pytest.mark.parametrize("step", [None, 7])
def test_a_side_says_what_its_samples_say_with_that_seed(
    side: Callable[[str, int | None], Side], model: Transformer, tokenizer: Tokenizer, kind: str, step: int | None
) -> None:
    sample = continue_prompt if kind == "pretrain" else answer_prompt
    said = "".join(ask(side(kind, step), Asking("Mira", 3, 10)))
    assert said == sample(model, tokenizer, "Mira", 3, 10).rstrip("\ufffd")  # half a character is never told
    assert said != sample(model, tokenizer, "Mira", 4, 10)


def test_an_answer_ends_soon_after_it_is_told_to_stop(side: Callable[[str, int | None], Side]) -> None:
    asked = side("sft", None)
    assert len("".join(ask(asked, Asking("Mira", 3, 10)))) > 5
    assert len("".join(ask(asked, Asking("Mira", 3, 10), should_stop=lambda: True))) < 5


def test_a_side_of_which_no_model_is_kept_says_so(tmp_path: Path) -> None:
    for step, remedy in ((None, "first checkpoint"), (50, "newest checkpoint")):
        with pytest.raises(ModelError, match=f"no model of it is kept.*{remedy}"):
            list(ask(Side("run:sft", tmp_path / "run", "sft", step=step), Asking("Mira", 0)))
