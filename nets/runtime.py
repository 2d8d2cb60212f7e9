"""Exported models in onnxruntime, to be compared with nets; an optional dependency."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.errors import CaffeError

Floats = NDArray[np.float32]


class Session:
    """A model that runs. ``inputs``: name -> sizes, a text where one is left open; ``about``: its metadata."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs: dict[str, tuple[int | str | None, ...]] = {
            one.name: tuple(one.shape) for one in session.get_inputs()
        }
        self.outputs: list[str] = [one.name for one in session.get_outputs()]
        self.about: dict[str, str] = session.get_modelmeta().custom_metadata_map

    def run(self, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        """The outputs by name. Raises CaffeError for inputs that the model does not take."""
        if inputs.keys() != self.inputs.keys():
            raise CaffeError(f"the model's inputs are {', '.join(self.inputs)}; given: {', '.join(inputs) or 'none'}")
        try:
            return dict(zip(self.outputs, self._session.run(None, dict(inputs)), strict=True))
        except Exception as error:  # onnxruntime's own classes, which have no common base
            raise CaffeError(f"the model cannot be run: {_one_line(error)}") from error


def open_session(path: str | os.PathLike[str], threads: int = 0) -> Session:
    """The model at *path* on the CPU, with *threads* (0: one for each core).

    Raises CaffeError where onnxruntime is not installed or the model cannot be loaded.
    """
    try:
        import onnxruntime  # noqa: PLC0415  # an optional dependency
    except ImportError:
        raise CaffeError("running ONNX models needs the onnxruntime package: pip install onnxruntime") from None
    if not Path(path).is_file():
        raise CaffeError(f"{os.fspath(path)}: no such model")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return Session(onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime's own classes, which have no common base
        raise CaffeError(f"{os.fspath(path)}: onnxruntime cannot load it: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
