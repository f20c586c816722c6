"""Every launch of a kernel caught and compiled, with the sizes and the specialisation its launch code chose."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch._library.custom_ops as custom_ops
from triton.runtime.autotuner import Autotuner
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from tests.kernels.pretence import pretending, replaced, stub_driver

_MOST_CANDIDATES = 8  # of the configurations that a library would time: spread evenly over its list
_OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg")


@dataclass
class Launched:
    """One launch: of which kernel, over how many programs, and what became of compiling it."""

    kernel: str
    grid: tuple[int, ...] | None
    options: dict[str, Any]
    compiled: Any = None
    error: Exception | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    choice: int = 0
    """Which launch of the pass this is; what a library would time against each other shares a number."""

    @property
    def programs(self) -> int | None:
        """How many there are."""
        if self.grid is None:
            return None
        product = 1
        for size in self.grid:
            product *= int(size)
        return product


@contextlib.contextmanager
def capturing(architecture: str) -> Iterator[list[Launched]]:
    """Collect the launches inside, each compiled for `architecture` instead of run."""
    launches: list[Launched] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(stub_for(architecture))
        stack.enter_context(pretending(architecture))
        stack.enter_context(own_operations_launch())
        stack.enter_context(replaced(JITFunction, "run", _compiling(launches, JITFunction.run)))
        stack.enter_context(replaced(Autotuner, "run", _launching_all(launches)))
        yield launches


def run_first_configuration(autotuner: Any, *arguments: Any, **named: Any) -> Any:
    """In place of timing all configurations: the first that the library's own pruning leaves."""
    chosen = _candidates(autotuner, arguments, named)[0]
    return autotuner.fn.run(*arguments, **named, **chosen.all_kwargs())


def _launching_all(launches: list[Launched]) -> Callable[..., Any]:
    def launch_all(autotuner: Any, *arguments: Any, **named: Any) -> Any:
        choice = _next_choice(launches)
        for candidate in _candidates(autotuner, arguments, named):
            before = len(launches)
            autotuner.fn.run(*arguments, **named, **candidate.all_kwargs())
            for launched in launches[before:]:
                launched.choice = choice

    return launch_all


def _candidates(autotuner: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
    autotuner.nargs = dict(zip(autotuner.arg_names, arguments, strict=False))
    candidates: list[Any] = autotuner.prune_configs(named) if autotuner.early_config_prune else autotuner.configs
    return candidates[:: -(-len(candidates) // _MOST_CANDIDATES)]


def _next_choice(launches: list[Launched]) -> int:
    return launches[-1].choice + 1 if launches else 0


def _compiling(launches: list[Launched], run: Callable[..., Any]) -> Callable[..., Any]:
    def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool = False, **named: Any) -> Any:
        if callable(grid):
            grid = grid({**dict(zip(kernel.arg_names, arguments, strict=False)), **named})
        sizes = tuple(int(size) for size in (grid if isinstance(grid, tuple | list) else (grid,)))
        options = {name: value for name, value in named.items() if name in _OPTIONS}
        launched = Launched(kernel.fn.__name__, sizes, options, constants=_constants(kernel, arguments, named))
        launched.choice = _next_choice(launches)
        launches.append(launched)
        if launched.programs == 0:
            return None
        kernel.device_caches.clear()  # or a second architecture would be given the code of the first
        try:
            launched.compiled = run(kernel, *arguments, grid=grid, warmup=True, **named)
        except Exception as error:  # noqa: BLE001  any failure of the compiler is a finding, told with the launch
            launched.error = error
        return launched.compiled

    return compile_only


def _constants(kernel: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    given = {**dict(zip(kernel.arg_names, arguments, strict=False)), **named}
    return {each.name: given[each.name] for each in kernel.params if each.is_constexpr and each.name in given}


@contextlib.contextmanager
def own_operations_launch() -> Iterator[None]:
    """Let the project's operators launch for tensors without data too, where they would only tell shapes."""
    with contextlib.ExitStack() as stack:
        for operator in list(custom_ops.OPDEFS.values()):
            if operator._namespace == "workbench_kernels":
                stack.enter_context(replaced(operator, "_abstract_fn", operator._init_fn))
        yield


@contextlib.contextmanager
def stub_for(architecture: str) -> Iterator[None]:
    """Answer what libraries ask Triton's driver, as a card of `architecture` would."""
    before = getattr(driver, "_active", None)
    driver.set_active(stub_driver(architecture))
    try:
        yield
    finally:
        driver._active = before
