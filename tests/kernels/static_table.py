"""Write what `llm-workbench bench kernels` shows where there is no GPU.

    python -m tests.kernels.static_table

The figures are those of our side of the gate, at its sizes, and go into kernels/workbench_kernels/static_table.json.
"""

import json
import sys
from pathlib import Path

import torch
import triton

from tests.kernels import comparison
from tests.kernels.cards import CARDS
from tests.kernels.gate import ARCHITECTURES, kernel_seconds
from tests.kernels.roofline import bound_microseconds
from tests.kernels.static_report import ROOT, report
from tests.kernels.traffic import count

TARGET = ROOT / "kernels" / "workbench_kernels" / "static_table.json"


def rows() -> list[dict]:
    """One row an operation, pass and architecture: its kernels' sums, and the largest of what one program takes."""
    compiled = report(["own"], ARCHITECTURES)
    counts = count(["own"], ARCHITECTURES)
    result = []
    for operation, architecture in dict.fromkeys((row["operation"], row["architecture"]) for row in compiled):
        own = [row for row in compiled if (row["operation"], row["architecture"]) == (operation, architecture)]
        moved = [each for each in counts if (each["operation"], each["architecture"]) == (operation, architecture)]
        kernels = [row for row in own if row["kernel"] != "torch"]
        result.append(
            {
                "operation": operation,
                "architecture": architecture,
                "model_microseconds": round(kernel_seconds(own, moved, CARDS[architecture]) * 1e6, 2),
                "bound_microseconds": round(bound_microseconds(operation, CARDS[architecture]), 2),
                "megabytes": round(sum(e["unique_read_bytes"] + e["unique_written_bytes"] for e in moved) / 1e6, 2),
                "gflop": round(sum(each["matrix_flops"] for each in moved) / 1e9, 2),
                "registers": max(row["registers"] for row in kernels),
                "spilled_bytes": sum(row["spilled_bytes"] for row in kernels),
                "matrix_family": max((row["matrix_family"] for row in kernels), key=len),
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
