"""``theano.tensor.signal``: pooling."""

from types import SimpleNamespace
from typing import Any

from converters.lasagne import windows
from converters.lasagne.theano.tensor.calls import lazy
from converters.lasagne.theano.variable import as_tensor


@lazy
def pool_2d(
    input: Any,
    ws: Any = None,
    ignore_border: bool | None = None,
    stride: Any = None,
    pad: Any = (0, 0),
    mode: str = "max",
    ds: Any = None,
    st: Any = None,
    padding: Any = None,
) -> Any:
    """The pooled windows of the last two axes; *ds*, *st* and *padding* are older names."""
    size = tuple(ws if ws is not None else ds)
    step = stride if stride is not None else st
    border = tuple(padding if padding is not None else pad)
    return windows.pool(as_tensor(input), size, tuple(step or size), border, bool(ignore_border), mode)


downsample = SimpleNamespace(max_pool_2d=pool_2d, pool_2d=pool_2d)
pool = SimpleNamespace(pool_2d=pool_2d)
