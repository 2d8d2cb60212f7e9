"""What ``debug_info`` logs, against a log of the original: splits, shared and frozen blobs, micro-batches, tests."""

import logging
import re
from pathlib import Path

import pytest
import torch

import nets
from nets.debug import splits
from protos import text

NET = """
name: "debugged"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.00390625 }
  data_param { source: "digits_lmdb" batch_size: 16 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "pool1" top: "pool1" }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1" param { name: "w" }
  inner_product_param { num_output: 10 } }
layer { name: "again" type: "InnerProduct" bottom: "pool1" top: "again" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 10 } }
layer { name: "both" type: "Eltwise" bottom: "ip1" bottom: "again" top: "both" }
layer { name: "accuracy" type: "Accuracy" bottom: "both" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "hinge" type: "HingeLoss" bottom: "both" bottom: "label" top: "hinge" loss_weight: 0.5 }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "both" bottom: "label" top: "loss" loss_weight: 2 }
"""
SOLVER = """
base_lr: 0.05 momentum: 0.9 weight_decay: 0.01 clip_gradients: 0.5 iter_size: 2 display: 2 max_iter: 2
lr_policy: "multistep" gamma: 0.5 stepvalue: 1 test_iter: 1 test_interval: 2 test_initialization: false
debug_info: true random_seed: 1 snapshot_after_train: false
"""
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")


def parted(lines: list[str]) -> tuple[list[str], list[float]]:
    """The lines without their numbers and times, and the numbers."""
    said = [re.sub(r"\(\S+ iter/s, \S+s/", "(", line) for line in lines]
    return [NUMBER.sub("#", line) for line in said], [float(x) for line in said for x in NUMBER.findall(line)]


def test_every_line_is_the_originals(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="caffe")
    solver = nets.Solver(text.parse_solver(f"net_param {{ {NET} }} {SOLVER}"), "cpu")
    solver.load_weights("sgd_fixed/init.caffemodel")
    caplog.clear()
    solver.solve()
    said, figures = parted(caplog.messages)
    wanted, wanted_figures = parted((Path(__file__).parent / "debug_info.txt").read_text().splitlines())
    assert said == wanted
    assert figures == pytest.approx(wanted_figures, rel=3e-5)
    assert all(
        layer._parameters[name] is blob for _, layer in solver.net.nodes for name, blob in layer.named_parameters()
    )


def test_a_failing_pass_leaves_the_net_as_it_was(work: Path) -> None:
    solver = nets.Solver(text.parse_solver(f"net_param {{ {NET} }} {SOLVER}"), "cpu")
    before = dict(solver.net.named_parameters())
    solver.net.layer("both").forward = lambda *bottoms: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        solver.step()
    assert all(blob is before[name] for name, blob in solver.net.named_parameters())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for _, layer in solver.net.nodes)


def test_watching_changes_no_gradient(work: Path) -> None:
    """Not even where a layer's own look at its bottom, and others, are watched side by side."""
    net = NET.replace('name: "both" type', 'name: "abs" type: "AbsVal" bottom: "ip1" top: "abs" loss_weight: 0.1 }\n'
                      'layer { name: "both" type')  # fmt: skip
    solvers = [nets.Solver(text.parse_solver(f"net_param {{ {net} }} {SOLVER}"), "cpu") for _ in range(2)]
    solvers[1].param.debug_info = False
    for solver in solvers:
        solver.load_weights("sgd_fixed/init.caffemodel")
        torch.nn.init.constant_(solver.net.layer("again").blobs[1], 0.5)
        solver.step(2)
    for a, b in zip(*(solver.net.learnable for solver in solvers), strict=True):
        assert torch.equal(a.tensor, b.tensor), a.key


def test_splits_are_named_as_in_the_original() -> None:
    """A loss weight that is written out counts as one that takes the top, and takes the first copy."""
    found = splits(list(text.parse_net("""
    layer { name: "in" type: "DummyData" top: "x" }
    layer { name: "a" type: "Power" bottom: "x" top: "y" loss_weight: 3 }
    layer { name: "b" type: "Power" bottom: "y" top: "y" }
    layer { name: "c" type: "Power" bottom: "y" top: "z" }
    """).layer))  # fmt: skip
    assert [(split.name, split.tops) for split in found.values()] == [
        ("y_a_0_split", ["y_a_0_split_0", "y_a_0_split_1"])
    ]


def test_a_net_without_blobs_has_norms_of_0(caplog: pytest.LogCaptureFixture) -> None:
    net = """layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 } } }
        layer { name: "sum" type: "Reduction" bottom: "x" top: "sum" loss_weight: 1 }"""
    fields = 'base_lr: 1 lr_policy: "fixed" debug_info: true display: 1'
    solver = nets.Solver(text.parse_solver(f"net_param {{ {net} }} {fields}"), "cpu")
    caplog.set_level(logging.INFO, logger="caffe")
    solver.step(1)
    wanted = "    [Backward] All net params (data, diff): L1 norm = (0, 0); L2 norm = (0, 0)"
    assert wanted in caplog.messages
