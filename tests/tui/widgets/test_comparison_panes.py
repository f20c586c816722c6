"""Names of sides in columns that are too narrow for them."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from workbench.runs.compare import Comparison, Side
from workbench.tui.widgets.comparison_panes import break_name, score_table

NAME = "fisher-with-a-long-name:pretrain@40"


@pytest.mark.parametrize(
    ("name", "cells", "lines"),
    [
        (NAME, 40, [NAME]),
        (NAME, 20, ["fisher-with-a-long-", "name:pretrain@40"]),
        (NAME, 12, ["fisher-with-", "a-long-name:", "pretrain@40"]),
        ("unbreakable", 4, ["unbr", "eaka", "ble"]),
        ("老渔夫:sft", 5, ["老渔", "夫:", "sft"]),
    ],
)
def test_a_name_breaks_between_its_parts_where_it_can(name: str, cells: int, lines: list[str]) -> None:
    assert break_name(name, cells) == lines


def test_heads_of_narrow_columns_break_between_parts() -> None:
    sides = tuple(Side(f"{NAME}{number}", Path("run"), "pretrain") for number in range(2))
    out = io.StringIO()
    Console(file=out, width=52).print(score_table(Comparison(sides, (), {"loss": (1.0, 2.0)}, (), ([], []))))
    words = out.getvalue().split()
    assert "●" in words and "pretrain@400" in "".join(words) and not any(word.startswith("train") for word in words)
    assert max(map(len, out.getvalue().splitlines())) <= 52
