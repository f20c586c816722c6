"""One writer at a time; a dead one is replaced; wishes arrive once."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from workbench.control import Command, Control
from workbench.errors import RunError
from workbench.runs.liveness import CommandFile, Heartbeat, RunLock, is_alive, read_holder


def plant_lock(directory: Path, **changes: object) -> None:
    values = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "process_created_at": psutil.Process().create_time(),
        "heartbeat": time.time(),
        **changes,
    }
    (directory / "lock").write_text(json.dumps(values), encoding="utf-8")


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        assert is_alive(tmp_path)
        with pytest.raises(RunError, match=f"process {os.getpid()} on"), RunLock(tmp_path):
            pass
        assert is_alive(tmp_path), "the refused one must not remove the lock"
    assert not is_alive(tmp_path)
    assert not (tmp_path / "lock").exists()


def test_another_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workbench.runs.liveness import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=f"process {holder.pid}"), RunLock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not is_alive(tmp_path)
    with RunLock(tmp_path) as lock:
        assert lock.mine


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    plant_lock(tmp_path, pid=dead_pid())
    assert not is_alive(tmp_path)
    with RunLock(tmp_path) as lock:
        assert lock.mine


def test_a_later_process_with_the_same_number_does_not_hold_the_lock(tmp_path: Path) -> None:
    plant_lock(tmp_path, process_created_at=psutil.Process().create_time() - 3600)
    assert not is_alive(tmp_path)
    with RunLock(tmp_path) as lock:
        assert lock.mine


@pytest.mark.parametrize("age_seconds", [0, 86400])
def test_another_hosts_lock_is_never_taken_silently(tmp_path: Path, age_seconds: float) -> None:
    plant_lock(tmp_path, host="elsewhere", pid=dead_pid(), heartbeat=time.time() - age_seconds)
    with pytest.raises(RunError, match=r"on elsewhere.*delete .*lock"), RunLock(tmp_path):
        pass
    assert is_alive(tmp_path) == (age_seconds == 0)


def test_a_damaged_lock_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("{", encoding="utf-8")
    assert not is_alive(tmp_path)
    with RunLock(tmp_path) as lock:
        assert lock.mine


def test_only_one_of_many_takes_a_stale_lock(tmp_path: Path) -> None:
    plant_lock(tmp_path, pid=dead_pid())
    start, done = threading.Barrier(8), threading.Barrier(8)
    taken: list[bool] = []

    def race() -> None:
        start.wait()
        try:
            with RunLock(tmp_path):
                taken.append(True)
                done.wait()
        except RunError:
            done.wait()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [True]


def test_the_heart_beats_and_stops(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        first = read_holder(tmp_path)
        with Heartbeat(lock, interval_seconds=0.01):
            deadline = time.monotonic() + 60
            while read_holder(tmp_path) == first and time.monotonic() < deadline:
                time.sleep(0.01)
        later = read_holder(tmp_path)
        assert first is not None
        assert later is not None
        assert later.heartbeat > first.heartbeat
        time.sleep(0.05)
        assert read_holder(tmp_path) == later


def test_a_heartbeat_leaves_a_lock_taken_by_force_alone(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        plant_lock(tmp_path, host="elsewhere")
        lock.beat()
        holder = read_holder(tmp_path)
        assert holder is not None
        assert holder.host == "elsewhere"
    assert read_holder(tmp_path) == holder


def test_a_run_directory_that_was_moved_ends_its_lock_without_an_error(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    with RunLock(directory):
        directory.rename(tmp_path / "moved")


def test_wishes_arrive_in_order_and_once(tmp_path: Path) -> None:
    control, warnings = Control(), list[str]()
    reader = CommandFile(tmp_path)
    sender = CommandFile(tmp_path)
    sender.append("pause")
    sender.append("learning_rate", 1e-4)
    sender.append("checkpoint")
    reader.read_new(control, warnings.append)
    assert control.pause_requested
    assert control.take_commands() == [Command("learning_rate", 1e-4), Command("checkpoint")]
    sender.append("resume")
    reader.read_new(control, warnings.append)
    assert not control.pause_requested
    assert control.take_commands() == []
    assert warnings == []


def test_wishes_of_an_earlier_life_of_the_run_are_ignored(tmp_path: Path) -> None:
    control = Control()
    CommandFile(tmp_path).append("stop")
    CommandFile(tmp_path).read_new(control, pytest.fail)
    assert not control.stop_requested


def test_malformed_wishes_are_skipped_with_a_warning(tmp_path: Path) -> None:
    control, warnings = Control(), list[str]()
    reader = CommandFile(tmp_path)
    lines = [
        "not json",
        "[]",
        '{"command": "explode"}',
        '{"command": ["pause"]}',
        '{"command": "learning_rate"}',
        '{"command": "learning_rate", "value": NaN}',
        '{"command": "learning_rate", "value": true}',
        '{"command": "learning_rate", "value": 1.5}',
        '{"command": "pause", "value": 3}',
        '{"command": "evaluate"}',
    ]
    (tmp_path / "commands.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    reader.read_new(control, warnings.append)
    assert len(warnings) == len(lines) - 1
    assert not control.pause_requested
    assert control.take_commands() == [Command("evaluate")]


def test_a_half_written_wish_waits_for_its_end(tmp_path: Path) -> None:
    control = Control()
    reader = CommandFile(tmp_path)
    path = tmp_path / "commands.jsonl"
    path.write_text('{"command": "st', encoding="utf-8")
    reader.read_new(control, pytest.fail)
    assert not control.stop_requested
    path.write_text('{"command": "stop"}\n', encoding="utf-8")
    reader.read_new(control, pytest.fail)
    assert control.stop_requested


def test_an_emptied_file_is_read_from_its_top(tmp_path: Path) -> None:
    control = Control()
    CommandFile(tmp_path).append("learning_rate", 0.5)
    reader = CommandFile(tmp_path)
    (tmp_path / "commands.jsonl").write_text('{"command": "stop"}\n', encoding="utf-8")
    reader.read_new(control, pytest.fail)
    assert control.stop_requested


@pytest.mark.parametrize(
    ("command", "value"), [("explode", None), ("pause", 1.0), ("learning_rate", None), ("learning_rate", 1000.0)]
)
def test_a_wish_that_cannot_be_is_never_written(tmp_path: Path, command: str, value: float | None) -> None:
    with pytest.raises(RunError):
        CommandFile(tmp_path).append(command, value)
    assert not (tmp_path / "commands.jsonl").exists()
