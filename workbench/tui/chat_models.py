"""The models of the Chat screen: the one in training among those on the disk, and how each becomes a session."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.language import tr
from workbench.tui.bridge import Bridge
from workbench.tui.widgets.model_list import LIVE, ModelChoice, find_models, models_of

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession


def all_choices(bridge: Bridge) -> list[ModelChoice]:
    """Everything that can be talked to, the model in training first."""
    return [*_in_training(bridge), *find_models(bridge.workspace)]


def choices_of(subject: Path, bridge: Bridge) -> list[ModelChoice]:
    """The models of a run (the one in training first), or that of a folder."""
    choices = list(models_of(subject)) if (subject / "profile.toml").is_file() else []
    active = bridge.active
    if active is not None and str(active.state.directory) == str(subject):
        choices = [*_in_training(bridge), *choices]
    if not choices and any((subject / name).is_file() for name in ("config.json", "adapter_config.json")):
        choices = [ModelChoice(subject.name, "", subject)]
    return choices


def live_choice(bridge: Bridge) -> ModelChoice:
    """The model in training."""
    return ModelChoice(bridge.active.state.name if bridge.active is not None else "", LIVE, None)


def newest_choice(bridge: Bridge) -> ModelChoice | None:
    """The model in training, or what it became when the run is over; None where there is neither."""
    active = bridge.active
    if active is None or not active.finished:
        return live_choice(bridge) if active is not None else None
    directory = active.state.directory
    return next(models_of(directory), None) if directory is not None and directory.is_dir() else None


def open_session(choice: ModelChoice, bridge: Bridge) -> "ChatSession":
    """Bring a model into memory; the first time this imports torch, which takes seconds.

    Raises:
        WorkbenchError: it holds no model, or nothing is in training.
    """
    from workbench.inference.chat import load_session

    if choice.directory is not None:
        return load_session(choice.directory, name=choice.label)
    job: Any = bridge.active.job if bridge.active is not None else None
    if job is None:
        raise WorkbenchError("chat", "no run is in training", "choose a model from the list")
    session: ChatSession = job.chat_session()
    session.name = _name_in_training(choice, bridge)
    return session


def run_directory(bridge: Bridge) -> Path | None:
    """The folder of the run in training."""
    directory = bridge.active.state.directory if bridge.active is not None else None
    return Path(directory) if directory is not None else None


def _in_training(bridge: Bridge) -> list[ModelChoice]:
    return [live_choice(bridge)] if bridge.active is not None and not bridge.active.finished else []


def _name_in_training(choice: ModelChoice, bridge: Bridge) -> str:
    """The run's name, and how far it was."""
    stage = bridge.active.state.stage if bridge.active is not None else None
    if stage is None:
        return choice.label
    return tr("{run} in training, {stage} about step {step:,}", run=choice.run, stage=stage.name, step=stage.step)
