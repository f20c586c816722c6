"""Lines for people: what a mixture of experts adds to them, and dense models do without."""

from workbench.events import StageStarted, StepFinished
from workbench.narration import experts, narrate

STARTED = {
    "stage": "pretrain",
    "kind": "pretrain",
    "step": 0,
    "steps": 10,
    "parameters": 198_000_000,
    "trained_parameters": 198_000_000,
    "vocab_size": 16,
    "tokens_per_step": 8,
    "flops_per_token": 1.0,
    "micro_batch_size": 1,
}
STEP = {
    "stage": "pretrain",
    "step": 3,
    "steps": 10,
    "tokens": 24,
    "seconds": 1.0,
    "loss": 2.0,
    "learning_rate": 1e-3,
    "grad_norm": 1.0,
    "tokens_per_second": 24.0,
    "mfu": None,
    "memory_bytes": 1,
    "eta_seconds": 1.0,
}


def test_a_stage_tells_what_a_token_visits_where_that_is_not_all() -> None:
    told = str(narrate(StageStarted(**STARTED, active_parameters=64_000_000)))
    assert "198M parameters, 64M of them by token" in told
    assert "by token" not in str(narrate(StageStarted(**STARTED)))


def test_a_step_tells_the_idlest_and_the_busiest_expert() -> None:
    assert "experts 5% to 70%" in str(narrate(StepFinished(**STEP, expert_load=((0.3, 0.7), (0.95 - 0.9, 0.5)))))
    assert "experts" not in str(narrate(StepFinished(**STEP)))
    assert experts(None) == ""
