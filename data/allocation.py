"""How this process gets the memory of blobs and images."""

import ctypes
import os
from contextlib import suppress

SETTINGS = frozenset({"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"})
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt in <malloc.h>
_NEVER = 2**30  # bytes
_MOST = 2**25  # that older ones take for the second, and they refuse more


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to a gigabyte a block (32 MB of an older one), where it is glibc.

    It would give large blocks back to the system, and get them again page by page, each one cleared: the blobs of a
    net in every iteration, the pixels of every image. Where the environment has glibc's ``MALLOC_MMAP_THRESHOLD_`` or
    ``MALLOC_TRIM_THRESHOLD_``, nothing is done.
    """
    if SETTINGS & os.environ.keys():
        return
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        if not library.mallopt(_MMAP_THRESHOLD, _NEVER):
            library.mallopt(_MMAP_THRESHOLD, _MOST)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
