"""Where a net runs: its device, the layout of its blobs, and on a CPU the memory that they get."""

import ctypes
from contextlib import suppress

import torch

from nets.layers.convolution import Convolution
from nets.net import Net

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt in <malloc.h>
_NEVER = 2**30  # bytes


def place(net: Net, device: torch.device) -> Net:
    """*net* on *device*. On a CPU its weights lie channels last, as its library likes best where that is used."""
    net.to(device)
    if device.type == "cpu":
        keep_freed_memory()
        for node, layer in net.nodes:
            of_volumes = any(weight.dim() == 5 for weight in layer.parameters())  # torch would refuse to move them
            if not (of_volumes or (isinstance(layer, Convolution) and layer.is_tiny(net.shapes[node.bottoms[0]]))):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to a gigabyte a block, where it can be told to (glibc).

    It would give large blocks back to the system, and get them again page by page, each one cleared: the blobs of a
    net, in every iteration.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _NEVER)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
