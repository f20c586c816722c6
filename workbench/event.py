"""What all events have in common."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Event:
    """The base of all events.

    Args:
        at: seconds since the epoch.
    """

    at: float = field(default_factory=time.time)
