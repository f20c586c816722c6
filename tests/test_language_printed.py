"""What the command line prints and what reports say is in the catalogue: what is not is told by file and line."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_language_errors import FRAGMENTS, unknown
from workbench.language import catalogue

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ("card", "card_curves", "card_teaching", "curve", "expert_load", "markdown")
PRINTING = [
    *sorted((ROOT / "workbench/cli").glob("*.py")),
    *(ROOT / f"workbench/evaluation/{name}.py" for name in REPORTS),
]
TWO_WORDS = re.compile(r"[A-Za-z]{2,},? [A-Za-z]{2,}")
HEADING = re.compile(r"[A-Z][A-Z /]{2,}")
KEPT = {
    *("GFLOP", "MFU"),
    *("bench train", "control learning-rate", "llm-workbench resume {}", "llm-workbench chat {}"),
    *("%(asctime)s %(levelname)s %(name)s: %(message)s", "can't allocate memory"),
}
"""Names of units and programs, commands, and what is compared or written to the log."""
SPOKEN_OF = {"help", "description", "epilog", "title"}
"""Arguments of argparse's that people read."""
UNSPOKEN = {"metavar", "dest", "prog", "action", "default", "encoding", "errors"}
"""Arguments that stay as they are, or that people do not read."""


def told(path: Path) -> Iterator[tuple[int, str]]:
    """Every literal of a module that people may read, its values emptied, with its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in UNSPOKEN:
            silent |= {id(each) for each in ast.walk(node.value)}
        if isinstance(node, ast.JoinedStr):
            silent |= {id(each) for each in node.values}
        if isinstance(node, ast.Assert):
            silent.add(id(node.msg))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "tr_many":
            silent.add(id(node.args[0]))  # the catalogue has an entry for the plural alone
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)


def test_every_printed_sentence_is_in_the_catalogue() -> None:
    known, missing, seen = catalogue("zh"), [], 0
    for path in PRINTING:
        for line, text in told(path):
            if not (TWO_WORDS.search(text) or HEADING.fullmatch(text)):
                continue
            seen += 1
            kept = text in known or text.strip() in KEPT or text in FRAGMENTS
            if not kept and unknown(text.replace("{}", "7")):
                missing.append(f"{path.relative_to(ROOT)}:{line}: {text!r}")
    assert seen > 300, "the literals are still found"
    assert missing == []


def test_every_help_is_spoken_in_the_language_in_use() -> None:
    tree = ast.parse((ROOT / "workbench/cli/arguments.py").read_text(encoding="utf-8"))
    spoken = {"tr", "text"}  # `text` is a variable that was translated
    untold = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = [each.value for each in node.keywords if each.arg in SPOKEN_OF]
        given += node.args if ast.unparse(node.func).endswith("add_argument_group") else []
        for each in given:
            if not any(isinstance(part, ast.Name) and part.id in spoken for part in ast.walk(each)):
                untold.append(f"arguments.py:{node.lineno}: {ast.unparse(each)}")
    assert untold == []
