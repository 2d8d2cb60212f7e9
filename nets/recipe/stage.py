"""A stage: one command, the files it reads, the files it makes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from shlex import join

HASHED = 1 << 22  # bytes; of a larger file its size and time stand for its content


@dataclass(frozen=True)
class Stage:
    """``python -m MODULE WORDS`` in the work folder, where all relative paths are.

    ``snapshots`` is the prefix of what a training writes on its way; one that was stopped goes on from the newest.
    An ``optional`` stage may fail: it needs what is not installed everywhere.
    """

    name: str
    module: str
    words: tuple[str, ...]
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    snapshots: str = ""
    optional: bool = False

    @property
    def command(self) -> str:
        """The command as a line of shell."""
        return join(("python", "-m", self.module, *self.words))

    @property
    def log(self) -> str:
        """The path of what the command says."""
        return f"logs/{self.name}.log"


def fingerprint(path: Path) -> str:
    """What tells one content of a file or a store from another; "" where there is nothing."""
    if path.is_dir():
        parts = sorted(part for part in path.iterdir() if part.is_file() and "lock" not in part.name.lower())
        return " ".join(f"{part.name}:{fingerprint(part)}" for part in parts)
    if not path.is_file():
        return ""
    about = path.stat()
    if about.st_size > HASHED:
        return f"{about.st_size}-{about.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def newest_snapshot(work: Path, prefix: str) -> str | None:
    """The newest solver state below *prefix* whose weights are there too, as a path in *work*."""
    found = {
        int(state.stem.rpartition("_")[2]): state.relative_to(work)
        for state in _snapshots(work, prefix, ".solverstate")
        if state.with_suffix(".caffemodel").is_file()
    }
    return str(found[max(found)]) if found else None


def forget_snapshots(work: Path, prefix: str) -> None:
    """Remove what another run left below *prefix*."""
    for ending in (".solverstate", ".caffemodel"):
        for file in _snapshots(work, prefix, ending):
            file.unlink()


def _snapshots(work: Path, prefix: str, ending: str) -> list[Path]:
    stem = work / prefix
    found = stem.parent.glob(f"{stem.name}_iter_*{ending}")
    return [file for file in found if file.stem.rpartition("_")[2].isdecimal()]
