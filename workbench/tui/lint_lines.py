"""What the linter found, as lines to choose from."""

from textual.content import Content

from workbench.data.lint import Finding
from workbench.language import retell, tr
from workbench.tui.widgets.hanging import hanging

SIGNS = {"error": ("✗", "$error"), "warning": ("!", "$warning"), "note": ("·", "$primary")}


def finding_line(finding: Finding, width: int) -> Content:
    """How bad it is, where, and what, in lines of that width."""
    sign, colour = SIGNS[finding.severity]
    head = Content.assemble(
        (f"{sign} ", f"bold {colour}"), (f"{tr('line {line:>7,}', line=finding.line)}  ", "$foreground 60%")
    )
    return hanging(head, retell(finding.message), width)
