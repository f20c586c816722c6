from pathlib import Path

import pytest

from workbench.bundled import data_folder, find_data, profiles_folder
from workbench.errors import DataError


def test_profiles_and_samples_are_found() -> None:
    assert (profiles_folder() / "quickstart.toml").is_file()
    assert find_data("bundled:pretrain.jsonl", []) == [data_folder() / "pretrain.jsonl"]


def test_relative_paths_are_looked_up_in_the_folders_in_order(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name, encoding="utf-8")
    folders = [tmp_path / "first", tmp_path / "second"]
    assert find_data("a.txt", folders) == [(tmp_path / "first" / "a.txt").resolve()]


def test_a_folder_gives_its_data_files_and_a_pattern_gives_its_matches(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.txt", "README.md", ".hidden.txt"):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert [path.name for path in find_data(str(tmp_path), [])] == ["a.txt", "b.jsonl"]
    assert [path.name for path in find_data("*.md", [tmp_path])] == ["README.md"]


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("nothing.txt", "no such file in"),
        ("bundled:nothing.jsonl", "bundled are"),
        ("fetched:shakespeare/all.txt", "llm-workbench data fetch shakespeare"),
    ],
)
def test_missing_data_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, told: str
) -> None:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match=told):
        find_data(reference, [tmp_path])


def test_the_data_files_of_a_folder_are_known_by_their_endings(tmp_path: Path) -> None:
    for name in ("a.JSONL", "b.ndjson", "c.txt", "README.md"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert [path.name for path in find_data(str(tmp_path), [])] == ["a.JSONL", "b.ndjson", "c.txt"]


def test_a_folder_without_data_is_told_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder without data files"):
        find_data(str(tmp_path), [])
