"""What a stage knows of its earlier starts."""

from workbench.job_stage import _best_so_far


def test_a_validation_that_somebody_asked_for_decides_nothing_after_a_resume_either() -> None:
    losses = {0: 5.0, 10: 4.0, 13: 1.0, 20: 4.2, 25: 0.5, 30: 4.1}
    records = [{"step": step, "val_loss": loss} for step, loss in losses.items()]
    records += [{"step": 31, "loss": 4.0}, {"step": 32, "val_loss": None}]
    assert _best_so_far(records, evaluate_every=10) == (4.0, 2)
    assert _best_so_far(records, evaluate_every=0) == (5.0, 0)
    assert _best_so_far([], evaluate_every=10) == (None, 0)
