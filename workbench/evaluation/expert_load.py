"""How busy the experts of a mixture were, as a table of the report."""

from collections.abc import Sequence
from typing import Any

from workbench.language import tr

REPORTS = 10  # the last ones of a stage, averaged: one step's load is a matter of its batch
SHOWN_EXPERTS = 16  # a column each; of more the idlest and the busiest are told


def expert_load(records: Sequence[dict[str, Any]]) -> str:
    """Each expert's share of the visits by layer, at the end of a stage; empty where its model has no experts.

    Args:
        records: of metrics.jsonl.
    """
    routed = [record for record in records if _is_table(record.get("expert_load"))][-REPORTS:]
    if not routed:
        return ""
    layers, experts = len(routed[-1]["expert_load"]), len(routed[-1]["expert_load"][0])
    alike = [record["expert_load"] for record in routed if _size(record["expert_load"]) == (layers, experts)]
    means = [
        [sum(load[layer][expert] for load in alike) / len(alike) for expert in range(experts)]
        for layer in range(layers)
    ]
    columns = [str(expert + 1) for expert in range(experts)] if experts <= SHOWN_EXPERTS else []
    head = (tr("layer"), tr("idlest"), tr("busiest"), *columns)
    rows = [
        (str(layer + 1), f"{min(row):.1%}", f"{max(row):.1%}", *(f"{share:.0%}" for share in row if columns))
        for layer, row in enumerate(means)
    ]
    lines = [head, ["---:"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    fair = {"count": experts, "share": 1 / experts}
    told = tr("Each of {count} experts would have {share:.1%} of the visits if all were equally busy.", **fair)
    balance = routed[-1].get("balance_loss")
    if isinstance(balance, int | float):
        told += tr(" Balance loss at the end: {loss:.3f}, which would then be 1.", loss=balance)
    return f"### {tr('Experts')}\n\n{told}\n\n{table}"


def _is_table(load: object) -> bool:
    """Whether it is a list for each layer, with a number for each expert; files may hold anything."""
    return (
        isinstance(load, list)
        and bool(load)
        and all(isinstance(row, list) and row and len(row) == len(load[0]) for row in load)
        and all(isinstance(share, int | float) for row in load for share in row)
    )


def _size(load: list[list[float]]) -> tuple[int, int]:
    return len(load), len(load[0])
