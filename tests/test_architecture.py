"""The import rule of docs/architecture.md, held by reading every import of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOUNDATION = {"errors", "events", "control", "config", "profile", "estimate"} | {
    "bundled",
    "locations",
    "atomic",
    "narration",
    "measures",
    "language",
    "preferences",
    "ascii_signs",
    "cells",
    "dry_run",
    "schedule",
    "machine",
    "setting_types",
    "model_settings",
    "presets",
    "size_search",
    "stage_tables",
    "arithmetic",
    "baselines",
    "event",
    "teaching_events",
}
JOBS = {"jobs"} | {
    f"job_{part}"
    for part in (
        *("batches", "data", "evaluation", "inputs", "kernels", "machine", "parents", "plan", "preferences", "ranks"),
        *("setting", "sizes", "stage", "teacher", "tokenizer", "writing"),
    )
}
MAY_IMPORT: dict[str, set[str]] = {
    "workbench_kernels": set(),
    "tokenizer": set(),
    "runs": set(),
    "learn": {"model", "runs"},
    "data": {"tokenizer"},
    "model": {"workbench_kernels"},
    "inference": {"model", "tokenizer"},
    "training": {"model", "tokenizer", "data"},
    "evaluation": {"inference", "model", "tokenizer", "data", "runs"},
    "inspection": {"inference", "model", "tokenizer", "workbench_kernels"},
    "interop": {"inference", "model", "tokenizer", "data"},
    "jobs": {
        *("data", "evaluation", "inference", "interop", "model", "runs", "tokenizer", "training"),
        "workbench_kernels",  # to check them on a device
    },
    "benchmarks": {"data", "model", "runs", "tokenizer", "training"},
    "tui": {"jobs", "data", "evaluation", "inference", "inspection", "interop", "learn", "model", "runs", "tokenizer"},
    "doctor": set(),
    "cli": {
        *(
            "tui",
            "jobs",
            "benchmarks",
            "doctor",
            "data",
            "evaluation",
            "inference",
            "interop",
            "learn",
            "model",
            "runs",
        ),
        *("inspection", "tokenizer"),
        "workbench_kernels",  # `bench kernels` only
    },
}
ONLY_IN = {"textual": {"tui"}, "plotext": {"tui"}}
NO_TORCH = {"foundation", "tokenizer", "data", "runs", "learn"}
MODULES = sorted([*ROOT.glob("workbench/**/*.py"), *ROOT.glob("kernels/**/*.py")])


def layer_of(module: str) -> str:
    parts = module.split(".")
    if parts[0] != "workbench":
        return parts[0]
    name = parts[1] if len(parts) > 1 else ""
    if name in FOUNDATION or not name:
        return "foundation"
    return "jobs" if name in JOBS else name


def module_name(path: Path) -> str:
    base = ROOT / "kernels" if "kernels" in path.relative_to(ROOT).parts[0] else ROOT
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_the_layers_below(path: Path) -> None:
    own = layer_of(module_name(path))
    allowed = MAY_IMPORT.get(own, set())
    for name in imports(path):
        if name.split(".")[0] in ("workbench", "workbench_kernels"):
            layer = layer_of(name)
            assert layer in (own, "foundation") or layer in allowed, f"{own} may not import {name}"
        owners = ONLY_IN.get(name.split(".")[0])
        assert owners is None or own in owners, f"{name} belongs to {owners}"
        assert not (own in NO_TORCH and name.split(".")[0] == "torch"), f"{own} does without torch"


def test_the_foundation_imports_no_layer() -> None:
    for path in MODULES:
        if layer_of(module_name(path)) == "foundation":
            layers = {layer_of(name) for name in imports(path) if name.startswith("workbench")}
            assert layers <= {"foundation"}, path


FRONT_ENDS = [
    *("workbench.profile", "workbench.estimate", "workbench.learn.explanation"),
    *("workbench.cli.main", "workbench.tui.app"),
]


@pytest.mark.parametrize("module", FRONT_ENDS)
def test_a_front_end_starts_without_torch(module: str) -> None:
    heavy = "('torch',)" if "tui" in module else "('torch', 'textual', 'plotext')"
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_no_file_outgrows_450_lines() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > 450} == {}
