"""``theano.sandbox.cuda``: what scripts touch of it. Values are where ``config.device`` says."""

import logging
from typing import Any

from converters.lasagne.theano.config import config

log = logging.getLogger("caffe")
cuda_available = cuda_enabled = False


class CudaNdarraySharedVariable:
    """The kind of shared variables on a GPU: here they are of the one kind that there is."""


CudaNdarrayType = CudaNdarraySharedVariable


def use(device: str, *ignored: Any, **options: Any) -> None:
    """Values made from here on are on *device*, such as "gpu0", where there is one."""
    config.device = device
    if device != "cpu" and config.torch_device == "cpu":
        log.warning("theano.sandbox.cuda.use('%s'): there is no GPU here, the CPU is used", device)


def host_from_gpu(x: Any) -> Any:
    """x."""
    return x


gpu_from_host = gpu_contiguous = as_cuda_ndarray_variable = host_from_gpu
