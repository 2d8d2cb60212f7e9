"""One command that trains in several processes; on the CPU, where gloo stands in for NCCL."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nets import launch
from protos.errors import CaffeError
from tests.nets.test_ranks import DROP, write

CODE = "import os, sys; from nets.launch import launch; sys.exit(launch(2, sys.argv[1:], os.environ))"


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen([sys.executable, "-c", CODE, *words], env=environment, stderr=subprocess.PIPE, text=True)


def start_endless(work: Path) -> subprocess.Popen[str]:
    """A training that has come to its first snapshot."""
    solver = write(work, "two", 8, DROP)
    endless = work / "endless.prototxt"
    endless.write_text((work / solver).read_text().replace("max_iter: 12", "max_iter: 1000000"))
    process = start(str(endless))
    deadline = time.monotonic() + 100
    while not (work / "two/run_iter_6.solverstate").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_to_all_ranks_which_snapshot_and_stop(number: signal.Signals, work: Path) -> None:
    process = start_endless(work)
    process.send_signal(signal.SIGHUP)
    process.send_signal(number)
    _, log = process.communicate(timeout=100)
    assert process.returncode == 130, log
    assert log.count("Optimization stopped early.") == 1
    assert log.count("Initializing solver from parameters") == 1, "one speaks for all"
    before_the_stop = log.split("Optimization stopped early.")[0].splitlines()
    assert "Snapshotting solver state" in before_the_stop[-2]


def test_no_rank_outlives_a_launcher_that_is_killed(work: Path) -> None:
    process = start_endless(work)
    process.kill()
    _, log = process.communicate(timeout=100)  # to the end of what the ranks say
    assert log.count("Optimization stopped early.") == 1
    assert "Snapshotting solver state" in log.split("Optimization stopped early.")[0].splitlines()[-2]


def test_a_mistake_is_said_once(work: Path) -> None:
    process = start("nowhere.prototxt")
    _, log = process.communicate(timeout=100)
    assert (process.returncode, log) == (2, "error: nowhere.prototxt: cannot be read: no such file or directory\n")


def test_a_rank_that_fails_alone_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PATIENCE", 0.2)
    codes = ["import time; time.sleep(100)", "raise SystemExit(3)"]
    ranks = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
    assert launch._wait(ranks) == 1
    assert [rank.wait() for rank in ranks] == [-signal.SIGKILL, 3]


def test_windows_is_told_that_one_gpu_at_a_time_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(CaffeError, match="do not train on Windows itself"):
        launch.launch(2, ["solver.prototxt"], {})


def test_gpus_are_numbered_among_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert launch.visible([0, 2]) == "0,2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    assert launch.visible([0, 2]) == "4,7"


def test_what_a_rank_says_that_fails_as_no_other_does_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "rank $RANK" >&2\n[ "$RANK" != 1 ] || exit 3\n')
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    assert launch.launch(2, [], os.environ) == 3
    assert capfd.readouterr().err == "rank 0\nrank 1\n"
