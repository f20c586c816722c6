"""argparse in the language in use: its own words are translated, and its lines are measured in terminal columns.

argparse counts characters; Chinese ones are two columns wide, and lines break between them.
"""

import argparse
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from workbench.cells import width, wrap
from workbench.errors import UsageError
from workbench.language import mark, retell, tr

_HEADINGS = (mark("positional arguments"), mark("options"))
"""What argparse calls the groups that it makes itself."""
_LANGUAGE_OPTION = "--lang"


class HelpByColumns(argparse.HelpFormatter):
    """Help whose lines fit the terminal in any script."""

    def start_section(self, heading: str | None) -> None:
        """Begin a group of arguments."""
        super().start_section(tr(heading) if heading in _HEADINGS else heading)

    def format_help(self) -> str:
        """The whole help; a heading in Chinese has the colon of Chinese."""
        return re.sub(r"(?m)(?<=[\u2e80-\uffef]):$", "：", super().format_help())

    def _format_usage(self, usage: str | None, actions: Iterable[Any], groups: Iterable[Any], prefix: Any) -> str:
        prefix = tr("usage: ") if prefix is None else prefix
        room = " " * width(prefix)  # as many characters as the prefix takes columns
        return super()._format_usage(usage, actions, groups, room).replace(room, prefix, 1)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _filled(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in _filled(text, width - len(indent)))


class HelpAsWritten(HelpByColumns):
    """The same with the lines of description and epilogue as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.indent(text, indent)


class Parser(argparse.ArgumentParser):
    """A parser of a command line that people write; made after the language is known.

    Args:
        options: those of `argparse.ArgumentParser`.
    """

    def __init__(self, **options: Any) -> None:
        options = {"formatter_class": HelpByColumns, **options, "add_help": False, "allow_abbrev": False}
        super().__init__(**options)
        words = tr("show this help message and exit")
        self.add_argument("-h", "--help", action="help", default=argparse.SUPPRESS, help=words)

    def error(self, message: str) -> NoReturn:
        """Refuse the command line, in the language in use."""
        self.print_usage(sys.stderr)
        told = tr("{program}: error: {problem}", program=self.prog, problem=retell(message))
        self.exit(UsageError.exit_code, f"{told}\n")


def language_on(argv: Sequence[str]) -> str | None:
    """The language that a command line asks for, wherever the option stands; the last one counts, as in argparse."""
    wish = None
    for argument, after in itertools.zip_longest(argv, argv[1:]):
        if argument == "--":
            break
        if argument == _LANGUAGE_OPTION:
            wish = after
        elif argument.startswith(f"{_LANGUAGE_OPTION}="):
            wish = argument.partition("=")[2]
    return wish


def _filled(text: str, columns: int) -> list[str]:
    """`text` as one paragraph in lines of at most so many columns."""
    joined = " ".join(text.split())
    return textwrap.wrap(joined, columns) if joined.isascii() else wrap(joined, columns)
