"""Runs the stages of a recipe one after the other, and leaves out what is done."""

import shlex
import time
from collections.abc import Sequence

from nets.recipe.process import Command
from nets.recipe.stage import Stage, forget_snapshots, newest_snapshot
from nets.recipe.work import Work
from protos.errors import CaffeError


class InterruptedRunError(Exception):
    """A signal asked to stop."""


def run(stages: Sequence[Stage], work: Work) -> None:
    """Run *stages* in *work*. Raises CaffeError where one fails, InterruptedRunError where a signal stopped one."""
    with work.locked() as lock:
        for number, stage in enumerate(stages, 1):
            head = f"[{number}/{len(stages)}] {stage.name}"
            if work.is_done(stage):
                print(f"{head}: done before", flush=True)
                continue
            _run(stage, work, lock, head)


def _run(stage: Stage, work: Work, lock: int, head: str) -> None:
    state = newest_snapshot(work.path, stage.snapshots) if stage.snapshots and work.has_begun(stage) else None
    words = (*stage.words, *(("--snapshot", state) if state else ()))
    log = work.path / stage.log
    if state is None:
        if stage.snapshots:
            forget_snapshots(work.path, stage.snapshots)
        log.unlink(missing_ok=True)
        work.begin(stage)
    print(f"{head}: python -m {shlex.join((stage.module, *words))}", flush=True)
    started = time.perf_counter()
    command = Command((stage.module, *words), work.path, log, lock)
    work.say_who(command.pid, stage.command)
    status = command.finish()
    seconds = time.perf_counter() - started
    if status == 0:
        work.end(stage, seconds)
    else:
        work.pause(stage, seconds)
    if command.interrupted:
        raise InterruptedRunError
    if status != 0:
        _complain(stage, work, status)


def _complain(stage: Stage, work: Work, status: int) -> None:
    how = f"exit status {status}" if status > 0 else f"signal {-status}"
    said = f"stage {stage.name} ended with {how}; what it said is in {work.path / stage.log}"
    if not stage.optional:
        raise CaffeError(f"{said}; the same command goes on where it stopped")
    print(f"left out: {said}", flush=True)
