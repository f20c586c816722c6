from pathlib import Path

import pytest

from workbench.atomic import write_atomically


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_lines_end_the_same_everywhere_and_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, "一\n二\n")
    assert path.read_bytes() == "一\n二\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_error_names_the_file_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "state.json"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, "text")
    assert caught.value.filename == str(path)
