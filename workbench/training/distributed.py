"""One model trained by several ranks: each holds all of it and gradients are added up (ddp), or a part (fsdp).

Nothing is averaged over ranks: a step's loss is divided by the units of the whole step before the backward pass, so
that gradients only need to be added, as those of micro-batches are.
Source: Li et al. 2020, arXiv:2006.15704 (DDP); Rajbhandari et al. 2020, arXiv:1910.02054, and Zhao et al. 2023,
arXiv:2304.11277 (FSDP).
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workbench.data.loader import Batch
from workbench.data.order import mix
from workbench.errors import DeviceError
from workbench.model.routing import RoutingSums
from workbench.model.transformer import Transformer
from workbench.training.objectives import Compute
from workbench.training.ranks import Ranks
from workbench.training.sharded import whole

Kind = Literal["ddp", "fsdp"]
T = TypeVar("T")


class TrainPass:
    """A forward pass whose backward pass leaves the gradients of all ranks, added up."""

    def __init__(self, compute: Compute, joint: Any = None) -> None:
        self._compute, self._joint = compute, joint

    def __call__(self, model: Transformer, part: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As the objective's own call."""
        return self._compute(model, part) if self._joint is None else self._joint(part)

    def adding_up(self, last: bool) -> AbstractContextManager[None]:
        """Inside, a micro-batch runs: gradients of ddp are kept here until the step's last one."""
        return nullcontext() if self._joint is None or last else self._joint.no_sync()


class Spread:
    """How the ranks train one model; without arguments by one process, which costs nothing.

    Args:
        device: of this rank.
        seed: of the run.
    """

    def __init__(
        self,
        ranks: Ranks | None = None,
        kind: Kind = "ddp",
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.kind, self.device, self._seed = kind, torch.device(device), seed
        self._group: Any = None  # for what lies on the device; the ranks themselves talk by gloo
        if not self.ranks.alone:
            self._group = dist.new_group(backend="nccl") if self.device.type == "cuda" else dist.group.WORLD
        self._plain: Transformer | None = None

    @property
    def sharded(self) -> bool:
        """Whether each rank holds a part of the model only."""
        return self.kind == "fsdp" and not self.ranks.alone

    @property
    def loading_device(self) -> torch.device:
        """Where a model is put together before `place`: one that a device cannot hold is cut on the CPU."""
        return torch.device("cpu") if self.sharded else self.device

    @property
    def validating(self) -> Ranks:
        """The ranks that share a validation: all that hold the whole model."""
        return Ranks() if self.sharded else self.ranks

    def place(self, model: Transformer) -> None:
        """Cut `model` into the parts of the ranks, block by block, where it is to be sharded; before its optimizer."""
        if not self.sharded:
            return
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        self._plain = _without_weights(model) if self.ranks.leads else None
        mesh = DeviceMesh.from_group(self._group, self.device.type)
        for module in (*model.model.layers, model):
            fully_shard(module, mesh=mesh)
            _add_not_average(module)
        for name in ("token_losses", "with_output"):  # by which training enters, not by forward
            register_fsdp_forward_method(model, name)

    def train_pass(self, model: Transformer, compute: Compute) -> TrainPass:
        """`compute` as a step makes it; what FSDP gathers is seen to by the model itself."""
        if self.ranks.alone or self.sharded:
            return TrainPass(compute)
        joint = nn.parallel.DistributedDataParallel(
            _Forward(model, compute), process_group=self._group, broadcast_buffers=False, gradient_as_bucket_view=True
        )
        joint.register_comm_hook(self._group, _sum_bucket)
        return TrainPass(compute, joint)

    def reseed(self, step: int) -> None:
        """Draw what this rank drops in a step from the step's number; rank 0 draws as a single process does."""
        if not self.ranks.leads:
            torch.manual_seed(mix(self._seed, step, self.ranks.rank))

    def added_up(self, sums: RoutingSums) -> RoutingSums:
        """The routing of all ranks, without gradient."""
        if self.ranks.alone:
            return sums
        parts = (sums.tokens, sums.counts, sums.probabilities, sums.squared_logits)
        flat = torch.cat([part.detach().float().flatten() for part in parts])
        dist.all_reduce(flat, group=self._group)
        pieces = flat.split([part.numel() for part in parts])
        return RoutingSums(*(piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)))

    def whole(self, model: Transformer, device: torch.device | str | None = None) -> Transformer | None:
        """The model with all its weights at rank 0, itself or gathered to `device`; None at the others."""
        if not self.sharded:
            return model if self.ranks.leads else None
        state = {}
        for name, tensor in model.state_dict().items():
            gathered = whole(tensor.detach())
            if self._plain is not None:
                state[name] = gathered.to(device or self.device)
        if self._plain is None:
            return None
        plain = copy.deepcopy(self._plain)
        plain.load_state_dict(state, assign=True)
        return plain.train(model.training)

    def looked_at(self, model: Transformer, look: Callable[[Transformer], T]) -> T:
        """What rank 0 makes of the whole model, told to all."""
        gathered = self.whole(model)

        def work() -> T:
            assert gathered is not None, "only rank 0 works"
            return look(gathered)

        return self.ranks.led(work)


class _Forward(nn.Module):
    """The call of an objective as a module, which is what DDP takes."""

    def __init__(self, model: Transformer, compute: Compute) -> None:
        super().__init__()
        self.model, self._compute = model, compute

    def forward(self, part: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self._compute(self.model, part)


def _sum_bucket(group: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """DDP divides by the number of ranks unless it is told what to do."""
    work = dist.all_reduce(bucket.buffer(), group=group, async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def _add_not_average(module: Any) -> None:
    for name, value in (("set_gradient_divide_factor", 1.0), ("set_force_sum_reduction_for_comms", True)):
        if not hasattr(module, name):
            version = torch.__version__
            raise DeviceError("run.parallel", f"'fsdp' needs a newer PyTorch than {version}", "update it, or use 'ddp'")
        getattr(module, name)(value)


def _without_weights(model: Transformer) -> Transformer:
    """A copy of the modules of `model` that takes no memory; what is no parameter is shared."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for each in model.parameters():
        memo[id(each)] = nn.Parameter(each.detach().to("meta"), requires_grad=each.requires_grad)
    return copy.deepcopy(model, memo)
