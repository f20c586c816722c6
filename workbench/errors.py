"""Errors a person can act on.

WorkbenchError            exit code 1: the run failed
├── UsageError            exit code 2: a command line, file or folder that cannot be used
│   ├── ProfileError      every problem of one profile, together
│   ├── DataError         training data
│   ├── TokenizerError    a tokenizer file or chat template
│   ├── ModelError        a model directory
│   ├── RunError          a run directory: missing, locked, or different from the profile
│   └── MissingExtraError an optional package is needed
└── DeviceError           exit code 3: a device that is absent, or memory that does not suffice
"""

from collections.abc import Sequence


class WorkbenchError(Exception):
    """Something a person can fix, said as *where: what is wrong; what to do*.

    Args:
        where: the file, key, command or place.
        problem: what is wrong, with the value.
        remedy: what to do about it; may be empty where the problem says it all.
    """

    exit_code = 1

    def __init__(self, where: str, problem: str, remedy: str = "") -> None:
        self.where, self.problem, self.remedy = where, problem, remedy
        super().__init__(f"{where}: {problem}" + (f"; {remedy}" if remedy else ""))


class UsageError(WorkbenchError):
    """A command line, file or folder that cannot be used as given."""

    exit_code = 2


class ProfileError(UsageError):
    """Every problem of one profile, in one message.

    Args:
        where: the profile's path or name.
        problems: one line each, `key: what is wrong, with the value; what to do`.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(where, self.problems[0])
        else:
            listed = "".join(f"\n  - {problem}" for problem in self.problems)
            super().__init__(where, f"{len(self.problems)} problems{listed}")


class DataError(UsageError):
    """Training data that cannot be read or used."""


class TokenizerError(UsageError):
    """A tokenizer file or a chat template that cannot be used."""


class ModelError(UsageError):
    """A directory that does not hold a model we can load."""


class RunError(UsageError):
    """A run directory that is missing, locked, or different from the profile."""


class MissingExtraError(UsageError):
    """An optional package is needed.

    Args:
        where: what wanted it.
        package: the import name that failed.
        extra: the extra of this project that brings it.
    """

    def __init__(self, where: str, package: str, extra: str) -> None:
        super().__init__(where, f"needs the package {package}", f'install it with: pip install -e ".[{extra}]"')


class DeviceError(WorkbenchError):
    """A device that is absent, or memory that does not suffice."""

    exit_code = 3
