"""Cases of Faster R-CNN's and R-FCN's layers, with what their formulas give, worked out region by region in NumPy."""

from itertools import pairwise

import numpy as np

from tests.nets.cases_detection import layer, overlap, values


def roi_cases(make_case):
    """The cases, through *make_case*(name, layers, phase, **values)."""
    return (
        *(_roi_pooling(make_case, name, options, *how) for name, options, how in ROI_POOLINGS),
        *(_psroi_pooling(make_case, name, *how) for name, how in PSROI_POOLINGS),
        *(_smooth_l1(make_case, name, options, *how) for name, options, how in SMOOTH),
        *(_smooth_l1_ohem(make_case, name, options, *how) for name, options, how in SMOOTH_OHEM),
        *(_softmax_ohem(make_case, name, options, *how) for name, options, how in SOFTMAX_OHEM),
        _box_annotator(make_case),
        *(_proposal(make_case, name, options, *how) for name, options, how in PROPOSALS),
    )


# ---- ROIPooling and PSROIPooling


def regions(count, size, items=1, seed=0):
    """Regions of an image of *size* x *size*, some of them beyond it, upside down or a point."""
    chance = np.random.RandomState(seed)
    corners = chance.uniform(-0.2 * size, size, (count, 2))
    ends = corners + chance.uniform(-0.2 * size, size, (count, 2))
    item = chance.randint(0, items, (count, 1))
    return np.concatenate([item, corners, ends], 1).astype(np.float32).round(1)


def _rounded(value):
    """Halves go away from zero."""
    return int(np.trunc(value) + np.sign(value) * (abs(value - np.trunc(value)) >= 0.5))


def _roi_bins(roi, pooled, scale, pad_ratio, size):
    """(row, column, rows, columns) of each bin of a region: slices of the image, None where one is empty."""
    x1, y1, x2, y2 = (np.float32(v) for v in roi[1:])
    pad_x, pad_y = (x2 - x1 + 1) * np.float32(pad_ratio), (y2 - y1 + 1) * np.float32(pad_ratio)
    spans = []
    for i, (low, high) in enumerate(((y1 - pad_y, y2 + pad_y), (x1 - pad_x, x2 + pad_x))):
        first, last = _rounded(low * np.float32(scale)), _rounded(high * np.float32(scale))
        width = np.float32(max(last - first + 1, 1)) / np.float32(pooled[i])
        steps = np.arange(pooled[i] + 1, dtype=np.float32)
        edges = [(int(np.floor(a * width)), int(np.ceil(b * width))) for a, b in pairwise(steps)]
        spans.append([tuple(min(max(edge + first, 0), size[i]) for edge in pair) for pair in edges])
    for p, rows in enumerate(spans[0]):
        for q, columns in enumerate(spans[1]):
            yield p, q, slice(*rows), slice(*columns)


def roi_pooling(x, rois, pooled, scale, pad_ratio=0.0):
    """The top of ROIPooling, bin by bin, and where each value that takes a gradient is from."""
    tops = np.zeros((len(rois), x.shape[1], *pooled), np.float32)
    places = {}
    for r, roi in enumerate(rois):
        pads = (roi[3:] - roi[1:3] + 1) * np.float32(pad_ratio)
        ends = zip((roi[1:3] - pads) * np.float32(scale), (roi[3:] + pads) * np.float32(scale), strict=True)
        upright = all(_rounded(high) >= _rounded(low) for low, high in ends)
        for p, q, rows, columns in _roi_bins(roi, pooled, scale, pad_ratio, x.shape[2:]):
            part = x[int(roi[0]), :, rows, columns]
            for c in range(x.shape[1] if part.size else 0):
                row, column = np.unravel_index(part[c].argmax(), part[c].shape)  # the first of a tie
                tops[r, c, p, q] = part[c, row, column]
                if upright:
                    places[r, c, p, q] = int(roi[0]), c, rows.start + row, columns.start + column
    return tops, places


# options; then the size, the scale, the padding, how many items
ROI_POOLINGS = (
    ("roipooling", "pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 pad_ratio: 0.25", ((2, 3), 0.5, 0.25, 1)),
    ("roipooling_of_items", "pooled_h: 2 pooled_w: 2", ((2, 2), 1.0, 0.0, 2)),
)


def _roi_pooling(make_case, name, options, pooled, scale, pad_ratio, items):
    chance = np.random.RandomState(0)
    x = chance.permutation(2 * 3 * 3 * 7).reshape(2, 3, 3, 7).astype(np.float32) / 30 - 2  # no ties
    rois = regions(6, 7 / scale, items, len(name))
    y, places = roi_pooling(x, rois, pooled, scale, pad_ratio)
    dy, dx = values(*y.shape, seed=1), np.zeros_like(x)
    for at, place in places.items():
        dx[place] += dy[at]
    layers = layer("ROIPooling", "x rois", "y", f"roi_pooling_param {{ {options} }}")
    return make_case(name, layers, "TRAIN", bottom__x=x, bottom__rois=rois, top__y=y, top_diff__y=dy, bottom_diff__x=dx)


# output_dim, group_size, spatial_scale, how many items
PSROI_POOLINGS = (("psroipooling", (2, 3, 0.25, 1)), ("psroipooling_of_items", (3, 2, 1.0, 2)))


def _psroi_pooling(make_case, name, outputs, group, scale, items):
    x, rois = values(2, outputs * group**2, 7, 9), regions(6, 9 / scale, items, len(name))
    y = np.zeros((len(rois), outputs, group, group), np.float32)
    dy, dx = values(*y.shape, seed=1), np.zeros_like(x)
    for r, roi in enumerate(rois):
        low, high = ([np.float32(_rounded(v)) for v in roi[i : i + 2]] for i in (1, 3))
        spans = []
        for i in (1, 0):
            start, end = low[i] * np.float32(scale), (high[i] + 1) * np.float32(scale)
            width = np.maximum(end - start, np.float32(0.1)) / np.float32(group)
            edges = [(np.floor(k * width + start), np.ceil((k + 1) * width + start)) for k in range(group)]
            spans.append([slice(*(int(min(max(v, 0), x.shape[3 - i])) for v in pair)) for pair in edges])
        for d, p, q in np.ndindex(outputs, group, group):
            at = int(roi[0]), (d * group + p) * group + q, spans[0][p], spans[1][q]
            if x[at].size:
                y[r, d, p, q] = x[at].mean()
                dx[at] += dy[r, d, p, q] / x[at].size
    options = f"psroi_pooling_param {{ output_dim: {outputs} group_size: {group} spatial_scale: {scale} }}"
    return make_case(
        name, layer("PSROIPooling", "x rois", "y", options), "TRAIN", bottom__x=x, bottom__rois=rois, top__y=y,
        top_diff__y=dy, bottom_diff__x=dx,
    )  # fmt: skip


# ---- losses


def smooth(x, sigma=1.0):
    """f(x) and its derivative."""
    inner = np.abs(x) < 1 / sigma**2
    return np.where(inner, (sigma * x) ** 2 / 2, np.abs(x) - 0.5 / sigma**2), np.where(inner, sigma**2 * x, np.sign(x))


# options; then sigma, the number of bottoms
SMOOTH = (
    ("smooth_l1", "", (1.0, 2)),
    ("smooth_l1_weights", "smooth_l1_loss_param { sigma: 3 } loss_weight: 2", (3.0, 4)),
    ("smooth_l1_inside", "smooth_l1_loss_param { sigma: 0.5 }", (0.5, 3)),
)


def _smooth_l1(make_case, name, options, sigma, count):
    a, b, inside, outside = (values(4, 6, 1, 2, seed=i) for i in range(4))
    inside, outside = (w if count > i else np.ones_like(w) for i, w in ((2, inside), (3, outside)))
    loss, slope = smooth(inside * (a - b), sigma)
    slope = inside * outside * slope if count == 4 else slope  # with one weight it is not weighted once more
    da = slope / 4 * (2 if "loss_weight" in options else 1)
    bottoms = {"bottom__a": a, "bottom__b": b, "bottom__inside": inside, "bottom__outside": outside}
    return make_case(
        name, layer("SmoothL1Loss", " ".join(["a", "b", "inside", "outside"][:count]), "loss", options), "TRAIN",
        **dict(list(bottoms.items())[:count]), top__loss=(outside * loss).sum() / 4, bottom_diff__a=da,
        bottom_diff__b=-da,
    )  # fmt: skip


# options; then the divisor, whether there are weights, whether the losses of each position are a top
SMOOTH_OHEM = (
    ("smooth_l1_ohem", "", (4 * 2, False, False)),
    ("smooth_l1_ohem_fixed", "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 5 }", (5, True, True)),
    ("smooth_l1_ohem_batch", "loss_param { normalize: false }", (4, True, False)),
)


def _smooth_l1_ohem(make_case, name, options, divisor, weighted, listed):
    a, b, w = (values(4, 3, 2, 1, seed=i) for i in range(3))
    w = w if weighted else np.ones_like(w)
    loss, slope = smooth(w * (a - b))
    more = {"bottom__w": w} if weighted else {}
    more |= {"top__losses": loss.sum(1, keepdims=True)} if listed else {}
    bottoms, tops = "a b w" if weighted else "a b", "loss losses" if listed else "loss"
    return make_case(
        name, layer("SmoothL1LossOHEM", bottoms, tops, options), "TRAIN", bottom__a=a, bottom__b=b,
        top__loss=loss.sum() / divisor, bottom_diff__a=slope / divisor, bottom_diff__b=-slope / divisor, **more,
    )  # fmt: skip


# options; then the tops, the label that is ignored, the divisor
SOFTMAX_OHEM = (
    ("softmax_ohem", "", ("loss", None, 10)),
    ("softmax_ohem_ignored", "loss_param { ignore_label: -1 normalize: true }", ("loss prob", -1, 9)),
    ("softmax_ohem_losses",
     "loss_param { ignore_label: -1 normalization: PRE_FIXED pre_fixed_normalizer: 7 } loss_weight: [1, 0, 0]",
     ("loss prob losses", -1, 7)),
)  # fmt: skip


def _softmax_ohem(make_case, name, options, tops, ignore, divisor):
    x = values(5, 4, 2, 1)
    label = np.random.RandomState(1).randint(0, 4, (5, 1, 2, 1))
    if ignore is not None:
        label[3, 0, 1] = ignore
    prob = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    counts = label != ignore if ignore is not None else np.ones_like(label, bool)
    losses = np.where(counts, -np.log(np.take_along_axis(prob, np.where(counts, label, 0), 1)), 0)
    hot = np.arange(4)[:, None, None] == label
    made = {"loss": losses.sum() / divisor, "prob": prob, "losses": losses}
    return make_case(
        name, layer("SoftmaxWithLossOHEM", "x label", tops, options), "TRAIN", bottom__x=x, bottom__label=label,
        bottom_diff__x=(prob - hot) * counts / divisor, **{f"top__{top}": made[top] for top in tops.split()},
    )  # fmt: skip


def _box_annotator(make_case):
    chance = np.random.RandomState(0)
    rois, losses = regions(9, 50, 2), chance.normal(size=(9, 1)).round(1)
    labels, weights = chance.randint(0, 4, (9, 1)), chance.normal(size=(9, 8))
    kept = np.zeros((9, 1), bool)
    for item in range(2):
        mine = [i for i in range(9) if rois[i, 0] == item]
        kept[sorted(mine, key=lambda i: -losses[i])[:3]] = True
    return make_case(
        "box_annotator",
        layer("BoxAnnotatorOHEM", "rois losses labels weights", "kept used",
              "box_annotator_ohem_param { roi_per_img: 3 ignore_label: -7 }")
        + 'layer { name: "twice" type: "Power" bottom: "weights" top: "y" power_param { scale: 2 } }',
        "TRAIN", bottom__rois=rois, bottom__losses=losses, bottom__labels=labels, bottom__weights=weights,
        top__kept=np.where(kept, labels, -7).reshape(9, 1, 1, 1), top__y=2 * weights,
        top__used=np.where(kept, weights, 0).reshape(9, 8, 1, 1),
    )  # fmt: skip


# ---- Proposal

# options; then stride, base, ratios, scales, the least side, how many before and after, the threshold, the tops, facts
PROPOSALS = (
    ("proposal", "", (16, 16, (0.5, 1, 2), (8, 16, 32), 16, 6000, 300, 0.7, "rois", [[48, 64, 1]])),
    (
        "proposal_scores",
        "feat_stride: 8 base_size: 12 ratio: [0.4, 1.5] scale: [1, 2.5] min_size: 9 pre_nms_topn: 30 post_nms_topn: 7 "
        "nms_thresh: 0.3",
        (8, 12, (0.4, 1.5), (1, 2.5), 9, 30, 7, 0.3, "rois best", [[24, 32, 1, 1.2], [20, 25, 0.5, 1]]),
    ),
    (
        "proposal_all",
        "scale: 2 ratio: 1 pre_nms_topn: 0 post_nms_topn: 0 min_size: 30",
        (16, 16, (1,), (2,), 30, None, None, 0.7, "rois", [[48, 64, 1]]),
    ),
)


def _anchors(base, ratios, scales):
    """py-faster-rcnn's: sides are rounded, half up, before they are scaled."""
    for ratio in ratios:
        width = np.floor(np.sqrt(base * base / ratio) + 0.5)
        height = np.floor(width * ratio + 0.5)
        for scale in scales:
            half = np.array([width * scale - 1, height * scale - 1]) / 2
            yield np.array([*((base - 1) / 2 - half), *((base - 1) / 2 + half)])


def proposals(scores, offsets, facts, stride, boxes, least, before, after, threshold):
    """The regions of one item, and their scores, box by box."""
    count, found = len(boxes), []
    height, width, *scales = facts
    for row, column in np.ndindex(scores.shape[1:]):
        for a, anchor in enumerate(boxes):
            box = anchor + np.array([column, row] * 2) * stride
            sides, move = box[2:] - box[:2] + 1, offsets[4 * a : 4 * a + 4, row, column]
            center, half = box[:2] + sides / 2 + move[:2] * sides, np.exp(move[2:]) * sides / 2
            moved = np.clip([*(center - half), *(center + half)], 0, [width - 1, height - 1] * 2)
            shortest = least * np.array([scales[-1], scales[0]])
            large = (moved[2:] - moved[:2] + 1 >= shortest).all()
            found.append((scores[count + a, row, column] * large, moved))
    found = sorted(found, key=lambda one: -one[0])[:before]
    kept = []
    for score, box in found:
        if all(overlap(box, other, 1) <= threshold for _, other in kept):
            kept.append((score, box))
    return kept[:after]


def _proposal(make_case, name, options, stride, base, ratios, scales, least, before, after, threshold, tops, facts):
    boxes = list(_anchors(base, ratios, scales))
    chance = np.random.RandomState(len(boxes))
    scores = chance.uniform(size=(2, 2 * len(boxes), 3, 4)).astype(np.float32)
    offsets = chance.normal(scale=0.3, size=(2, 4 * len(boxes), 3, 4)).astype(np.float32)
    rows = []
    for item in range(2):
        row = np.array(facts[item % len(facts)], np.float32)
        for score, box in proposals(scores[item], offsets[item], row, stride, boxes, least, before, after, threshold):
            rows.append([item, *box, score])
    found = np.array(rows)
    more = {"top__rois": found[:, :5]} | ({"top__best": found[:, 5]} if "best" in tops else {})
    return make_case(
        name, layer("Proposal", "scores offsets facts", tops, f"proposal_param {{ {options} }}"), "TEST",
        bottom__scores=scores, bottom__offsets=offsets, bottom__facts=facts, **more,
    )  # fmt: skip
