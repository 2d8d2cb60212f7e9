"""``python -m converters.run SCRIPT.py [args]``: a script for pycaffe, Theano, Lasagne or nolearn, with these in their
place."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from converters import pycaffe
from converters.lasagne.importing import old_modules_beside
from converters.lasagne.installing import install
from converters.lasagne.modern import code_of
from converters.lasagne.namesakes import namesakes
from converters.lasagne.old_numpy import old_names
from converters.lasagne.old_python import old_python
from converters.lasagne.old_sklearn import old_sklearn
from converters.lasagne.python2 import NAMES
from converters.lasagne.python2_modules import old_modules
from data.stores import beside_scripts
from nets.console import LogFormatter, log
from protos import schema
from protos.errors import CaffeError


def run(script: str | os.PathLike[str], arguments: Sequence[str] = ()) -> dict[str, object]:
    """Run *script* as ``__main__``; its names afterwards.

    It and the modules beside it are brought up to date where they are written for Python 2.

    Raises CaffeError where it cannot be read or translated; what the script raises comes through.
    """
    path = Path(script)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CaffeError(f"{path}: cannot be read: {error.strerror}") from None
    install()
    pycaffe.install()
    sys.modules.setdefault("caffe_pb2", schema)
    old_modules()
    directory = path.resolve().parent
    code = code_of(content, str(path), namesakes=namesakes(directory))
    module = ModuleType("__main__")
    module.__dict__.update({"__file__": str(path), **NAMES})
    before = sys.argv, sys.path[:], sys.modules["__main__"]
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(directory))
    sys.modules["__main__"] = module
    try:
        with old_modules_beside(directory), old_names(), old_python(), old_sklearn(), beside_scripts():
            exec(code, module.__dict__)  # running the script is what this is for
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = before[0], before[1], before[2]
    return module.__dict__


@contextmanager
def _logging() -> Iterator[None]:
    """Within it, nets and solvers log to stderr, as Caffe does by itself unless GLOG_minloglevel is above 0."""
    if os.environ.get("GLOG_minloglevel", "0") not in ("", "0"):  # noqa: SIM112  # glog spells it so
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    before = log.handlers[:], log.level, log.propagate
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers[:], log.propagate = before[0], before[2]
        log.setLevel(before[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 2 for a script that cannot be run at all."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print("usage: python -m converters.run SCRIPT.py [args]", file=sys.stderr)
        return 0 if given else 2
    try:
        with _logging():
            run(given[0], given[1:])
    except CaffeError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
