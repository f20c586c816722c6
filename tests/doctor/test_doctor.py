"""The doctor: each check by itself, the border around them, and the command."""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.cells import width
from workbench.cli.main import main
from workbench.doctor import device, packages, storage, terminal
from workbench.doctor.check import AREAS, Check, examined


@pytest.mark.parametrize(
    ("columns", "lines", "level"), [(120, 36, "ok"), (80, 24, "ok"), (70, 24, "warning"), (80, 17, "problem")]
)
def test_the_size_is_held_against_what_the_screens_need(columns: int, lines: int, level: str) -> None:
    check = terminal.size_check(columns, lines)
    assert (check.level, check.found) == (level, f"{columns}x{lines}")
    assert bool(check.advice) == (level != "ok")


@pytest.mark.parametrize(
    ("variables", "level", "found"),
    [
        ({"COLORTERM": "truecolor", "TERM": "xterm"}, "ok", "16 million"),
        ({"TERM": "xterm-256color"}, "ok", "256"),
        ({"TERM": "vt100"}, "warning", "16 or fewer"),
        ({"TERM": "vt100", "NO_COLOR": "1"}, "ok", "NO_COLOR is set: shapes tell all that colours do"),
    ],
)
def test_colours_are_as_the_variables_say(variables: dict[str, str], level: str, found: str) -> None:
    check = terminal.colour_check(variables)
    assert (check.level, check.found) == (level, found)


def test_other_encodings_than_utf8_are_a_problem() -> None:
    assert [terminal.encoding_check(name).level for name in ("UTF-8", "utf8", "ascii", "")] == [
        *("ok", "ok", "problem", "problem")
    ]


def test_what_keeps_copying_and_keys_back_is_named() -> None:
    assert terminal.copy_check({"TERM_PROGRAM": "Apple_Terminal"}, "").level == "warning"
    assert "set-clipboard on" in terminal.copy_check({"TMUX": "/tmp/x"}, "off").advice
    assert terminal.copy_check({"TMUX": "/tmp/x"}, "external").level == "ok"
    assert terminal.copy_check({"SSH_CONNECTION": "a"}, "").found == "OSC 52, through ssh"
    assert [check.level for check in terminal.key_checks({"TMUX": "x"}, "500")] == ["warning"]
    assert [check.level for check in terminal.key_checks({"TMUX": "x"}, "10")] == ["ok"]
    assert "ctrl+q" in next(iter(terminal.key_checks({"TERM_PROGRAM": "vscode"}, ""))).found


def answering(master: int, cells: Callable[[str], int]) -> threading.Thread:
    """A terminal at the other end of a pty that draws each character `cells` wide, and says where its cursor is."""

    def work() -> None:
        heard = b""
        while True:
            try:
                heard += os.read(master, 256)
            except OSError:
                return
            while b"\x1b[6n" in heard:
                text, _, heard = heard.partition(b"\x1b[6n")
                shown = text.decode().rpartition("\r")[2]
                os.write(master, f"\x1b[1;{sum(map(cells, shown)) + 1}R".encode())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.skipif(os.name != "posix", reason="a terminal is asked through termios")
@pytest.mark.parametrize(("cells", "level"), [(width, "ok"), (lambda character: 2, "warning"), (None, "ok")])
def test_widths_are_asked_of_the_terminal(
    cells: Callable[[str], int] | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = os.openpty()
    with os.fdopen(slave, "r+b", buffering=0) as raw, os.fdopen(os.dup(slave), "w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdin", raw)
        monkeypatch.setattr(sys, "stdout", out)
        other_end = answering(master, cells) if cells is not None else None
        check = next(iter(terminal._widths()))
        monkeypatch.undo()
    if other_end is not None:
        other_end.join(5)  # it ends once nobody holds the terminal, and must not read from who gets its number next
    os.close(master)
    assert (check.name, check.level) == ("characters", level)
    assert ("does not tell" in check.found) == (cells is None)


def test_a_look_that_fails_is_a_line_and_no_traceback() -> None:
    def look() -> list[Check]:
        raise RuntimeError("driver is broken")

    (check,) = examined("device", "GPU", look)
    assert (check.level, check.found) == ("warning", "could not be examined: RuntimeError: driver is broken")


def test_room_and_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.room_check("runs", tmp_path / "not" / "there", "make room").level == "ok"
    monkeypatch.setattr(storage, "SCARCE", 2**80)
    check = storage.room_check("runs", tmp_path, "make room")
    assert (check.level, check.advice) == ("problem", "make room")
    monkeypatch.setattr(storage.os, "access", lambda *_: False)
    assert "cannot be written" in storage.room_check("runs", tmp_path, "").found


def test_packages_are_held_against_the_tested_ones() -> None:
    same = {packages.normal(name): packages.installed(name) or "" for name in packages.NEEDED}
    assert {check.level for check in packages.package_checks(same)} == {"ok"}
    other = [check for check in packages.package_checks({**same, "textual": "1.0", "numpy": "1.0"}) if check.advice]
    assert [(check.name, check.level) for check in other] == [("versions", "warning")] and "textual" in other[0].found


def test_a_missing_package_is_a_problem_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "NEEDED", (*packages.NEEDED, "no-such-package"))
    problems = [check for check in packages.package_checks({}) if check.level == "problem"]
    assert [check.advice for check in problems] == ["pip install no-such-package"]


def test_pythons_outside_the_range_are_a_problem() -> None:
    assert [packages.python_check(version).level for version in ((3, 10), (3, 11), (3, 14), (3, 15))] == [
        *("problem", "ok", "ok", "problem")
    ]


def test_products_are_counted_by_the_clock() -> None:
    torch = pytest.importorskip("torch")
    assert device.products(torch, "cpu", "float32", 0.01) > 1e6


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    measure: Any = device.speed_checks
    monkeypatch.setattr(device, "speed_checks", lambda: measure(0.01))


def test_the_command_tells_programs_every_check(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["doctor", "--json", "--workspace", str(tmp_path)])
    told = json.loads(capsys.readouterr().out)
    assert {each["area"] for each in told} == set(AREAS)
    assert all(set(each) == {"area", "name", "level", "found", "advice"} for each in told)
    assert code == (1 if any(each["level"] == "problem" for each in told) else 0)


def test_the_command_tells_people_in_their_language(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        main(["doctor", "--workspace", str(tmp_path), "--lang", "zh"])
    finally:
        main(["locate", "--lang", "en"])
    told = capsys.readouterr().out
    assert "终端\n" in told and "bf16 的速度是 fp32 的" in told
    assert re.search(r"一切就绪|条警告|个问题", told)


def test_a_problem_ends_with_code_1(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SCARCE", 2**80)
    assert main(["doctor", "--workspace", str(tmp_path)]) == 1
