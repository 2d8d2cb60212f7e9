"""Files and folders under temporary names, beside those whose place they will take."""

import contextlib
import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_SUFFIX = ".tmp"


@contextlib.contextmanager
def beside(target: Path, folder: bool = False) -> Iterator[Path]:
    """A new, empty file or *folder*, ``.NAME.xxxxxxxx.tmp`` beside *target*, for a rename to *target*.

    What has that name when the block ends is removed. It is locked meanwhile, so that what killed processes
    left behind can be told from what others are writing: the former, of this *target*, is removed first.
    Raises OSError.
    """
    _sweep(target)
    path, lock = _claim(target, folder)
    try:
        yield path
    finally:
        remove(path)
        _unlock(lock)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two files or folders at one stroke; False, and nothing is done, where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), swap) == 0


def _claim(target: Path, folder: bool) -> tuple[Path, int | None]:
    while True:
        if folder:
            name = tempfile.mkdtemp(_SUFFIX, _prefix(target), target.parent)
        else:
            descriptor, name = tempfile.mkstemp(_SUFFIX, _prefix(target), target.parent)
            os.close(descriptor)
        path = Path(name)
        lock = _lock(path, wait=True)
        if path.exists():
            return path, lock
        _unlock(lock)  # another process swept it away before it was locked


def _prefix(target: Path) -> str:
    return f".{target.name[:100]}."


def _sweep(target: Path) -> None:
    name = re.compile(re.escape(_prefix(target)) + "[a-z0-9_]{8}" + re.escape(_SUFFIX))
    with contextlib.suppress(OSError):  # who cannot list a folder may still write to it
        for path in filter(lambda path: name.fullmatch(path.name), target.parent.iterdir()):
            lock = _lock(path, wait=False)
            if lock is not None:
                remove(path)
                _unlock(lock)


def _lock(path: Path, wait: bool) -> int | None:
    """Lock *path* until the descriptor is closed; None where another process has it, or there are no locks."""
    if sys.platform == "win32":
        return None
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        _unlock(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
