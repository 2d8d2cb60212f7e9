"""Freed memory stays with the process."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt in <malloc.h>
_NEVER = 2**30  # bytes


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to a gigabyte a block, where it can be told to (glibc).

    It would give large blocks back to the system, and get them again page by page, each one cleared: the blobs of a
    net, in every iteration.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _NEVER)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
