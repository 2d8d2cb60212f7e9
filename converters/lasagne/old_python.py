"""Names that Python's own modules had in Lasagne's days and have no more."""

import collections
import collections.abc
import inspect
import itertools
import string
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

OLD: dict[ModuleType, dict[str, Any]] = {
    collections: {name: getattr(collections.abc, name) for name in collections.abc.__all__},
    inspect: {"getargspec": lambda function: inspect.getfullargspec(function)[:4]},
    itertools: {"ifilter": filter, "imap": map, "izip": zip, "izip_longest": itertools.zip_longest},
    string: {"letters": string.ascii_letters, "lowercase": string.ascii_lowercase, "maketrans": str.maketrans,
             "uppercase": string.ascii_uppercase},
    sys: {"maxint": sys.maxsize},
    time: {"clock": time.perf_counter},
}  # fmt: skip


@contextmanager
def old_python() -> Iterator[None]:
    """Within it, these modules have those of their old names that they lack."""
    given = [(module, name) for module, names in OLD.items() for name in names if name not in vars(module)]
    for module, name in given:
        setattr(module, name, OLD[module][name])
    try:
        yield
    finally:
        for module, name in given:
            delattr(module, name)
