"""A file's hash is that of its content, and costs one reading."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from workbench.data.file_hashes import content_hash


def hashed(path: Path) -> str | None:
    return content_hash(path, path.parent / "memory" / "hashes.json", lambda: False)


def old(path: Path, content: bytes, seconds_ago: int = 1000) -> Path:
    """A file that was written some time ago."""
    path.write_bytes(content)
    then = path.stat().st_mtime_ns - seconds_ago * 10**9
    os.utime(path, ns=(then, then))
    return path


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    path = old(tmp_path / "a", b"content")
    assert hashed(path) == hashed(path) == hashlib.sha256(b"content").hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old(tmp_path / "a", b"content")
    first = hashed(path)
    monkeypatch.setattr("hashlib.sha256", lambda *_: pytest.fail("read again"))
    assert hashed(path) == first


@pytest.mark.parametrize("content", [b"Content", b"longer content"])
def test_a_changed_file_is_read_again(tmp_path: Path, content: bytes) -> None:
    path = old(tmp_path / "a", b"content")
    hashed(path)
    assert hashed(old(path, content, seconds_ago=500)) == hashlib.sha256(content).hexdigest()


def test_a_file_just_written_is_not_remembered(tmp_path: Path) -> None:
    """It may change again without a trace in its size and time."""
    path = tmp_path / "a"
    path.write_bytes(b"content")
    hashed(path)
    status = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hashed(path) == hashlib.sha256(b"CONTENT").hexdigest()


@pytest.mark.parametrize("broken", ["", "[1]", "{"])
def test_a_broken_memory_is_no_harm(tmp_path: Path, broken: str) -> None:
    path = old(tmp_path / "a", b"content")
    memory = tmp_path / "memory" / "hashes.json"
    memory.parent.mkdir()
    memory.write_text(broken, encoding="utf-8")
    assert hashed(path) == hashlib.sha256(b"content").hexdigest()
    assert list(json.loads(memory.read_text(encoding="utf-8"))) == [str(path.resolve())]


def test_hashing_can_be_stopped(tmp_path: Path) -> None:
    assert content_hash(old(tmp_path / "a", b"content"), tmp_path / "m", lambda: True) is None
