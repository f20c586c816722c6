"""A stage of distillation, from a profile to what it leaves; and what is refused, with its place."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import events
from workbench.cli.main import main
from workbench.control import Control
from workbench.errors import DataError, ModelError, ProfileError
from workbench.jobs import Job, resume_job
from workbench.model.weights import load_model
from workbench.profile import parse_profile, profile_text, read_profile
from workbench.runs.metrics import read_metrics

PROFILE = """
[run]
seed = 3
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
name = "teacher"
kind = "sft"
data = "chat.jsonl"
sequence_length = 48
batch_size = 4
steps = 30
learning_rate = 1e-2
log_every = 10
evaluate_every = 0
[[stage]]
kind = "distill"
teacher = "teacher"
data = "chat.jsonl"
sequence_length = 48
batch_size = 4
micro_batch_size = 3
steps = 8
log_every = 1
checkpoint_every = 2
evaluate_every = 4
validation_fraction = 0.2
keep = 9
learning_rate = 1e-2
prompts = ["Who is 1?"]
sample_tokens = 4
[stage.distill]
alpha = 0.3
temperature = 2.0
[stage.model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
"""


def write_rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def talk(number: int) -> dict[str, Any]:
    said = [("user", f"Who is {number}?"), ("assistant", f"{number}.")]
    return {"messages": [{"role": role, "content": text} for role, text in said]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("workbench.evaluation.speed.READ_TOKENS", 16)
    monkeypatch.setattr("workbench.evaluation.speed.WRITTEN_TOKENS", 4)
    write_rows(tmp_path / "chat.jsonl", [talk(number) for number in range(40)])
    write_rows(tmp_path / "text.jsonl", [{"text": f"The number {n} follows {n - 1}."} for n in range(60)])
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def job(folder: Path, *overrides: str, control: Control | None = None, **settings: Any) -> tuple[Job, list[Any]]:
    heard: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    profile = read_profile(str(folder / "mine.toml"), overrides)
    return Job(profile, workspace=folder / "runs", emitter=emitter, control=control, **settings), heard


def stop_at(stage: str, step: int, control: Control) -> Any:
    return lambda event: (
        control.stop() if isinstance(event, events.StepFinished) and (event.stage, event.step) == (stage, step) else 0
    )


def records(run: Path, stage: str = "distill") -> list[dict[str, Any]]:
    return read_metrics(run / stage / "metrics.jsonl")


def learnt(run: Path) -> list[tuple[float, ...]]:
    return [(each["loss"], each["grad_norm"], each.get("kl")) for each in records(run) if "loss" in each]


def weights(run: Path, stage: str = "distill") -> dict[str, torch.Tensor]:
    return load_model(run / stage / "model").state_dict()


def test_the_student_comes_nearer_to_its_teacher_and_the_report_says_so(folder: Path) -> None:
    distill, heard = job(folder, "stage.distill.steps=60", "stage.distill.evaluate_every=0")
    assert distill.run().status == "done"
    run = folder / "runs/mine"
    first, last = (record for record in records(run) if "val_loss" in record)
    assert last["val_kl"] < 0.5 * first["val_kl"]
    assert last["val_agreement"] > first["val_agreement"]
    assert first["val_teacher_loss"] == pytest.approx(last["val_teacher_loss"])
    step = next(record for record in records(run) if record["step"] == 1)
    assert step["loss"] == pytest.approx(0.3 * step["cross_entropy"] + 0.7 * 4 * step["kl"], rel=1e-5)
    report = json.loads((run / "report.json").read_text())["stages"][1]
    told, teacher = report["distillation"], load_model(run / "teacher/model")
    assert told["teacher_parameters"] == sum(each.numel() for each in teacher.parameters())
    assert told["parameters"] == report["parameters"] < told["teacher_parameters"]
    assert told["kl"] == last["val_kl"] and told["agreement"] == last["val_agreement"]
    assert told["tokens_per_second"] > 0 and told["teacher_tokens_per_second"] > 0
    assert told["without_teacher"] is None
    card = (run / "report.md").read_text()
    assert "| teacher, teacher |" in card and "| student, distill, after |" in card
    assert "forward divergence from teacher, temperature 2.0, alpha 0.3" in card
    assert "| divergence from the teacher, nats a token |" in card
    ready = next(event for event in heard if isinstance(event, events.TeacherReady))
    assert (ready.teacher, ready.cache_bytes) == ("teacher", None)
    config = json.loads((run / "distill/model/config.json").read_text())
    assert config["hidden_size"] == 16 and config["vocab_size"] == teacher.config.vocab_size


CACHE = "stage.distill.distill.cache_top_k=12"
WAYS = {
    "streamed": (),
    "cached": (CACHE,),
    "muon": ("stage.distill.optimizer.name=muon", "stage.distill.gradient_checkpointing=true", "run.precision=bf16"),
    "reverse": ("stage.distill.distill.direction=reverse", "stage.distill.distill.alpha=0.0"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_stage_goes_on_bit_by_bit(folder: Path, way: str) -> None:
    job(folder, *WAYS[way], name="whole")[0].run()
    control = Control()
    stopped, _ = job(folder, *WAYS[way], name="cut", control=control)
    stopped.emitter.subscribe(stop_at("distill", 3, control))
    assert stopped.run().status == "stopped"
    assert resume_job(folder / "runs/cut").run().status == "done"
    assert learnt(folder / "runs/cut") == learnt(folder / "runs/whole")
    ours, theirs = weights(folder / "runs/cut"), weights(folder / "runs/whole")
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_checkpoints_of_activations_and_the_split_change_nothing(folder: Path) -> None:
    job(folder, name="plain")[0].run()
    other = ("stage.distill.gradient_checkpointing=true", "stage.distill.micro_batch_size=1")
    job(folder, *other, name="other")[0].run()
    ours, theirs = learnt(folder / "runs/plain"), learnt(folder / "runs/other")
    # eight steps of float32 sums in another order
    assert [each[0] for each in ours] == pytest.approx([each[0] for each in theirs], rel=1e-4)


def test_with_everything_kept_on_the_disk_the_student_learns_the_same(folder: Path) -> None:
    """Each row once: rows that are kept are cut alike in every epoch, as conversations are anyway."""
    job(folder, name="streamed")[0].run()
    stored, heard = job(folder, "stage.distill.distill.cache_top_k=100000", name="stored")
    stored.run()
    for one, other in zip(learnt(folder / "runs/stored"), learnt(folder / "runs/streamed"), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    kept = folder / "runs/stored/distill/teacher"
    size = sum(path.stat().st_size for path in kept.iterdir())
    ready = next(event for event in heard if isinstance(event, events.TeacherReady))
    assert ready.cache_bytes is not None and not ready.from_cache
    assert size == pytest.approx(ready.cache_bytes, rel=0.02)  # but for the places of the rows
    measured = [
        [record for record in records(folder / f"runs/{name}") if "val_kl" in record] for name in ("stored", "streamed")
    ]
    for one, other in zip(*measured, strict=True):
        assert one["val_kl"] == pytest.approx(other["val_kl"], rel=1e-3)
        assert one["val_agreement"] == other["val_agreement"]
        assert one["val_teacher_loss"] == pytest.approx(other["val_teacher_loss"], rel=1e-4)


def test_asking_the_teacher_goes_on_where_it_was_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.job_teacher.SYNC_SECONDS", 0.0)
    more = (CACHE, "stage.distill.micro_batch_size=1")
    job(folder, *more, name="whole")[0].run()
    control = Control()
    stopped, heard = job(folder, *more, name="cut", control=control)
    stopped.emitter.subscribe(
        lambda event: (
            control.stop()
            if isinstance(event, events.WorkProgressed) and event.task == "asking the teacher" and event.done == 3
            else None
        )
    )
    assert stopped.run().status == "stopped"
    assert not any(isinstance(event, events.StepFinished) and event.stage == "distill" for event in heard)
    asked: list[int] = []
    emitter = events.Emitter()
    emitter.subscribe(
        lambda event: asked.append(event.done) if getattr(event, "task", "") == "asking the teacher" else None
    )
    resume_job(folder / "runs/cut", emitter=emitter).run()
    assert asked[0] == 4
    for name in ("train.ids", "train.logps", "train.sums", "train.ends", "validation.logps"):
        ours, theirs = (folder / f"runs/{run}/distill/teacher/{name}" for run in ("cut", "whole"))
        assert ours.read_bytes() == theirs.read_bytes()
    again: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(again.append)
    shutil.rmtree(folder / "runs/cut/distill/model")
    resume_job(folder / "runs/cut", emitter=emitter).run()
    assert next(event for event in again if isinstance(event, events.TeacherReady)).from_cache
    assert not any(getattr(event, "task", "") == "asking the teacher" for event in again)


def test_a_baseline_is_the_same_student_without_a_teacher(folder: Path) -> None:
    more = ("stage.distill.distill.baseline=true",)
    control = Control()
    stopped, heard = job(folder, *more, control=control)
    stopped.emitter.subscribe(stop_at("distill-alone", 3, control))
    assert stopped.run().status == "stopped"
    assert next(event for event in heard if isinstance(event, events.RunStarted)).stages == (
        "teacher",
        "distill-alone",
        "distill",
    )
    run = folder / "runs/mine"
    resume_job(run).run()
    # what it learned is what plain fine-tuning of the same model learns
    plain = PROFILE.replace('kind = "distill"\nteacher = "teacher"', 'kind = "sft"')
    plain = plain.replace("[stage.distill]\nalpha = 0.3\ntemperature = 2.0\n", "")
    (folder / "mine.toml").write_text(plain, encoding="utf-8")
    job(folder, name="plain")[0].run()
    alone, theirs = weights(run, "distill-alone"), weights(folder / "runs/plain", "sft")
    assert all((value - theirs[name]).abs().max() < 1e-5 for name, value in alone.items())
    told = json.loads((run / "report.json").read_text())["stages"]
    assert [stage["name"] for stage in told] == ["teacher", "distill-alone", "distill"]
    against = told[2]["distillation"]["without_teacher"]
    assert against["stage"] == "distill-alone" and against["kl"] == told[1]["after"]["val_kl"]
    assert "distillation" not in told[1]
    assert "| the same student without a teacher |" in (run / "report.md").read_text()
    measures = next(record for record in records(run, "distill-alone") if record["step"] == 1)
    assert "kl" not in measures and measures["loss"] == pytest.approx(measures["cross_entropy"])


def test_asking_for_a_baseline_later_trains_that_alone(folder: Path) -> None:
    job(folder)[0].run()
    before = weights(folder / "runs/mine")
    later, heard = job(folder, "stage.distill.distill.baseline=true")
    later.run()
    trained = {event.stage for event in heard if isinstance(event, events.StepFinished)}
    assert trained == {"distill-alone"}
    after = weights(folder / "runs/mine")
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_texts_teach_by_every_token_and_the_student_goes_on_with_text(folder: Path) -> None:
    text = PROFILE.replace("chat.jsonl", "text.jsonl").replace('kind = "sft"', 'kind = "pretrain"')
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    texts, heard = job(folder, "stage.distill.distill.cache_top_k=8")
    texts.run()
    data = [event for event in heard if isinstance(event, events.DataReady) and event.stage == "distill"]
    assert data[0].tokens_trained == data[0].tokens - data[0].documents  # but for the first of each
    lineage = json.loads((folder / "runs/mine/distill/model/lineage.json").read_text())
    assert lineage["stages"] == [{"name": "distill", "kind": "distill", "learns": "pretrain"}]
    assert (lineage["teacher"], lineage["base"]) == ("teacher", None)
    from workbench.inference.lineage import only_pretrained

    assert only_pretrained(folder / "runs/mine/distill/model")
    (folder / "mine.toml").write_text(PROFILE, encoding="utf-8")
    job(folder, name="chat")[0].run()
    assert not only_pretrained(folder / "runs/chat/distill/model")


def test_a_student_trained_by_lora_starts_from_a_stage(folder: Path) -> None:
    text = PROFILE[: PROFILE.index("[stage.model]")] + "[stage.lora]\nrank = 4\n"
    text = text.replace('teacher = "teacher"', 'teacher = "teacher"\nfrom = "small"')
    small = '[[stage]]\nname = "small"\nkind = "sft"\ndata = "chat.jsonl"\nsequence_length = 48\nsteps = 2\n'
    sizes = PROFILE[PROFILE.index("[stage.model]") :]
    text = text.replace('[[stage]]\nkind = "distill"', small + sizes + '[[stage]]\nkind = "distill"')
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    lora, _ = job(folder, "stage.distill.steps=40")
    lora.run()
    run = folder / "runs/mine"
    first, *_, last = (record for record in records(run) if "val_kl" in record)
    assert last["val_kl"] < first["val_kl"]
    base, tuned = weights(run, "small"), weights(run)
    changed = {name for name, value in base.items() if not torch.equal(value, tuned[name])}
    assert changed and all("embed" not in name and "norm" not in name for name in changed)


def test_several_data_sets_are_taught_alike(folder: Path) -> None:
    write_rows(folder / "more.jsonl", [talk(number) for number in range(100, 130)])
    mixed = 'stage.distill.data=[{path = "chat.jsonl", weight = 2}, {path = "more.jsonl", weight = 1}]'
    job(folder, mixed, name="streamed")[0].run()
    job(folder, mixed, "stage.distill.distill.cache_top_k=9999", name="stored")[0].run()
    for one, other in zip(learnt(folder / "runs/stored"), learnt(folder / "runs/streamed"), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_directory_teaches_and_brings_its_tokenizer(folder: Path) -> None:
    job(folder, name="first")[0].run()
    shutil.copytree(folder / "runs/first/teacher/model", folder / "elder")
    head, stages = PROFILE[: PROFILE.index("[tokenizer]")], PROFILE[PROFILE.rindex("[[stage]]") :]
    (folder / "mine.toml").write_text(head + stages.replace('"teacher"', '"elder"'), encoding="utf-8")
    taught, heard = job(folder)
    taught.run()
    ready = next(event for event in heard if isinstance(event, events.TeacherReady))
    assert ready.teacher == str(folder / "elder")
    assert learnt(folder / "runs/mine") == learnt(folder / "runs/first")


def test_another_vocabulary_is_refused_before_anything_starts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job(folder, name="first")[0].run()
    shutil.copytree(folder / "runs/first/teacher/model", folder / "elder")
    path = folder / "elder/tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    one, other = (token for token, number in vocabulary.items() if number in (70, 71))
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    shutil.copytree(folder / "runs/first/tokenizer", folder / "own")
    head, stages = PROFILE[: PROFILE.index("[tokenizer]")], PROFILE[PROFILE.rindex("[[stage]]") :]
    text = head + '[tokenizer]\npath = "own"\n' + stages.replace('"teacher"', '"elder"')
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    told = r"stage\.distill\.teacher: .*elder has another vocabulary .*at id 70: .* for the teacher, .* for the student"
    with pytest.raises(ModelError, match=told):
        job(folder, name="second")
    for command in (["--profile", "mine.toml"], ["check", "mine.toml"]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.count("another vocabulary") == 1 and "Traceback" not in error
        assert "tokenizer.path" in error
    assert not (folder / "runs/mine").exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stage.distill.teacher=distill", "a stage cannot learn from itself"),
        ("stage.distill.teacher=nobody", r"stage\.distill\.teacher: nobody: no such file or directory"),
        ("stage.teacher.teacher=distill", r"stage\.teacher\.teacher: has no effect in a stage of kind 'sft'"),
        ("stage.distill.from=teacher", r"stage\.distill\.from: has no effect beside \[stage\.model\]"),
        ("stage.distill.distill.alpha=1.5", r"stage\.distill\.distill\.alpha: 1\.5 is not allowed"),
        ("stage.distill.distill.temperature=0", r"stage\.distill\.distill\.temperature: 0 is not allowed"),
        ("stage.distill.distill.direction=both", r"distill\.direction: 'both' is not allowed"),
        ("stage.distill.distill.tempratur=2", r"unknown key stage\.distill\.distill\.tempratur; did you mean"),
        ("stage.teacher.distill.alpha=0.1", r"stage\.teacher\.distill: has no effect in a stage of kind 'sft'"),
        ("stage.distill.lora.rank=2", r"stage\.distill\.lora: there are only random weights to adapt"),
        ("stage.distill.model.hidden_size=15", r"stage\.distill\.model\.num_attention_heads: 2 heads do not divide"),
        ("stage.distill.sequence_length=65", r"stage\.distill\.sequence_length: 65 is longer"),
        ('stage.distill.name="teacher"', "two stages have this name"),
    ],
)
def test_settings_without_sense_are_refused(folder: Path, override: str, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        job(folder, override)


def test_a_missing_teacher_and_pairs_are_refused(folder: Path) -> None:
    (folder / "mine.toml").write_text(PROFILE.replace('teacher = "teacher"\n', ""), encoding="utf-8")
    with pytest.raises(ProfileError, match=r"stage\.distill\.teacher: is missing; name the earlier stage"):
        job(folder)
    (folder / "mine.toml").write_text(PROFILE, encoding="utf-8")
    write_rows(folder / "pairs.jsonl", [{"prompt": "Who?", "chosen": "You.", "rejected": "Go."}])
    with pytest.raises(DataError, match=r"stage\.distill\.data: .*pairs\.jsonl holds pairs of answers"):
        job(folder, "stage.distill.data=pairs.jsonl")


def test_a_teacher_that_reads_less_is_refused(folder: Path) -> None:
    more = ("model.max_position_embeddings=48", "stage.distill.sequence_length=60")
    with pytest.raises(ModelError, match="60 is longer than the teacher's max_position_embeddings 48"):
        job(folder, *more)


def test_a_written_profile_reads_back_the_same(folder: Path) -> None:
    profile = parse_profile(PROFILE, "here")
    assert parse_profile(profile_text(profile), "again") == profile


def test_check_counts_the_teacher(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "mine.toml", "--json"]) == 0
    told = {stage["stage"]: stage for stage in json.loads(capsys.readouterr().out)["stages"]}
    vocabulary, width = 272, 32
    block = 4 * width * width + 3 * width * 96 + 2 * width
    teacher = vocabulary * width + 2 * block + width
    hidden = 4 * width * 48 * 4  # of a step's rows
    assert told["distill"]["teacher_bytes"] == 4 * teacher + hidden
    assert told["distill"]["memory_bytes"] > told["distill"]["teacher_bytes"] + told["distill"]["training_bytes"]
    assert told["teacher"]["teacher_bytes"] == 0
    assert told["distill"]["trained_parameters"] < told["teacher"]["trained_parameters"]
    assert main(["check", "mine.toml", "--json", "--set", "stage.distill.distill.baseline=true"]) == 0
    names = [stage["stage"] for stage in json.loads(capsys.readouterr().out)["stages"]]
    assert names == ["teacher", "distill-alone", "distill"]
