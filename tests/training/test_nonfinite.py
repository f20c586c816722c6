"""A number that is none is traced to the module, the weights or the rows it came from."""

from typing import Any

import pytest
import torch

from workbench import events
from workbench.data.loader import Batch
from workbench.errors import WorkbenchError
from workbench.training.nonfinite import find_origin


def trained_batch(bench: Any) -> Batch:
    batch: Batch = bench.trainer.loader.batch(bench.trainer.position)
    return batch


def origin(bench: Any, batch: Batch, micro: int = 4) -> Any:
    trainer = bench.trainer
    return find_origin(trainer.model, trainer.passes.compute, batch, micro)


def test_a_sound_step_has_no_origin(make_bench: Any) -> None:
    bench = make_bench()
    assert origin(bench, trained_batch(bench)).place == "vanished"


@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj", "model.layers.0.self_attn.o_proj", "model.norm"])
def test_the_module_that_makes_it_is_named(make_bench: Any, name: str) -> None:
    bench = make_bench()
    module = bench.trainer.model.get_submodule(name)
    module.register_forward_hook(lambda _, __, out: out * float("inf"))
    found = origin(bench, trained_batch(bench))
    assert (found.place, found.name, found.rows) == ("forward", name, ())


def test_what_attention_makes_between_its_matrices_is_told_as_such(
    make_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    import workbench_kernels

    monkeypatch.setattr(workbench_kernels, "attention", lambda q, *_, **__: q * float("nan"))
    assert origin(bench, trained_batch(bench)).name == "model.layers.0.self_attn, before o_proj"


@pytest.mark.parametrize("micro", [4, 2, 1])
def test_the_rows_that_make_it_are_named(make_bench: Any, micro: int) -> None:
    bench = make_bench()
    batch = trained_batch(bench)
    batch.input_ids[:] = 20
    batch.input_ids[2, 3] = 200
    bench.trainer.model.model.embed_tokens.register_forward_hook(
        lambda _, given, out: torch.where((given[0] == 200)[..., None], float("inf"), out)
    )
    found = origin(bench, batch, micro)
    assert found.place == "forward" and found.name == "model.embed_tokens"
    assert found.rows == (2,)


def test_damaged_weights_are_named_before_anything_is_computed(make_bench: Any) -> None:
    bench = make_bench()
    with torch.no_grad():
        bench.trainer.model.model.layers[1].mlp.up_proj.weight[0, 0] = float("inf")
    found = origin(bench, trained_batch(bench))
    assert (found.place, found.name) == ("weights", "model.layers.1.mlp.up_proj.weight")


def test_a_gradient_that_is_not_finite_is_traced_on_its_way_back(make_bench: Any) -> None:
    bench = make_bench()
    layer = bench.trainer.model.model.layers[0]

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("inf")

    layer.register_forward_hook(lambda _, __, out: out.register_hook(overflow) and None)
    found = origin(bench, trained_batch(bench))
    assert found.place == "backward" and found.name.startswith("model.layers.0.")


def test_a_stage_that_breaks_announces_where_and_on_which_text(make_bench: Any) -> None:
    bench = make_bench(steps=6, checkpoint_every=2)
    trainer = bench.trainer
    third = trainer.loader.batch(trainer.loader.next_position(trainer.loader.next_position(trainer.position)))
    marked = third.input_ids[1].tolist()

    def break_on_it(_: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        guilty = torch.tensor([row.tolist() == marked for row in given[0]])
        return torch.where(guilty[:, None, None], float("nan"), out)

    trainer.model.model.embed_tokens.register_forward_hook(break_on_it)
    with pytest.raises(WorkbenchError, match=r"step 3: the loss is nan.*model\.embed_tokens, for row 1 of the batch"):
        trainer.run()
    told = [event for event in bench.heard if isinstance(event, events.Diagnosed)]
    assert [(event.finding, event.step, event.severity) for event in told] == [("not_finite", 3, "error")]
    assert "after 8 rows of pass 1" in told[0].cause and "row 1 begins" in told[0].cause
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
