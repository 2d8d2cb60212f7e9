"""An SSD net from its store to its score."""

import logging

import numpy as np
import pytest
import torch

import nets
from data import datum, images
from data.sources import open_source
from data.stores import create_store
from nets import test as scoring
from nets.feeding import Flags, Treatment, read_items
from nets.weights import save_weights
from protos import text
from protos.schema import AnnotatedDatum
from tests.nets.test_detection import SSD

SOURCE = """
layer {{ name: "data" type: "AnnotatedData" top: "data" top: "truth" data_param {{ source: "store" batch_size: {size} }}
  transform_param {{ scale: 0.01 mean_value: 30 resize_param {{ height: 64 width: 64 }} {transform} }}
  annotated_data_param {{ {options} }} }}
"""
AUGMENTED = SOURCE.format(
    size=4,
    transform="mirror: true distort_param { brightness_prob: 0.5 brightness_delta: 8 }"
    " expand_param { prob: 0.2 max_expand_ratio: 1.3 } emit_constraint { emit_type: CENTER }",
    options="batch_sampler { max_sample: 1 max_trials: 1 } batch_sampler { sampler { min_scale: 0.8 }"
    " sample_constraint { min_jaccard_overlap: 0.2 } max_sample: 1 max_trials: 50 }",
)
LOSS = """
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc_flat" bottom: "conf_flat" bottom: "prior" bottom: "truth"
  top: "loss" propagate_down: [true, true, false, false] loss_param { normalization: VALID }
  multibox_loss_param { num_classes: 4 code_type: CENTER_SIZE neg_overlap: 0.5 } }
"""
JUDGE = """
layer { name: "judge" type: "DetectionEvaluate" bottom: "found" bottom: "truth" top: "judged"
  detection_evaluate_param { num_classes: 4 overlap_threshold: 0.5 evaluate_difficult_gt: false } }
"""
BODY = SSD[SSD.index('layer { name: "conv1"') :]
TRAIN = AUGMENTED + BODY[: BODY.index('layer { name: "rows"')] + LOSS
TEST = SOURCE.format(size=3, transform="", options="") + BODY + JUDGE
SOLVER = """
type: "Adam" base_lr: 0.01 momentum: 0.9 momentum2: 0.999 lr_policy: "fixed" display: 10 max_iter: 60 random_seed: 1
eval_type: "detection" ap_version: "11point" show_per_class_result: true test_iter: 3 test_interval: 1000
train_net: "train.prototxt" test_net: "test.prototxt" snapshot_prefix: "shot" test_initialization: false
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The nets, and a store of eight images with a bright square each, whose channel says its class."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    with create_store("store") as store:
        for k in range(8):
            pixels = chance.integers(0, 20, (3, 80, 96), np.uint8)
            left, top = (int(x) for x in chance.integers(4, 46, 2))
            label = k % 3 + 1
            pixels[label - 1, top : top + 30, left : left + 36] += 200
            message = AnnotatedDatum(type="BBOX")
            message.datum.ParseFromString(datum.pack_encoded(images.encode(pixels)))
            box = message.annotation_group.add(group_label=label).annotation.add().bbox
            box.xmin, box.ymin, box.xmax, box.ymax = left / 96, top / 80, (left + 36) / 96, (top + 30) / 80
            store.put(b"%08d" % k, message.SerializeToString())
    (tmp_path / "train.prototxt").write_text(f'name: "train"\n{TRAIN}')
    (tmp_path / "test.prototxt").write_text(f'name: "test"\n{TEST}')
    return text.parse_solver(SOLVER)


def test_an_ssd_net_learns_from_its_store_and_its_score_is_said(job, caplog):
    with caplog.at_level(logging.INFO, "caffe"):
        solver = nets.Solver(job, "cpu")
        (before,) = solver.test()
        solver.step(job.max_iter)
        (after,) = solver.test()
        solver.close()
    assert np.mean(solver.losses[-8:]) < 0.35 * np.mean(solver.losses[:8])
    assert before["judged"] < 0.2
    assert after["judged"] > 0.6
    said = [record.getMessage() for record in caplog.records]
    assert f"    Test net output #0: judged = {after['judged']:g}" in said
    assert sum(line.startswith(("class1: ", "class2: ", "class3: ")) for line in said) == 6


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(job):
    whole = nets.Solver(job, "cpu")
    whole.step(5)
    state = whole.snapshot()
    whole.step(4)
    resumed = nets.Solver(job, "cpu")
    resumed.step(1)
    resumed.restore(state)
    resumed.step(4)
    assert resumed.losses[-4:] == whole.losses[-4:]
    for a, b in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(a, b)
    for one in (whole, resumed):
        one.close()


def test_the_command_that_scores_says_the_precision_too(job, capfd):
    solver = nets.Solver(job, "cpu")
    solver.step(30)
    (wanted,) = solver.test()
    save_weights(solver.net, "net.caffemodel")
    solver.close()
    flags = ["--model", "test.prototxt", "--weights", "net.caffemodel", "--iterations", "3", "--ap-version", "11point"]
    assert scoring.main(flags) == 0
    assert f"] judged = {wanted['judged']:g}\n" in "".join(capfd.readouterr())


def test_what_is_predicted_is_resized_as_the_store_is(job, tmp_path):
    padded = TEST.replace("resize_param {", "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD pad_value: 9 ")
    (tmp_path / "test.prototxt").write_text(padded)
    net = nets.load("test.prototxt")
    with open_source(net.graph.sources[0], "TEST") as source:
        wanted = source.next()["data"]
    items = list(read_items([tmp_path / "store"], 3, None))[:3]
    assert torch.equal(Treatment(net, Flags())(items), wanted)
    other = Treatment(net, Flags(resize=(64, 64)))(items)
    assert other.shape == wanted.shape
    assert not torch.equal(other, wanted)
