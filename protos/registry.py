"""A strict mapping from names to things: a duplicate raises, a miss names its near matches."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from protos.errors import CaffeError

T = TypeVar("T")
Entry = TypeVar("Entry")


def suggest(name: str, known: Iterable[str]) -> str:
    """``", did you mean A or B?"`` for the names in *known* that resemble *name*; empty where none does.

    >>> suggest("Convolutoin", ["Convolution", "Pooling"])
    ', did you mean Convolution?'
    """
    by_lower = {k.lower(): k for k in known}
    near = [by_lower[k] for k in difflib.get_close_matches(name.lower(), list(by_lower), n=2, cutoff=0.7)]
    return f", did you mean {' or '.join(near)}?" if near else ""


class Registry(Generic[T]):
    """Name -> T. ``@registry("Name")`` registers a class or function; ``registry["Name"]`` finds it.

    >>> shapes = Registry[type]("shape")
    >>> @shapes("Circle")
    ... class Circle: ...
    >>> shapes["Circle"] is Circle
    True
    >>> shapes["Circel"]
    Traceback (most recent call last):
    protos.errors.CaffeError: unknown shape 'Circel', did you mean Circle?
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def __call__(self, name: str) -> Callable[[Entry], Entry]:
        """Make a decorator that registers a class or function as *name*; ValueError where that is taken."""

        def register(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry  # type: ignore[assignment]  # an Entry is a T: TypeVars cannot bound each other
            return entry

        return register

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise CaffeError(f"unknown {self.kind} {name!r}{suggest(name, self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
