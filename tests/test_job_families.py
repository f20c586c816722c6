"""A run of every family: trained, recorded, reported, resumed, talked to."""

import json
from pathlib import Path

import pytest

from tests.test_jobs import PROFILE, talk, write_rows
from workbench import events
from workbench.inference.chat import load_session
from workbench.inference.sampling import SamplingSettings
from workbench.jobs import Job, resume_job
from workbench.model.configuration import load_config
from workbench.model_settings import EXPERT_FAMILIES, MODEL_TYPES
from workbench.profile import read_profile
from workbench.runs.metrics import read_metrics

MODELS = {
    "llama1": "",
    "llama2": "num_key_value_heads = 1\nrope_scaling = {rope_type = 'linear', factor = 2}",
    "llama3": "rope_scaling = {rope_type = 'llama3', factor = 4}",
    "qwen3": "head_dim = 24\nrope_scaling = {rope_type = 'yarn', factor = 2}",
    "moe": "num_experts = 4\nnum_experts_per_tok = 1",
    "moe-shared": "num_experts = 3",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    write_rows(tmp_path / "text.jsonl", [{"text": f"The number {n} follows {n - 1}."} for n in range(80)])
    write_rows(tmp_path / "chat.jsonl", [talk(f"Who is {n}?", f"{n}.") for n in range(40)])
    write_rows(tmp_path / "questions.jsonl", [{"question": "Who is 1?", "answer": "1.", "language": "en"}])
    return tmp_path


def test_every_family_is_run_here() -> None:
    assert MODELS.keys() == MODEL_TYPES.keys()


@pytest.mark.parametrize("family", MODELS)
def test_a_family_goes_through_a_whole_run(folder: Path, family: str) -> None:
    table = f'[model]\nfamily = "{family}"\n{MODELS[family]}\n'
    (folder / "mine.toml").write_text(PROFILE.replace("[model]\n", table), encoding="utf-8")
    profile = read_profile(str(folder / "mine.toml"), ["stage.pretrain.micro_batch_size=3"])
    heard: list[events.Event] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    assert Job(profile, workspace=folder / "runs", emitter=emitter).run().status == "done"
    run = folder / "runs" / "mine"
    assert load_config(run / "sft" / "model").model_type == MODEL_TYPES[family]
    started = next(event for event in heard if isinstance(event, events.StageStarted))
    card = (run / "report.md").read_text(encoding="utf-8")
    records = [record for record in read_metrics(run / "pretrain" / "metrics.jsonl") if "loss" in record]
    assert records[-1]["loss"] < records[0]["loss"]
    if family in EXPERT_FAMILIES:
        assert started.active_parameters is not None and started.active_parameters < started.parameters
        assert all(len(record["expert_load"]) == 2 for record in records)
        assert "### Experts" in card
    else:
        assert started.active_parameters is None
        assert "expert_load" not in records[-1] and "### Experts" not in card

    session = load_session(run / "sft" / "model", settings=SamplingSettings(max_new_tokens=5, temperature=0))
    assert isinstance("".join(session.send("Who is 7?")), str)
    assert resume_job(run, steps=5).run().status == "done"
    assert json.loads((run / "state.json").read_text(encoding="utf-8"))["step"] == 5


def test_routers_that_the_text_cannot_teach_are_told_of(folder: Path) -> None:
    (folder / "mine.toml").write_text(PROFILE.replace("[model]\n", '[model]\nfamily = "moe"\n'), encoding="utf-8")
    one = ["stage.pretrain.steps=1", "stage.sft.steps=1", "model.num_experts_per_tok=1"]
    Job(read_profile(str(folder / "mine.toml"), one), workspace=folder / "runs", emitter=events.Emitter()).run()
    directory = folder / "runs" / "mine" / "pretrain" / "model"
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    warned = []
    for renormalised in (False, True):  # minimind-3-moe is published with true
        (directory / "config.json").write_text(json.dumps({**config, "norm_topk_prob": renormalised}), encoding="utf-8")
        text = PROFILE[: PROFILE.index("[tokenizer]")] + PROFILE[PROFILE.index("[[stage]]") :]
        (folder / "again.toml").write_text(text, encoding="utf-8")
        overrides = [*one[:2], f"model.path={directory}", f"run.name=again-{renormalised}"]
        emitter = events.Emitter()
        heard: list[events.Event] = []
        emitter.subscribe(heard.append)
        Job(read_profile(str(folder / "again.toml"), overrides), workspace=folder / "runs", emitter=emitter).run()
        warned.append(any("weight 1" in event.message for event in heard if isinstance(event, events.Warned)))
    assert warned == [False, True]
