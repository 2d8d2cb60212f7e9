"""Stores of records, LMDB and LevelDB: mappings of key bytes to Datum bytes, in the order of the keys.

Reading never writes and takes no lock: any number of processes may read a store, on read-only mounts too.
Writing goes to a temporary name; the finished store appears whole, or not at all.
"""

import os
import shutil
import tempfile
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lmdb

from data import lmdb_pages
from data.lmdb_records import Records
from protos.errors import DataError
from protos.files import reason, sync
from protos.temporary import beside, exchange, remove

BACKENDS = ("lmdb", "leveldb")
_FULL = 1 << 20  # bytes; with less room a failed write is put down to the disk
_MAGIC = b"\xde\xc0\xef\xbe"  # of an LMDB, at byte 16


def open_store(path: str | Path, backend: str | None = None, thorough: bool = False) -> "Store":
    """Open the LMDB or LevelDB at *path* for reading; *backend* None finds out which it is.

    The pages of an LMDB are looked at, as damaged ones would end the process: all that are not values, where
    they are few (256 MB of them) or where it is to be *thorough*.
    Raises DataError where there is no store, it is of another backend, or it is damaged or cut short.
    """
    path = Path(path)
    found = find_backend(path)
    if backend is not None and backend.lower() != found:
        raise DataError(f"{path}: this store is {found}, not {backend.lower()}")
    if found == "leveldb":
        return LeveldbStore(path)
    try:
        return LmdbFile(path, thorough) if _state["beside_scripts"] else LmdbStore(path, thorough)
    except _OpenElsewhereError:
        return LmdbFile(path, thorough)


_state = {"beside_scripts": False}


@contextmanager
def beside_scripts() -> Iterator[None]:
    """Within it, LMDBs are opened so that scripts in this process may open them, too."""
    _state["beside_scripts"] = True
    try:
        yield
    finally:
        _state["beside_scripts"] = False


def find_backend(path: Path) -> str:
    """``"lmdb"`` or ``"leveldb"``, after the files at *path*; DataError where there is neither."""
    if not path.exists():
        raise DataError(f"{path}: no such store")
    if path.is_file() or (path / "data.mdb").exists():
        return "lmdb"
    if (path / "CURRENT").exists():
        return "leveldb"
    raise DataError(f"{path}: neither an LMDB (no data.mdb in it) nor a LevelDB (no CURRENT in it)")


class Store(Mapping[bytes, bytes]):
    """A read-only mapping of keys to records; a context manager. *path* is where it lies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def scan(self, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value) pairs in the order of the keys, from the *start*-th on: the fast way to read."""

    @abstractmethod
    def close(self) -> None:
        """Let the store go; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _OpenElsewhereError(Exception):
    """This process has the LMDB open by another's hand, such as a script's: the library refuses a second time."""


class _Environments:
    """LMDB environments by file: the library allows one for a file in a process, so that stores share it."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int, int], tuple[lmdb.Environment, int]] = {}
        self._lock = threading.Lock()

    def acquire(self, path: Path) -> tuple[tuple[int, int, int], lmdb.Environment]:
        found = _file(path).stat()
        key = (os.getpid(), found.st_dev, found.st_ino)
        with self._lock:
            env, users = self._open[key] if key in self._open else (_open_environment(path), 0)
            self._open[key] = (env, users + 1)
        return key, env

    def release(self, key: tuple[int, int, int]) -> None:
        with self._lock:
            env, users = self._open[key]
            if users > 1:
                self._open[key] = (env, users - 1)
                return
            del self._open[key]
        if key[0] == os.getpid():
            env.close()


_environments = _Environments()


def _file(path: Path) -> Path:
    return path if path.is_file() else path / "data.mdb"


def _open_environment(path: Path) -> lmdb.Environment:
    with _lmdb_errors(path):
        try:
            return lmdb.open(
                os.fsencode(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=True, max_readers=1
            )
        except lmdb.Error as error:
            if "already open in this process" in str(error):
                raise _OpenElsewhereError from None
            raise


@lru_cache(maxsize=64)
def _check_pages(file: Path, thorough: bool, size: int, changed: int) -> None:
    """Look at the pages of *file*, once for each *size* and time at which it was *changed*."""
    lmdb_pages.check(file, None if thorough else lmdb_pages.LIMIT)


@contextmanager
def _lmdb_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise DataError(f"{path}: cannot be read as an LMDB ({_one_line(error)})") from None


@contextmanager
def _looking_at(path: Path, thorough: bool) -> Iterator[None]:
    """Look at the pages of the LMDB at *path* before it is opened within."""
    try:
        found = _file(path).stat()
        _check_pages(_file(path).resolve(), thorough, found.st_size, found.st_mtime_ns)
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from None
    except lmdb_pages.DamageError as error:
        raise DataError(f"{path}: the LMDB is damaged: {error}; copy or build it again") from None


class LmdbStore(Store):
    """An LMDB, as a folder with ``data.mdb`` or a single file. Any thread may read it."""

    def __init__(self, path: Path, thorough: bool = False) -> None:
        super().__init__(path)
        with _looking_at(path, thorough):
            self._key, self._env = _environments.acquire(path)
        self._closed = False

    def scan(self, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """See :meth:`Store.scan`; skipped records are not read."""
        with _lmdb_errors(self.path), self._env.begin() as transaction:
            cursor = transaction.cursor()
            if start and next(islice(cursor.iternext(values=False), start, None), None) is None:
                return
            yield from cursor

    def __getitem__(self, key: bytes) -> bytes:
        with _lmdb_errors(self.path), self._env.begin() as transaction:
            value: bytes | None = transaction.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[bytes]:
        with _lmdb_errors(self.path), self._env.begin() as transaction:
            yield from transaction.cursor().iternext(values=False)

    def __len__(self) -> int:
        return int(self._env.stat()["entries"])

    def close(self) -> None:
        """See :meth:`Store.close`."""
        if not self._closed:
            self._closed = True
            _environments.release(self._key)


class LmdbFile(Store):
    """An LMDB that the library has open already, or may open, read past it, as it is at this moment."""

    def __init__(self, path: Path, thorough: bool = False) -> None:
        super().__init__(path)
        with _looking_at(path, thorough):
            self._records = Records(_file(path))

    def scan(self, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """See :meth:`Store.scan`."""
        for record in islice(self._records.scan(), start, None):
            yield record[0], self._records.value(record)

    def __getitem__(self, key: bytes) -> bytes:
        record = self._records.find(key)
        if record is None:
            raise KeyError(key)
        return self._records.value(record)

    def __iter__(self) -> Iterator[bytes]:
        for key, _, _ in self._records.scan():
            yield key

    def __len__(self) -> int:
        return int(self._records.count)

    def close(self) -> None:
        """See :meth:`Store.close`."""
        self._records.close()


class LeveldbStore(Store):
    """A LevelDB, read through a temporary folder of links, because its library locks and writes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        plyvel = _plyvel()
        self._errors = (plyvel.Error, plyvel.CorruptionError)
        self._shadow = tempfile.TemporaryDirectory(prefix="leveldb-", ignore_cleanup_errors=True)
        self._length: int | None = None
        try:
            with self._caught():
                _link(path, Path(self._shadow.name))
                self._db = plyvel.DB(self._shadow.name, create_if_missing=False)
        except DataError:
            self._shadow.cleanup()
            raise

    @contextmanager
    def _caught(self) -> Iterator[None]:
        try:
            yield
        except (OSError, *self._errors) as error:
            text = _one_line(error).replace(self._shadow.name, str(self.path))
            raise DataError(f"{self.path}: cannot be read as a LevelDB ({text})") from None

    def scan(self, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """See :meth:`Store.scan`."""
        with self._caught():
            yield from islice(self._db.iterator(verify_checksums=True, fill_cache=False), start, None)

    def __getitem__(self, key: bytes) -> bytes:
        with self._caught():
            value: bytes | None = self._db.get(key, verify_checksums=True)
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[bytes]:
        with self._caught():
            yield from self._db.iterator(include_value=False)

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(1 for _ in self)
        return self._length

    def close(self) -> None:
        """See :meth:`Store.close`."""
        self._db.close()
        self._shadow.cleanup()


def _plyvel() -> Any:
    try:
        import plyvel  # noqa: PLC0415  # an optional dependency
    except ImportError:
        raise DataError("LevelDB stores need the plyvel package: pip install 'caffetorch[leveldb]'") from None
    return plyvel


def _link(path: Path, shadow: Path) -> None:
    """Mirror a LevelDB folder: tables, which never change, as links; the small files as copies."""
    for file in path.resolve().iterdir():
        if file.suffix in (".ldb", ".sst"):
            (shadow / file.name).symlink_to(file)
        elif file.suffix == ".log" or file.name.startswith(("CURRENT", "MANIFEST")):
            shutil.copyfile(file, shadow / file.name)


def create_store(path: str | Path, backend: str = "lmdb", overwrite: bool = False) -> "StoreWriter":
    """A writer of a new store at *path*, for a ``with`` statement; the store is there when the block ends.

    Raises DataError where something is at *path* already (unless *overwrite*) or the backend is unknown.
    """
    if backend not in BACKENDS:
        raise DataError(f"unknown store backend {backend!r}; there are {' and '.join(BACKENDS)}")
    return (LmdbWriter if backend == "lmdb" else LeveldbWriter)(Path(path), overwrite)


class StoreWriter:
    """Writes a store under a temporary name beside *path*; a ``with`` block that ends well publishes it."""

    _BATCH = 1000  # records a commit
    _BATCH_BYTES = 1 << 25

    def __init__(self, path: Path, overwrite: bool) -> None:
        if path.exists() and not overwrite:
            raise DataError(f"{path}: exists already; --overwrite replaces it")
        self.path = path
        self.count = 0
        self._overwrite = overwrite
        self._pending: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        self._target = Path(os.path.realpath(path))  # a link stays a link: what it points at is replaced
        with ExitStack() as stack, self._caught():
            if path.exists() and not _replaceable(path):
                raise DataError(f"{path}: is no store, and --overwrite replaces nothing else; move it away")
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._folder = stack.enter_context(beside(self._target, folder=True))
            self._folder.chmod(0o755)
            self._open(self._folder)
            self._stack = stack.pop_all()

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record."""
        self._pending.append((key, value))
        self._bytes += len(value)
        self.count += 1
        if len(self._pending) >= self._BATCH or self._bytes >= self._BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        with self._caught():
            self._commit(self._pending)
        self._pending = []
        self._bytes = 0

    @contextmanager
    def _caught(self) -> Iterator[None]:
        try:
            yield
        except (OSError, lmdb.Error) as error:
            raise DataError(f"{self.path}: cannot be written: {self._reason(error)}") from None

    def _reason(self, error: Exception) -> str:
        """What *error* says; LMDB calls a full disk an input/output error."""
        if self._target.parent.is_dir() and shutil.disk_usage(self._target.parent).free < _FULL:
            return "no space left on device"
        return reason(error) if isinstance(error, OSError) else _one_line(error)

    @abstractmethod
    def _open(self, folder: Path) -> None: ...

    @abstractmethod
    def _commit(self, items: list[tuple[bytes, bytes]]) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._flush()
            self._close()
            if kind is None:
                with self._caught():
                    _publish(self._folder, self._target, self._overwrite)


class LmdbWriter(StoreWriter):
    """Writes an LMDB folder; the map grows as records come."""

    _MAP = 1 << 26

    def _open(self, folder: Path) -> None:
        self._env = lmdb.open(os.fsencode(folder), map_size=self._MAP, sync=False, metasync=False)
        self._last = b""

    def _commit(self, items: list[tuple[bytes, bytes]]) -> None:
        keys = [self._last, *(key for key, _ in items)]
        ascending = all(before < after for before, after in pairwise(keys))
        self._last = max(keys)
        while not self._try(items, ascending):
            self._env.set_mapsize(2 * self._env.info()["map_size"])

    def _try(self, items: list[tuple[bytes, bytes]], ascending: bool) -> bool:
        try:
            with self._env.begin(write=True) as transaction:
                transaction.cursor().putmulti(items, append=ascending)
        except lmdb.MapFullError:
            return False
        return True

    def _close(self) -> None:
        self._env.close()


class LeveldbWriter(StoreWriter):
    """Writes a LevelDB folder."""

    def _open(self, folder: Path) -> None:
        plyvel = _plyvel()
        self._error = plyvel.Error
        self._db = plyvel.DB(os.fsencode(folder), create_if_missing=True)

    def _commit(self, items: list[tuple[bytes, bytes]]) -> None:
        try:
            with self._db.write_batch() as batch:
                for key, value in items:
                    batch.put(key, value)
        except self._error as error:
            raise OSError(_one_line(error)) from None

    def _close(self) -> None:
        self._db.close()


def _replaceable(path: Path) -> bool:
    """Whether *path* is a store, or empty: what a new store may replace."""
    if path.is_dir():
        return not any(path.iterdir()) or any((path / name).exists() for name in ("data.mdb", "CURRENT"))
    with path.open("rb") as file:
        head = file.read(20)
    return not head or head[16:] == _MAGIC


def _publish(folder: Path, path: Path, overwrite: bool) -> None:
    """Sync *folder* to the disk and give it its name; *overwrite*: in the place of what has that name."""
    for file in folder.iterdir():
        sync(file)
    sync(folder)
    if not (overwrite and path.exists()):
        folder.rename(path)
    elif not exchange(folder, path):
        aside = folder.with_suffix(".old")
        path.rename(aside)
        folder.rename(path)
        remove(aside)
    sync(path.parent)


def _one_line(error: BaseException) -> str:
    text = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
    return " ".join(text.split()) or type(error).__name__
