"""What was exported, beside the net that it came from, on random inputs."""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.emitter import Dim
from nets.net import Net
from nets.predictions import predict
from protos.errors import CaffeError, listing

TOLERANCE = 1e-4  # relative to the largest value of an output

Run = Callable[[dict[str, Tensor]], Mapping[str, NDArray[np.float32]]]


def compare(
    net: Net,
    run: Run,
    what: str | os.PathLike[str],
    sizes: Mapping[str, Sequence[Dim]],
    constants: Mapping[str, float],
    seed: int = 0,
    called: Mapping[str, str] | None = None,
) -> list[str]:
    """Run what was exported (*run*: inputs to outputs, by name) and *net* on random inputs; a line for each output.

    *sizes* are those of its inputs, no number where one is open; *constants* are inputs that have one value; *called*
    are other names for outputs. Raises CaffeError that begins with *what* where an output differs by more than 1e-4 of
    its largest value.
    """
    inputs = _random_inputs(net, sizes, constants, seed)
    wanted = predict(net, inputs)
    lines, wrong = [], []
    for name, values in run(inputs).items():
        expected = wanted[name].numpy()
        most = max(float(np.abs(expected).max(initial=0)), 1e-30)
        difference = float(np.abs(values - expected).max(initial=0))
        shown = (called or {}).get(name, name)
        lines.append(f"{shown}: {'x'.join(map(str, values.shape))}, differs by {difference / most:.1e} of {most:.3g}")
        if not difference <= TOLERANCE * most:
            wrong.append(lines[-1])
    if wrong:
        raise CaffeError(f"{os.fspath(what)} disagrees: {listing(wrong)}")
    return lines


def _random_inputs(
    net: Net, sizes: Mapping[str, Sequence[Dim]], constants: Mapping[str, float], seed: int
) -> dict[str, Tensor]:
    """Normal numbers for data, zeros and ones for labels, indices and cont."""
    chance = torch.Generator().manual_seed(seed)
    whole = {node.bottoms[i] for node, layer in net.nodes for i in layer.labels if i < len(node.bottoms)}
    inputs = {}
    for name, shape in net.graph.inputs.items():
        assert shape is not None
        declared = [
            declared if isinstance(declared, int) else size
            for size, declared in zip(shape, sizes.get(name, shape), strict=True)
        ]
        if name in constants:
            inputs[name] = torch.full(declared, constants[name])
        elif name in whole:
            inputs[name] = torch.randint(0, 2, declared, generator=chance).float()
        else:
            inputs[name] = torch.randn(declared, generator=chance)
    return inputs
