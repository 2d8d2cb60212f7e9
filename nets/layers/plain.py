"""Whether an operator runs on the CPU as it is called, so that another one may take its place."""

import torch
from torch import Tensor


def is_plain(*values: Tensor | None) -> bool:
    """Whether *values*, of any shapes, are in float32 on a CPU, and nothing casts, compiles or traces what is done."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return False
    for value in values:
        if value is not None and (value.dtype != torch.float32 or value.device.type != "cpu"):
            return False
    return not torch.is_autocast_enabled("cpu")
