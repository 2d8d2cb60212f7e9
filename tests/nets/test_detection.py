"""The detection layers of Caffe's forks: their options against loops over boxes, and whole nets against OpenCV."""

import logging

import numpy as np
import pytest
import torch

import converters
import nets
from nets import runtime
from nets.layers.boxes import CODES, areas, decode, encode, overlaps, suppress
from nets.layers.rois import sums_before
from nets.predictions import plan, predict
from nets.recording import recording
from nets.weights import save_weights
from protos import text
from protos.errors import NetError
from tests.nets.cases_detection import PRIOR_COUNT, detections, found_by, overlap
from tests.nets.cases_rois import regions
from tests.nets.test_refusals import load, source

# type | shapes of the bottoms | number of tops | options, and what the message says of it
REFUSED = r"""
Normalize | 4 | 1 |
    its bottom needs at least 2 axes, N x C
Normalize | 2x4 | 1 | normalize_param { normalize_type: "L1" }
    takes its options in norm_param, not in normalize_param
Normalize | 2x4 | 1 | norm_param { fix_gradient: true }
    option norm_param.fix_gradient is not supported
PriorBox | 2x4x3x3 2x3 | 1 | prior_box_param { min_size: 4 }
    its bottoms need 4 axes, N x C x H x W
PriorBox | 2x4x3x3 2x3x9x9 | 1 |
    min_size must be set and positive
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: [3, 0] }
    min_size must be set and positive
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: [3, 4] max_size: 5 }
    has 2 min_size but 1 max_size: give none, or one for each
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 max_size: 3 }
    max_size [3.0] must be above min_size [3.0]
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 aspect_ratio: -2 }
    aspect_ratio -2 must be positive
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 variance: [1, 2] }
    variance needs one or four positive figures, not [1.0, 2.0]
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 variance: 0 }
    variance needs one or four positive figures, not [0.0]
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 img_size: 9 img_h: 9 }
    give img_size, or both img_h and img_w
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 img_h: 9 }
    img_h and img_w must be set and positive
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 step: -1 }
    step must be set and positive
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 step_w: 2 }
    step_h and step_w must be set and positive
PriorBox | 2x4x3x3 2x3x9x9 | 1 | prior_box_param { min_size: 3 reduce_boxes: true tf: true yx_order: true }
    prior_box_param.reduce_boxes is not supported
DetectionOutput | 2x8 2x6 1x2x8 | 1 |
    num_classes must be set and positive
DetectionOutput | 2x8 2x6 1x8 | 1 | detection_output_param { num_classes: 3 }
    its third bottom must be prior boxes, 1 x 2 x 4P, not 1x8
DetectionOutput | 2x8 3x6 1x2x8 | 1 | detection_output_param { num_classes: 3 }
    its first two bottoms must have the same number of items
DetectionOutput | 2x8 2x6 1x2x8 | 1 | detection_output_param { num_classes: 3 share_location: false }
    needs 24 offsets an item for 2 prior boxes, not 2x8
DetectionOutput | 2x8 2x8 1x2x8 | 1 | detection_output_param { num_classes: 3 }
    needs 6 confidences an item for 2 prior boxes, not 2x8
DetectionOutput | 2x8 2x6 1x2x8 | 1 | detection_output_param { num_classes: 3 nms_param { eta: 0 } }
    nms_threshold must not be negative, and eta above 0 and at most 1
DetectionOutput | 2x8 2x6 1x2x8 | 1 | detection_output_param { num_classes: 3 nms_param { soft_nms: true } }
    option detection_output_param.nms_param.soft_nms is not supported
DetectionOutput | 2x8 2x6 1x2x8 | 1 | detection_output_param { num_classes: 3 output_logits: true }
    option detection_output_param.output_logits is not supported
DetectionOutput | 2x8 2x6 1x2x8 1x2 1x2 | 1 | detection_output_param { num_classes: 3 objectness_score: 0.5 }
    has 5 bottoms where it takes 3 to 4
DetectionEvaluate | 1x1x4x7 1x1x3x8 | 1 |
    num_classes must be set and positive
DetectionEvaluate | 1x1x4x7 1x1x3x8 | 1 | detection_evaluate_param { num_classes: 3 overlap_threshold: 0 }
    overlap_threshold 0 must be positive
DetectionEvaluate | 1x1x4x6 1x1x3x8 | 1 | detection_evaluate_param { num_classes: 3 }
    its first bottom, the boxes found, must be 1 x 1 x D x 7
DetectionEvaluate | 1x1x4x7 1x1x3x7 | 1 | detection_evaluate_param { num_classes: 3 }
    its second bottom, the ground truth, must be 1 x 1 x G x 8
ROIPooling | 2x3x4 6x5 | 1 | roi_pooling_param { pooled_h: 2 pooled_w: 2 }
    its first bottom needs 4 axes, N x C x H x W
ROIPooling | 2x3x4x4 6x4 | 1 | roi_pooling_param { pooled_h: 2 pooled_w: 2 }
    its second bottom, the regions, needs rows of item, x1, y1, x2, y2, not 6x4
ROIPooling | 2x3x4x4 6x5 | 1 | roi_pooling_param { pooled_h: 2 }
    pooled_h and pooled_w must be set and positive
ROIPooling | 2x3x4x4 6x5 | 1 | roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: -1 }
    spatial_scale -1 must be positive
ROIPooling | 2x3x4x4 6x5 | 1 | roi_pooling_param { pooled_size: [2, 2] }
    option roi_pooling_param.pooled_size is not supported
PSROIPooling | 2x8x4x4 6x5 | 1 | psroi_pooling_param { output_dim: 2 group_size: 2 }
    spatial_scale, output_dim and group_size must be set and positive
PSROIPooling | 2x9x4x4 6x5 | 1 | psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 1 }
    needs 8 channels, output_dim group_size^2
SmoothL1Loss | 2x4 2x3 | 1 |
    its bottoms must have as many values
SmoothL1Loss | 2x4 2x4 1x8 | 1 |
    its bottoms must have the same number of items
SmoothL1Loss | 2x4 2x4 | 1 | smooth_l1_loss_param { sigma: 0 }
    sigma 0 must be positive
SmoothL1LossOHEM | 2x4 2x3 | 1 |
    its bottoms must have as many values
SmoothL1LossOHEM | 2x4 2x4 | 1 | loss_param { ignore_label: 3 }
    option loss_param.ignore_label is not supported
SoftmaxWithLossOHEM | 2x4 3 | 1 |
    its bottoms must have the same number of items
SoftmaxWithLossOHEM | 2x4 2 | 1 | loss_param { label_smoothing: 0.1 }
    option loss_param.label_smoothing is not supported
SoftmaxWithLossOHEM | 2x4 2 | 4 |
    has 4 tops where it takes 1 to 3
BoxAnnotatorOHEM | 6x5 6 6 6x8 | 2 |
    roi_per_img must be set and positive
BoxAnnotatorOHEM | 6x4 6 6 6x8 | 2 | box_annotator_ohem_param { roi_per_img: 2 }
    its first bottom, the regions, needs five figures each, not 6x4
BoxAnnotatorOHEM | 6x5 6 6x2 6x8 | 2 | box_annotator_ohem_param { roi_per_img: 2 }
    needs 6 losses and labels, one for each region
BoxAnnotatorOHEM | 6x5 6 6 6x8x2 | 2 | box_annotator_ohem_param { roi_per_img: 2 }
    its last bottom, the weights, 6x8x2 must lie as the regions do
Proposal | 1x4x3x4 1x36x3x4 1x3 | 1 |
    its first bottom, the scores, must be N x 18 x H x W, not 1x4x3x4
Proposal | 1x18x3x4 1x36x3x5 1x3 | 1 |
    its second bottom, the offsets, must be N x 36 x H x W
Proposal | 2x18x3x4 2x36x3x4 2x2 | 1 |
    its third bottom needs a row of height, width and scale, or one for each item
Proposal | 2x18x3x4 2x36x3x4 3x3 | 1 |
    its third bottom needs a row of height, width and scale, or one for each item
Proposal | 2x18x3x4 2x36x3x4 1x3 | 1 | proposal_param { ratio: -1 }
    feat_stride, base_size, ratio and scale must be positive
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 |
    num_classes must be set and positive
MultiBoxLoss | 2x8 2x8 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 }
    needs 6 confidences an item for 2 prior boxes, not 2x8
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x7 | 1 | multibox_loss_param { num_classes: 3 }
    its fourth bottom, the ground truth, must be 1 x 1 x G x 8, not 1x1x3x7
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 background_label_id: 3 }
    background_label_id 3 must be one of 3 classes
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 map_object_to_agnostic: true }
    map_object_to_agnostic needs num_classes 2, not 3
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 mining_type: 2 sample_size: 0 }
    sample_size 0 must be positive
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 do_neg_mining: false }
    do_neg_mining is old and says other than mining_type: leave it out, NONE is without mining
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 share_location: false }
    mining needs share_location: set mining_type: NONE
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 nms_param { eta: 0.5 } }
    option multibox_loss_param.nms_param.eta is not supported
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | multibox_loss_param { num_classes: 3 ignore_difficult_gt: true }
    option multibox_loss_param.ignore_difficult_gt is not supported
MultiBoxLoss | 2x8 2x6 1x2x8 1x1x3x8 | 1 | loss_param { ignore_label: 1 }
    option loss_param.ignore_label is not supported
"""


def refused() -> list[tuple[str, str]]:
    lines = REFUSED.strip().splitlines()
    return [(case, said.strip()) for case, said in zip(lines[::2], lines[1::2], strict=True)]


@pytest.mark.parametrize(("case", "message"), refused())
def test_what_does_not_fit_is_refused(case, message):
    kind, shapes, tops, options = (part.strip() for part in f"{case} ".split("|"))
    with pytest.raises(NetError) as caught:
        load(kind, [tuple(map(int, shape.split("x"))) for shape in shapes.split()], int(tops), options)
    assert f"layer 'l' ({kind})" in str(caught.value)
    assert message in str(caught.value)


# ---- boxes


def some_boxes(count, seed=0):
    chance = torch.Generator().manual_seed(seed)
    corners = torch.rand(3, count, 2, generator=chance)
    return torch.cat((corners, corners + torch.rand(3, count, 2, generator=chance) * 0.4 - 0.03), -1)


@pytest.mark.parametrize("pixel", [0, 1])
def test_overlaps_are_those_of_pairs(pixel):
    boxes = some_boxes(20) * (20 if pixel else 1)
    found = overlaps(boxes, boxes[:, :7], pixel)
    inside = areas(boxes, pixel)
    for i in range(20):
        for j in range(7):
            whole = bool((inside[1, i] > 0) & (inside[1, j] > 0))
            wanted = overlap(boxes[1, i].tolist(), boxes[1, j].tolist(), pixel) if whole else 0
            assert found[1, i, j].item() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("threshold", "eta"), [(0.3, 1.0), (0.7, 1.0), (0.7, 0.9), (0.3, 0.9)])
def test_suppression_is_the_greedy_one(threshold, eta):
    boxes = some_boxes(200)
    valid = torch.rand(3, 200, generator=torch.Generator().manual_seed(1)) > 0.2
    found = suppress(boxes, valid, threshold, eta)
    for g, pairs in enumerate(overlaps(boxes.double(), boxes.double()).tolist()):
        kept: list[int] = []
        limit = threshold
        for i in valid[g].nonzero()[:, 0].tolist():
            if all(pairs[i][j] <= limit for j in kept):
                kept.append(i)
                limit *= eta if limit > 0.5 and eta < 1 else 1
        assert found[g].nonzero()[:, 0].tolist() == kept


def test_suppression_may_end_early():
    boxes = some_boxes(300)
    valid = torch.ones(3, 300, dtype=torch.bool)
    first = suppress(boxes, valid, 0.5, most=20)
    for few, all_ in zip(first, suppress(boxes, valid, 0.5), strict=True):
        assert few.nonzero()[:20].tolist() == all_.nonzero()[:20].tolist()


@pytest.mark.parametrize("code", CODES)
def test_a_code_leads_back_to_the_box(code):
    boxes = some_boxes(9).abs()[0].double()
    boxes[:, 2:] = boxes[:, :2] + 0.1 + boxes[:, 2:]
    priors, variances = boxes.flip(0), torch.rand(9, 4, dtype=torch.float64) + 0.1
    back = decode(code, priors, variances, encode(code, priors, variances, boxes))
    torch.testing.assert_close(back, boxes)


# ---- DetectionOutput


@pytest.mark.parametrize("eta", [0.5, 0.9])
def test_the_threshold_of_suppression_may_fall(eta, tmp_path):
    loc, conf, prior = found_by(5)
    options = f"detection_output_param {{ num_classes: 4 nms_param {{ nms_threshold: 0.8 eta: {eta} }} }}"
    net = load("DetectionOutput", [loc.shape, (2, PRIOR_COUNT * 4), prior.shape], 1, options)
    found = net(*map(torch.from_numpy, (loc, conf.reshape(2, -1), prior)))["y0"]
    wanted = detections(loc, conf, prior, threshold=0.8, eta=eta)
    assert wanted.size < detections(loc, conf, prior, threshold=0.8).size
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(NetError, match=r"layer 'l' \(DetectionOutput\) has no form in ONNX with nms_param.eta below 1"):
        converters.export_onnx(net, tmp_path / "net.onnx")


def test_files_of_results_are_not_written_and_that_is_said(caplog):
    options = 'save_output_param { output_directory: "out" label_map_file: "labels" } visualize: true'
    with caplog.at_level(logging.WARNING, "caffe"):
        load(
            "DetectionOutput", [(2, 8), (2, 6), (1, 2, 8)], 1, f"detection_output_param {{ num_classes: 3 {options} }}"
        )
    assert [record.getMessage() for record in caplog.records] == [
        "layer 'l': DetectionOutput writes no files and shows nothing"
    ]


def test_eight_thousand_boxes_of_twenty_classes_take_no_seconds():
    chance = torch.Generator().manual_seed(0)
    options = "num_classes: 21 nms_param { nms_threshold: 0.45 top_k: 400 } keep_top_k: 200 confidence_threshold: 0.01"
    shapes = [(1, 8732 * 4), (1, 8732 * 21), (1, 2, 8732 * 4)]
    net = load("DetectionOutput", shapes, 1, f"detection_output_param {{ {options} code_type: CENTER_SIZE }}")
    corners = torch.rand(8732, 2, generator=chance)
    prior = torch.cat((corners, corners + 0.2), 1).reshape(1, 1, -1)
    loc, conf = torch.randn(shapes[0], generator=chance), torch.rand(shapes[1], generator=chance)
    found = net(loc, conf, torch.cat((prior, torch.full_like(prior, 0.1)), 1))["y0"]
    assert found.shape == (1, 1, 200, 7)
    assert (found[0, 0, :, 2] > 0.99).all()


# ---- DetectionEvaluate


def test_boxes_are_compared_in_the_pixels_of_their_items(tmp_path):
    """With the last pixel counted the two overlap by more than half, without by less."""
    sizes = tmp_path / "sizes.txt"
    sizes.write_text("first 100 100\nsecond 3 4\nthird 100 100\n")
    shapes = [(1, 1, 2, 7), (1, 1, 2, 8)]
    options = f'detection_evaluate_param {{ num_classes: 2 name_size_file: "{sizes}" }}'
    net = load("DetectionEvaluate", shapes, 1, options)
    found = torch.tensor([[0, 1, 0.9, 0, 0, 0.497, 1], [1, 1, 0.8, 0, 0, 0.497, 1]])[None, None]
    truth = torch.tensor([[0, 1, 0, 0, 0, 1, 1, 0], [1, 1, 0, 0, 0, 1.0, 1, 0]])[None, None]
    first = net(found, truth)["y0"][0, 0]
    assert first.tolist()[0] == [-1, 1, 2, -1, -1]
    assert first[1:, 3].tolist() == [1, 1]  # 50.7 of 101 pixels, 2.99 of 5
    plain = load("DetectionEvaluate", shapes, 1, "detection_evaluate_param { num_classes: 2 }")
    assert plain(found, truth)["y0"][0, 0, 1:, 3:].tolist() == [[0, 1], [0, 1]]
    assert net(found, truth)["y0"][0, 0, 1:, 3].tolist() == [1, 1]
    for content, message in (("first 100", "a line must be a name, a height and a width"), ("", "is empty")):
        sizes.write_text(content)
        with pytest.raises(NetError, match=f"layer 'l'.* name_size_file .*sizes.txt: {message}"):
            load("DetectionEvaluate", shapes, 1, options)(found, truth)
    sizes.unlink()
    with pytest.raises(NetError, match=r"name_size_file: .*sizes.txt: cannot be read: no such file or directory"):
        load("DetectionEvaluate", shapes, 1, options)(found, truth)


def judged_in_pixels(tmp_path, options, found, truth, sizes="one 100 100"):
    """Whether the box *found* is right, where the image has a size; and the shape of the top."""
    (tmp_path / "sizes.txt").write_text(sizes)
    options = f'num_classes: 2 name_size_file: "{tmp_path / "sizes.txt"}" {options}'
    net = load("DetectionEvaluate", [(1, 1, 1, 7), (1, 1, 1, 8)], 1, f"detection_evaluate_param {{ {options} }}")
    rows = torch.tensor([0, 1, 0.9, *found]), torch.tensor([0, 1, 0, *truth, 0.0])
    marks = net(rows[0][None, None, None], rows[1][None, None, None])["y0"]
    assert marks.shape == (1, 1, 2, 5)
    return bool(marks[0, 0, 1, 3])


def test_boxes_in_pixels_are_clipped_to_the_image(tmp_path):
    """The box found lies half outside; what is within is the ground truth."""
    found, truth = (-1.0, 0.2, 1.0, 0.8), (0.0, 0.2, 1.0, 0.8)
    assert judged_in_pixels(tmp_path, "", found, truth)
    assert judged_in_pixels(tmp_path, "resize_param { width: 30 height: 30 }", found, truth)
    mode = "resize_param { width: 30 height: 30 resize_mode: FIT_SMALL_SIZE height_scale: 20 width_scale: 20 }"
    assert judged_in_pixels(tmp_path, mode, found, truth, "one 20 20")


def test_boxes_in_pixels_come_without_the_padding_of_a_resize(tmp_path):
    """100 x 50 pixels in a square: the rows from 0.25 to 0.75. What is found besides lies in the padding."""
    mode = "resize_param { width: 30 height: 30 resize_mode: FIT_LARGE_SIZE_AND_PAD }"
    found, truth = (0.0, 0.0, 1.0, 0.5), (0.0, 0.25, 1.0, 0.5)
    assert judged_in_pixels(tmp_path, f"{mode} overlap_threshold: 0.9", found, truth, "one 50 100")
    assert not judged_in_pixels(tmp_path, "overlap_threshold: 0.9", found, truth, "one 50 100")
    upright = (0.0, 0.0, 0.5, 1.0), (0.25, 0.0, 0.5, 1.0)
    assert judged_in_pixels(tmp_path, f"{mode} overlap_threshold: 0.9", *upright, "one 100 50")
    with pytest.raises(NetError, match="resize_param needs a height and a width"):
        judged_in_pixels(tmp_path, "resize_param { width: 3 }", found, truth)


def test_items_without_a_box_found_have_no_rows():
    net = load("DetectionEvaluate", [(1, 1, 2, 7), (1, 1, 1, 8)], 1, "detection_evaluate_param { num_classes: 3 }")
    assert net.shapes["y0"] == (1, 1, 4, 5)
    nothing = torch.tensor([[0.0, *[-1] * 6], [1, *[-1] * 6]])[None, None]
    truth = torch.tensor([0.0, 2, 0, 0, 0, 1, 1, 0])[None, None, None]
    assert net(nothing, truth)["y0"][0, 0].tolist() == [[-1, 1, 0, -1, -1], [-1, 2, 1, -1, -1]]


def test_a_test_net_is_exported_without_what_judges_it(tmp_path):
    judged = (
        SSD
        + """
layer { name: "truth" type: "Input" top: "truth" input_param { shape { dim: [1, 1, 3, 8] } } }
layer { name: "judge" type: "DetectionEvaluate" bottom: "found" bottom: "truth" top: "marks"
  detection_evaluate_param { num_classes: 4 } }
"""
    )
    net = nets.load(text.parse_net(judged))
    assert net.shapes["marks"] == (1, 1, 43, 5)
    converters.export_onnx(net, tmp_path / "net.onnx")
    session = runtime.open_session(tmp_path / "net.onnx", threads=1)
    assert list(session.inputs) == ["data"]
    assert list(session.outputs) == ["found"]


# ---- MultiBoxLoss


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([3, 1, 0, 0, 0, 1, 1, 0], "ground truth of item 3 is out of range: there are 2 items"),
        ([0, 4, 0, 0, 0, 1, 1, 0], "class 4 of ground truth is out of range: there are 4 classes"),
        ([0, 0, 0, 0, 0, 1, 1, 0], "ground truth has the class 0 of the background"),
    ],
)
def test_ground_truth_that_cannot_be_is_refused(row, message):
    loc, conf, prior = map(torch.from_numpy, found_by(1))
    shapes = [loc.shape, (2, PRIOR_COUNT * 4), prior.shape, (1, 1, 1, 8)]
    net = load("MultiBoxLoss", shapes, 1, "multibox_loss_param { num_classes: 4 }")
    with pytest.raises(NetError, match=message):
        net(loc, conf.reshape(2, -1), prior, torch.tensor([[[row]]], dtype=torch.float32))


@pytest.mark.parametrize("mining", ["MAX_NEGATIVE", "HARD_EXAMPLE", "NONE"])
def test_without_ground_truth_mining_leaves_no_loss(mining):
    loc, conf, prior = map(torch.from_numpy, found_by(1))
    shapes = [loc.shape, (2, PRIOR_COUNT * 4), prior.shape, (1, 1, 1, 8)]
    net = load("MultiBoxLoss", shapes, 1, f"multibox_loss_param {{ num_classes: 4 mining_type: {mining} }}")
    loc.requires_grad_()
    loss = net(loc, conf.reshape(2, -1), prior, torch.full((1, 1, 1, 8), -1.0))["y0"]
    loss.backward()
    assert not loc.grad.any()
    assert (loss == 0) == (mining != "NONE")


# ---- regions

ROI = "roi_pooling_param { pooled_h: 3 pooled_w: 4 spatial_scale: 0.0625 }"
PSROI = "psroi_pooling_param { output_dim: 5 group_size: 3 spatial_scale: 0.0625 }"


def test_proposals_are_those_of_opencv(tmp_path):
    cv2 = pytest.importorskip("cv2")
    options = (  # OpenCV knows no min_size
        "feat_stride: 16 base_size: 16 min_size: 1 ratio: [0.5, 1, 2] scale: [2, 4, 8] pre_nms_topn: 200 "
        "post_nms_topn: 50 nms_thresh: 0.6"
    )
    shapes = [(1, 18, 10, 12), (1, 36, 10, 12), (1, 3)]
    net = load("Proposal", shapes, 1, f"proposal_param {{ {options} }}")
    chance = np.random.RandomState(0)
    facts = np.array([[160, 192, 1]], np.float32)
    inputs = (
        chance.uniform(size=shapes[0]).astype(np.float32),
        chance.normal(0, 0.2, shapes[1]).astype(np.float32),
        facts,
    )
    (tmp_path / "net.prototxt").write_text(source("Proposal", shapes, 1, f"proposal_param {{ {options} }}"))
    other = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"))
    for i, x in enumerate(inputs):
        other.setInput(x, f"x{i}")
    found = net(*map(torch.from_numpy, inputs))["y0"]
    assert found.shape == (50, 5)
    np.testing.assert_allclose(found, other.forward("l").reshape(-1, 5), rtol=1e-4, atol=1e-4)


def test_of_a_tie_the_first_pixel_of_a_bin_takes_the_gradient():
    """All values are equal: each bin's share goes to its first pixel."""
    options = "roi_pooling_param { pooled_h: 2 pooled_w: 2 }"
    net = load("ROIPooling", [(1, 1, 5, 6), (1, 5)], 1, options)
    x = torch.ones(1, 1, 5, 6, requires_grad=True)
    net(x, torch.tensor([[0.0, 1, 0, 5, 4]]))["y0"].sum().backward()
    wanted = torch.zeros(5, 6)
    wanted[[0, 0, 2, 2], [1, 3, 1, 3]] = 1
    assert torch.equal(x.grad[0, 0], wanted)


@pytest.mark.parametrize("kind", ["ROIPooling", "PSROIPooling"])
def test_an_item_that_is_not_there_is_refused(kind):
    net = load(kind, [(2, 45, 5, 6), (1, 5)], 1, ROI if kind == "ROIPooling" else PSROI)
    with pytest.raises(NetError, match=r"layer 'l'.* item 2 of a region is out of range: there are 2 items"):
        net(torch.zeros(2, 45, 5, 6), torch.tensor([[2.0, 0, 0, 1, 1]]))


def test_weights_of_boxes_take_no_gradient():
    """As regions take none: in py-faster-rcnn the layer that makes both is given learnt values."""
    net = load("SmoothL1Loss", [(2, 4)] * 4, 1)
    bottoms = [torch.full((2, 4), float(i), requires_grad=True) for i in range(1, 5)]
    net(*bottoms)["y0"].backward()
    assert [x.grad is not None for x in bottoms] == [True, True, False, False]


@pytest.mark.parametrize("kind", ["ROIPooling", "PSROIPooling"])
def test_regions_take_no_gradient(kind):
    """py-faster-rcnn trains with regions that Python layers made of learnt values, and ROIPooling gives them none."""
    net = load(kind, [(2, 45, 5, 6), (1, 5)], 1, ROI if kind == "ROIPooling" else PSROI)
    x, rois = torch.ones(2, 45, 5, 6, requires_grad=True), torch.tensor([[0.0, 0, 0, 3, 3]], requires_grad=True)
    net(x, rois)["y0"].sum().backward()
    assert x.grad.any()
    assert rois.grad is None


@pytest.mark.parametrize(("kind", "options"), [("ROIPooling", ROI), ("PSROIPooling", PSROI)])
def test_regions_are_those_of_opencv(kind, options, tmp_path):
    cv2 = pytest.importorskip("cv2")
    net = load(kind, [(2, 45, 15, 21), (40, 5)], 1, options)
    rois = regions(40, 16 * 21, 2)
    x = np.random.RandomState(0).normal(size=(2, 45, 15, 21)).astype(np.float32)
    (tmp_path / "net.prototxt").write_text(source(kind, [(2, 45, 15, 21), (40, 5)], 1, options))
    other = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"))
    other.setInput(x, "x0")
    other.setInput(rois, "x1")
    found = net(torch.from_numpy(x), torch.from_numpy(rois))["y0"]
    np.testing.assert_allclose(found, other.forward("l"), rtol=1e-5, atol=1e-6)


def test_a_recorded_pass_finds_the_same_regions():
    net = load("ROIPooling", [(2, 3, 15, 21), (40, 5)], 1, ROI)
    x, rois = torch.randn(2, 3, 15, 21), torch.from_numpy(regions(40, 16 * 21, 2))
    wanted = net(x, rois)["y0"]
    with recording():
        assert torch.equal(net(x, rois)["y0"], wanted)


def test_sums_that_are_deterministic_are_the_same():
    x = torch.randn(2, 3, 5, 7)
    wanted = sums_before(x)
    torch.use_deterministic_algorithms(True)
    try:
        torch.testing.assert_close(sums_before(x), wanted)
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_is_mined_trains_a_net_and_leaves_its_scores():
    """R-FCN's way: the losses of all regions choose those that count."""
    param = text.parse_net(MINED)
    net = nets.load(param, phase="TRAIN")
    torch.manual_seed(0)
    inputs = {
        "x": torch.randn(12, 6), "rois": torch.from_numpy(regions(12, 50, 2)), "targets": torch.randn(12, 4),
        "labels": torch.randint(0, 3, (12,)).float(), "weights": torch.ones(12, 4),
    }  # fmt: skip
    blobs = net.activations(**inputs)
    kept = blobs["kept"].flatten()
    assert [int((kept[inputs["rois"][:, 0] == i] >= 0).sum()) for i in (0, 1)] == [3, 3]
    net.loss(blobs).backward()
    mined = kept >= 0
    assert (net.layer("cls").weight.grad != 0).any()
    losses = torch.nn.functional.cross_entropy(blobs["cls"], inputs["labels"].long(), reduction="none")
    assert torch.allclose(blobs["loss_cls"], losses[mined].mean())
    assert [one.name for one in plan(net).predictions] == ["box", "prob"]
    assert set(predict(net, {"x": inputs["x"]})) == {"prob", "box"}


MINED = """
layer { name: "in" type: "Input" top: "x" top: "rois" top: "labels" top: "targets" top: "weights" input_param {
  shape { dim: [12, 6] } shape { dim: [12, 5] } shape { dim: 12 } shape { dim: [12, 4] } shape { dim: [12, 4] } } }
layer { name: "cls" type: "InnerProduct" bottom: "x" top: "cls" inner_product_param { num_output: 3
  weight_filler { type: "xavier" } } }
layer { name: "box" type: "InnerProduct" bottom: "x" top: "box" inner_product_param { num_output: 4
  weight_filler { type: "xavier" } } }
layer { name: "all_cls" type: "SoftmaxWithLossOHEM" bottom: "cls" bottom: "labels" top: "mean_cls" top: "prob"
  top: "each_cls" loss_weight: [0, 0, 0] propagate_down: [false, false] }
layer { name: "all_box" type: "SmoothL1LossOHEM" bottom: "box" bottom: "targets" bottom: "weights" top: "mean_box"
  top: "each_box" loss_weight: [0, 0] propagate_down: [false, false, false] }
layer { name: "flat_cls" type: "Reshape" bottom: "each_cls" top: "flat_cls" reshape_param { shape { dim: [0, 1] } } }
layer { name: "flat_box" type: "Reshape" bottom: "each_box" top: "flat_box" reshape_param { shape { dim: [0, 1] } } }
layer { name: "each" type: "Eltwise" bottom: "flat_cls" bottom: "flat_box" top: "each" }
layer { name: "choose" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "each" bottom: "labels" bottom: "weights"
  top: "kept" top: "used" box_annotator_ohem_param { roi_per_img: 3 } propagate_down: [false, false, false, false] }
layer { name: "loss_cls" type: "SoftmaxWithLossOHEM" bottom: "cls" bottom: "kept" top: "loss_cls"
  loss_param { ignore_label: -1 normalize: true } }
layer { name: "loss_box" type: "SmoothL1LossOHEM" bottom: "box" bottom: "targets" bottom: "used" top: "loss_box"
  loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 6 } }
"""


# ---- whole nets


def convolution(name, bottom, outputs, options="kernel_size: 3 pad: 1", deviation=0.2):
    filler = f'weight_filler {{ type: "gaussian" std: {deviation} }}'
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{ '
        f"num_output: {outputs} {options} {filler} }} }}\n"
    )


def flat(name, bottom, outputs):
    """A convolution whose outputs stand pixel by pixel."""
    return (
        convolution(name, bottom, outputs, deviation=0.02)
        + f'layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm" '
        "permute_param { order: [0, 2, 3, 1] } }\n"
        + f'layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat" }}\n'
    )


def head(source, priors, options):
    return (
        flat(f"{source}_loc", source, priors * 4)
        + flat(f"{source}_conf", source, priors * 4)
        + f'layer {{ name: "{source}_prior" type: "PriorBox" bottom: "{source}" bottom: "data" top: "{source}_prior" '
        f"prior_box_param {{ {options} }} }}\n"
    )


def concat(name, axis):
    return (
        f'layer {{ name: "{name}" type: "Concat" bottom: "norm_{name}" bottom: "conv2_{name}" top: "{name}" '
        f"concat_param {{ axis: {axis} }} }}\n"
    )


VARIANCES = "variance: [0.1, 0.1, 0.2, 0.2]"
SSD = (
    'name: "ssd"\nlayer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3, 64, 64] } } }\n'
    + convolution("conv1", "data", 8, "kernel_size: 3 pad: 1 stride: 4")
    + 'layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }\n'
    + convolution("conv2", "conv1", 8, "kernel_size: 3 pad: 1 stride: 2")
    + 'layer { name: "norm" type: "Normalize" bottom: "conv1" top: "norm" norm_param { across_spatial: false '
    'channel_shared: false scale_filler { type: "constant" value: 20 } } }\n'
    + head("norm", 4, f"min_size: 10 max_size: 20 aspect_ratio: 2 flip: true clip: false step: 4 {VARIANCES}")
    + head("conv2", 6, f"min_size: 20 max_size: 40 aspect_ratio: [2, 3] flip: true clip: true {VARIANCES}")
    + concat("loc_flat", 1)
    + concat("conf_flat", 1)
    + concat("prior", 2)
    + """
layer { name: "rows" type: "Reshape" bottom: "conf_flat" top: "rows" reshape_param { shape { dim: [0, -1, 4] } } }
layer { name: "soft" type: "Softmax" bottom: "rows" top: "soft" softmax_param { axis: 2 } }
layer { name: "scores" type: "Flatten" bottom: "soft" top: "scores" }
layer { name: "found" type: "DetectionOutput" bottom: "loc_flat" bottom: "scores" bottom: "prior" top: "found"
  detection_output_param { num_classes: 4 share_location: true background_label_id: 0 code_type: CENTER_SIZE
    nms_param { nms_threshold: 0.45 top_k: 50 } keep_top_k: 20 confidence_threshold: 0.01 } }
"""
)


def ordered(rows):
    rows = rows.reshape(-1, 7)
    return rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]


def test_an_ssd_net_is_that_of_opencv_and_leaves_as_onnx(tmp_path, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = nets.load(text.parse_net(SSD))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        blobs = net.activations(x)
    found = blobs["found"].numpy()
    assert found.shape == net.shapes["found"] == (1, 1, 40, 7)
    (tmp_path / "net.prototxt").write_text(SSD)
    save_weights(net, "net.caffemodel")
    other = cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")
    for name in ("norm", "prior", "loc_flat", "scores"):
        other.setInput(x.numpy(), "data")
        np.testing.assert_allclose(blobs[name].numpy().ravel(), other.forward(name).ravel(), rtol=1e-4, atol=1e-5)
    other.setInput(x.numpy(), "data")
    # OpenCV orders the classes of an image in another way.
    np.testing.assert_allclose(ordered(found), ordered(other.forward("found")), rtol=1e-4, atol=1e-5)
    for batch in (None, 2):
        converters.export_onnx(net, "net.onnx", batch=batch)
        session = runtime.open_session("net.onnx", threads=1)
        np.testing.assert_allclose(session.run({"data": x.numpy()})["found"], found, rtol=1e-4, atol=1e-5)
    again = nets.load("net.prototxt", weights="net.caffemodel")
    with torch.no_grad():
        assert torch.equal(again(x)["found"], blobs["found"])


FASTER = (
    'name: "faster"\nlayer { name: "in" type: "Input" top: "data" top: "im_info" input_param { '
    "shape { dim: [1, 3, 96, 128] } shape { dim: [1, 3] } } }\n"
    + convolution("conv1", "data", 8, "kernel_size: 5 pad: 2 stride: 4")
    + 'layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }\n'
    + convolution("conv2", "conv1", 12, "kernel_size: 3 pad: 1 stride: 4")
    + convolution("rpn_score", "conv2", 12, "kernel_size: 1")
    + convolution("rpn_bbox", "conv2", 24, "kernel_size: 1", deviation=0.01)
    + """
layer { name: "pairs" type: "Reshape" bottom: "rpn_score" top: "pairs" reshape_param { shape { dim: [0, 2, -1, 0] } } }
layer { name: "soft" type: "Softmax" bottom: "pairs" top: "soft" }
layer { name: "scores" type: "Reshape" bottom: "soft" top: "scores" reshape_param { shape { dim: [0, 12, -1, 0] } } }
layer { name: "rois" type: "Proposal" bottom: "scores" bottom: "rpn_bbox" bottom: "im_info" top: "rois" proposal_param {
  feat_stride: 16 base_size: 16 min_size: 1 ratio: [0.5, 1, 2] scale: [1, 2]
  pre_nms_topn: 100 post_nms_topn: 20 nms_thresh: 0.7 } }
layer { name: "pool" type: "ROIPooling" bottom: "conv2" bottom: "rois" top: "pool"
  roi_pooling_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.0625 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 16
  weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "fc" top: "fc" }
layer { name: "bbox" type: "InnerProduct" bottom: "fc" top: "bbox" inner_product_param { num_output: 16
  weight_filler { type: "xavier" } } }
layer { name: "cls" type: "InnerProduct" bottom: "fc" top: "cls" inner_product_param { num_output: 4
  weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "cls" top: "prob" }
"""
)


def test_a_faster_rcnn_net_is_that_of_opencv_and_leaves_as_onnx(tmp_path, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = nets.load(text.parse_net(FASTER))
    inputs = {"data": torch.randn(1, 3, 96, 128), "im_info": torch.tensor([[96.0, 128, 1]])}
    with torch.no_grad():
        blobs = net.activations(**inputs)
    (tmp_path / "net.prototxt").write_text(FASTER)
    save_weights(net, "net.caffemodel")
    other = cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")
    for name in ("rois", "bbox", "prob"):
        for blob, x in inputs.items():
            other.setInput(x.numpy(), blob)
        np.testing.assert_allclose(
            other.forward(name).reshape(-1, blobs[name].shape[1]), blobs[name], rtol=1e-4, atol=1e-4
        )
    for batch in (None, 1):
        converters.export_onnx(net, "net.onnx", batch=batch)
        session = runtime.open_session("net.onnx", threads=1)
        for info in ((96, 128, 1), (12, 12, 1)):  # other images have other numbers of regions
            inputs["im_info"] = torch.tensor([info]).float()
            found = session.run({name: x.numpy() for name, x in inputs.items()})
            with torch.no_grad():
                wanted = net(**inputs)
            assert found.keys() == wanted.keys() == {"bbox", "prob"}
            for name, top in wanted.items():
                np.testing.assert_allclose(found[name], top, rtol=1e-4, atol=1e-5)
    assert wanted["prob"].shape[0] < net.shapes["prob"][0] == 20


def test_regions_that_are_too_small_come_last_with_no_score(tmp_path):
    named = FASTER.replace('top: "rois" proposal_param', 'top: "rois" top: "best" proposal_param').replace("20", "100")
    torch.manual_seed(0)
    inputs = {"data": torch.randn(1, 3, 96, 128), "im_info": torch.tensor([[96.0, 128, 1]])}
    for least, some in ((999, False), (25, True)):
        net = nets.load(text.parse_net(named.replace("min_size: 1 ", f"min_size: {least} ")))
        with torch.no_grad():
            tops, blobs = net(**inputs), net.activations(**inputs)
        sides = blobs["rois"][:, 3:] - blobs["rois"][:, 1:3] + 1
        large = (sides >= least).all(1)
        assert (large.any(), large.all()) == (some, False)
        assert torch.equal(tops["best"] > 0, large)
        assert torch.equal(tops["best"], tops["best"].sort(descending=True).values)
        converters.export_onnx(net, tmp_path / "net.onnx")
        session = runtime.open_session(tmp_path / "net.onnx", threads=1)
        found = session.run({name: x.numpy() for name, x in inputs.items()})
        np.testing.assert_allclose(found["best"], tops["best"], rtol=1e-4, atol=1e-5)
        assert found["prob"].shape == tops["prob"].shape == (len(sides), 4)


@pytest.mark.parametrize("kind", ["ROIPooling", "PSROIPooling"])
def test_no_regions_give_no_rows(kind):
    options = "roi_pooling_param { pooled_h: 2 pooled_w: 2 } psroi_pooling_param { output_dim: 2 group_size: 2 }"
    layer = load(kind, [(2, 8, 4, 4), (3, 5)], 1, options.replace("group_size: 2", "group_size: 2 spatial_scale: 1"))
    found = layer(torch.ones(2, 8, 4, 4), torch.empty(0, 5))["y0"]
    assert found.shape == (0, 8 if kind == "ROIPooling" else 2, 2, 2)


@pytest.mark.parametrize(
    ("kind", "shapes", "tops", "options", "made"),
    [
        ("ROIPooling", [(1, 2, 5, 6), (0, 5)], 1, ROI, (0, 2, 3, 4)),
        ("PSROIPooling", [(1, 45, 5, 6), (0, 5)], 1, PSROI, (0, 5, 3, 3)),
        (
            "BoxAnnotatorOHEM",
            [(0, 5), (0,), (0,), (0, 8)],
            2,
            "box_annotator_ohem_param { roi_per_img: 3 }",
            (0, 1, 1, 1),
        ),
        ("DetectionOutput", [(2, 8), (2, 2), (1, 2, 8)], 1, "detection_output_param { num_classes: 1 }", (1, 1, 2, 7)),
    ],
)
def test_of_nothing_nothing_is_made(kind, shapes, tops, options, made):
    net = load(kind, shapes, tops, options)
    assert net(*map(torch.zeros, shapes))["y0"].shape == net.shapes["y0"] == made


def test_an_ssd_net_learns_where_its_boxes_are():
    """Two images, a bright square in each: after some steps it is found where it is."""
    training = (
        SSD[: SSD.index('layer { name: "rows"')]
        + """
layer { name: "truth" type: "Input" top: "truth" input_param { shape { dim: [1, 1, 2, 8] } } }
layer { name: "loss" type: "MultiBoxLoss" bottom: "loc_flat" bottom: "conf_flat" bottom: "prior" bottom: "truth"
  top: "loss" propagate_down: [true, true, false, false] loss_param { normalization: VALID }
  multibox_loss_param { num_classes: 4 code_type: CENTER_SIZE neg_overlap: 0.5 } }
"""
    )
    torch.manual_seed(0)
    net = nets.load(text.parse_net(training), phase="TRAIN")
    corners, size = torch.tensor([[8, 12], [36, 30]]), 20
    x = torch.randn(2, 3, 64, 64) * 0.1
    for image, (left, top) in zip(x, corners.tolist(), strict=True):
        image[:, top : top + size, left : left + size] += 2
    boxes = torch.cat((corners, corners + size), 1) / 64
    truth = torch.tensor([[0, 2, 0], [1, 3, 0]])
    rows = torch.cat((truth, boxes, torch.zeros(2, 1)), 1)[None, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        losses.append(net.loss(net(data=x, truth=rows)))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 10
    deploy = nets.load(text.parse_net(SSD))
    deploy.load_state_dict(net.state_dict())
    with torch.no_grad():
        found = deploy(x)["found"][0, 0]
    for item in range(2):
        best = found[found[:, 0] == item]
        best = best[best[:, 2].argmax()]
        assert best[1] == truth[item, 1]
        assert overlap(best[3:].tolist(), boxes[item].tolist()) > 0.7
