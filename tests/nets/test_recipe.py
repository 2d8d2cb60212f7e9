"""Every recipe at its smallest on generated files of the publishers' formats; what is stopped goes on."""

import contextlib
import csv
import fcntl
import html
import json
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
import torch

import nets
from data import mnist
from nets.recipe import runner
from nets.recipe.__main__ import main
from nets.recipe.experiments import EXPERIMENTS
from nets.recipe.process import Command
from nets.recipe.results import Results
from nets.recipe.sizes import Size
from nets.recipe.source import CIFAR10, MNIST
from nets.recipe.stage import HASHED, Stage, fingerprint
from nets.recipe.work import Work
from protos import text
from protos.errors import CaffeError

ROOT = Path(__file__).parents[2]
DATA = {"mnist_mlp": "mnist", "lenet_32": "mnist", "otto": "otto"}  # all others: cifar


def source_of(sources, name):
    return sources / DATA.get(name, "cifar")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Small sets of noise and of stripes whose place is the class, as the publishers lay them out."""
    folder = tmp_path_factory.mktemp("sources")
    chance = np.random.default_rng(0)
    (folder / "mnist").mkdir()
    for stem, count in (("train", 300), ("t10k", 100)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = chance.integers(0, 100, (count, 28, 28), np.uint8)
        images[np.arange(count), 2 * labels + 4] = 255
        mnist.write_idx(folder / f"mnist/{stem}-images-idx3-ubyte.gz", images)
        mnist.write_idx(folder / f"mnist/{stem}-labels-idx1-ubyte.gz", labels)
    (folder / "cifar/cifar-10-batches-bin").mkdir(parents=True)
    for stem in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        labels = (np.arange(100) % 10).astype(np.uint8)
        images = chance.integers(0, 100, (100, 3, 32, 32), np.uint8)
        images[np.arange(100), :, 3 * labels] = 255
        records = np.concatenate([labels[:, None], images.reshape(100, -1)], 1)
        records.tofile(folder / f"cifar/cifar-10-batches-bin/{stem}.bin")
    write_otto(folder / "otto/train.csv", 270, chance, target=True)
    write_otto(folder / "otto/test.csv", 20, chance, target=False)
    return folder


def write_otto(path, count, chance, target):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", *(f"feat_{k}" for k in range(1, 94)), *(["target"] if target else [])])
        for row in range(count):
            features = chance.integers(0, 3, 93)
            features[row % 9 * 10] += 20
            table.writerow([row + 1, *features, *([f"Class_{row % 9 + 1}"] if target else [])])


class Here:
    """The command in this process, which spares it the imports."""

    interrupted = False
    pid = os.getpid()

    def __init__(self, words, work, log, keep):
        self.words, self.work, self.log = words, work, log

    def finish(self):
        quiet = warnings.catch_warnings()
        with self.log.open("a") as out, contextlib.chdir(self.work), quiet:
            warnings.simplefilter("ignore")  # of modules that are run again
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), mock.patch("sys.argv", self.words):
                try:
                    runpy.run_module(self.words[0], run_name="__main__")
                except SystemExit as end:
                    return end.code or 0
        return 0


class Refused:
    """No command is to run."""

    def __init__(self, words, *_):
        raise AssertionError(words)


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(runner, "Command", Here)
    threads = torch.get_num_threads()
    caffe = logging.getLogger("caffe")
    yield
    torch.set_num_threads(threads)
    logging.captureWarnings(False)
    for log in (logging.getLogger(), caffe, logging.getLogger("py.warnings")):
        log.handlers.clear()
    caffe.propagate = True


def call(name, sources, work, *flags):
    return main([name, "--source", str(source_of(sources, name)), "--work", str(work), *flags])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_trial_of_every_recipe(here, sources, tmp_path, capsys, monkeypatch, name):
    work = tmp_path / "work"
    assert call(name, sources, work, "--quick") == 0
    said = capsys.readouterr().out
    page = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", (work / "report.html").read_text())).split())
    record = json.loads((work / "recipe.json").read_text())
    for stage in record["stages"].values():
        assert stage["finished"]
        assert stage["command"] in page
    for figure in re.findall(r"^([^:]*): [\d.]+(?:%|$)", said, re.MULTILINE):
        assert figure in page
    onnx.checker.check_model(onnx.load(work / f"{name}.onnx"))
    with np.load(work / "predictions.npz") as arrays:
        probabilities, labels = arrays["probabilities"], arrays["labels"]
    assert len(labels) == (27 if name == "otto" else 100)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    accuracy = f"{100 * (probabilities.argmax(1) == labels).mean():.2f}%"
    assert accuracy in said
    assert accuracy in page
    monkeypatch.setattr(runner, "Command", Refused)
    assert call(name, sources, work, "--quick") == 0
    assert capsys.readouterr().out.count("done before") == len(record["stages"])


def test_otto_is_trained_from_both_kinds_of_files_and_submitted(here, sources, tmp_path):
    call("otto", sources, tmp_path / "work", "--quick")
    work = tmp_path / "work"
    one, other = (
        nets.load(work / "deploy.prototxt", work / f"snapshots/{name}_iter_200.caffemodel")
        for name in ("otto", "otto_hdf5")
    )
    for key, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)
    with (work / "submission.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", *(f"Class_{k}" for k in range(1, 10))]
    assert [row[0] for row in rows] == [str(k) for k in range(1, 21)]
    shares = np.array([row[1:] for row in rows], np.float64)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-4)
    assert shares.argmax(1).tolist() == [k % 9 for k in range(20)]


def test_the_log_loss_is_of_the_labels_shares(tmp_path):
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.0, 0.9]], np.float32)
    np.savez(tmp_path / "predictions.npz", probabilities=shares, labels=np.array([0, 1]), class_names=list("abc"))
    results = Results(tmp_path, {})
    assert results.log_loss() == pytest.approx(-(np.log(0.7) + np.log(1e-15)) / 2, rel=1e-6)
    assert results.accuracy() == 0.5


def test_what_is_missed_says_so(tmp_path):
    results = Results(tmp_path, {})
    assert results.figure("accuracy", 0.5, 0.54, "54%").note == "missed: at least 54% was to be reached"
    assert results.figure("loss", 0.5, 0.6, "", percent=False).reached
    assert Results(tmp_path, {}, quick=True).figure("accuracy", 0.9, 0.54, "54%").reached is None


# ---- stopping and going on


def start(sources, work):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["cifar10_gray_mlp", "--source", str(sources / "cifar"), "--work", str(work)]
    return subprocess.Popen(
        [sys.executable, "-m", "nets.recipe", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=work.parent,
    )  # fmt: skip


def wait_for(process, what):
    deadline = time.monotonic() + 120
    while not (found := what()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def end(lock):
    """Kill the process that holds the file *lock*, and wait until it is let go."""
    os.kill(int(lock.read_text().split()[1].rstrip(":")), signal.SIGKILL)
    deadline = time.monotonic() + 10
    with lock.open() as file:
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def iterations(work):
    return {int(file.stem.rpartition("_")[2]) for file in work.glob("snapshots/*.solverstate")}


def test_an_interrupted_run_goes_on_where_it_stopped(sources, tmp_path, monkeypatch, capsys):
    work, log = tmp_path / "work", tmp_path / "work/logs/train.log"
    process = start(sources, work)
    wait_for(process, lambda: log.exists() and "Iteration 391" in log.read_text())
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "interrupted; the same command goes on where it stopped\n"
    assert "convert: python -m data.convert cifar10" in out
    stopped_at = max(iterations(work))
    assert f"cifar10_gray_mlp_iter_{stopped_at}.solverstate" in log.read_text()

    process = start(sources, work)  # killed while a later snapshot is there
    wait_for(process, lambda: max(iterations(work)) > stopped_at)
    process.kill()
    out, _ = process.communicate()
    state = f"snapshots/cifar10_gray_mlp_iter_{stopped_at}.solverstate"
    assert f"train: python -m nets.train solver.prototxt --threads 1 --snapshot {state}" in out
    assert out.count("done before") == 3
    assert log.read_text().count("Starting Optimization") == 2
    lock = (work / "recipe.lock").read_text()
    assert "python -m nets.train solver.prototxt" in lock
    with pytest.raises(CaffeError, match=r"another run is at work in it \(process \d+: python -m nets.train"):
        call("cifar10_gray_mlp", sources, work)
    end(work / "recipe.lock")  # the training that was left alone
    newest = max(iterations(work))
    capsys.readouterr()

    words = stop_at_training(monkeypatch, work, sources)
    assert words[-2:] == ("--snapshot", f"snapshots/cifar10_gray_mlp_iter_{newest}.solverstate")
    assert capsys.readouterr().out.count("done before") == 3


def stop_at_training(monkeypatch, work, sources, *flags):
    """Call the recipe as far as a training; its words."""
    seen = []

    class Stopped(Here):
        def __init__(self, words, *rest):
            super().__init__(words, *rest)
            seen.append(words)
            self.interrupted = words[0] == "nets.train"

        def finish(self):
            return 130 if self.interrupted else super().finish()

    monkeypatch.setattr(runner, "Command", Stopped)
    assert call("cifar10_gray_mlp", sources, work, *flags) == 130
    return seen[-1]


@pytest.mark.parametrize(
    ("sent", "ends"),
    [(signal.SIGINT, 1), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGTERM)],
)
def test_a_signal_reaches_the_command(tmp_path, capsys, sent, ends):
    with (tmp_path / "lock").open("w") as lock:
        words = ("timeit", "-n", "1", "-r", "1", "-s", "print('begun', flush=True)", "import time; time.sleep(60)")
        command = Command(words, tmp_path, tmp_path / "log", lock.fileno())
        sender = threading.Thread(target=send_when_begun, args=(tmp_path / "log", sent))
        sender.start()
        assert command.finish() == ends
        sender.join()
    assert command.interrupted
    assert capsys.readouterr().out.startswith("begun\n")


def send_when_begun(log, sent):
    while "begun" not in log.read_text():
        time.sleep(0.02)
    os.kill(os.getpid(), sent)


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with (tmp_path / "lock").open("w") as lock:
            words = ("timeit", "-n", "1", "-r", "1", "-s", "print('begun', flush=True)", "import time; time.sleep(0.3)")
            command = Command(words, tmp_path, tmp_path / "log", lock.fileno())
            sender = threading.Thread(target=send_when_begun, args=(tmp_path / "log", signal.SIGHUP))
            sender.start()
            assert command.finish() == 0
            sender.join()
        assert not command.interrupted
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_changed_prototxt_is_used_and_begins_anew(here, sources, tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    stop_at_training(monkeypatch, work, sources, "--quick")
    (work / "snapshots").mkdir()
    for ending in ("solverstate", "caffemodel"):
        (work / f"snapshots/cifar10_gray_mlp_iter_7.{ending}").write_text("of the run that stopped")
    assert "--snapshot" in stop_at_training(monkeypatch, work, sources, "--quick")
    solver = (work / "solver.prototxt").read_text().replace("base_lr: 0.01", "base_lr: 0.02")
    changed = b"# n\xe4her\n" + solver.encode()
    (work / "solver.prototxt").write_bytes(changed)
    capsys.readouterr()
    assert "--snapshot" not in stop_at_training(monkeypatch, work, sources, "--quick")
    assert "solver.prototxt: is not as the recipe has it, and is used as it is" in capsys.readouterr().out
    assert (work / "solver.prototxt").read_bytes() == changed
    assert not iterations(work)


def test_a_stage_whose_files_are_gone_is_done_again(here, sources, tmp_path, capsys):
    work = tmp_path / "work"
    call("mnist_mlp", sources, work, "--quick")
    (work / "mnist_mlp.onnx").unlink()
    capsys.readouterr()
    call("mnist_mlp", sources, work, "--quick")
    said = capsys.readouterr().out
    assert re.findall(r"\] (\w+): python", said) == ["onnx"]


@pytest.mark.parametrize(("module", "ends"), [("nets.draw", False), ("nets.test", True)])
def test_a_stage_that_fails(here, sources, tmp_path, monkeypatch, capsys, module, ends):
    class Failing(Here):
        def finish(self):
            return 2 if self.words[0] == module else super().finish()

    monkeypatch.setattr(runner, "Command", Failing)
    if ends:
        with pytest.raises(CaffeError, match=r"stage test ended with exit status 2; what it said is in .*test\.log"):
            call("mnist_mlp", sources, tmp_path / "work", "--quick")
    else:
        assert call("mnist_mlp", sources, tmp_path / "work", "--quick") == 0
        assert "left out: stage draw ended with exit status 2" in capsys.readouterr().out


# ---- what is said


def test_the_list(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)


def test_a_missing_source_says_what_is_expected_and_where_it_is_published(sources, tmp_path):
    work = ["--work", str(tmp_path / "work")]
    for name, expected, page in (
        ("lenet_32", "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz", "yann.lecun.com/exdb/mnist"),
        ("cifar10_tutorial", "data_batch_1, data_batch_2", "www.cs.toronto.edu/~kriz/cifar.html"),
        ("otto", "train.csv", "otto-group-product-classification-challenge"),
    ):
        with pytest.raises(CaffeError, match=rf"nowhere: no such folder; expected in it: {expected}.*{page}"):
            main([name, "--source", str(tmp_path / "nowhere"), *work])
    with pytest.raises(CaffeError, match=r"otto: missing in it: train-images-idx3-ubyte.gz.*MNIST is published at"):
        main(["mnist_mlp", "--source", str(sources / "otto"), *work])
    assert not (tmp_path / "work").exists()


def test_a_work_folder_of_another_run_is_left_alone(sources, tmp_path, monkeypatch):
    work = tmp_path / "work"
    stop_at_training(monkeypatch, work, sources, "--quick")
    before = sorted(work.rglob("*"))
    with pytest.raises(CaffeError, match=r"belongs to another run \(size quick, not default\); name another --work"):
        call("cifar10_gray_mlp", sources, work)
    with pytest.raises(CaffeError, match=r"recipe cifar10_gray_mlp, not otto; source .*, not .*otto"):
        call("otto", sources, work, "--quick")
    assert sorted(work.rglob("*")) == before
    with pytest.raises(CaffeError, match="holds files, and none of a recipe's run"):
        call("otto", sources, sources)
    with pytest.raises(CaffeError, match=r"train\.csv: not a folder; name another --work"):
        call("otto", sources, sources / "otto/train.csv")
    (work / "recipe.json").write_text("{}")
    with pytest.raises(CaffeError, match=r"recipe\.json: not the record of a recipe's run"):
        call("otto", sources, work)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ottto"], "unknown recipe 'ottto', did you mean otto\\?; --list names them all"),
        ([], "name a recipe; --list names them all"),
        (["otto"], "give --source and --work, two folders"),
        (["otto", "--quick", "--gpu"], "--quick and --gpu are two sizes of a run: give one"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(CaffeError, match=message):
        main(words)


def test_windows_is_told_where_recipes_run(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(CaffeError, match="do not run on Windows itself"):
        main(["otto", "--source", str(tmp_path), "--work", str(tmp_path / "work")])
    assert not (tmp_path / "work").exists()


# ---- GPUs


def test_without_a_gpu_it_says_so_and_runs_on_the_cpu(sources, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert stop_at_training(monkeypatch, tmp_path / "work", sources, "--gpu") == (
        "nets.train", "solver.prototxt", "--threads", "1",
    )  # fmt: skip
    assert "--gpu: no GPU is found, so this runs on the CPU" in capsys.readouterr().out


def test_lenet_spreads_over_all_gpus_and_splits_its_batches():
    size, lenet = Size("gpu", 4), EXPERIMENTS["lenet_32"]
    commands = [stage.command for stage in lenet.stages(size, Path("source"))]
    assert "python -m nets.train solver.prototxt --gpu all" in commands
    for name in ("train_test.prototxt", "train_test_euclidean.prototxt"):
        stores = [
            layer.data_param for layer in text.parse_net(lenet.prototxts(size)[name]).layer if layer.data_param.source
        ]
        assert {store.batch_size for store in stores if "train" in store.source} == {16}
        assert {store.batch_size for store in stores if "test" in store.source} == {100}
    others = [stage.command for stage in EXPERIMENTS["otto"].stages(size, Path("source"))]
    assert "python -m nets.train solver.prototxt --gpu 0" in others


def test_an_archive_may_stand_for_the_folder(tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"")
    CIFAR10.check(archive)
    assert CIFAR10.found(archive) == [archive]
    with pytest.raises(CaffeError, match="no such folder; expected in it: train-images"):
        MNIST.check(archive)


def test_of_a_large_file_size_and_time_stand_for_its_content(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, HASHED), (large, HASHED + 1)):
        path.touch()
        os.truncate(path, size)
        os.utime(path, ns=(0, 10**9))
    before = fingerprint(small), fingerprint(large)
    for path in (small, large):
        with path.open("r+b") as file:
            file.write(b"x")
        os.utime(path, ns=(0, 10**9))
    assert fingerprint(small) != before[0]
    assert fingerprint(large) == before[1]
    os.utime(large, ns=(0, 2 * 10**9))
    assert fingerprint(large) != before[1]


def test_a_stage_has_to_make_what_it_says(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CaffeError, match=r"file/work: cannot be made: Not a directory"):
        Work(tmp_path / "file/work", {})
    work = Work(tmp_path / "work", {"recipe": "own"})
    stage = Stage("convert", "data.convert", (), makes=("train", "test"))
    (tmp_path / "work/train").touch()
    (tmp_path / "work/test").write_text("here")
    work.begin(stage)
    (tmp_path / "work/test").unlink()
    with pytest.raises(CaffeError, match=r"work: stage convert ended, but did not make test$"):
        work.end(stage, 1.0)
    assert not Work(tmp_path / "work", {"recipe": "own"}).is_done(stage)
