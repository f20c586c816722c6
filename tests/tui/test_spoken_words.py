"""No literal words reach the screen without the catalogue: what widgets, toasts, titles and lists are given is read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "workbench" / "tui").glob("**/*.py"))
SHOWN: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Static", "Label", "Button", "Prose", "Option", "Text", "Content", "styled", "notify"), (0,)),
    **dict.fromkeys(("show_error", "ConfirmModal", "AskModal", "Figure"), (0, 1)),
    **dict.fromkeys(("ChoiceModal", "DiffModal", "KeyTable", "hint", "wait", "update", "TurnView"), (0,)),
    "append": (0,),
    "assemble": tuple(range(20)),
    "add_row": tuple(range(20)),
}
"""What shows the text that it is given, and in which places."""
ATTRIBUTES = {"border_title", "border_subtitle", "placeholder", "tooltip"}
KEYWORDS = {"yes", "no", "detail", "title", "note", "placeholder", "prompt", "subtitle"}
ALLOWED = {
    *("enter", "n", "float32", "bfloat16", "KiB"),  # keys and names of formats
    *("MFU", "LoRA", "KL", "ms", "us", "Triton", "PyTorch"),
    *("llm-workbench", "esc", "top-k", "top-p", "min-p"),
}
"""Words that are the same in every language."""
STYLE = re.compile(r"^[$a-z0-9_% -]*(bold|dim|italic|reverse|underline|strike|on grey|\$)[$a-z0-9_% -]*$")


def literals(node: ast.expr) -> Iterator[str]:
    """The words of a literal, or of the literals that an expression chooses from; of (text, style) the text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.Constant):
                yield str(part.value)
            elif isinstance(part, ast.FormattedValue):
                yield from literals(part.value)
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)
    elif isinstance(node, ast.Tuple) and node.elts:
        yield from literals(node.elts[0])
    elif isinstance(node, ast.BinOp):
        yield from literals(node.left)
        yield from literals(node.right)
    elif isinstance(node, ast.Starred):
        yield from literals(node.value)


def given(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions whose text a statement shows."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        yield from (node.args[place] for place in SHOWN.get(name, ()) if place < len(node.args))
        if name in SHOWN:
            yield from (keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS)
    elif isinstance(node, ast.Assign):
        targets = [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
        if ATTRIBUTES & set(targets):
            yield node.value


def unspoken(source: str) -> list[str]:
    """Words of a module that are shown as they stand."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for expression in given(node):
            for text in literals(expression):
                words = text.strip()
                if re.search(r"[A-Za-z]{2,}", words) and words not in ALLOWED and not STYLE.match(words):
                    found.append(f"line {node.lineno}: {words!r}")  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "workbench" / "tui")))
def test_words_on_the_screen_come_from_the_catalogue(path: Path) -> None:
    assert unspoken(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        'Static("Nothing here")',
        'self.notify(f"{name} is done")',
        'pane.border_title = "Runs"',
        'Figure(tr("disk"), f"{n} free")',
        'Content.assemble(("No runs", "bold"))',
        'ConfirmModal(tr("Sure?"), yes="Delete")',
        'self.notify("done" if over else "not yet")',
    ],
)
def test_the_reader_finds_words(line: str) -> None:
    assert unspoken(line) != []
