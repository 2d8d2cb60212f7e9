"""Boxes of objects, beside plain loops."""

import numpy as np
import pytest
from google.protobuf import text_format

from data.annotations import WHOLE, Objects, draw_frame, fits
from protos.schema import BatchSampler, EmitConstraint, ResizeParameter, SampleConstraint

FRAME = np.array([0.2, 0.3, 0.7, 0.8])


def objects(seed=0, count=60):
    chance = np.random.default_rng(seed)
    corners = np.sort(chance.random((count, 2, 2)), axis=1).reshape(count, 4)
    return Objects(corners, np.stack((chance.integers(1, 5, count), np.arange(count), chance.integers(0, 2, count)), 1))


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def shared(a, b):
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


@pytest.mark.parametrize("text", [None, "", "emit_type: MIN_OVERLAP emit_overlap: 0.3"])
def test_what_lies_in_a_frame_stays_in_shares_of_it(text):
    constraint = None if text is None else text_format.Parse(text, EmitConstraint())
    all_ = objects()
    wanted = []
    for box, facts in zip(all_.boxes, all_.facts, strict=True):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        central = 0.2 <= x <= 0.7 and 0.3 <= y <= 0.8
        covered = shared(box, FRAME) / area(box) > 0.3
        if {None: True, "": central}.get(text, covered) and shared(box, FRAME) > 0:
            moved = [(v - FRAME[i % 2]) / 0.5 for i, v in enumerate(box)]
            wanted.append(([min(max(v, 0), 1) for v in moved], list(facts)))
    found = all_.within(FRAME, constraint)
    assert 0 < len(wanted) < 60
    np.testing.assert_allclose(found.boxes, [box for box, _ in wanted])
    assert found.facts.tolist() == [facts for _, facts in wanted]


def test_a_mirror_exchanges_left_and_right():
    all_ = objects()
    for box, turned in zip(all_.boxes, all_.mirrored().boxes, strict=True):
        np.testing.assert_allclose(turned, [1 - box[2], box[1], 1 - box[0], box[3]])


@pytest.mark.parametrize("name", ["jaccard_overlap", "sample_coverage", "object_coverage"])
@pytest.mark.parametrize("limits", [(0.2, None), (None, 0.1), (0.05, 0.2)])
def test_a_frame_fits_if_one_box_is_within_the_limits(name, limits):
    given = {f"{side}_{name}": v for side, v in zip(("min", "max"), limits, strict=True) if v is not None}
    constraint = SampleConstraint(**given)
    verdicts = set()
    for seed in range(60):
        boxes = objects(seed, 2).boxes
        shares = []
        for box in boxes:
            both = shared(box, FRAME)
            whole = {"jaccard_overlap": area(box) + 0.25 - both, "sample_coverage": 0.25, "object_coverage": area(box)}
            shares.append(both / whole[name])
        wanted = any((limits[0] or 0) <= share <= (limits[1] or 9) for share in shares)
        assert fits(FRAME[None], boxes, constraint).tolist() == [wanted]
        verdicts.add(wanted)
    assert len(verdicts) == 2


def test_without_limits_every_frame_fits_and_of_several_the_first_counts():
    apart = np.array([[0.9, 0.9, 1, 1]])
    assert fits(FRAME[None], apart, SampleConstraint())
    assert not fits(FRAME[None], apart, SampleConstraint(min_jaccard_overlap=0.1, min_object_coverage=0))
    near = np.array([[0.2, 0.3, 0.7, 0.7]])
    assert fits(FRAME[None], near, SampleConstraint(min_jaccard_overlap=0.7, min_object_coverage=2))
    assert not fits(FRAME[None], np.zeros((0, 4)), SampleConstraint(min_jaccard_overlap=0.1))


def test_frames_are_of_the_sampler_and_of_those_found_each_is_as_likely():
    sampler = text_format.Parse(
        "max_sample: 1 max_trials: 50 sampler { min_scale: 0.3 max_scale: 0.9 min_aspect_ratio: 0.5"
        " max_aspect_ratio: 2 } sample_constraint { min_jaccard_overlap: 0.5 }",
        BatchSampler(),
    )
    whole = BatchSampler(max_sample=1, max_trials=1)
    boxes = np.array([[0.2, 0.2, 0.8, 0.8]])
    chance = np.random.default_rng(0)
    frames = [draw_frame([whole, sampler], boxes, chance) for _ in range(300)]
    wholes = [frame for frame in frames if np.array_equal(frame, WHOLE)]
    assert 110 < len(wholes) < 190
    for frame in frames:
        assert frame.min() >= 0
        assert frame.max() <= 1 + 1e-12
        if not np.array_equal(frame, WHOLE):
            width, height = frame[2] - frame[0], frame[3] - frame[1]
            assert 0.3 <= np.sqrt(width * height) <= 0.9 + 1e-9
            assert 0.5 <= width / height <= 2
            both = shared(frame, boxes[0])
            assert both / (area(frame) + 0.36 - both) >= 0.5


def test_there_may_be_no_frame():
    chance = np.random.default_rng(0)
    boxes = np.array([[0.2, 0.2, 0.8, 0.8]])
    assert draw_frame([], boxes, chance) is None
    assert draw_frame([BatchSampler(max_sample=1, use_original_image=False)], boxes, chance) is None
    never = SampleConstraint(min_jaccard_overlap=2)
    assert draw_frame([BatchSampler(max_trials=20, sample_constraint=never)], boxes, chance) is None


@pytest.mark.parametrize("size", [(40, 80), (80, 40), (60, 60)])
@pytest.mark.parametrize("mode", ["WARP", "FIT_LARGE_SIZE_AND_PAD", "FIT_SMALL_SIZE"])
def test_boxes_follow_a_resize(mode, size):
    height, width = size
    param = ResizeParameter(height=30, width=30, resize_mode=mode)
    boxes = objects().boxes
    found = objects().resized(param, height, width).boxes
    across, down = 30 / width, 30 / height
    if mode == "FIT_LARGE_SIZE_AND_PAD":
        across = down = min(across, down)
        new = (30, 30)
    elif mode == "FIT_SMALL_SIZE":
        across = down = max(across, down)
        new = (height * down, width * across)
    else:
        new = (30, 30)
    left, top = (new[1] - width * across) / 2, (new[0] - height * down) / 2
    for box, moved in zip(boxes, found, strict=True):
        wanted = [
            (left + box[0] * width * across) / new[1], (top + box[1] * height * down) / new[0],
            (left + box[2] * width * across) / new[1], (top + box[3] * height * down) / new[0],
        ]  # fmt: skip
        np.testing.assert_allclose(moved, wanted)


def test_boxes_may_be_told_in_units_of_pixels():
    param = ResizeParameter(height=30, width=30, resize_mode="FIT_SMALL_SIZE", height_scale=10, width_scale=20)
    found = objects().extrapolated(param, 40, 80, np.array([0, 0, 0.5, 1])).boxes
    np.testing.assert_allclose(found, objects().boxes * [30 / 20, 30 / 10, 30 / 20, 30 / 10])
    param.resize_mode = ResizeParameter.WARP
    assert objects().extrapolated(param, 40, 80, WHOLE).boxes.tolist() == objects().boxes.tolist()
