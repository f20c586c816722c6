"""Where something is computed: the file and the line of a name, looked up in the source as it stands now."""

import ast
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import workbench

_ROOT = Path(workbench.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Place:
    """A definition in a file.

    Args:
        shown: the path as people say it, from the project's folder on.
        first_line, last_line: from 1.
    """

    path: Path
    shown: str
    first_line: int
    last_line: int

    def __str__(self) -> str:
        return f"{self.shown}:{self.first_line}"


@lru_cache(maxsize=512)
def find_place(source: str) -> Place:
    """The place of MODULE:NAME, NAME being a function, class, method, field or constant of the module.

    Nothing of the module is imported.

    Raises:
        LookupError: there is no such module or name.
    """
    module, _, name = source.partition(":")
    path, shown = _file_of(module)
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    node: ast.AST | None = None
    for part in filter(None, name.split(".")):
        node = _named(body, part)
        if node is None:
            raise LookupError(f"{module} has no {name}")
        body = getattr(node, "body", [])
    if node is None:
        return Place(path, shown, 1, 1)
    assert isinstance(node, ast.stmt)
    return Place(path, shown, node.lineno, node.end_lineno or node.lineno)


def _file_of(module: str) -> tuple[Path, str]:
    package, _, rest = module.partition(".")
    if package == "workbench":
        base, prefix = _ROOT / package, package
    else:
        spec = importlib.util.find_spec(package)  # of a package alone: its code is not run
        if spec is None or not spec.submodule_search_locations:
            raise LookupError(f"there is no package {package}")
        base, prefix = Path(spec.submodule_search_locations[0]), f"kernels/{package}"
    inner = rest.replace(".", "/")
    for ending in [f"{inner}.py", f"{inner}/__init__.py"] if inner else ["__init__.py"]:
        if (base / ending).is_file():
            return base / ending, f"{prefix}/{ending}"
    raise LookupError(f"there is no module {module}")


def _named(body: list[ast.stmt], name: str) -> ast.stmt | None:
    """The statement that gives `name` its meaning; the last definition where a stub comes first."""
    named = [node for node in body if name in _names(node)]
    definitions = [node for node in named if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    return definitions[-1] if definitions else next(iter(named), None)


def _names(node: ast.stmt) -> set[str]:
    """What a statement gives a meaning to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}
