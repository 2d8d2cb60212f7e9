"""Average precision of the boxes found, and how a solver says it of its test nets."""

import logging

import h5py
import numpy as np
import pytest
import torch

import nets
from nets.precision import VERSIONS, Precision
from protos import text
from protos.errors import CaffeError


def by_hand(right, count, version):
    """The average precision of boxes in falling order of confidence, of which *right* are right."""
    precision = [sum(right[: i + 1]) / (i + 1) for i in range(len(right))]
    recall = [sum(right[: i + 1]) / count for i in range(len(right))]
    if version == "11point":
        points = [max((p for p, r in zip(precision, recall, strict=True) if r >= k / 10), default=0) for k in range(11)]
        return sum(points) / 11
    area, before = 0.0, 0.0
    for i, reached in enumerate(recall):
        area += (max(precision[i:]) if version == "MaxIntegral" else precision[i]) * (reached - before)
        before = reached
    return area


@pytest.mark.parametrize("version", VERSIONS)
def test_average_precision_is_that_of_the_curve(version):
    right = [1, 0, 1, 1, 0, 0, 1, 0]
    rows = [[-1, 1, 2, -1, -1], [-1, 2, 4, -1, -1], [-1, 3, 0, -1, -1]]
    boxes = [[0, 1, 0.9 - i / 10, hit, 1 - hit] for i, hit in enumerate(right)]
    judged = Precision()
    judged.add(torch.tensor([*rows, *boxes[1::2]])[None, None])
    judged.add(torch.tensor([[-1, 1, 3, -1, -1], *boxes[::2], [1, 3, 0.5, 0, 1]])[None, None])
    found = judged.by_class(version)
    assert found.keys() == {1, 2, 3}
    assert found[1] == pytest.approx(by_hand(right, 5, version))
    assert (found[2], found[3]) == (0, 0)


def test_a_recall_is_a_float32():
    """7 of 10 are just less than 0.7, and so reach 7 of the 11 points."""
    boxes = [[0, 1, 0.9 - i / 100, 1, 0] for i in range(7)]
    judged = Precision()
    judged.add(torch.tensor([[-1, 1, 10, -1, -1], *boxes])[None, None])
    assert judged.by_class("11point")[1] == pytest.approx(7 / 11)


TEST_NET = """
layer { name: "data" type: "HDF5Data" top: "found" top: "truth" hdf5_data_param { source: "list.txt" batch_size: 1 } }
layer { name: "judge" type: "DetectionEvaluate" bottom: "found" bottom: "truth" top: "judged"
  detection_evaluate_param { num_classes: 3 } }
layer { name: "sum" type: "Reduction" bottom: "found" top: "all" }
layer { name: "classes" type: "Slice" bottom: "truth" top: "head" top: "class" top: "tail"
  slice_param { axis: 3 slice_point: [1, 2] } }
layer { name: "flat" type: "Reshape" bottom: "class" top: "flat" reshape_param { shape { dim: -1 } } }
layer { name: "some" type: "Filter" bottom: "flat" bottom: "flat" top: "some" }
layer { name: "quiet" type: "Silence" bottom: "head" bottom: "tail" }
"""


def solver(options=""):
    made = text.parse_solver(f"base_lr: 0.1 lr_policy: 'fixed' test_iter: 2 test_interval: 1 {options}")
    made.net_param.CopyFrom(text.parse_net(TEST_NET))
    return nets.Solver(made, "cpu")


def test_a_solver_says_the_mean_average_precision(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    box, other = [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]
    found = [[[0, 1, 0.9, *box], [0, 2, 0.8, *box]], [[0, 1, 0.7, *other], [0, 2, 0.9, *other]]]
    truth = [[[0, 1, 0, *box, 0], [0, 2, 0, *other, 0]], [[0, 2, 0, *other, 0], [-1, 0, *[-1] * 6]]]
    with h5py.File("boxes.h5", "w") as file:
        file["found"], file["truth"] = np.array(found, "f4")[:, None], np.array(truth, "f4")[:, None]
    (tmp_path / "list.txt").write_text("boxes.h5\n")
    with caplog.at_level(logging.INFO, "caffe"):
        made = solver("eval_type: 'detection' ap_version: '11point' show_per_class_result: true")
        (result,) = made.test()
    first, second = by_hand([1, 0], 1, "11point"), by_hand([1, 0], 2, "11point")
    assert result["judged"] == pytest.approx((first + second) / 2)
    assert result["all"] == pytest.approx(np.sum(found) / 2)
    assert result.keys() == {"all", "judged"}  # a batch has two classes, the other one
    said = [record.getMessage().strip() for record in caplog.records]
    assert {"class1: 1", f"class2: {second:g}", f"Test net output #1: judged = {result['judged']:g}"} <= set(said)
    assert "Test net output some has another shape in each batch, and no mean" in said
    assert not [line for line in said if "no effect" in line]
    with pytest.raises(CaffeError, match="unknown ap_version 'best': there are 11point, MaxIntegral, Integral"):
        solver("ap_version: 'best'")
