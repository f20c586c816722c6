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


_NORMS = (
    "beside the one 32-bit statistic a row that both read, a thread of ours has one 128-bit store fewer: twice as many"
    " threads share the sum of the weight's gradient; it keeps 5 to 8 times as many bytes in flight"
)
_BUSY = (
    "above 1 memory is busy and more in flight hides nothing further; the modelled time is no longer than the peer's"
)

_ONE_NARROW = (
    "the only narrow access of both stores one 32-bit number a query; the peer's code repeats its 128-bit copies more"
    " often beside it, and takes a quarter longer"
)

EXCUSES: tuple[Excuse, ...] = (
    Excuse("attention forward", "fla", "width", _ONE_NARROW, ("sm_80",)),
    Excuse("add_rms_norm forward", "fla", "in flight", _BUSY, ("sm_80",)),
    Excuse("rms_norm backward", "liger", "width", _NORMS),
    Excuse("add_rms_norm backward", "liger", "width", _NORMS),
    Excuse("linear_cross_entropy", "fla", "in flight", _BUSY),
    Excuse("linear_kl", "fla", "in flight", f"{_BUSY}; for its own, the peer's kernel spills 184 bytes"),
    Excuse(
        "swiglu forward",
        "liger",
        "in flight",
        f"{_BUSY}; 34 registers, where 32 would let in another block",
        ("sm_100",),
    ),
    Excuse("swiglu backward", "liger", "in flight", f"{_BUSY}; 44 registers to its 38", ("sm_100",)),
)
