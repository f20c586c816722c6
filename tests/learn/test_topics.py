"""What can be explained: everything there is, in both languages, with sources that are there."""

import json
import re
from pathlib import Path

import pytest

from workbench.errors import UsageError
from workbench.inference.sampling import SamplingSettings
from workbench.learn.settings import all_settings
from workbench.learn.sources import find_place
from workbench.learn.topics import Topic, all_topics, find_topic, search_topics, topic
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory

CHINESE = re.compile(r"[\u4e00-\u9fff]")
WRONG_MARKS = re.compile(r"[\u4e00-\u9fff][,;:?!]|[\u4e00-\u9fff]\.(\s|$)|[\u4e00-\u9fff] ?\([^)]*[\u4e00-\u9fff]")


@pytest.mark.parametrize("key", all_settings())
def test_every_setting_is_explained(key: str) -> None:
    known = topic(key)
    assert known is not None and "." not in known.name.removeprefix(known.name.rpartition(".")[0] + "."), key
    assert known.name.rpartition(".")[2] == key.rpartition(".")[2]  # its own, not that of its table


def test_every_metric_and_score_is_explained(runs: Path) -> None:
    names: set[str] = set()
    for run in (RunDirectory(runs / "life"), RunDirectory(runs / "experts")):
        for stage in run.stages():
            names |= {key for record in read_metrics(stage.metrics) for key in record}
        report = json.loads(run.report_data_path.read_text(encoding="utf-8"))
        names |= {key for stage in report["stages"] for key in (*stage["before"], *stage["after"])}
    assert {"loss", "val_reward_margin", "expert_load", "exact_match.en"} <= names
    assert {name for name in names if topic(name) is None} == set()


def test_every_control_of_chat_is_explained() -> None:
    for name in SamplingSettings.__dataclass_fields__:
        assert topic(f"sampling.{name}") is not None, name


@pytest.mark.parametrize("each", all_topics().values(), ids=lambda each: each.name)
def test_a_topic_speaks_both_languages_and_points_to_what_is_there(each: Topic) -> None:
    assert each.title.en and each.what.en.endswith(".") and not CHINESE.search(each.what.en + each.sane.en)
    assert CHINESE.search(each.what.zh), "the explanation is not translated"
    assert bool(each.sane.en) == bool(each.sane.zh)
    assert not WRONG_MARKS.search(each.what.zh + each.sane.zh)
    assert "." in each.name or CHINESE.search(each.title.zh)  # a setting is called as profiles write it
    for other in each.see:
        assert topic(other) is not None and other != each.name, other


@pytest.mark.parametrize("each", all_topics().values(), ids=lambda each: each.name)
def test_the_source_of_a_topic_is_found_where_it_stands_now(each: Topic) -> None:
    if not each.source:
        setting = all_settings().get(each.name)
        assert setting is not None or each.name.startswith(("stage.", "run.")), "an idea has a source"
        return
    place = find_place(each.source)
    name = each.source.partition(":")[2].rpartition(".")[2]
    lines = place.path.read_text(encoding="utf-8").splitlines()
    assert name in lines[place.first_line - 1] or not name or lines[place.first_line - 1].lstrip().startswith("@")
    assert place.shown.endswith(".py") and 1 <= place.first_line <= place.last_line <= len(lines)


@pytest.mark.parametrize("setting", all_settings().values(), ids=lambda setting: setting.key)
def test_the_declaration_of_every_setting_is_found(setting: object) -> None:
    place = find_place(setting.declared)  # type: ignore[attr-defined]
    line = place.path.read_text(encoding="utf-8").splitlines()[place.first_line - 1]
    assert line.strip().partition(":")[0] == setting.declared.rpartition(".")[2]  # type: ignore[attr-defined]


def test_a_place_follows_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.learn import sources

    package = tmp_path / "workbench"
    package.mkdir()
    monkeypatch.setattr(sources, "_ROOT", tmp_path)
    for line in (1, 4):
        find_place.cache_clear()
        (package / "moving.py").write_text("\n" * (line - 1) + "class A:\n    def f(self): ...\n", encoding="utf-8")
        assert find_place("workbench.moving:A.f").first_line == line + 1
    with pytest.raises(LookupError, match=r"has no A\.g"):
        find_place("workbench.moving:A.g")
    find_place.cache_clear()


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("learning_rate", "learning_rate"),
        ("hidden_size", "model.hidden_size"),
        ("Validation loss", "val_loss"),
        ("困惑度", "val_perplexity"),
        ("KV cache", "kv_cache"),
        ("val_kl", "kl"),
        ("exact_match.zh", "exact_match"),
        ("stage.model.hidden_size", "model.hidden_size"),
    ],
)
def test_a_topic_is_found_by_what_people_call_it(wanted: str, name: str) -> None:
    assert find_topic(wanted).name == name


def test_an_unknown_topic_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"lerning_rate.*did you mean learning_rate"):
        find_topic("lerning_rate")
    with pytest.raises(UsageError):
        find_topic("stage.no_such_setting")


def test_search_looks_into_names_first_and_then_into_texts() -> None:
    names = [each.name for each in search_topics("warmup")]
    assert names[0] == "stage.warmup" and "learning_rate" in names
    assert len(search_topics("")) == len(all_topics())
    assert search_topics("预热")
