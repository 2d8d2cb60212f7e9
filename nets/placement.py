"""Where a net runs: its device, and on a CPU the layout of its blobs."""

import torch

from data.allocation import keep_freed_memory
from nets.layers.convolution import Convolution
from nets.net import Net


def place(net: Net, device: torch.device) -> Net:
    """*net* on *device*. On a CPU its weights lie channels last, as its library likes best where that is used."""
    net.to(device)
    if device.type == "cpu":
        keep_freed_memory()
        for node, layer in net.nodes:
            of_volumes = any(weight.dim() == 5 for weight in layer.parameters())  # torch would refuse to move them
            as_it_is = isinstance(layer, Convolution) and not layer.likes_channels_last(net.shapes[node.bottoms[0]])
            if not (of_volumes or as_it_is):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net
