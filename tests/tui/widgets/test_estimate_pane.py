"""The estimate pane: a mixture tells what a token visits, beside what there is."""

from pathlib import Path

import pytest

from workbench.estimate import estimate_profile
from workbench.narration import count
from workbench.profile import parse_profile
from workbench.tui.widgets.estimate_pane import EstimatePane


@pytest.mark.parametrize(("family", "mixture"), [("qwen3", False), ("moe", True)])
def test_experts_are_told_as_such(tmp_path: Path, family: str, mixture: bool) -> None:
    text = f'[model]\nfamily = "{family}"\n[[stage]]\nkind = "pretrain"\ndata = "x"\nsteps = 3\n'
    estimate = estimate_profile(parse_profile(text, "here"), tmp_path)
    pane = EstimatePane()
    pane.show_estimate(estimate)
    told = pane.plain
    assert f"{estimate.parameters.total:,}" in told
    assert ("experts" in told) == mixture
    assert (count(estimate.parameters.active) in told and "active" in told) == mixture
