"""The commands as users run them: in processes of their own, killed, interrupted, and with mistakes."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from nets import cli, console, inputs, snapshot, train
from nets import test as score
from protos import lens, text
from protos.errors import CaffeError

ENDLESS = 1_000_000


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def run(*words: str) -> tuple[int, str, str]:
    process = start(*words)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def job(work: Path, name: str = "solver.prototxt", **fields: object) -> str:
    """A solver file made of the reference run "adam" with dropout, which takes little time and all kinds of state."""
    net = (work / "adam" / "net.prototxt").read_text()
    drop = 'layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" }\n'
    (work / "net.prototxt").write_text(net.replace('layer { name: "accuracy"', drop + 'layer { name: "accuracy"'))
    param = text.read_solver(work / "adam" / "solver.prototxt")
    param.net, param.snapshot, param.snapshot_prefix, param.display = "net.prototxt", 0, "out/run", 0
    param.snapshot_after_train = True
    for field, value in fields.items():
        setattr(param, field, value)
    (work / name).write_text(text.to_text(param))
    return name


def blobs(path: Path) -> list[np.ndarray]:
    return [blob.array() for layer in lens.layers(lens.open_buffer(path)) for blob in layer.blobs]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_train_test_and_time(work: Path) -> None:
    status, _, log = run("nets.train", job(work, display=10, max_iter=40), "--weights", "adam/init.caffemodel")
    assert status == 0, log
    assert "Optimization Done." in log
    assert log.splitlines()[0].split("] ")[1] == "Initializing solver from parameters:"
    assert (work / "out/run_iter_40.caffemodel").exists()
    status, _, log = run(
        "nets.test", "--model", "net.prototxt", "--weights", "out/run_iter_40.caffemodel", "--iterations", "3"
    )
    assert status == 0, log
    assert "Batch 2, accuracy = " in log
    assert "loss = " in log
    status, _, log = run("nets.cli", "time", "-model=net.prototxt", "-iterations", "2")
    assert status == 0, log
    assert "conv1\tforward: " in log
    assert "Average Forward-Backward: " in log


def test_a_net_is_timed_without_its_store(work: Path) -> None:
    job(work)
    edited(work / "net.prototxt", '"digits_lmdb"', '"nowhere_lmdb"')
    status, _, log = run("nets.time", "--model", "net.prototxt")
    assert status == 2
    assert "nowhere_lmdb: no such store; or name the shape of 'data', 'label' with --shape NAME=N,C,H,W" in log
    status, _, log = run("nets.time", "--model", "net.prototxt", "--iterations", "2", "--shape", "data=4,1,16,16")
    assert status == 0, log
    assert "conv1\tforward: " in log


@pytest.mark.parametrize(
    ("words", "environment", "small", "chosen"),
    [
        ((), {}, train.SMALL, [1]),
        (("--threads", "2"), {}, train.SMALL, [2]),
        ((), {"OMP_NUM_THREADS": "2"}, train.SMALL, []),
        ((), {}, 0, []),
    ],
)
def test_a_small_net_trains_on_one_thread(
    words: tuple[str, ...],
    environment: dict[str, str],
    small: int,
    chosen: list[int],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(train, "SMALL", small)
    found: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    assert train.main([job(work, max_iter=1), *words]) == 0
    assert found == chosen


def test_scoring_closes_its_sources(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    monkeypatch.setattr(inputs.Inputs, "close", lambda self: closed.append(self.shapes))
    flags = ["--model", "adam/net.prototxt", "--weights", "adam/init.caffemodel", "--iterations"]
    assert score.main([*flags, "1"]) == 0
    assert len(closed) == 1


def test_weights_with_a_comma_too_many(work: Path) -> None:
    assert train.main([job(work, max_iter=1), "--weights", "adam/init.caffemodel, "]) == 0


def test_spellings_of_the_original(work: Path) -> None:
    solver = job(work, max_iter=2)
    for words in (
        ["-solver", solver],
        [f"--solver={solver}"],
        [f"-solver={solver}", "-sighup_effect=none", "-level", "1"],
    ):
        assert cli.dispatch(["train", *words]) == 0
    assert cli.dispatch(["test", "-model", "net.prototxt", "-weights=out/run_iter_2.caffemodel", "-iterations=1"]) == 0
    with pytest.raises(CaffeError, match="unknown command 'trian', did you mean train"):
        cli.dispatch(["trian"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_snapshots_and_resumes_exactly(number: signal.Signals, work: Path) -> None:
    """Stopped by a signal at a random moment, then resumed: the end is bit for bit that of an unbroken run."""

    process = start("nets.train", job(work, max_iter=ENDLESS, snapshot=100))
    wait_for(work / "out/run_iter_100.solverstate", process)
    process.send_signal(number)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 130, log
    assert "Optimization stopped early." in log
    states = {snapshot.read(path).iter: path for path in (work / "out").glob("*.solverstate")}
    stopped = max(states)
    end = stopped + 30
    solver = job(work, max_iter=end, snapshot_prefix="resumed/run")
    assert run("nets.train", solver, "--snapshot", str(states[stopped]))[0] == 0
    whole = job(work, "whole.prototxt", max_iter=end, snapshot_prefix="whole/run")
    assert run("nets.train", whole)[0] == 0
    for a, b in zip(
        blobs(work / f"resumed/run_iter_{end}.caffemodel"),
        blobs(work / f"whole/run_iter_{end}.caffemodel"),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_kill_leaves_whole_snapshots(work: Path) -> None:
    process = start("nets.train", job(work, max_iter=ENDLESS, snapshot=1))
    wait_for(work / "out/run_iter_20.solverstate", process)
    process.kill()
    process.communicate()
    states = sorted((work / "out").glob("*.solverstate"), key=lambda path: path.stat().st_mtime)
    assert len(states) >= 20
    for path in states[-3:]:
        state = snapshot.read(path)
        assert len(blobs(Path(state.learned_net))) == 4
    solver = job(work, max_iter=snapshot.read(states[-1]).iter + 2, snapshot_prefix="resumed/run")
    assert run("nets.train", solver, "--snapshot", str(states[-1]))[0] == 0


def test_hangup_snapshots_and_goes_on(work: Path) -> None:
    process = start("nets.train", job(work, max_iter=ENDLESS, snapshot=50))
    wait_for(work / "out/run_iter_50.solverstate", process)
    before = set((work / "out").glob("*.solverstate"))
    process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while not [p for p in set((work / "out").glob("*.solverstate")) - before if int(p.stem.split("_")[-1]) % 50]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()


def edited(path: Path, old: str, new: str) -> None:
    changed = path.read_text().replace(old, new)
    assert changed != path.read_text()
    path.write_text(changed)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


MISTAKES = {
    "no solver": (lambda work: None, ["nets.train", "nowhere.prototxt"], "nowhere.prototxt"),
    "no argument": (lambda work: None, ["nets.train"], "name one solver prototxt"),
    "no threads": (
        lambda work: None,
        ["nets.train", "solver.prototxt", "--threads", "0"],
        "--threads must be at least",
    ),
    "no net": (lambda work: (work / "net.prototxt").unlink(), ["nets.train", "solver.prototxt"], "net.prototxt"),
    "unknown layer": (
        lambda work: edited(work / "net.prototxt", '"Convolution"', '"Convolutoin"'),
        ["nets.train", "solver.prototxt"],
        "layer 'conv1' (Convolutoin): no layer of this type is known, did you mean Convolution or Deconvolution?",
    ),
    "unknown field": (
        lambda work: edited(work / "net.prototxt", "num_output", "num_outputs"),
        ["nets.train", "solver.prototxt"],
        "num_output",
    ),
    "no store": (
        lambda work: edited(work / "net.prototxt", '"digits_lmdb"', '"nowhere_lmdb"'),
        ["nets.train", "solver.prototxt"],
        "layer 'data' (Data): nowhere_lmdb: no such store",
    ),
    "truncated store": (
        lambda work: truncated(work / "digits_lmdb/data.mdb"),
        ["nets.train", "solver.prototxt"],
        "digits_lmdb",
    ),
    "truncated weights": (
        lambda work: truncated(work / "adam/init.caffemodel"),
        ["nets.train", "solver.prototxt", "--weights", "adam/init.caffemodel"],
        "adam/init.caffemodel",
    ),
    "truncated state": (
        lambda work: truncated(work / "adam/snap_iter_12.solverstate"),
        ["nets.train", "solver.prototxt", "--snapshot", "adam/snap_iter_12.solverstate"],
        "adam/snap_iter_12.solverstate",
    ),
    "label out of range": (
        lambda work: edited(work / "net.prototxt", "num_output: 10", "num_output: 5"),
        ["nets.train", "solver.prototxt"],
        "out of range: there are 5 classes",
    ),
    "no such GPU": (lambda work: None, ["nets.train", "solver.prototxt", "--gpu", "99"], "--gpu 99: there"),
    "folder for a file": (lambda work: None, ["nets.train", "adam"], "adam"),
    "prefix in a file": (
        lambda work: (work / "out").write_text("a file"),
        ["nets.train", "solver.prototxt"],
        "out",
    ),
    "two nets": (
        lambda work: edited(work / "solver.prototxt", "max_iter", 'train_net: "net.prototxt" max_iter'),
        ["nets.train", "solver.prototxt"],
        "solver: needs exactly one of net_param, net, train_net_param, train_net, not net and train_net",
    ),
    "negative numbers": (
        lambda work: edited(work / "solver.prototxt", "max_iter: 3", "max_iter: -3 average_loss: 0"),
        ["nets.train", "solver.prototxt"],
        "solver: max_iter must be at least 0, not -3; average_loss must be at least 1, not 0",
    ),
    "a momentum of 1": (
        lambda work: edited(work / "solver.prototxt", "momentum: 0.9", "momentum: 1"),
        ["nets.train", "solver.prototxt"],
        "solver of type 'Adam': needs momentum from 0 to below 1, not 1",
    ),
    "no iterations": (
        lambda work: None,
        ["nets.test", "--model", "net.prototxt", "--weights", "adam/init.caffemodel", "--iterations", "0"],
        "--iterations must be at least 1",
    ),
    "weights and a state": (
        lambda work: None,
        ["nets.train", "-solver=solver.prototxt", "-weights=a", "-snapshot=b"],
        "give --weights to start anew or --snapshot to go on, not both",
    ),
    "net for a solver": (lambda work: None, ["nets.train", "net.prototxt"], "net.prototxt"),
}


def in_process(*words: str) -> int:
    """The exit status of a command that runs in this process, as its console gives it."""
    command = {"nets.train": train.main, "nets.test": score.main}[words[0]]
    with pytest.raises(SystemExit) as left:
        console.run(lambda: command(words[1:]))
    return int(left.value.code or 0)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line(mistake: str, work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, one line that says what and where, no traceback, and nothing half-written."""
    spoil, words, said = MISTAKES[mistake]
    job(work, max_iter=3)
    spoil(work)
    status = in_process(*words)
    log = capfd.readouterr().err
    assert status == 2, log
    (error,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert said in error
    assert "input_shapes" not in error, "which is Python's"
    assert log.rstrip().endswith(error), "it is the last line"
    assert "Traceback" not in log
    assert not list(work.glob("**/*.tmp"))


def test_a_mistake_in_a_process_of_its_own(work: Path) -> None:
    status, out, log = run("nets.train", "nowhere.prototxt")
    assert (status, out) == (2, "")
    assert log.count("\n") == 1
    assert log.startswith("error: nowhere.prototxt")


@pytest.mark.parametrize("fields", [{}, {"snapshot": 1}, {"snapshot": 1, "snapshot_format": 0}])
def test_full_disk_is_one_line_and_a_failure_when_nothing_is_saved_at_the_end(
    work: Path, fields: dict[str, int]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    job(work, max_iter=3, **fields)
    code = (
        "import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.argv = ['train', 'solver.prototxt'];"
        "runpy.run_module('nets.train', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert last.endswith("cannot be written: file too large")
    assert done.stderr.count("no snapshot, training goes on") == (3 if fields else 0)
    assert not list((work / "out").iterdir())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_shows_the_loss_now_and_then(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LOSS_SHOWN_EVERY", 2)
    monkeypatch.setattr("sys.stderr", Terminal())
    solver = nets.Solver.load(job(work, max_iter=3), "cpu")
    train._solve(solver, bar=True)
    assert isinstance(sys.stderr, Terminal)
    assert "3/3 [" in sys.stderr.getvalue()
    assert f"loss={solver.losses[1]:.4g}]" in sys.stderr.getvalue()
