"""What is to be said of a profile while it is edited: its problems, and what it would take to run it here."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.config import Profile
from workbench.errors import ProfileError, WorkbenchError
from workbench.estimate import Estimate, estimate_profile
from workbench.job_sizes import expected_config, named_models
from workbench.language import retell
from workbench.profile import parse_profile, with_files_found

_KEY = re.compile(r"(?:unknown key )?([A-Za-z0-9_.-]+?)(?=[:;]|$)")
_PLACE = re.compile(r"at line (\d+)|line (\d+)")


@dataclass(frozen=True)
class Problem:
    """Something that must be put right before the profile can run.

    Args:
        key: the setting it is about, as problems write it; empty for a text that is no TOML.
        line: of such a text, counted from 1.
    """

    key: str
    text: str
    line: int | None = None

    @property
    def shown(self) -> str:
        """The problem for people, in their language."""
        return retell(self.text)


@dataclass(frozen=True)
class Examination:
    """What was found out about a text.

    Args:
        profile: with its files found, ready to run; None where there are problems.
        values: every setting as it would hold, defaults included; None where the text is no profile.
    """

    problems: tuple[Problem, ...]
    profile: Profile | None = None
    values: Profile | None = None
    estimate: Estimate | None = None


def examine(text: str, path: Path, workspace: Path) -> Examination:
    """Validate `text` as the profile in `path`, look for its files, and estimate what it takes."""
    try:
        profile = parse_profile(text, path.name)
    except ProfileError as error:
        return Examination(_problems(error))
    ready, problems = profile, tuple[Problem, ...]()
    if ready.run.name is None:
        ready = ready.model_copy(update={"run": ready.run.model_copy(update={"name": path.stem})})
    try:
        ready = with_files_found(ready, path.name, path.parent)
    except ProfileError as error:
        problems = _problems(error)
    estimate = None
    if not problems:
        try:
            config, named = expected_config(ready), named_models(ready)
        except WorkbenchError as error:
            problems = (Problem("model.path", f"model.path: {error}"),)
        else:
            estimate = estimate_profile(ready, workspace, config, config.vocab_size, named)
    elif profile.model.path is None:
        estimate = estimate_profile(ready, workspace)
    return Examination(problems, None if problems else ready, profile, estimate)


def values_at(profile: Profile | None, location: tuple[str | int, ...]) -> Any:
    """What holds at a location, defaults included; None where nothing does."""
    value: Any = profile
    for part in location:
        if isinstance(part, int):
            value = value[part] if part < len(value) else None
        else:
            value = getattr(value, "from_" if part == "from" else part, None)
        if value is None:
            return None
    return value


def _problems(error: ProfileError) -> tuple[Problem, ...]:
    return tuple(_problem(text) for text in error.problems)


def _problem(text: str) -> Problem:
    if text.startswith("is not valid TOML"):
        place = _PLACE.search(text)
        return Problem("", f"the text {text}", int(place[1] or place[2]) if place else None)
    key = _KEY.match(text)
    return Problem(key[1] if key else "", text)
