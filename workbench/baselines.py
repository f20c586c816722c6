"""The stages that a profile asks for without writing them out: students that learn without their teacher."""

from workbench.config import BASELINE_SUFFIX, Profile, StageSettings


def baseline_name(stage: str) -> str:
    """What the stage is called that trains a distill stage's student without the teacher."""
    return f"{stage}{BASELINE_SUFFIX}"


def with_baselines(profile: Profile) -> Profile:
    """`profile` with a stage before each distill stage that asks to be compared with one.

    It is the same stage with an alpha of 1: the same student, steps, data and seed, and of the loss the data alone. The
    teacher only measures it.
    """
    stages, measured = list[StageSettings](), list(profile.evaluate.stages)
    for stage in profile.stage:
        if stage.distill is not None and stage.distill.baseline:
            plain = stage.distill.model_copy(update={"alpha": 1.0, "baseline": False})
            stages.append(stage.model_copy(update={"name": baseline_name(stage.name), "distill": plain}))
            measured += [baseline_name(stage.name)] if stage.name in measured else []
        stages.append(stage)
    evaluate = profile.evaluate.model_copy(update={"stages": measured})
    return profile.model_copy(update={"stage": stages, "evaluate": evaluate})


def compared_with(profile: Profile, stage: StageSettings) -> str | None:
    """The stage that `stage` is the baseline of, in a profile with its baselines; None for every other."""
    wanting = (each.name for each in profile.stage if each.distill is not None and each.distill.baseline)
    return next((name for name in wanting if baseline_name(name) == stage.name), None)
