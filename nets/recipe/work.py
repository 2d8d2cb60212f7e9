"""The work folder of a run: whose it is, what was done in it, and that one process at a time works there."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nets.recipe.stage import Stage, fingerprint
from protos import files
from protos.errors import CaffeError, listing

if sys.platform != "win32":
    import fcntl

RECORD = "recipe.json"
LOCK = "recipe.lock"


@dataclass
class Done:
    """What is known of a stage: its command, what it read and made, how long it took; ``finished`` in the end."""

    command: str
    inputs: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    finished: bool = False


class Work:
    """The folder *path* of the run *identity* (what it is of: recipe, size, source).

    Raises CaffeError where the folder belongs to another run, or to something else.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        self.path = path
        self._identity = dict(identity)
        self.stages: dict[str, Done] = {}
        self._load()
        try:
            (path / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaffeError(f"{path}: cannot be made: {error.strerror}") from error
        if not (path / RECORD).exists():
            self._save()

    def _load(self) -> None:
        record = self.path / RECORD
        if not record.exists():
            if self.path.exists() and not self.path.is_dir():
                raise CaffeError(f"{self.path}: not a folder; name another --work")
            if self.path.is_dir() and {part.name for part in self.path.iterdir()} - {"logs", LOCK}:
                raise CaffeError(f"{self.path}: holds files, and none of a recipe's run; name another --work")
            return
        try:
            found = json.loads(files.read(record))
            theirs = {key: str(found[key]) for key in self._identity}
            self.stages = {name: Done(**about) for name, about in found["stages"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CaffeError(f"{record}: not the record of a recipe's run; name another --work") from None
        differ = [f"{key} {theirs[key]}, not {own}" for key, own in self._identity.items() if theirs[key] != own]
        if differ:
            said = listing(differ)
            raise CaffeError(f"{self.path}: belongs to another run ({said}); name another --work, or remove it")

    def _save(self) -> None:
        known = {**self._identity, "stages": {name: asdict(done) for name, done in self.stages.items()}}
        with files.replacing(self.path / RECORD) as file:
            file.write(json.dumps(known, indent=1).encode())

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Work here alone; the descriptor of the lock, which a command keeps open. CaffeError where another does."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                who = (self.path / LOCK).read_text().strip() or "unknown"
                raise CaffeError(f"{self.path}: another run is at work in it ({who}); wait for it, or end it") from None
            yield descriptor
        finally:
            os.close(descriptor)

    def say_who(self, pid: int, command: str) -> None:
        """Write down which process is at work."""
        (self.path / LOCK).write_text(f"process {pid}: {command}\n")

    # ---- stages

    def is_done(self, stage: Stage) -> bool:
        """Whether *stage* ran to its end, with what it reads and makes as it is now."""
        done = self.stages.get(stage.name)
        return (
            self._is_same(stage, done)
            and done is not None
            and done.finished
            and all(self._print(path) == known != "" for path, known in done.outputs.items())
        )

    def has_begun(self, stage: Stage) -> bool:
        """Whether *stage* was begun, with what it reads as it is now."""
        return self._is_same(stage, self.stages.get(stage.name))

    def _is_same(self, stage: Stage, done: Done | None) -> bool:
        return done is not None and done.command == stage.command and done.inputs == self._inputs(stage)

    def begin(self, stage: Stage) -> None:
        """Note that *stage* begins anew."""
        self.stages[stage.name] = Done(stage.command, self._inputs(stage))
        self._save()

    def pause(self, stage: Stage, seconds: float) -> None:
        """Note that *stage* stopped after *seconds* more."""
        self.stages[stage.name].seconds += seconds
        self._save()

    def end(self, stage: Stage, seconds: float) -> None:
        """Note that *stage* is done. Raises CaffeError where something it makes is not there."""
        done = self.stages[stage.name]
        done.outputs = {path: self._print(path) for path in (*stage.makes, stage.log)}
        missing = [path for path, known in done.outputs.items() if not known and path != stage.log]
        if missing:
            raise CaffeError(f"{self.path}: stage {stage.name} ended, but did not make {', '.join(missing)}")
        done.finished = True
        self.pause(stage, seconds)

    def _inputs(self, stage: Stage) -> dict[str, str]:
        return {path: self._print(path) for path in stage.reads}

    def _print(self, path: str) -> str:
        return fingerprint(self.path / path)
