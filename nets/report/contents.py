"""What a report says: plain data, and the paths of the files that hold the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from platform import machine as architecture
from platform import python_version

import torch

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Figure:
    """A final figure with the tutorial's beside it, both as text; ``note`` says why where it was not *reached*.

    ``reached`` is None where there is nothing to reach.
    """

    name: str
    ours: str
    tutorial: str = ""
    reached: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Weights:
    """Trained weights: the prototxt *model*, its *weights* file, and the *layer* whose filters are shown.

    Without a layer it is the first that works on images. ``channels`` is the order of an image's three
    channels in the net: "BGR" or "RGB".
    """

    model: Path
    weights: Path
    layer: str = ""
    channels: str = "BGR"


@dataclass(frozen=True)
class Report:
    """The contents of a page. What is empty or None is named there as missing.

    ``figures``: the final ones. ``graph_svg``: what ``nets.draw`` wrote, else ``graph_missing`` says why there is none.
    ``logs``: label and path of training logs in Caffe's form; ``epoch``: iterations of an epoch, 0 where unknown.
    ``predictions``: a ``.npz`` with ``probabilities`` (N x K), ``labels`` (N,) and ``class_names`` (K,) of a test set,
    and for pictures ``images`` (N x H x W, or N x H x W x 3 in RGB; uint8). ``times``: seconds of each stage.
    ``machine``: see ``machine``. ``commands``: a line of shell each. ``files``: what is there, and its path.
    """

    title: str
    description: str = ""
    figures: Sequence[Figure] = ()
    graph_svg: Path | None = None
    graph_missing: str = ""
    logs: Sequence[tuple[str, Path]] = ()
    epoch: int = 0
    predictions: Path | None = None
    weights: Weights | None = None
    times: Sequence[tuple[str, float]] = ()
    machine: Pairs = ()
    commands: Sequence[str] = ()
    files: Sequence[tuple[str, Path]] = ()


def machine(device: torch.device | str = "cpu") -> list[tuple[str, str]]:
    """Name and value of what a time depends on: the *device*, the processor, threads and versions."""
    made = torch.device(device)
    found = [("device", torch.cuda.get_device_name(made) if made.type == "cuda" else made.type.upper())]
    found += [("processor", _processor()), ("threads", str(torch.get_num_threads()))]
    if made.type == "cuda":
        found.append(("CUDA", str(torch.version.cuda)))
    return [*found, ("Python", python_version()), ("torch", torch.__version__), ("caffetorch", _version())]


def _version() -> str:
    try:
        return metadata.version("caffetorch")
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name, where Linux tells it; else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return architecture()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), architecture())
