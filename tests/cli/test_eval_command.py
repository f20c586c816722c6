"""`eval`: what is measured of which model, and how it is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.cli.main import main
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model
from workbench.runs.store import RunState, create_run
from workbench.tokenizer.characters import byte_tokenizer
from workbench.tokenizer.chatml import DEFAULT_TEMPLATE
from workbench.tokenizer.tokenizer import Tokenizer

PROFILE = """
[[stage]]
kind = "sft"
data = "text.txt"
steps = 1
[evaluate]
choices = "choices.jsonl"
max_new_tokens = 4
"""


@pytest.fixture
def model() -> Path:
    made = Transformer(
        ModelConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=64,
        )
    )
    initialize(made, seed=1)
    save_model(made, Path("model"))
    Tokenizer(byte_tokenizer(), {}, DEFAULT_TEMPLATE).save(Path("model"))
    return Path("model")


def write(name: str, *rows: Any) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["eval", *arguments, "--device", "cpu", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


CHOICE = {"question": "Who?", "choices": ["me", "you"], "answer": "me"}


def test_every_measure_is_told_as_json_and_kept(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(
        capsys,
        str(model),
        *("--perplexity", write("t.jsonl", {"text": "Some text."})),
        *("--choices", write("c.jsonl", CHOICE, CHOICE)),
        *("--questions", write("q.jsonl", {"question": "Who?", "answer": "me"})),
        *("--prompt", "Once", "--prompt", "Twice", "--prompt-tokens", "5"),
        *("--records", "kept", "--max-new-tokens", "3"),
    )
    assert found["asked_as"] == "chat"
    assert found["counts"] == {"tokens": 10, "choices": 2, "questions": 1, "prompts": 2}
    assert {"perplexity", "bits_per_byte", "choice_accuracy", "exact_match", "repetition"} <= set(found["scores"])
    kept = sorted(path.name for path in Path("kept").iterdir())
    assert kept == ["answers.jsonl", "choices.jsonl", "continuations.jsonl"]


def test_a_table_is_for_people(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(model), "--choices", write("c.jsonl", CHOICE), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["MEASURE", "SCORE"]
    assert lines[1].split()[0] == "choice_accuracy" and lines[1].endswith("%")


def test_a_run_is_measured_as_its_profile_says(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = create_run(Path("runs"), "mine", PROFILE)
    run.write_state(RunState("done", ("sft",)))
    run.stage("sft").path.mkdir()
    model.rename(run.stage("sft").model)
    write("choices.jsonl", CHOICE)
    write("others.jsonl", CHOICE, CHOICE, CHOICE)
    assert evaluated(capsys, "mine")["counts"] == {"choices": 1}
    assert evaluated(capsys, "mine", "--choices", "others.jsonl", "--limit", "2")["counts"] == {"choices": 2}


def test_a_model_is_asked_as_wanted(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = {"question": "Who?", "answer": "x"}
    asked = ("--choices", write("c.jsonl", CHOICE), "--questions", write("q.jsonl", question))
    scores, answers = {}, {}
    for way in ("chat", "text"):
        found = evaluated(capsys, str(model), *asked, "--max-new-tokens", "6", "--records", "kept", "--ask-as", way)
        assert found["asked_as"] == way
        scores[way] = json.loads(Path("kept/choices.jsonl").read_text("utf-8"))["log_probabilities"]
        answers[way] = json.loads(Path("kept/answers.jsonl").read_text("utf-8"))["given"]
    assert scores["chat"] != scores["text"] and answers["chat"] != answers["text"]


def test_a_model_without_a_template_is_asked_by_text(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Tokenizer(byte_tokenizer(), {}, None).save(model)
    (model / "chat_template.jinja").unlink(missing_ok=True)
    choices = ("--choices", write("c.jsonl", CHOICE))
    assert evaluated(capsys, str(model), *choices)["asked_as"] == "text"
    assert main(["eval", str(model), *choices, "--ask-as", "chat", "--device", "cpu"]) == 2
    assert "has no chat template" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "there is nothing to measure"),
        (["--choices", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--choices", "broken.jsonl"], "broken.jsonl: line 1"),
        (["--questions", "broken.jsonl"], "broken.jsonl: line 1"),
        (["--throughput", "--batch-size", "9999"], "--batch-size"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    write("broken.jsonl", {"question": "Who?"})
    assert main(["eval", str(model), *arguments, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
