"""Every error and warning that an engine words is known to the catalogue; what is not is told by file and line."""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from workbench import errors, language
from workbench.language import retell

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "workbench").glob("**/*.py"))
OURS = {name for name, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)}
"""Their first argument is a place: a file, a key or a command."""
WORDED = {"ValueError", "ArgumentTypeError", "BadRow", "Warned", "StageSkipped", "Finding"}
"""Others whose words reach a person."""
FRAGMENTS = {"7 need 7 GB 7, this machine has 7 GB", "the text 7"}
"""Parts that are put together; the wholes stand in the catalogue."""
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module


def worded(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that are sentences for people."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    more = [keyword.value for keyword in call.keywords]
    if name in OURS:
        return [*call.args[1:], *more]
    if name == "append" and ast.unparse(call.func) == "problems.append":
        return call.args
    return [*call.args, *more] if name in WORDED else []


def literals(node: ast.expr, function: Function, deep: int = 0) -> Iterator[str]:
    """The texts that an expression may be, its values emptied; a variable stands for all that it is set to."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr():
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        case ast.IfExp():
            yield from literals(node.body, function, deep)
            yield from literals(node.orelse, function, deep)
        case ast.BinOp():
            yield from literals(node.left, function, deep)
            yield from literals(node.right, function, deep)
        case ast.Name() if deep < 3:
            for each in ast.walk(function):
                if isinstance(each, ast.Assign) and any(node.id == ast.unparse(target) for target in each.targets):
                    yield from literals(each.value, function, deep + 1)


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Every sentence of an error in a module, with its line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions or [tree]:
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                for argument in worded(node):
                    for text in literals(argument, function):
                        yield node.lineno, text


def filled(text: str) -> Iterator[str]:
    """The text with a number in its holes, or nothing in some of them: they may hold a clause of their own."""
    first, *rest = text.split("{}")
    for values in product(("7", ""), repeat=len(rest)):
        yield first + "".join(value + part for value, part in zip(values, rest, strict=True))


def unknown(text: str) -> list[str]:
    """The parts of a text that no entry of the catalogue covers."""
    whole, patterns = language._engine_sentences("zh")
    text = text.strip()
    if text.endswith(":") and text not in whole and not unknown(text[:-1]):
        return []
    no_words = not re.search(r"[a-z]{3,}", text) or " " not in text
    if no_words or text in whole or text in FRAGMENTS or any(pattern.fullmatch(text) for pattern, _ in patterns):
        return []
    for joint in ("\n", "; ", ": ", ". ", ", "):
        parts = text.split(joint) if joint in text else []
        found = [unknown(part) for part in parts]
        if not all(found):
            return [part for each in found for part in each]
    return [text]


def test_every_error_is_known_to_the_catalogue() -> None:
    found = [(path, line, text) for path in SOURCES for line, text in sentences(path)]
    assert len(found) > 500, "the errors are still found"
    untold = {
        f"{path.relative_to(ROOT)}:{line}: {min(map(unknown, filled(text)), key=len)}"
        for path, line, text in found
        if all(map(unknown, filled(text)))
    }
    assert sorted(untold) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "mine.toml: 2 problems\n  - unknown key model.hiden_size; did you mean hidden_size?\n"
            "  - stage.sft.data: x.jsonl: no such file or directory; check the path",
            "mine.toml: 2 个问题\n  - 未知的键 model.hiden_size；是否想写 hidden_size？\n"
            "  - stage.sft.data: x.jsonl：没有这个文件或目录；请检查路径",
        ),
        (
            "quickstart: does not fit here:\n  - memory: needs about 3.0 GB, 1.0 GB are available; lower keep, or "
            "choose another --workspace",
            "quickstart：本机容纳不下：\n  - 内存：约需 3.0 GB，可用 1.0 GB；请减小 keep，或另选 --workspace",
        ),
        ("/set top_k=x: 'x' is not a whole number", "/set top_k=x: 'x' 不是整数"),
        (
            "x.json: is no saved conversation (version 9, where 2 is known); choose a file that chat saved",
            "x.json：不是已保存的对话（版本为 9，而已知的是 2）；请选择由 chat 保存的文件",
        ),
    ],
)
def test_an_error_is_told_as_a_whole(said: str, told: str) -> None:
    language.use_language("zh")
    try:
        assert retell(said) == told
    finally:
        language.use_language("en")
