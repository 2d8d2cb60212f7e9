"""The strings of Python 2, which were text and bytes in one, and the files and modules that gave and took them."""

import builtins
import codecs
import hashlib
import importlib
import io
import struct
import subprocess
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import lmdb

CODECS = ("base64", "bz2", "hex", "rot13", "zlib")  # codecs from bytes to bytes, by their names


def bytes_of(value: Any) -> Any:
    """Text as bytes, also within containers; all else as it is."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return type(value)(map(bytes_of, value)) if type(value) in (list, tuple) else value


def text_of(content: bytes) -> "str | Bytes":
    """What *content* says, or where it is no text, *content*."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return Bytes(content)


def _told(found: Any) -> Any:
    """What a method of bytes gives, as text where it is."""
    if isinstance(found, bytes):
        return text_of(found)
    return type(found)(map(_told, found)) if type(found) in (list, tuple) else found


class Bytes(bytes):
    """Bytes that are compared with text, added to it, and searched for it."""

    def __str__(self) -> str:
        found = text_of(self)
        return found if isinstance(found, str) else self.decode("latin1")

    def __repr__(self) -> str:
        return super().__repr__()[1:]

    def __eq__(self, other: object) -> bool:
        return bool(bytes(self) == bytes_of(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        found = text_of(self)
        return hash(found) if isinstance(found, str) else super().__hash__()

    def __add__(self, other: Any) -> Any:
        joined = bytes(self) + bytes_of(other)
        return text_of(joined) if isinstance(other, str) else Bytes(joined)

    def __radd__(self, other: Any) -> Any:
        joined = bytes_of(other) + bytes(self)
        return text_of(joined) if isinstance(other, str) else Bytes(joined)

    def __mod__(self, values: Any) -> Any:
        return str(self) % values

    def __contains__(self, part: Any) -> bool:
        return super().__contains__(bytes_of(part))

    def __getitem__(self, place: Any) -> "Bytes":  # type: ignore[override]  # an item was a string of one
        found = super().__getitem__(place)
        return Bytes([found] if isinstance(found, int) else found)

    def __iter__(self) -> Iterator["Bytes"]:  # type: ignore[override]  # likewise
        return (self[i] for i in range(len(self)))

    def format(self, *arguments: Any, **options: Any) -> str:
        """As of text."""
        return str(self).format(*arguments, **options)


def _method(name: str) -> Callable[..., Any]:
    own = getattr(bytes, name)
    return lambda self, *arguments: _told(own(bytes(self), *map(bytes_of, arguments)))


for _name in ("count", "endswith", "find", "index", "join", "ljust", "lower", "lstrip", "partition", "replace", "rfind",
              "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip",
              "upper", "zfill"):  # fmt: skip
    setattr(Bytes, _name, _method(_name))


def as_str(*values: Any) -> Any:
    """``str(value)``, which left bytes alone."""
    return values[0] if len(values) == 1 and isinstance(values[0], bytes) else str(*values)


def encode(value: Any, *arguments: Any, **options: Any) -> Any:
    """``value.encode(...)``, also with codecs such as ``hex``, and of bytes."""
    if not isinstance(value, str | bytes):
        return value.encode(*arguments, **options)
    if arguments and arguments[0] in CODECS:
        return text_of(codecs.encode(bytes_of(value), arguments[0]))
    return Bytes(value if isinstance(value, bytes) else value.encode(*arguments, **options))


def decode(value: Any, *arguments: Any, **options: Any) -> Any:
    """``value.decode(...)``, also with codecs such as ``hex``, and of text."""
    if isinstance(value, str | bytes) and arguments and arguments[0] in CODECS:
        return Bytes(codecs.decode(bytes_of(value), arguments[0]))
    return value if isinstance(value, str) else value.decode(*arguments, **options)


# ---- files


class _Reads:
    """Gives lines as text, where they are."""

    def __next__(self) -> Any:
        file: Any = super()
        return text_of(file.__next__())


class _Writes:
    """Takes text and bytes."""

    def write(self, content: Any, /) -> int:
        """Write either."""
        file: Any = super()
        written: int = file.write(bytes_of(content))
        return written


class _Reader(_Reads, io.BufferedReader):
    """A file open for reading."""


class _Writer(_Writes, io.BufferedWriter):
    """A file open for writing."""


class _Both(_Reads, _Writes, io.BufferedRandom):
    """A file open for both."""


class _Text(io.TextIOWrapper):
    """A file opened as text: gives text, or where it holds none, bytes; and takes either."""

    def read(self, size: int | None = -1, /) -> Any:
        """Some text."""
        return _unescaped(super().read(size))

    def readline(self, size: int = -1, /) -> Any:  # type: ignore[override]  # bytes, too
        """A line."""
        return _unescaped(super().readline(size))

    def write(self, content: Any, /) -> int:
        """Write either."""
        if isinstance(content, str):
            return super().write(content)
        self.flush()
        buffer: Any = self.buffer
        written: int = buffer.write(content)
        return written

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return given(line)

    def readlines(self, hint: int = -1, /) -> list[Any]:
        """All lines."""
        return list(self)

    def xreadlines(self) -> "_Text":
        """The lines."""
        return self


def _unescaped(text: str) -> Any:
    """*text*, or the bytes that it is where it is none."""
    return text if text.isascii() else _plain(text.encode("utf-8", "surrogateescape"))


def _plain(content: bytes) -> str | bytes:
    """What *content* says, or itself: other modules, which read such files, too, take no `Bytes`."""
    found = text_of(content)
    return found if isinstance(found, str) else content


def open_file(name: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
    """``open(name, mode)``."""
    if arguments or options or not isinstance(mode, str) or isinstance(name, int):
        return builtins.open(name, mode, buffering, *arguments, **options)  # noqa: PTH123  # a script's own call
    raw = io.FileIO(name, "".join(letter for letter in mode if letter not in "bUt") or "r")
    kind = _Both if "+" in mode else _Writer if raw.writable() else _Reader
    file: Any = kind(raw)
    if "b" in mode:
        return file
    newline = None if "U" in mode else "\n"
    return _Text(file, "utf-8", "surrogateescape", newline, line_buffering=buffering in (0, 1))


class StringIO(_Writes, io.BytesIO):
    """``StringIO.StringIO`` and ``cStringIO.StringIO``: gives text as long as it was given no bytes."""

    def __init__(self, content: Any = "") -> None:
        super().__init__(bytes_of(content))
        self._is_text = isinstance(content, str)

    def write(self, content: Any, /) -> int:
        """Write text or bytes."""
        self._is_text = self._is_text and isinstance(content, str)
        return super().write(content)

    def _given(self, content: Any) -> Any:
        return _plain(content) if self._is_text else content

    def read(self, size: int | None = -1, /) -> Any:
        """Some of what it holds."""
        return self._given(super().read(size))

    def readline(self, size: int | None = -1, /) -> Any:
        """A line."""
        return self._given(super().readline(size))

    def __next__(self) -> Any:
        return self._given(super().__next__())

    def getvalue(self) -> Any:
        """All that it holds."""
        return self._given(super().getvalue())


# ---- modules


class Proxy:
    """Stands for a module, or what one gives: text is taken for bytes, and bytes that come out are of Python 2."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._own, name)
        if callable(found) and not (isinstance(found, type) and issubclass(found, BaseException)):
            return _wrapped(found)
        return _out(found)

    def __enter__(self) -> "Proxy":
        self._own.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._own.__exit__(*error)

    def __iter__(self) -> Iterator[Any]:
        return map(given, self._own)


def given(found: Any) -> Any:
    """What comes out of a file, for a script of Python 2."""
    if isinstance(found, bytes):
        return Bytes(found)
    return type(found)(map(given, found)) if type(found) in (list, tuple) else found


def _out(found: Any) -> Any:
    """What comes out of a module."""
    if isinstance(found, PROXIED):
        return Proxy(found)
    return map(given, found) if isinstance(found, Iterator) else given(found)


def _taken(value: Any) -> Any:
    return value._own if isinstance(value, Proxy) else value


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        arguments, options = tuple(map(_taken, arguments)), {name: _taken(value) for name, value in options.items()}
        try:
            return _out(function(*arguments, **options))
        except (TypeError, struct.error):
            changed = bytes_of(arguments), {name: bytes_of(value) for name, value in options.items()}
            if changed == (arguments, options):
                raise
        return _out(function(*changed[0], **changed[1]))

    return call


BYTEWISE = ("base64", "binascii", "hashlib", "lmdb", "struct", "subprocess", "zlib")  # scripts of Python 2 get proxies
PROXIED = (lmdb.Environment, lmdb.Transaction, lmdb.Cursor, subprocess.Popen, io.BufferedIOBase, type(hashlib.md5()))


def proxy(name: str) -> ModuleType:
    """The proxy of a module of ``BYTEWISE``, as one."""
    own = Proxy(importlib.import_module(name))
    made = ModuleType(name)
    made.__getattr__ = own.__getattr__  # type: ignore[method-assign]  # how a module says what it has
    return made
