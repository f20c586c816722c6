"""The user's folders: configuration, cache, state."""

import os
from pathlib import Path

import platformdirs

APPLICATION = "llm-workbench"


def _folder(kind: str, default: str) -> Path:
    home = os.environ.get("LLM_WORKBENCH_HOME")
    return Path(home).expanduser() / kind if home else Path(default)


def config_folder() -> Path:
    """Settings and key maps; LLM_WORKBENCH_HOME overrides this and the others."""
    return _folder("config", platformdirs.user_config_dir(APPLICATION, appauthor=False))


def cache_folder() -> Path:
    """What can be made or fetched again."""
    return _folder("cache", platformdirs.user_cache_dir(APPLICATION, appauthor=False))


def state_folder() -> Path:
    """Logs, and where the screens were left."""
    return _folder("state", platformdirs.user_state_dir(APPLICATION, appauthor=False))


def fetched_folder() -> Path:
    """Data sets that `data fetch` brought."""
    return cache_folder() / "data"


def models_folder() -> Path:
    """Models that `import` brought."""
    return cache_folder() / "models"


def references_folder() -> Path:
    """The user's own curves of what is normal."""
    return config_folder() / "curves"


def tokenised_folder() -> Path:
    """Token shards, by fingerprint."""
    return cache_folder() / "tokens"


def file_hashes() -> Path:
    """The hashes of large files, by size and time of change."""
    return cache_folder() / "hashes.json"
