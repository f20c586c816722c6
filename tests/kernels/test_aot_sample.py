"""A sample of what `test_aot.py` asks of every configuration, on every target, in a minute or two."""

import pytest

from tests.kernels.test_aot import CARDS, TARGETS, allowed_spill, limit, multiplies, named

pytestmark = [pytest.mark.aot, pytest.mark.slow]

SAMPLE = "^(rms_norm forward|apply_rotary forward|swiglu backward|attention|grouped_matmul forward)"


def test_the_compared_launches_hold_on_every_target() -> None:
    from tests.kernels.static_report import report

    rows = [row for row in report(["own"], TARGETS, SAMPLE) if row["kernel"] != "torch"]
    assert {row["architecture"] for row in rows} == set(TARGETS)
    assert [f"{named(row)}: {row['error']}" for row in rows if row["error"]] == []
    assert [f"{named(row)}: {row['spilled_bytes']}" for row in rows if row["spilled_bytes"] > allowed_spill(row)] == []
    assert [f"{named(row)}: {row['shared_bytes']}" for row in rows if row["shared_bytes"] > limit(row)] == []
    wrong = [
        row for row in rows if multiplies(row) and row["matrix_family"] != CARDS[row["architecture"]].matrix_family
    ]
    assert [f"{named(row)}: {row['matrix_family']}" for row in wrong] == []
