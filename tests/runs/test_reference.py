"""What is normal for a profile: kept from good runs, and held against others that learn the same way."""

import json
import math
import random
from pathlib import Path

import pytest

from workbench.bundled import curves_folder, profiles_folder
from workbench.errors import RunError
from workbench.language import catalogue
from workbench.profile import profile_text, read_profile
from workbench.runs.reference import HIGHER, LOWER, NORMAL, OTHERWISE, find_reference, keep_reference
from workbench.runs.store import RunDirectory, create_run

PROFILE = """
[run]
name = "{name}"
workspace = "{workspace}"
seed = {seed}
[tokenizer]
vocab_size = 512
[model]
hidden_size = {width}
[[stage]]
name = "{first}"
kind = "pretrain"
data = "text.txt"
sequence_length = 64
steps = 400
learning_rate = {rate}
log_every = {every}
[[stage]]
name = "sft"
kind = "sft"
data = "chat.jsonl"
sequence_length = 64
"""


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))


def loss_at(step: int) -> float:
    return 1.0 + 5.0 * math.exp(-step / 80)


def make(workspace: Path, name: str, factor: float = 1.0, done: bool = True, **changes: object) -> RunDirectory:
    values = {"seed": 1, "width": 64, "rate": 0.01, "every": 10, "first": "pretrain", **changes}
    run = create_run(workspace, name, PROFILE.format(name=name, workspace=workspace, **values))
    noise = random.Random(name)
    lines = [
        {"step": step, "loss": factor * loss_at(step) * (1 + noise.uniform(-0.03, 0.03))} for step in range(10, 401, 10)
    ]
    stage = run.path / str(values["first"])
    stage.mkdir()
    (stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    run.state_path.write_text(json.dumps({"status": "done" if done else "stopped"}), encoding="utf-8")
    return run


def told(run: RunDirectory, losses: list[tuple[float, float]], stage: str = "pretrain") -> list[str]:
    found = find_reference(run, stage)
    assert found is not None
    return [sentence for sentence, _ in found.standing(losses)]


def test_a_run_is_held_against_the_curves_that_were_kept(tmp_path: Path) -> None:
    keep_reference("valley", [make(tmp_path, "one"), make(tmp_path, "two", seed=2)])
    other = make(tmp_path, "three", every=50)
    at = [(step, loss_at(step)) for step in (80, 90, 100)]
    assert told(other, at) == [NORMAL]
    assert told(other, [(step, 1.3 * loss) for step, loss in at]) == [HIGHER]
    assert told(other, [(step, 0.7 * loss) for step, loss in at]) == [LOWER]
    assert told(other, [at[0], (90.0, 99.0), at[2]]) == [NORMAL]  # one odd batch is no trend
    assert told(other, [(5000, 1.0)]) == []  # longer than any of them


def test_a_smooth_curve_stays_close_to_the_runs(tmp_path: Path) -> None:
    keep_reference("valley", [make(tmp_path, str(seed), seed=seed) for seed in range(3)])
    found = find_reference(make(tmp_path, "other"), "pretrain")
    assert found is not None and found.runs == 3
    for step in (10, 45, 200, 400):
        band = found.band(step)
        assert band is not None
        assert band.mean == pytest.approx(loss_at(step), rel=0.05) and band.low < loss_at(step) < band.high
        assert band.high < 1.3 * band.mean


def test_nothing_is_kept_of_where_the_runs_lay(tmp_path: Path) -> None:
    kept = keep_reference("valley", [make(tmp_path, "mine")]).read_text(encoding="utf-8")
    assert str(tmp_path) not in kept and "mine" not in kept and "workspace" not in kept


def test_what_the_run_has_otherwise_is_told(tmp_path: Path) -> None:
    keep_reference("valley", [make(tmp_path, "one")])
    found = find_reference(make(tmp_path, "faster", rate=0.5, seed=3), "pretrain")
    assert found is not None
    (_, first), (sentence, values) = found.standing([(100, loss_at(100))])
    assert first["profile"] == "valley" and sentence == OTHERWISE
    assert values["settings"] == "learning_rate (0.01 / 0.5), seed (1 / 3)"


def test_another_model_is_not_held_against_it_but_other_names_are(tmp_path: Path) -> None:
    keep_reference("valley", [make(tmp_path, "one")])
    assert find_reference(make(tmp_path, "wider", width=128), "pretrain") is None
    assert find_reference(make(tmp_path, "named", first="reading"), "reading") is not None
    assert find_reference(make(tmp_path, "three"), "sft") is None  # the runs kept have no curve of it


def test_of_several_the_most_alike_counts(tmp_path: Path) -> None:
    keep_reference("a", [make(tmp_path, "one", rate=0.1)])
    keep_reference("b", [make(tmp_path, "two")])
    found = find_reference(make(tmp_path, "three"), "pretrain")
    assert found is not None and found.profile == "b" and found.differences == ()


def test_only_finished_runs_of_one_profile_are_kept(tmp_path: Path) -> None:
    one = make(tmp_path, "one")
    with pytest.raises(RunError, match=r"two.*has not come to its end"):
        keep_reference("valley", [one, make(tmp_path, "two", done=False)])
    with pytest.raises(RunError, match=r"three.*learnt otherwise than one.*model"):
        keep_reference("valley", [one, make(tmp_path, "three", width=128)])


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"settings": {}}', '{"settings": {"stage": []}, "stages": 3}'])
def test_a_damaged_file_is_no_reference(tmp_path: Path, damage: str) -> None:
    keep_reference("valley", [make(tmp_path, "one")]).write_text(damage, encoding="utf-8")
    assert find_reference(make(tmp_path, "two"), "pretrain") is None


def test_the_words_are_in_every_catalogue() -> None:
    assert {NORMAL, HIGHER, LOWER, OTHERWISE} <= set(catalogue("zh"))


@pytest.mark.parametrize("path", sorted(curves_folder().glob("*.json")), ids=lambda path: path.stem)
def test_what_comes_along_fits_the_profiles_of_today(tmp_path: Path, path: Path) -> None:
    profile = read_profile(str(profiles_folder() / f"{path.stem}.toml"))
    run = create_run(tmp_path, path.stem, profile_text(profile))
    for stage in profile.stage:
        if stage.kind == "generate":  # it has no loss
            continue
        found = find_reference(run, stage.name)
        assert found is not None, f"make it anew: llm-workbench reference RUN --name {path.stem}"
        assert found.differences == () and found.profile == path.stem
