"""Write what `llm-workbench bench kernels` shows where there is no GPU.

    python -m tests.kernels.static_table

At the sizes of the gate, with the launches our tables pick; it goes into kernels/workbench_kernels/static_table.json.
"""

import json
import sys
from pathlib import Path

import torch
import triton

from tests.kernels import comparison
from tests.kernels.cards import CARDS
from tests.kernels.gate import ARCHITECTURES
from tests.kernels.roofline import bound_microseconds, requirements
from tests.kernels.static_report import ROOT, report

TARGET = ROOT / "kernels" / "workbench_kernels" / "static_table.json"


def rows() -> list[dict]:
    """One row an operation, pass and architecture: what it must move at least, and what its kernels became."""
    compiled = [row for row in report(["own"], ARCHITECTURES) if row["kernel"] != "torch"]
    result = []
    for operation, architecture in dict.fromkeys((row["operation"], row["architecture"]) for row in compiled):
        own = [row for row in compiled if (row["operation"], row["architecture"]) == (operation, architecture)]
        moved, flops = requirements()[operation]
        result.append(
            {
                "operation": operation,
                "architecture": architecture,
                "bound_microseconds": round(bound_microseconds(operation, CARDS[architecture]), 2),
                "megabytes": round(moved / 1e6, 2),
                "gflop": round(flops / 1e9, 2),
                "registers": max(row["registers"] for row in own),
                "shared_bytes": max(row["shared_bytes"] for row in own),
                "spilled_bytes": sum(row["spilled_bytes"] for row in own),
                "wide": min(row["wide"] for row in own if row["wide"] is not None),
                "matrix_family": max((row["matrix_family"] for row in own), key=len),
            }
        )
    return result


def main() -> int:
    """Write the file."""
    sizes = {name.lower(): getattr(comparison, name) for name in ("BATCH", "SEQ", "HEADS", "HEAD_DIM", "HIDDEN")}
    about = {
        "made_by": "python -m tests.kernels.static_table",
        "versions": {"torch": torch.__version__.split("+")[0], "triton": triton.__version__},
        "sizes": sizes,
        "dtype": "bfloat16",
    }
    lines = ",\n  ".join(json.dumps(row) for row in rows())
    text = f'{{"about": {json.dumps(about)},\n "rows": [\n  {lines}\n]}}\n'
    Path(TARGET).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
