"""``caffe.draw``: the picture of a net."""

import os
from pathlib import Path
from typing import Any

from nets import draw
from nets.graph import build
from protos.schema import TRAIN, NetParameter


def draw_net_to_file(
    caffe_net: NetParameter,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    *_: Any,
) -> None:
    """Write the picture of the net to *filename*, in the format of its suffix.

    It is the picture of ``python -m nets.draw``, from top to bottom whatever *rankdir* says. Raises CaffeError where
    graphviz is missing.
    """
    draw.draw(build(caffe_net, "TRAIN" if phase == TRAIN else "TEST", allow_python=True), {}, Path(filename))
