"""Tokenizers that data can be looked at with: those of the runs, newest first."""

from dataclasses import dataclass, field
from pathlib import Path

from workbench.errors import ProfileError
from workbench.runs.store import RunDirectory, list_runs


@dataclass(frozen=True)
class TokenizerChoice:
    """A run's tokenizer.

    Args:
        lengths: tokens of a row by the kind of stage, as the run's profile has them.
    """

    run: str
    path: Path
    lengths: dict[str, int] = field(default_factory=dict, hash=False)


def find_tokenizers(workspace: Path) -> list[TokenizerChoice]:
    """The tokenizers of all runs that have one, the latest run first."""
    found = []
    for summary in list_runs(workspace):
        run = RunDirectory(summary.path)
        if (run.tokenizer_path / "tokenizer.json").is_file():
            found.append(TokenizerChoice(run.name, run.tokenizer_path, _lengths(run)))
    return found


def _lengths(run: RunDirectory) -> dict[str, int]:
    from workbench.profile import parse_profile

    try:
        profile = parse_profile(run.profile_path.read_text(encoding="utf-8"), run.name)
    except (OSError, UnicodeDecodeError, ProfileError):
        return {}  # a run of another version; its tokenizer can still be used
    return {stage.kind: stage.sequence_length for stage in profile.stage}
