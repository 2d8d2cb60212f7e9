"""The processes that train one net together, as ``torchrun`` starts them: each with a share of the records."""

import os
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nets.net import Net

# Whether each pass begins with rank 0's buffers; PyTorch 2.13 has a new name for it.
SYNC_BUFFERS = "forward_sync_buffers"
if SYNC_BUFFERS not in signature(DistributedDataParallel).parameters:
    SYNC_BUFFERS = "broadcast_buffers"


class WithLoss(nn.Module):
    """A net as a module from a batch to its outputs and its loss."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The outputs and the loss of *batch*."""
        return self.net.forward_with_loss(batch)


@dataclass(frozen=True)
class Ranks:
    """This process's number among ``world_size``. Gradients are averaged over all; rank 0 logs, tests and saves."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> "Ranks":
        """The ranks that ``torchrun`` has set in the environment; one alone where it has not."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return cls(*(int(os.environ[name]) for name in names)) if "WORLD_SIZE" in os.environ else cls()

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    @property
    def together(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1

    def join(self, device: torch.device) -> None:
        """Meet the others."""
        if self.together and not dist.is_initialized():
            # Beside NCCL for the gradients, gloo agrees on what to do without waiting for a GPU.
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")

    def leave(self) -> None:
        """Part from the others, once all are done: a connection that closes under another's feet can end it.

        They meet in a group of their own, whose threads are joined with it. Those of the group that
        DistributedDataParallel keeps are not, and one that still lets go of the tensor of a barrier while Python ends
        ends in "terminate called".
        """
        if self.together and dist.is_initialized():
            parting = dist.new_group(backend="gloo")
            dist.barrier(parting)
            dist.destroy_process_group(parting)
            del parting
            dist.destroy_process_group()

    def spread(self, net: Net, device: torch.device) -> nn.Module:
        """*net* with its loss, such that a backward pass leaves the mean gradient of all ranks everywhere."""
        module = WithLoss(net)
        if not self.together:
            return module
        ids = [device.index] if device.type == "cuda" else None
        options: dict[str, Any] = {SYNC_BUFFERS: False, "find_unused_parameters": _has_idle_blobs(net)}
        return DistributedDataParallel(module, ids, **options)

    def agreed_seed(self, seed: int | None) -> int | None:
        """*seed*, or one of rank 0's that all take, so that shuffles are the same everywhere."""
        if seed is not None or not self.together:
            return seed
        drawn = torch.tensor([torch.seed() % 2**31])
        dist.broadcast(drawn, 0)
        return int(drawn)

    def agreed(self, wish: int) -> int:
        """The greatest *wish* of all ranks."""
        if not self.together:
            return wish
        wishes = torch.tensor([wish])
        dist.all_reduce(wishes, dist.ReduceOp.MAX)
        return int(wishes)

    def gathered(self, value: Any) -> list[Any]:
        """The *value* of each rank in their order, for rank 0; for the others only their own."""
        if not self.together:
            return [value]
        values = [value] * self.world_size
        dist.gather_object(value, values if self.is_first else None)
        return values if self.is_first else [value]


def _has_idle_blobs(net: Net) -> bool:
    """Whether some layer that learns gets no gradient: DistributedDataParallel has to look for such in each pass."""
    wanted: set[str] = set()
    idle = False
    for node, layer in reversed(net.nodes):
        if any(node.loss_weights) or wanted & set(node.tops):
            down = net.detached.get(node.name, (True,) * len(node.bottoms))
            wanted -= set(node.tops)
            wanted |= {name for name, keep in zip(node.bottoms, down, strict=True) if keep}
        elif any(blob.requires_grad for blob in layer.blobs):
            idle = True
    return idle
