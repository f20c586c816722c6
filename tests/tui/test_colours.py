"""The colours that stand for well, watch and wrong: apart from each other for every eye, and remembered."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from workbench.preferences import preference
from workbench.tui.app import WorkbenchApp
from workbench.tui.themes import COLOUR_BLIND, COLOUR_BLIND_LIGHT, DARK

MakeApp = Callable[..., WorkbenchApp]
# How eyes without one kind of cone see linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
APART = 20  # of CIE 1976 colour difference; 2 can just be seen, side by side


def lab(colour: str, eyes: str) -> tuple[float, float, float]:
    """A colour as those eyes see it, in CIE L*a*b*."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    seen = [min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in EYES[eyes]]
    rows = ((0.4124, 0.3576, 0.1805, 0.9505), (0.2126, 0.7152, 0.0722, 1.0), (0.0193, 0.1192, 0.9505, 1.089))
    x, y, z = (
        share ** (1 / 3) if share > 0.008856 else 7.787 * share + 16 / 116
        for share in ((r * seen[0] + g * seen[1] + b * seen[2]) / white for r, g, b, white in rows)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(one: str, other: str, eyes: str) -> float:
    """How far apart two colours are for those eyes."""
    return sum((a - b) ** 2 for a, b in zip(lab(one, eyes), lab(other, eyes), strict=True)) ** 0.5


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", [COLOUR_BLIND, COLOUR_BLIND_LIGHT], ids=lambda theme: theme.name)
def test_well_watch_and_wrong_are_apart_for_every_eye(theme: Any, eyes: str) -> None:
    for one, other in combinations((theme.success, theme.warning, theme.error), 2):
        assert difference(one, other, eyes) > APART, (one, other)


def test_the_usual_colours_would_not_be() -> None:
    assert difference(str(DARK.success), str(DARK.error), "deuteranopia") < APART


async def test_chosen_colours_hold_at_the_next_start(workbench: MakeApp) -> None:
    app = workbench()
    async with app.run_test() as pilot:
        assert app.theme == "workbench-dark" and preference("theme") is None
        app.theme = "workbench-colour-blind"
        await pilot.pause()
        app.theme = "ansi-dark"
        await pilot.pause()
    assert preference("theme") == "ansi-dark"
    assert workbench().theme == "ansi-dark"


async def test_colours_of_the_environment_go_before_those_that_were_chosen(
    workbench: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = workbench()
    async with app.run_test() as pilot:
        app.theme = "workbench-light"
        await pilot.pause()
    monkeypatch.setenv("TEXTUAL_THEME", "nord")
    assert workbench().theme == "nord"
    monkeypatch.setenv("TEXTUAL_THEME", "no-such-theme")
    assert workbench().theme == "workbench-dark"
