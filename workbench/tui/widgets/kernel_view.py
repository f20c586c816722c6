"""The kernel lab of the Inspect screen: what computes each operation here, how exactly, and as what on GPUs."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.language import tr
from workbench.tui.inspected import KernelView


def draw_kernels(found: KernelView, at: int) -> RenderableType:
    """Both tables.

    Args:
        at: which architecture's kernels are shown, by number; beyond the last it is the last.
    """
    architecture = found.architectures[max(0, min(at, len(found.architectures) - 1))]
    return Group(_parity(found), _compiled(found, architecture))


def _parity(found: KernelView) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    heads = (tr("on {device}", device=found.device), tr("by"), *(f"{tr('error')} {name}" for name in found.tolerances))
    table.add_row(*(Text(head, style="dim") for head in heads))
    for each in found.operations:
        cells = [Text(each.name), Text("Triton" if each.side == "triton" else "PyTorch")]
        for precision in found.tolerances:
            error = each.errors[precision]
            shown = error if isinstance(error, str) else f"{error:.1e}"
            passes = each.passes(precision)
            cells.append(Text(f"{shown} {'✓' if passes else '✗'}", style="" if passes else "bold red"))
        table.add_row(*cells)
        if each.reason:
            table.add_row("", Text(each.reason, style="dim"))
    limits = ", ".join(f"{name} {limit:.0e}" for name, limit in found.tolerances.items())
    table.add_row(Text(tr("against float64; allowed {limits}", limits=limits), style="dim"))
    return table


def _compiled(found: KernelView, architecture: str) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row()
    title = Text(tr("compiled for {architecture} (l, h)", architecture=architecture), style="bold")
    heads = (tr("at least"), tr("registers"), tr("spilled"), tr("128-bit"), tr("matrix units"))
    table.add_row(title, *(Text(head, style="dim") for head in heads))
    for operation in found.operations:
        for each in operation.compiled_for(architecture):
            table.add_row(
                Text(each.operation),
                f"{each.bound_microseconds:.1f} us",
                f"{each.registers}",
                f"{each.spilled_bytes} B",
                f"{each.wide:.0%}",
                Text(each.matrix_family or "-"),
            )
    return table
