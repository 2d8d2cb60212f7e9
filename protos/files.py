"""Files read and written whole: no half-written file is ever left under its final name."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from protos.errors import CaffeError
from protos.temporary import beside


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of the file at *path*; CaffeError where it is missing, a folder or not readable."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CaffeError(f"{os.fspath(path)}: cannot be read: {reason(error)}") from error


def decoded(content: bytes) -> str:
    """*content* as UTF-8; where it is of another encoding each byte as one character, so that equal ones stay equal."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file to write, which takes the place of *path* when the block ends without an exception.

    It is written under a temporary name in the same folder, then flushed to the disk and renamed. After an
    exception of any kind, KeyboardInterrupt too, the temporary file is gone and *path* is as it was.
    An OSError, such as a full disk, becomes a CaffeError that names *path*. The ``name`` of the file is the
    temporary one, for a library that wants to open it by itself.

    >>> import tempfile; folder = tempfile.mkdtemp()
    >>> with replacing(folder + "/a.txt") as f:
    ...     _ = f.write(b"whole")
    >>> read(folder + "/a.txt")
    b'whole'
    """
    target = Path(os.path.realpath(path))  # a link stays a link: what it points at is replaced
    try:
        with beside(target) as temporary:
            temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
            with temporary.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        sync(target.parent)  # so that the rename itself lasts
    except OSError as error:
        raise CaffeError(f"{os.fspath(path)}: cannot be written: {reason(error)}") from error


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Bring what is written to a file, or the names in a folder, to the disk, where the system can do that."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def reason(error: OSError) -> str:
    """What *error* says, on one line: the system's own words where it has a number, whatever a library adds."""
    return os.strerror(error.errno).lower() if error.errno else " ".join(str(error).split())


def find(path: str | os.PathLike[str], near: str | os.PathLike[str] | None = None) -> Path:
    """Where the file *path* is: as it says, beside the file *near* that names it, or among the shipped ones.

    Shipped are the prototxts under ``protos/``. A path found nowhere comes back as it is, for its reader to
    complain of.
    """
    given = Path(path)
    places = [given]
    if near is not None:
        places += [Path(near).parent / given, Path(near).resolve().parent / given]  # of a link, and of its target
    if given.parts[:1] == ("protos",):
        places.append(Path(__file__).parent.joinpath(*given.parts[1:]))
    return next((place for place in places if place.exists()), given)
