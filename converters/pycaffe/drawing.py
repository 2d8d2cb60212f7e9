"""``caffe.draw``: the picture of a net, which is that of ``python -m nets.draw``."""

import importlib
import os
from pathlib import Path
from typing import Any

from nets import draw
from nets.graph import build
from protos import files
from protos.errors import CaffeError
from protos.schema import TRAIN, LayerParameter, NetParameter
from protos.upgrade import upgrade_net


def draw_net_to_file(
    caffe_net: NetParameter,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    *_: Any,
) -> None:
    """Write the picture of the net to *filename*, in the format of its suffix, any of Graphviz's.

    *rankdir*: ``LR``, from left to right, ``TB`` or ``BT``. Raises CaffeError where pygraphviz is missing.
    """
    path = Path(filename)
    content = draw_net(caffe_net, rankdir, path.suffix[1:], phase)
    with files.replacing(path) as file:
        file.write(content)


def draw_net(caffe_net: NetParameter, rankdir: str, ext: str = "png", phase: int | None = None, *_: Any) -> bytes:
    """The picture in the format *ext*."""
    return draw.rendered(_dot(caffe_net, rankdir, phase), "dot" if ext == "raw" else ext)


def get_pydot_graph(
    caffe_net: NetParameter, rankdir: str, label_edges: bool = True, phase: int | None = None, *_: Any
) -> Any:
    """The picture as a graph of the package pydot. Raises CaffeError where it is not installed."""
    try:
        pydot = importlib.import_module("pydot")  # a dependency of scripts alone
    except ImportError:
        raise CaffeError("get_pydot_graph needs the package pydot: pip install pydot, or call draw_net") from None
    return pydot.graph_from_dot_data(_dot(caffe_net, rankdir, phase).to_string())[0]


def _dot(caffe_net: NetParameter, rankdir: str, phase: int | None) -> Any:
    current = NetParameter()
    current.CopyFrom(upgrade_net(caffe_net))
    tops = {top for layer in current.layer for top in layer.top}
    for bottom in dict.fromkeys(bottom for layer in current.layer for bottom in layer.bottom):
        if bottom not in tops:  # a part of a net is drawn, too
            current.layer.insert(0, LayerParameter(name=bottom, type="Input", top=[bottom]))
    graph = build(current, "TRAIN" if phase == TRAIN else "TEST", allow_python=True, allow_foreign=True)
    made = draw.to_dot(graph, {})
    made.graph_attr["rankdir"] = rankdir
    return made
