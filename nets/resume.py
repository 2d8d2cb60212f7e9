"""What the original forgets, and a resumed run needs to be the unbroken one: JSON values and bytes, by name.

Chance and the states of recurrent layers are each process's own; data cursors are the same numbers everywhere.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nets.net import Net

Extra = dict[str, Any]


def chance(device: torch.device) -> Extra:
    """The states of the random generators that layers on *device* draw from."""
    extra: Extra = {"random": torch.get_rng_state().numpy().tobytes()}
    if device.type == "cuda":
        extra["cuda_random"] = torch.cuda.get_rng_state(device).numpy().tobytes()
    return extra


def restore_chance(extra: Mapping[str, Any], device: torch.device) -> None:
    """Set the random generators to what ``chance`` gave."""
    torch.set_rng_state(_as_state(extra["random"]))
    if device.type == "cuda" and "cuda_random" in extra:
        torch.cuda.set_rng_state(_as_state(extra["cuda_random"]), device)


def carried(net: Net) -> Extra:
    """What the layers of *net* carry to the next pass: by layer, a list of shapes and float32 values."""
    return {node.name: [_packed(state) for state in layer.carried] for node, layer in net.nodes if layer.carried}


def restore_carried(net: Net, extra: Mapping[str, Any]) -> None:
    """Let the layers of *net* go on from what ``carried`` gave; those that it does not name begin anew."""
    for node, layer in net.nodes:
        layer.carried = tuple(_unpacked(state) for state in extra.get(node.name, ()))


def _packed(state: Tensor) -> Extra:
    return {"shape": list(state.shape), "values": state.to("cpu", torch.float32).numpy().tobytes()}


def _unpacked(packed: Mapping[str, Any]) -> Tensor:
    return torch.from_numpy(np.frombuffer(packed["values"], np.float32).copy()).reshape(packed["shape"])


def _as_state(packed: bytes) -> Tensor:
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)
