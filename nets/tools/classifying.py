"""What is in a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data import cifar10, images
from data.transform import read_mean
from nets.model import load
from nets.net import Net
from nets.tools import flags
from protos import files
from protos.errors import CaffeError

SHOWN = 5  # classes


@torch.no_grad()
def classification(argv: Sequence[str] | None = None) -> int:
    """Say which five classes an image most likely shows."""
    made = flags.parser(
        classification,
        ("DEPLOY.PROTOTXT", "a net with one input and one output"),
        ("NETWORK.CAFFEMODEL", "its weights"),
        ("MEAN.BINARYPROTO", "the mean image, of which the mean of each channel is taken away"),
        ("LABELS.TXT", "the name of a class in each line"),
        ("IMG.JPG", "the image"),
    )
    model, weights, mean, labels, image = vars(flags.parse(made, argv)).values()
    net = load(files.find(model), weights)
    names = files.decoded(files.read(labels)).splitlines()
    scores = _score(net, Path(mean), Path(image))
    if len(names) != len(scores):
        raise CaffeError(f"{labels}: {len(names)} labels, but the net has {len(scores)} outputs")
    print(f"---------- Prediction for {image} ----------")
    for best in scores.argsort(descending=True, stable=True)[:SHOWN].tolist():
        print(f'{scores[best]:.4f} - "{names[best]}"')
    return 0


def _score(net: Net, mean: Path, image: Path) -> Tensor:
    """The output of *net* for one *image*, at the size of its input, less the *mean* of each channel."""
    if len(net.graph.inputs) != 1 or len(net.graph.outputs) != 1:
        said = f"{len(net.graph.inputs)} inputs and {len(net.graph.outputs)} outputs"
        raise CaffeError(f"net '{net.graph.name}' has {said} where one of each is needed")
    ((name, shape),) = net.graph.inputs.items()
    if shape is None or len(shape) != 4 or shape[1] not in (1, 3):
        raise CaffeError(f"net '{net.graph.name}': '{name}' is no image of 1 or 3 channels")
    means = read_mean(mean)
    if len(means) != shape[1]:
        raise CaffeError(f"{mean}: {len(means)} channels where the net's input has {shape[1]}")
    pixels = images.resize(with_channels(images.decode(image, None), shape[1]), *shape[2:])
    values = pixels.astype(np.float32) - means.mean((1, 2), np.float64).astype(np.float32)[:, None, None]
    (out,) = net.forward(**{name: torch.from_numpy(values)[None]}).values()
    return out[0].flatten()


def with_channels(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """C x H x W pixels, as they are encoded, with 1 or 3 channels; an image is not turned as its camera was."""
    if count == 1 and len(pixels) > 1:
        pixels = cifar10.to_gray(pixels[None, [2, 1, 0]])[0]
    return pixels.repeat(3, 0) if len(pixels) < count else pixels[:count]
