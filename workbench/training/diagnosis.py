"""Why a stage cannot go on, in words that say what to do."""

from workbench.errors import WorkbenchError


def not_finite(stage: str, step: int, loss: float, grad_norm: float, precision: str) -> WorkbenchError:
    """What is told of a loss or a gradient that is no number; step `step` (from 1) was not taken."""
    remedy = (
        "go on from the last checkpoint with a lower rate (llm-workbench resume RUN --learning-rate VALUE), "
        "or lower learning_rate or raise warmup and start the stage again"
    )
    if precision == "fp16":
        remedy += "; what float16 cannot hold fits into bf16 and fp32: run.precision"
    return WorkbenchError(
        f"stage {stage}, step {step}",
        f"the loss is {loss} and the gradient norm {grad_norm}, so this step was not taken",
        remedy,
    )
