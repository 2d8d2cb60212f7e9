"""Theano's settings: floatX and the device, from .theanorc and THEANO_FLAGS. Others are known and ignored."""

import configparser
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from protos.errors import CaffeError

log = logging.getLogger("caffe")

FLOATS = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


class Section:
    """Settings of a section, such as ``theano.config.dnn.enabled``: kept, without effect."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)


class Config:
    """``theano.config``: ``floatX`` and ``device`` count, everything else is kept and has no effect.

    floatX is float64 unless a file, THEANO_FLAGS or the script says otherwise, as in the original.
    """

    def __init__(self) -> None:
        self.floatX = "float64"
        self.device = "cpu"
        self.compute_test_value = "off"
        self.allow_gc = True
        self.optimizer = "fast_run"
        self.exception_verbosity = "low"
        self.warn_float64 = "ignore"
        self.mode = "Mode"
        self.on_unused_input = "raise"
        self.profile = False
        self.linker = "cvm"
        self.openmp = False
        self.cast_policy = "custom"
        self.blas = Section(ldflags="")
        self.dnn = Section(enabled="auto", include_path="", library_path="", conv=Section(algo_fwd="small"))
        self.gcc = Section(cxxflags="")
        self.gpuarray = Section(preallocate=0.0, sched="default")
        self.lib = Section(cnmem=0.0, amdlibm=False)
        self.nvcc = Section(fastmath=False, flags="", compiler_bindir="")
        self.scan = Section(allow_gc=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "floatX" and value not in FLOATS:
            raise CaffeError(f"floatX is one of {', '.join(FLOATS)}, not '{value}'")
        super().__setattr__(name, value)

    @property
    def torch_dtype(self) -> torch.dtype:
        """floatX as torch has it."""
        return FLOATS[self.floatX]

    @property
    def torch_device(self) -> str:
        """The device for torch: "cuda" or "cuda:1" where the settings name a GPU and there is one, else "cpu"."""
        name = str(self.device)
        if not name.startswith(("gpu", "cuda")) or not torch.cuda.is_available():
            return "cpu"
        number = name.removeprefix("gpu").removeprefix("cuda")
        return f"cuda:{number}" if number.isdigit() else "cuda"

    def read(self, environ: Mapping[str, str] | None = None, home: Path | None = None) -> None:
        """Take the settings of the .theanorc files, then those of THEANO_FLAGS. One notice names what is ignored."""
        environ = os.environ if environ is None else environ
        settings = {**_files(environ, home or Path.home()), **_flags(environ.get("THEANO_FLAGS", ""))}
        ignored = []
        for name, value in settings.items():
            if name in ("floatX", "device"):
                setattr(self, name, value)
            else:
                ignored.append(name)
                self._keep(name, value)
        if ignored:
            log.warning("settings of Theano that have no effect here: %s", ", ".join(sorted(ignored)))
        if str(self.device).startswith(("gpu", "cuda")) and self.torch_device == "cpu":
            log.warning("device=%s: there is no GPU here, the CPU is used", self.device)

    def _keep(self, name: str, value: str) -> None:
        """Let scripts find a setting that has no effect."""
        section, _, last = name.rpartition(".")
        holder = self if not section else self.__dict__.setdefault(section.split(".")[0], Section())
        if last not in ("torch_dtype", "torch_device", "read"):
            holder.__dict__[last] = value


def _files(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    paths = [Path(part).expanduser() for part in environ.get("THEANORC", "").split(os.pathsep) if part]
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]  # the documented way to keep capitals
    try:
        parser.read(paths or [home / ".theanorc", home / ".theanorc.txt"])
    except configparser.Error as error:
        raise CaffeError(f".theanorc cannot be read: {str(error).splitlines()[0]}") from None
    found = {}
    for section in parser.sections():
        prefix = "" if section == "global" else f"{section}."
        found.update({prefix + key: value.strip() for key, value in parser.items(section)})
    return found


def _flags(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise CaffeError(f"THEANO_FLAGS: '{part}' is not name=value")
        found[key.strip()] = value.strip()
    return found


config = Config()
