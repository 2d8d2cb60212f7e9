"""Several processes on one net: the original's meaning, on the CPU through gloo."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from nets import launch, train
from nets.ranks import Ranks, WithLoss
from protos import lens, text
from protos.errors import CaffeError

NET = """
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ scale: 0.00390625 }}
  data_param {{ source: "digits_lmdb" batch_size: {batch} backend: LMDB }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" param {{ lr_mult: 1 }} param {{ lr_mult: 2 }}
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
{drop}layer {{ name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param {{ num_output: 10 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include {{ phase: TEST }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""
SOLVER = """
net: "{net}" base_lr: 0.05 momentum: 0.9 weight_decay: 0.001 lr_policy: "fixed" random_seed: 5 display: 5
max_iter: 12 test_iter: 2 test_interval: 6 snapshot_prefix: "{out}/run" snapshot: 6 solver_mode: CPU
"""


DROP = 'layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }\n'


def write(work: Path, name: str, batch: int, drop: str = "") -> str:
    (work / f"{name}_net.prototxt").write_text(NET.format(batch=batch, drop=drop))
    (work / f"{name}.prototxt").write_text(SOLVER.format(net=f"{name}_net.prototxt", out=name))
    return f"{name}.prototxt"


def blobs(path: Path) -> list[np.ndarray]:
    return [blob.array() for layer in lens.layers(lens.open_buffer(path)) for blob in layer.blobs]


def together(*words: str) -> str:
    """Train in two processes; the log."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, "-m", "nets.train", *words],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_two_ranks_follow_one_process_with_twice_the_batch(work: Path) -> None:
    log = together(write(work, "two", 8))
    assert log.count("Iteration 5 (") == 1, "rank 0 alone logs"
    assert log.count("Testing net (#0)") == 3
    assert "Warning" not in log
    assert train.main([write(work, "one", 16)]) == 0
    for a, b in zip(
        blobs(work / "two/run_iter_12.caffemodel"), blobs(work / "one/run_iter_12.caffemodel"), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_two_ranks_train_above_layers_that_get_no_gradient(work: Path) -> None:
    """The first layer learns nothing, as behind it no gradient goes on: no rank waits for it."""
    held = 'layer { name: "held" type: "Power" bottom: "conv" top: "held" propagate_down: false }\n'
    for name, batch in (("two", 8), ("one", 16)):
        write(work, name, batch, held)
        path = work / f"{name}_net.prototxt"
        path.write_text(path.read_text().replace('bottom: "conv" top: "ip"', 'bottom: "held" top: "ip"'))
    together("two.prototxt")
    assert train.main(["one.prototxt"]) == 0
    for a, b in zip(
        blobs(work / "two/run_iter_12.caffemodel"), blobs(work / "one/run_iter_12.caffemodel"), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_two_ranks_resume_exactly(work: Path) -> None:
    """Each rank's own chance comes back: the dropout masks are those of the unbroken run."""
    solver = write(work, "two", 8, DROP)
    together(solver)
    whole = (work / "two/run_iter_12.caffemodel").read_bytes()
    (work / "two/run_iter_12.caffemodel").unlink()
    together(solver, "--snapshot", "two/run_iter_6.solverstate")
    assert (work / "two/run_iter_12.caffemodel").read_bytes() == whole


def test_one_alone_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = Ranks.from_environment()
    assert ranks == Ranks(0, 1, 0)
    assert ranks.is_first
    assert ranks.agreed(2) == 2
    net = nets.Net(nets.graph.build(text.parse_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
    )))  # fmt: skip
    assert isinstance(ranks.spread(net, "cpu"), WithLoss)


def test_the_ranks_that_torchrun_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert Ranks.from_environment() == Ranks(3, 8, 1)


@pytest.mark.parametrize("spelling", [["-gpu", "0,1"], ["--gpu=0,1"], ["-gpu=all"]])
def test_the_gpu_flag_is_taken_out(spelling: list[str]) -> None:
    assert train._without(["s.prototxt", *spelling, "--level", "2"], "gpu") == ["s.prototxt", "--level", "2"]


@pytest.mark.parametrize(
    ("mode", "flag", "launched", "count", "wanted"),
    [
        ("CPU", [], False, 2, None),
        ("GPU", [], False, 2, "cuda:1"),
        ("CPU", [], True, 2, "cuda:1"),
        ("CPU", [2, 3], False, 4, "cuda:3"),
        ("GPU", [], False, 0, None),
    ],
)
def test_each_rank_has_a_gpu_of_its_own_where_gpus_are_wanted(mode, flag, launched, count, wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if launched:
        monkeypatch.setenv(launch.LAUNCHER, "5")
    gpus = [torch.device("cuda", number) for number in flag]
    found = train._device(text.parse_solver(f"solver_mode: {mode}"), Ranks(1, 2, 1), gpus)
    assert found == (None if wanted is None else torch.device(wanted))


@pytest.mark.parametrize(("flag", "count"), [([], 1), ([0], 2)])
def test_more_ranks_than_gpus_are_refused(flag, count, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    gpus = [torch.device("cuda", number) for number in flag]
    with pytest.raises(CaffeError, match="process 1 on this machine has no GPU: there are 1 for it"):
        train._device(text.parse_solver("solver_mode: GPU"), Ranks(1, 2, 1), gpus)
