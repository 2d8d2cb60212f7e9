"""Whether the numbers in a tensor may be looked at: not where a GPU would be waited for, or a pass is recorded."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_state = {"recording": False}


@contextmanager
def recording() -> Iterator[None]:
    """While this lasts a pass is recorded, to be run again on other numbers."""
    _state["recording"] = True
    try:
        yield
    finally:
        _state["recording"] = False


def is_recording() -> bool:
    """Whether a pass is recorded."""
    return _state["recording"]


def readable(values: Tensor) -> bool:
    """Whether *values* can be looked at now, and there are any."""
    followed = _state["recording"] or torch.compiler.is_compiling()
    return values.device.type == "cpu" and not followed and values.numel() > 0
