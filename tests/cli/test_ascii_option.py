"""`--ascii`, or `ascii = true` in the configuration: narration and screens in characters that any font has."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.cli.main import main
from workbench.locations import config_folder


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without a configuration."""
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))


class Terminal(io.TextIOWrapper):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("options", "config", "plain"),
    [
        ([], "", False),
        (["--ascii"], "", True),
        ([], "ascii = true\n", True),
        ([], "ascii = false\n", False),
    ],
)
def test_the_screens_are_told(
    options: list[str], config: str, plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("workbench.tui.app.run_app", lambda *given, **named: asked.append(named) or 0)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal(io.BytesIO(), encoding="utf-8"))
    config_folder().mkdir(parents=True)
    (config_folder() / "config.toml").write_text(config, encoding="utf-8")
    assert main([*options, "--workspace", str(tmp_path)]) == 0
    assert asked == [{"ascii_signs": plain}]


def test_what_is_read_by_programs_keeps_its_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert main(["--ascii", "--workspace", str(tmp_path), "runs"]) == 0
    assert sys.stdout.encoding == "utf-8" and sys.stderr.encoding == "ascii"
