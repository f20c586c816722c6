"""What is made goes through a hidden folder that does not stay, whatever happens."""

import os
from pathlib import Path

import pytest

from workbench.data.scratch import YOUNG_SECONDS, scratch_folder


def aged(folder: Path) -> Path:
    long_ago = folder.stat().st_mtime - 2 * YOUNG_SECONDS
    os.utime(folder, (long_ago, long_ago))
    return folder


def test_a_scratch_folder_is_hidden_and_gone_afterwards(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), scratch_folder(tmp_path / "new") as scratch:
        assert (scratch.parent, scratch.name[0]) == (tmp_path / "new", ".")
        (scratch / "half").write_text("done", encoding="utf-8")
        raise SystemExit
    assert list((tmp_path / "new").iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_is_used_stays(tmp_path: Path) -> None:
    left, own = tmp_path / ".making-dead", tmp_path / ".mine"
    for folder in (left, own):
        folder.mkdir()
        (folder / "half").write_text("done", encoding="utf-8")
    aged(left)
    with scratch_folder(tmp_path) as used:
        assert not left.exists()
        aged(used)
        with scratch_folder(tmp_path) as other:
            assert used.exists()
            assert other != used
    assert list(tmp_path.iterdir()) == [own]


def test_a_folder_that_was_just_begun_is_left_alone(tmp_path: Path) -> None:
    begun = tmp_path / ".making-now"
    begun.mkdir()
    with scratch_folder(tmp_path):
        assert begun.exists()
