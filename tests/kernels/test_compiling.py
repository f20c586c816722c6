"""That unusual calls compile: a few seconds for one target; all configurations for all targets are test_aot's."""

import pytest


def test_sizes_of_one_and_rows_far_apart_compile() -> None:
    pytest.importorskip("triton")
    from tests.kernels.static_report import report

    rows = report(["unusual"], ["sm_90"])
    assert len(rows) > 20
    assert [f"{row['kernel']} ({row['operation']}): {row['error']}" for row in rows if row["error"]] == []
