"""Python and the packages: what is missing, and what differs from the versions that were tested."""

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator, Mapping

from workbench.bundled import tested_versions
from workbench.doctor.check import Check
from workbench.language import tr

PYTHON = ((3, 11), (3, 15))  # from the first, below the second: as pyproject.toml has it
NEEDED = (
    *("torch", "textual", "tokenizers", "plotext", "tomli", "safetensors", "numpy", "pydantic", "tomlkit", "jinja2"),
    *("platformdirs", "psutil", "pyyaml", "nvidia-ml-py", "gguf"),
)
OPTIONAL = {"pyarrow": "parquet", "lm-eval": "lm-eval", "transformers": "dev", "peft": "dev"}
"""Packages that bring something more, and the extra that installs each."""
EXACT = ("textual", "plotext")
"""The screens depend on how exactly these behave."""


def package_checks(tested: Mapping[str, str] | None = None) -> Iterator[Check]:
    """Python, what is needed, what is optional.

    Args:
        tested: versions by name; those that come with the program where None.
    """
    yield python_check(sys.version_info[:2])
    pins = tested_versions() if tested is None else tested
    found = {name: installed(name) for name in NEEDED}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        advice = f"pip install {' '.join(missing)}"
        yield Check("packages", tr("needed"), "problem", tr("missing: {list}", list=", ".join(missing)), advice)
    present = {name: version for name, version in found.items() if version is not None}
    yield from _differences(present, pins)
    absent = {name: extra for name, extra in OPTIONAL.items() if installed(name) is None}
    if absent:
        listed = ", ".join(f"{name} ({extra})" for name, extra in absent.items())
        yield Check("packages", tr("optional"), "ok", tr("not installed: {list}", list=listed))


def python_check(version: tuple[int, ...]) -> Check:
    """Whether this Python is one that is supported."""
    told = f"{platform.python_implementation()} {platform.python_version()}"
    if PYTHON[0] <= version < PYTHON[1]:
        return Check("packages", "Python", "ok", told)
    supported = f"{PYTHON[0][0]}.{PYTHON[0][1]} - {PYTHON[1][0]}.{PYTHON[1][1] - 1}"
    return Check("packages", "Python", "problem", told, tr("supported are {versions}", versions=supported))


def installed(name: str) -> str | None:
    """The version that is installed; None where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _differences(found: Mapping[str, str], pins: Mapping[str, str]) -> Iterator[Check]:
    known = {name: (version, pins[normal(name)]) for name, version in found.items() if normal(name) in pins}
    other = {name: pair for name, pair in known.items() if release(pair[0]) != release(pair[1])}
    exact = {name: pair for name, pair in other.items() if name in EXACT}
    same = len(known) - len(other)
    yield Check("packages", tr("tested"), "ok", tr("{same} of {all} as tested", same=same, all=len(known)))
    for level, group in (("warning", exact), ("ok", {name: pair for name, pair in other.items() if name not in exact})):
        if group:
            listed = ", ".join(f"{name} {here} ({pin})" for name, (here, pin) in group.items())
            advice = tr("pip install -c constraints.txt, if something looks wrong") if level == "warning" else ""
            told = tr("other than tested, which stands in brackets: {list}", list=listed)
            yield Check("packages", tr("versions"), level, told, advice)  # type: ignore[arg-type]


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> str:
    """A version without what says where it was built, such as `+cpu`."""
    return version.partition("+")[0]
