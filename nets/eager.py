"""Functions that torch.compile leaves alone."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch


@cache
def eager(function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, as a break in compiled graphs. Ask for it when it is needed: the first call loads torch's compiler,
    which takes seconds.
    """
    disabled: Callable[..., Any] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return disabled
