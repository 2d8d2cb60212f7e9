"""Names that Python's own modules had in Lasagne's days and have no more."""

import collections
import collections.abc
import inspect
import itertools
import os
import string
import sys
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

OLD: dict[ModuleType, dict[str, Any]] = {
    collections: {name: getattr(collections.abc, name) for name in collections.abc.__all__},
    inspect: {"getargspec": lambda function: inspect.getfullargspec(function)[:4]},
    itertools: {"ifilter": filter, "imap": map, "izip": zip, "izip_longest": itertools.zip_longest},
    os: {"getcwdu": os.getcwd},
    string: {"letters": string.ascii_letters, "lowercase": string.ascii_lowercase, "maketrans": str.maketrans,
             "uppercase": string.ascii_uppercase, "atof": float, "atoi": int,
             "join": lambda words, between=" ": between.join(words),
             **{name: getattr(str, name) for name in ("count", "find", "ljust", "lower", "lstrip", "replace", "rfind",
                "rjust", "rstrip", "split", "strip", "swapcase", "upper", "zfill")}},
    sys: {"maxint": sys.maxsize, "setdefaultencoding": lambda name: None},
    time: {"clock": time.perf_counter},
    types: {"BooleanType": bool, "ClassType": type, "DictType": dict, "FloatType": float, "IntType": int,
            "InstanceType": object, "ListType": list, "LongType": int, "StringType": str, "StringTypes": (str,),
            "TupleType": tuple, "UnicodeType": str},
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
