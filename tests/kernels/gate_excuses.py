"""The figures in which ours may stay behind a peer's, each with the reason."""

from dataclasses import dataclass
from typing import Any

_ALL = ("sm_80", "sm_90", "sm_100")


@dataclass(frozen=True)
class Excuse:
    """One figure of one operation against one peer, on some architectures."""

    operation: str
    library: str
    figure: str
    reason: str
    architectures: tuple[str, ...] = _ALL

    def covers(self, finding: Any) -> bool:
        """Whether `finding` is this one."""
        named = (finding.operation, finding.library, finding.figure)
        return named == (self.operation, self.library, self.figure) and finding.architecture in self.architectures


EXCUSES: tuple[Excuse, ...] = ()
