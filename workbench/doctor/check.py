"""What the doctor finds: one line each, sound or not, with what to do."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from workbench.language import mark, tr

logger = logging.getLogger(__name__)
Level = Literal["ok", "warning", "problem"]
AREAS = {
    "terminal": mark("Terminal"),
    "device": mark("Device"),
    "speed": mark("Speed"),
    "storage": mark("Storage"),
    "packages": mark("Packages"),
}
"""The headings, by the names that programs read."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        area: a key of `AREAS`; name: what was looked at, for people.
        found: what is the case; advice: what to do about it, empty where nothing needs to be done.
    """

    area: str
    name: str
    level: Level
    found: str
    advice: str = ""

    def as_data(self) -> dict[str, str]:
        """The check for programs."""
        return asdict(self)


def examined(area: str, name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """What `look` finds; where it fails, that it failed: an odd machine is no reason for a traceback."""
    try:
        return list(look())
    except Exception as error:  # the border around each look: drivers and libraries fail in their own ways
        logger.exception("%s could not be examined", area)
        told = tr("could not be examined: {error}", error=f"{type(error).__name__}: {error}")
        return [Check(area, name, "warning", told)]
