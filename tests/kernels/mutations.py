"""Seed faults into the kernels, one at a time, and see whether the tests of the operation notice.

    python -m tests.kernels.mutations [REGEX] [--sample N] [--jobs 2]

The tests are collected once. For each fault of `faults.py` a forked child loads the changed source in place of the
module and runs the operation's own tests, fastest first, up to the first that fails. Exit code 1 where fewer than 95 %
of the faults are noticed, where one that is not noticed has no reason listed, or where a fault no longer applies.
"""

import argparse
import contextlib
import inspect
import io
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.kernels.fault import Fault
from tests.kernels.faults import EQUIVALENT, FAULTS

ROOT = Path(__file__).resolve().parents[2]
_NEEDED = 0.95
_SECONDS = 60  # of a processor, beyond twice what the tests take: a loop that no longer ends counts as noticed


@dataclass(frozen=True)
class Verdict:
    """What became of one fault; `test` is the one that noticed it."""

    fault: Fault
    noticed: bool
    test: str
    seconds: float


def run(faults: Sequence[Fault], jobs: int) -> list[Verdict]:
    """The verdict on each fault.

    Raises:
        RuntimeError: the tests fail without any fault, or could not be collected.
    """
    import hypothesis

    # No shrinking: that something fails is enough. Fixed examples: a verdict is not luck.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("faults", phases=phases, database=None, derandomize=True)
    hypothesis.settings.load_profile("faults")
    runner = _Runner(faults, jobs)
    modules = sorted({name for fault in faults for name in fault.tests})
    files = [str(ROOT / "tests" / "kernels" / f"{name}.py") for name in modules]
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", f"--confcutdir={ROOT / 'tests'}"]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = pytest.main([*options, *files], plugins=[runner])
    if runner.problem or not runner.finished:
        raise RuntimeError(runner.problem or f"pytest ended with {code}: {told.getvalue()[-2000:]}")
    return runner.verdicts


def changed(source: str, fault: Fault) -> str:
    """The source with the fault.

    Raises:
        ValueError: the source does not hold it once, or not in the place that is meant.
    """
    found = source.count(fault.old)
    if found <= max(fault.at, 0) or (found > 1 and fault.at < 0) or fault.old == fault.new:
        raise ValueError(f"{fault.module}, {fault.name}: {found} places hold {fault.old!r}")
    at = -1
    for _ in range(max(fault.at, 0) + 1):
        at = source.index(fault.old, at + 1)
    return source[:at] + fault.new + source[at + len(fault.old) :]


def source_path(module: str) -> Path:
    """Of a module of the kernels."""
    return ROOT / "kernels" / "workbench_kernels" / "triton_ops" / f"{module}.py"


class _Runner:
    """A pytest plugin: in place of running the tests, runs them once for each fault."""

    def __init__(self, faults: Sequence[Fault], jobs: int) -> None:
        self._faults, self._jobs = faults, jobs
        self._seconds: dict[str, float] = {}
        self.verdicts: list[Verdict] = []
        self.problem = ""
        self.finished = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = [item for item in session.items if not item.get_closest_marker("slow")]
        broken = self._time_clean(items)
        if broken:
            self.problem = f"without any fault this fails: {broken}"
            return True
        waiting, running = list(self._faults), {}
        while waiting or running:
            while waiting and len(running) < self._jobs:
                fault = waiting.pop(0)
                pipe, writer = os.pipe()
                process = _forked(lambda fault=fault: self._fails(fault, items), writer, self._limit(fault, items))
                running[process] = fault, pipe, time.monotonic()
            process, status = os.wait()
            if process in running:
                fault, pipe, start = running.pop(process)
                self.verdicts.append(_verdict(fault, pipe, status, time.monotonic() - start))
                _tell(self.verdicts[-1])
        self.finished = True
        return True

    def _time_clean(self, items: list[Any]) -> str:
        """Run every test without a fault, in a child as well; the name of one that fails."""
        pipe, writer = os.pipe()

        def clean() -> str:
            with tempfile.TemporaryDirectory() as folder:  # as for a fault: loading again must not matter either
                for module in dict.fromkeys(fault.module for fault in self._faults):
                    _load(module, source_path(module).read_text(encoding="utf-8"), Path(folder))
                return "\n".join(_timed(items))

        process = _forked(clean, writer, limit=0)
        text = _read(pipe)
        _, status = os.waitpid(process, 0)
        last = text.rpartition("\n")[2]
        if last.startswith("!") or status or not text:
            return last or f"status {status}"
        for line in text.splitlines():
            seconds, _, name = line.partition(" ")
            self._seconds[name] = float(seconds)
        return ""

    def _fails(self, fault: Fault, items: list[Any]) -> str:
        """In a child: the first of the operation's tests that notices the fault."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                source = source_path(fault.module).read_text(encoding="utf-8")
                _load(fault.module, changed(source, fault), Path(folder))
            except Exception as error:  # noqa: BLE001  what cannot be loaded is noticed by every test
                return f"loading: {error}"
            for item in sorted(_own(fault, items), key=lambda each: self._seconds.get(each.nodeid, 0)):
                if _item_fails(item):
                    return str(item.nodeid)
        return ""

    def _limit(self, fault: Fault, items: list[Any]) -> int:
        """Seconds of a processor that a child may take: one that notices nothing runs all of its tests."""
        return _SECONDS + round(2 * sum(self._seconds.get(item.nodeid, 0) for item in _own(fault, items)))


def _own(fault: Fault, items: list[Any]) -> list[Any]:
    return [item for item in items if item.path.stem in fault.tests]


def _item_fails(item: Any) -> bool:
    from _pytest.runner import runtestprotocol

    reports = runtestprotocol(item, nextitem=None, log=False)
    return any(report.failed for report in reports)


def _timed(items: list[Any]) -> Iterator[str]:
    """Seconds and name of each test, up to one that fails, which is told alone."""
    for item in items:
        start = time.process_time()
        if _item_fails(item):
            yield f"! {item.nodeid}"
            return
        yield f"{time.process_time() - start:.4f} {item.nodeid}"


def _load(module: str, source: str, folder: Path) -> None:
    """Put `source` into the module, and load again what took names from it."""
    sources = {name: source_path(name).read_text(encoding="utf-8") for name in _dependents(module)}
    for name, text in {module: source, **sources}.items():
        loaded = sys.modules.get(f"workbench_kernels.triton_ops.{name}")
        if loaded is not None:
            path = folder / f"{name}.py"  # a real file: Triton reads a kernel's source by the name of its file
            path.write_text(text, encoding="utf-8")
            _execute(loaded, path)


def _execute(module: ModuleType, path: Path) -> None:
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    exec(code, vars(module))  # noqa: S102  the source of this repository, one place of it changed


def _dependents(module: str) -> list[str]:
    """The modules that import names from this one, those that import from them after them."""
    found: list[str] = []
    for path in sorted(source_path("").parent.glob("*.py")):
        imports = re.findall(r"from workbench_kernels\.triton_ops\.(\w+) import", path.read_text(encoding="utf-8"))
        if module in imports:
            found += [path.stem, *_dependents(path.stem)]
    return list(dict.fromkeys(found))


def _forked(work: Callable[[], str], writer: int, limit: int) -> int:
    """A child that does `work` and writes what it returns; the id of its process."""
    process = os.fork()
    if process:
        os.close(writer)
        return process
    if limit:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  the child ends here, whatever happened
        result = f"! {type(error).__name__}: {error}"
    with open(writer, "wb") as file:
        file.write(result.encode())
    os._exit(0)


def _read(pipe: int) -> str:
    with open(pipe, "rb") as file:
        return file.read().decode()


def _verdict(fault: Fault, pipe: int, status: int, seconds: float) -> Verdict:
    test = _read(pipe)
    if status:  # ended by a signal: of memory that it spoiled, or of the time limit
        test = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
    return Verdict(fault, bool(test), test, seconds)


def _tell(verdict: Verdict) -> None:
    fate = "noticed by " + verdict.test.split("::", 1)[-1][:70] if verdict.noticed else "NOT NOTICED"
    line = f"{verdict.fault.module:20} {verdict.fault.name:58} {verdict.seconds:5.1f} s  {fate}\n"
    sys.__stdout__.write(line)
    sys.__stdout__.flush()


def judge(verdicts: Sequence[Verdict]) -> tuple[str, bool]:
    """The closing lines, and whether the tests are good enough."""
    alive = [each for each in verdicts if not each.noticed]
    share = 1 - len(alive) / max(len(verdicts), 1)
    lines = ["| source | faults | noticed |", "|---|---|---|"]
    for module in dict.fromkeys(each.fault.module for each in verdicts):
        fates = [each.noticed for each in verdicts if each.fault.module == module]
        lines.append(f"| {module} | {len(fates)} | {sum(fates)} |")
    lines.append(f"\n{len(verdicts) - len(alive)} of {len(verdicts)} faults noticed ({share:.1%}).")
    for each in alive:
        reason = EQUIVALENT.get(each.fault.key, "NO REASON GIVEN")
        lines.append(f"- {each.fault.module}, {each.fault.name}: {reason}")
    sound = bool(verdicts) and share >= _NEEDED and all(each.fault.key in EQUIVALENT for each in alive)
    return "\n".join(lines), sound


def sample(faults: Sequence[Fault], number: int) -> list[Fault]:
    """`number` faults spread over all modules, those of each taken from its beginning, middle and end alike."""
    killable = [fault for fault in faults if fault.key not in EQUIVALENT]
    return killable[:: max(1, len(killable) // number)][:number]


def _matching(faults: Sequence[Fault], expression: str) -> Iterator[Fault]:
    return (fault for fault in faults if re.search(expression, f"{fault.module} {fault.name}"))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__ or ""))
    parser.add_argument("only", nargs="?", default="", metavar="REGEX")
    parser.add_argument("--sample", type=int, metavar="N", help="only N faults, spread over the operations")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    faults = list(_matching(FAULTS, arguments.only))
    for fault in faults:
        changed(source_path(fault.module).read_text(encoding="utf-8"), fault)
    if arguments.sample:
        faults = sample(faults, arguments.sample)
    text, sound = judge(run(faults, arguments.jobs))
    print(text)
    return int(not sound)


if __name__ == "__main__":
    sys.exit(main())
