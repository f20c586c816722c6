"""metrics.jsonl: one object a step, whole lines only, whoever reads and whenever."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.runs.metrics import MetricsTail, MetricsWriter, RecordWriter, cut_back, read_metrics, read_recent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stage" / "metrics.jsonl"


def write(path: Path, *records: dict) -> None:
    with MetricsWriter(path) as writer:
        for record in records:
            writer.write(record)


def test_what_is_written_is_read_back_in_order(path: Path) -> None:
    records = [{"step": step, "loss": 1.0 / step} for step in range(1, 5)]
    write(path, *records)
    assert read_metrics(path) == records


def test_each_record_can_be_read_before_the_writer_closes(path: Path) -> None:
    with MetricsWriter(path) as writer:
        writer.write({"step": 1})
        assert read_metrics(path) == [{"step": 1}]


def test_nonfinite_numbers_become_null_and_are_named(path: Path) -> None:
    write(path, {"step": 1, "loss": math.nan, "grad_norm": math.inf, "nested": {"value": -math.inf}})
    line = path.read_text(encoding="utf-8")
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["loss"] is record["grad_norm"] is record["nested"]["value"] is None
    assert record["nonfinite"] == {"loss": "nan", "grad_norm": "inf"}


def test_figures_that_come_later_for_a_step_join_its_line(path: Path) -> None:
    write(path, {"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, {"step": 2, "val_loss": 1.5})
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    assert read_metrics(path)[1] == {"step": 2, "loss": None, "val_loss": 1.5, "nonfinite": {"loss": "nan"}}


def test_an_amended_line_may_become_shorter(path: Path) -> None:
    write(path, {"step": 1, "loss": 1.23456789}, {"step": 1, "loss": 2.0})
    assert path.read_text(encoding="utf-8") == '{"step": 1, "loss": 2.0}\n'


def test_a_writer_that_goes_on_with_a_file_still_merges_its_last_step(path: Path) -> None:
    write(path, {"step": 1, "loss": 2.0})
    write(path, {"step": 1, "val_loss": 1.5}, {"step": 2, "loss": 1.0})
    assert read_metrics(path) == [{"step": 1, "loss": 2.0, "val_loss": 1.5}, {"step": 2, "loss": 1.0}]


def test_a_cut_off_last_line_is_skipped_and_does_not_swallow_the_next(path: Path) -> None:
    write(path, {"step": 1})
    with path.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1}]
    write(path, {"step": 3})
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


def test_cut_back_keeps_the_steps_up_to_the_checkpoint(path: Path) -> None:
    write(path, *({"step": step} for step in range(10)))
    cut_back(path, 4)
    assert [record["step"] for record in read_metrics(path)] == [0, 1, 2, 3, 4]
    cut_back(path.with_name("absent.jsonl"), 4)
    assert not path.with_name("absent.jsonl").exists()


def test_cut_back_changes_no_kept_record(path: Path) -> None:
    write(path, {"step": 1, "loss": math.nan, "text": "春"}, {"step": 2})
    before = path.read_bytes().splitlines()[0]
    cut_back(path, 1)
    assert path.read_bytes() == before + b"\n"


def test_recent_records_are_whole(path: Path) -> None:
    write(path, *({"step": step} for step in range(100)))
    recent = read_recent(path, size_bytes=64)
    assert 0 < len(recent) < 100
    assert recent == read_metrics(path)[-len(recent) :]
    assert read_recent(path, size_bytes=10**6) == read_metrics(path)
    assert read_recent(path.with_name("absent.jsonl")) == []


def test_a_tail_gives_each_record_once(path: Path) -> None:
    tail = MetricsTail(path)
    assert tail.read_new() == []
    with MetricsWriter(path) as writer:
        writer.write({"step": 1})
        writer.write({"step": 2})
        assert tail.read_new() == [{"step": 1}, {"step": 2}]
        assert tail.read_new() == []
        writer.write({"step": 3})
        assert tail.read_new() == [{"step": 3}]


def test_a_tail_gives_an_amended_record_again_whole(path: Path) -> None:
    tail = MetricsTail(path)
    with MetricsWriter(path) as writer:
        writer.write({"step": 1, "loss": 2.0})
        tail.read_new()
        writer.write({"step": 1, "val_loss": 1.0})
        assert tail.read_new() == [{"step": 1, "loss": 2.0, "val_loss": 1.0}]
        assert tail.read_new() == []


def test_a_tail_waits_for_the_end_of_a_line(path: Path) -> None:
    path.parent.mkdir()
    tail = MetricsTail(path)
    path.write_bytes(b'{"step": 1}\n{"st')
    assert tail.read_new() == [{"step": 1}]
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    assert tail.read_new() == [{"step": 2}]


def test_a_tail_says_that_it_began_again_after_a_cut(path: Path) -> None:
    write(path, *({"step": step} for step in range(5)))
    tail = MetricsTail(path)
    tail.read_new()
    assert not tail.restarted
    cut_back(path, 1)
    assert tail.read_new() == [{"step": 0}, {"step": 1}]
    assert tail.restarted
    tail.read_new()
    assert not tail.restarted


@given(texts=st.lists(st.text()), cut=st.integers(min_value=0))
def test_a_file_cut_anywhere_reads_as_a_beginning_of_itself(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "records.jsonl"
    records = [{"step": step, "text": text} for step, text in enumerate(texts)]
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    content = path.read_bytes()
    path.write_bytes(content[: cut % (len(content) + 1)])
    kept = read_metrics(path)
    assert kept == records[: len(kept)]
    assert len(kept) >= path.read_bytes().count(b"\n")
