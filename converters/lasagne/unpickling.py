"""Pickles of Lasagne's days, read without running anything: arrays and plain containers, inert stubs for the rest."""

import collections
import gzip
import io
import os
import pickle
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from converters.lasagne.opcodes import SHALLOW, nesting
from protos.errors import WeightsError

Path_ = str | os.PathLike[str]

LARGEST = 8 << 30  # bytes that a gzipped file may hold
RATIO, SMALL = 50, 64 << 20  # as a multiple of its own, or if that is less
STACK = 1 << 30  # bytes of stack for pickles with many tuples
HEAVIEST = 1_000_000  # values within a tuple, counted as often as they are named: its hash looks at each
LONGEST = 1 << 24  # bytes of one item of an array


class Stub:
    """Stands for an object of an unknown class: it keeps what it was made of, and does nothing."""

    kind = "unknown"

    def __new__(cls, *arguments: Any, **options: Any) -> "Stub":
        """A stub that keeps its arguments."""
        made = super().__new__(cls)
        made.arguments = (*arguments, *options.values())
        made.state = None
        made.items = {}
        made.listed = []
        return made

    arguments: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]
    listed: list[Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __call__(self, *arguments: Any, **options: Any) -> "Stub":
        return Stub(self, *arguments)

    def append(self, item: Any) -> None:
        """Keep an item of a list."""
        self.listed.append(item)

    def extend(self, items: Any) -> None:
        """Keep items of a list."""
        self.listed.extend(items)

    def add(self, item: Any) -> None:
        """Keep an item of a set."""
        self.listed.append(item)

    def field(self, name: str) -> Any:
        """What the object's state has under *name*, or None."""
        for part in self.state if isinstance(self.state, tuple) else (self.state,):
            if isinstance(part, dict) and name in part:
                return part[name]
        return None

    def parts(self) -> list[Any]:
        """All that it keeps."""
        return [self.arguments, self.state, self.items, self.listed]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _frombuffer(content: bytes, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Any:
    """How protocol 5 builds an array."""
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    """What protocols 0 and 1 make objects with."""
    return kind() if state is None else kind(state)


class _Admitted:
    """A function that pickles may call; nothing in a pickle can change it."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("a pickle cannot change what it calls")

    def __setstate__(self, state: Any) -> None:
        raise TypeError("a pickle cannot change what it calls")


class _ArrayKind(Stub):
    """What the pickle of an array names as its class."""


def _empty(kind: Any, shape: Any, dtype: Any) -> Any:
    """An array that its state is about to fill: pickles of arrays make it with nothing in it."""
    if shape not in ((0,), 0, ()):
        raise TypeError(f"an array of shape {shape} without values")
    if np.dtype(dtype).itemsize > LONGEST:
        raise TypeError(f"items of {np.dtype(dtype).itemsize} bytes")
    return _RECONSTRUCT(np.ndarray, shape, dtype)


def _number(dtype: Any, content: Any = b"") -> Any:
    """A scalar of NumPy's, from its bytes."""
    if not isinstance(content, bytes | str) or len(content) != dtype.itemsize:
        raise TypeError(f"a scalar of {dtype.itemsize} bytes without its value")
    return _SCALAR(dtype, content)


def _text(*arguments: Any) -> str:
    """A string, of a string or a number: that of a list would name all that is in it."""
    if any(not isinstance(one, str | bytes | int | float) for one in arguments):
        raise TypeError("str of a container")
    return str(*arguments)


def _bytes(kind: Any) -> Callable[..., Any]:
    """bytes and bytearray, of what they hold and not of a size."""

    def make(*arguments: Any) -> Any:
        if arguments and isinstance(arguments[0], int):
            raise TypeError(f"{kind.__name__} of a size")
        return kind(*arguments)

    return make


_RECONSTRUCT: Any = np.zeros(0).__reduce__()[0]
_SCALAR: Any = np.float64(0).__reduce__()[0]
_PLAIN: dict[str, Any] = {
    kind.__name__: kind
    for kind in (set, slice, complex, object, list, dict, int, float, bool)
}  # fmt: skip
_BUILTINS = ("builtins", "__builtin__")
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Admitted(_empty),
    ("numpy.core.multiarray", "scalar"): _Admitted(_number),
    ("numpy.core.numeric", "_frombuffer"): _Admitted(_frombuffer),
    ("numpy", "ndarray"): _ArrayKind,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _Admitted(_encode),
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("copyreg", "_reconstructor"): _Admitted(_reconstructor),
    ("copy_reg", "_reconstructor"): _Admitted(_reconstructor),
    **{(module, name): value for module in _BUILTINS for name, value in _PLAIN.items()},
    **{(module, name): _Admitted(_text) for module in _BUILTINS for name in ("str", "unicode")},
    **{(module, "long"): int for module in _BUILTINS},
    **{(module, k.__name__): _Admitted(_bytes(k)) for module in _BUILTINS for k in (bytes, bytearray)},
}
# Of the standard library these may be named, as pickles of nets do; what stands for them does nothing.
_INERT = {("builtins", "getattr"), ("__builtin__", "getattr"), ("builtins", "range"), ("__builtin__", "xrange"),
          ("functools", "partial"), ("collections", "defaultdict"),
          ("collections", "deque"), ("collections", "namedtuple"), ("copyreg", "__newobj__")}  # fmt: skip
_INERT_MODULES = ("operator", "types", "itertools", "datetime", "uuid", "threading", "thread", "weakref", "time")
_OLD_MODULES = {"__builtin__", "commands", "copy_reg", "cPickle", "popen2", "os2", "nt", "posix", "StringIO", "urllib2"}


class _Unpickler(pickle._Unpickler):  # in Python, so that tuples can be weighed
    """Admits arrays and plain containers; classes that are not installed become stubs; all else is refused by name.

    A tuple that names others often enough, each of which does, would be hashed for ever: it is refused when it is made.
    """

    def __init__(self, file: io.BytesIO, where: str) -> None:
        super().__init__(file, encoding="latin1")
        self._where = where
        self._weights: dict[int, int] = {}  # by id, of tuples and frozen sets alone: each gets its own when it is made

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def _weigh(self, value: Any) -> Any:
        hashed = (self._weights.get(id(item), 1) for item in value if isinstance(item, tuple | frozenset))
        weight = 1 + len(value) + sum(hashed)
        if weight > HEAVIEST:
            raise WeightsError(
                f"{self._where}: the pickle nests more than {HEAVIEST} values in a tuple: it is not read"
            )
        self._weights[id(value)] = weight
        return value

    def _made(self, kind: Any) -> _Admitted:
        """The constructor of tuples or frozen sets."""
        return _Admitted(lambda *items: self._weigh(kind(*items)))

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global of the pickle."""
        package = module.replace("numpy._core", "numpy.core")
        if (package, name) in _ADMITTED:
            return _ADMITTED[package, name]
        if module in _BUILTINS and name in ("tuple", "frozenset"):
            return self._made(tuple if name == "tuple" else frozenset)
        root = module.split(".", maxsplit=1)[0]
        known = root in sys.stdlib_module_names or root in _OLD_MODULES or (root == "numpy" and "random" not in module)
        if known and (module, name) not in _INERT and root not in _INERT_MODULES:
            raise WeightsError(f"{self._where}: the pickle calls {module}.{name}; only arrays and plain containers are "
                               "read, and no code is run")  # fmt: skip
        return type(name.rsplit(".", maxsplit=1)[-1], (Stub,), {"kind": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        """Refuse: nothing outside of the file is read."""
        raise WeightsError(f"{self._where}: the pickle refers to something outside of it")


def _weighing(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def load_and_weigh(self: Any) -> None:
        load(self)
        self._weigh(self.stack[-1])

    return load_and_weigh


for _code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.FROZENSET):
    _Unpickler.dispatch[_code[0]] = _weighing(_Unpickler.dispatch[_code[0]])


def read_pickle(path: Path_) -> Any:
    """What is pickled in the file, perhaps gzipped. Raises WeightsError for one that calls something, or is damaged."""
    where = os.fspath(path)
    try:
        content = Path(path).read_bytes()
        content = _unpacked(content, where) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError, zlib.error) as error:
        raise WeightsError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return unpickle(content, where)


def _unpacked(content: bytes, where: str) -> bytes:
    most = min(LARGEST, max(SMALL, len(content) * RATIO))
    with gzip.open(io.BytesIO(content)) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise WeightsError(f"{where}: it unpacks to more than {most >> 20} MiB: it is not read")
    return found


def unpickle(content: bytes, where: str) -> Any:
    """The value that is pickled in *content*; *where* names it in errors."""
    deep = nesting(content, where) > SHALLOW
    try:
        return _deeply(content, where) if deep else _Unpickler(io.BytesIO(content), where).load()
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise WeightsError(f"{where}: not a readable pickle ({' '.join(str(error).split())})") from None


def _deeply(content: bytes, where: str) -> Any:
    """The same in a thread with room for tuples within tuples: the hash of one goes down to its leaves."""
    found: list[Any] = []
    errors: list[Exception] = []

    def load() -> None:
        try:
            found.append(_Unpickler(io.BytesIO(content), where).load())
        except Exception as error:  # handed on to the caller
            errors.append(error)

    before = threading.stack_size(STACK)
    try:
        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    if errors:
        raise errors[0]
    return found[0]


def is_countable(value: Any) -> bool:
    """Whether nested lists and tuples name no more than ``HEAVIEST`` values, counted as often as they are named."""
    stack, count = [value], 0
    while stack and count <= HEAVIEST:
        item = stack.pop()
        count += 1
        if isinstance(item, list | tuple):
            stack.extend(item[: HEAVIEST + 1])
    return count <= HEAVIEST


def arrays_in(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays in nested containers and stubs, each once, in the order of the pickle."""
    seen: set[int] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, np.ndarray):
            yield item
        if id(item) in seen or isinstance(item, str | bytes | int | float | np.ndarray):
            continue
        seen.add(id(item))
        if isinstance(item, Stub):
            stack.extend(reversed(item.parts()))
        elif isinstance(item, dict):
            stack.extend(reversed([part for pair in item.items() for part in pair]))
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(reversed(list(item)))
