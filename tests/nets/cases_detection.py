"""Cases of the detection layers of Caffe's forks, with what their formulas give, worked out box by box in NumPy."""

import numpy as np


def _values(*shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def detection_cases(make_case):
    """The cases, through *make_case*(name, layers, phase, **values)."""
    return (
        *(_normalize(make_case, name, options, *how) for name, options, how in NORMALIZE),
        *(_prior_box(make_case, name, options, *how) for name, options, how in PRIORS),
        *(_detection_output(make_case, name, options, how) for name, options, how in DETECTIONS),
        *(_roi_pooling(make_case, name, options, *how) for name, options, how in ROI_POOLINGS),
        *(_psroi_pooling(make_case, name, *how) for name, how in PSROI_POOLINGS),
        *(_smooth_l1(make_case, name, options, *how) for name, options, how in SMOOTH),
        *(_smooth_l1_ohem(make_case, name, options, *how) for name, options, how in SMOOTH_OHEM),
        *(_softmax_ohem(make_case, name, options, *how) for name, options, how in SOFTMAX_OHEM),
        _box_annotator(make_case),
        *(_proposal(make_case, name, options, *how) for name, options, how in PROPOSALS),
    )


def layer(kind, bottoms, tops, options):
    ends = "".join(f'bottom: "{b}" ' for b in bottoms.split()) + "".join(f'top: "{t}" ' for t in tops.split())
    return f'layer {{ name: "layer" type: "{kind}" {ends} {options} }}\n'


# ---- Normalize

NORMALIZE = (
    ("normalize", "", ((1, 2, 3), 1e-10, False)),
    ("normalize_pixels", "norm_param { across_spatial: false eps: 0.1 }", ((1,), 0.1, False)),
    ("normalize_channels", "norm_param { across_spatial: false channel_shared: false }", ((1,), 1e-10, True)),
    ("normalize_image_channels", "norm_param { channel_shared: false }", ((1, 2, 3), 1e-10, True)),
)


def _normalize(make_case, name, options, axes, eps, by_channel):
    x, dy = _values(2, 3, 4, 5).astype(np.float64), _values(2, 3, 4, 5, seed=1)
    scale = _values(3, seed=2) if by_channel else np.float32(1.7)
    spread = scale.reshape(-1, 1, 1)
    norm = np.sqrt((x**2).sum(axes, keepdims=True) + eps)
    y = x / norm
    flow = dy * spread
    dscale = (dy * y).sum((0, 2, 3)) if by_channel else (dy * y).sum()
    return make_case(
        name, layer("Normalize", "x", "y", options), "TRAIN", bottom__x=x, param__layer__0=scale, top__y=y * spread,
        top_diff__y=dy, bottom_diff__x=(flow - y * (flow * y).sum(axes, keepdims=True)) / norm,
        param_diff__layer__0=dscale,
    )  # fmt: skip


# ---- PriorBox

# options; then widths and heights of the boxes at a pixel, height and width of the image, step, offset, clip, variances
PRIORS = (
    ("priorbox_least", "min_size: 4", ([(4, 4)], (12, 20), (4, 4), 0.5, False, [0.1] * 4)),
    (
        "priorbox_ssd",
        "min_size: 6 max_size: 9 aspect_ratio: 2 aspect_ratio: 2 aspect_ratio: 1 aspect_ratio: 3 clip: true "
        "variance: [0.1, 0.1, 0.2, 0.2]",
        (
            [(6, 6), (54**0.5,) * 2, *((6 * a**0.5, 6 / a**0.5) for a in (2, 1 / 2, 3, 1 / 3))],
            (12, 20), (4, 4), 0.5, True, [0.1, 0.1, 0.2, 0.2],
        ),
    ),
    (
        "priorbox_two_sizes",
        "min_size: [3, 6] max_size: [4, 12] aspect_ratio: 4 flip: false img_size: 30 step: 5 offset: 0.25 "
        "variance: 0.3",
        (
            [(3, 3), (12**0.5,) * 2, (6, 1.5), (6, 6), (72**0.5,) * 2, (12, 3)],
            (30, 30), (5, 5), 0.25, False, [0.3] * 4,
        ),
    ),
    (
        "priorbox_sides",
        "min_size: 5 img_h: 24 img_w: 40 step_h: 6 step_w: 9",
        ([(5, 5)], (24, 40), (6, 9), 0.5, False, [0.1] * 4),
    ),
)  # fmt: skip


def prior_boxes(rows, columns, sides, image, step, offset, clip, variances):
    """The top of PriorBox, box by box."""
    boxes = []
    for row in range(rows):
        for column in range(columns):
            x, y = (column + offset) * step[1], (row + offset) * step[0]
            for width, height in sides:
                box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
                boxes.append(box / [image[1], image[0], image[1], image[0]])
    found = np.clip(boxes, 0, 1) if clip else np.array(boxes)
    return np.stack([found.ravel(), np.tile(variances, len(boxes))])[None]


def _prior_box(make_case, name, options, *how):
    x, image = _values(2, 1, 3, 5), _values(2, 3, 12, 20)
    layers = layer("PriorBox", "x image", "boxes", f"prior_box_param {{ {options} }}")
    layers += 'layer { name: "twice" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }'
    return make_case(
        name, layers, "TEST", bottom__x=x, bottom__image=image, top__y=2 * x, top__boxes=prior_boxes(3, 5, *how)
    )


# ---- DetectionOutput

_NMS = "nms_param { nms_threshold: 0.4 top_k: 12 } keep_top_k: 9 confidence_threshold: 0.1"
DETECTIONS = (
    ("detection_least", "", {}),
    ("detection_center_size", f"code_type: CENTER_SIZE {_NMS}",
     {"code": "CENTER_SIZE", "threshold": 0.4, "top_k": 12, "keep": 9, "confidence": 0.1}),
    ("detection_own_locations", f"code_type: CENTER_SIZE share_location: false {_NMS}",
     {"code": "CENTER_SIZE", "threshold": 0.4, "top_k": 12, "keep": 9, "confidence": 0.1, "shared": False}),
    ("detection_corner_size", "code_type: CORNER_SIZE background_label_id: 2 keep_top_k: 7",
     {"code": "CORNER_SIZE", "background": 2, "keep": 7}),
    ("detection_no_background", "background_label_id: -1 variance_encoded_in_target: true share_location: false",
     {"background": -1, "variances": False, "shared": False}),
    ("detection_two_of_a_class", "nms_param { top_k: 2 } confidence_threshold: 0.5", {"top_k": 2, "confidence": 0.5}),
    ("detection_none", "confidence_threshold: 2", {"confidence": 2}),
)  # fmt: skip
CLASSES, PRIOR_COUNT = 4, 30


def _decoded(code, prior, variance, offset):
    offset = offset * variance
    sides = prior[2:] - prior[:2]
    if code == "CORNER":
        return prior + offset
    if code == "CORNER_SIZE":
        return prior + offset * [*sides, *sides]
    center, size = (prior[:2] + prior[2:]) / 2 + offset[:2] * sides, np.exp(offset[2:]) * sides
    return np.array([*(center - size / 2), *(center + size / 2)])


def overlap(a, b, pixel=0.0):
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + pixel, min(a[3], b[3]) - max(a[1], b[1]) + pixel
    if width <= 0 or height <= 0:
        return 0.0
    one, other = ((box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b))
    return width * height / (one + other - width * height)


def _suppressed(boxes, scores, confidence, top_k, threshold, eta):
    """The places of the boxes of one class that stay, the best first."""
    order = sorted((i for i in range(len(scores)) if scores[i] > confidence), key=lambda i: -scores[i])
    kept = []
    for i in order[:top_k]:
        if all(overlap(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
            threshold *= eta if eta < 1 and threshold > 0.5 else 1
    return kept


def detections(
    loc, conf, prior, code="CORNER", background=0, shared=True, variances=True,
    confidence=-np.inf, top_k=None, threshold=0.3, eta=1.0, keep=None,
):  # fmt: skip
    """The top of DetectionOutput, box by box; conf is N x P x C."""
    items, priors, classes = conf.shape
    boxes, scales = prior.reshape(2, priors, 4)
    offsets = loc.reshape(items, priors, -1, 4)
    rows = []
    for item in range(items):
        found = []
        for label in range(classes):
            if label == background:
                continue
            scale = scales if variances else np.ones_like(scales)
            places = [
                _decoded(code, boxes[p], scale[p], offsets[item, p, 0 if shared else label]) for p in range(priors)
            ]
            for p in _suppressed(places, conf[item, :, label], confidence, top_k, threshold, eta):
                found.append([item, label, conf[item, p, label], *places[p]])
        best = sorted(range(len(found)), key=lambda i: -found[i][2])[:keep]
        rows += [found[i] for i in sorted(best)]
    return np.array(rows or [[item, *[-1] * 6] for item in range(items)])[None, None]


def found_by(seed, shared=True):
    """Offsets, confidences (N x P x C) and prior boxes of a search with enough overlaps."""
    chance = np.random.RandomState(seed)
    corner, size = chance.uniform(0, 0.6, (PRIOR_COUNT, 2)), chance.uniform(0.1, 0.5, (PRIOR_COUNT, 2))
    prior = np.stack([np.concatenate([corner, corner + size], 1), chance.uniform(0.1, 0.3, (PRIOR_COUNT, 4))])
    conf = np.exp(chance.normal(size=(2, PRIOR_COUNT, CLASSES)))
    loc = chance.normal(scale=0.7, size=(2, PRIOR_COUNT * (1 if shared else CLASSES) * 4))
    return (x.astype(np.float32) for x in (loc, conf / conf.sum(2, keepdims=True), prior.reshape(1, 2, -1)))


def _detection_output(make_case, name, options, how):
    loc, conf, prior = found_by(len(name), how.get("shared", True))
    layers = layer(
        "DetectionOutput", "loc conf prior", "found", f"detection_output_param {{ num_classes: 4 {options} }}"
    )
    return make_case(
        name, layers, "TEST", bottom__loc=loc, bottom__conf=conf.reshape(2, -1), bottom__prior=prior,
        top__found=detections(loc, conf, prior, **how),
    )  # fmt: skip


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
        edges = [(int(np.floor(k * width)), int(np.ceil((k + 1) * width))) for k in range(pooled[i])]
        spans.append([tuple(min(max(edge + first, 0), size[i]) for edge in pair) for pair in edges])
    for p, rows in enumerate(spans[0]):
        for q, columns in enumerate(spans[1]):
            yield p, q, slice(*rows), slice(*columns)


def roi_pooling(x, rois, pooled, scale, pad_ratio=0.0):
    """The top of ROIPooling, bin by bin, and the place of each value: 0 and None in an empty bin."""
    tops = np.zeros((len(rois), x.shape[1], *pooled), np.float32)
    places = {}
    for r, roi in enumerate(rois):
        for p, q, rows, columns in _roi_bins(roi, pooled, scale, pad_ratio, x.shape[2:]):
            part = x[int(roi[0]), :, rows, columns]
            for c in range(x.shape[1] if part.size else 0):
                row, column = np.unravel_index(part[c].argmax(), part[c].shape)  # the first of a tie
                tops[r, c, p, q] = part[c, row, column]
                places[r, c, p, q] = int(roi[0]), c, rows.start + row, columns.start + column
    return tops, places


# options; then the size, the scale, the padding, how many items
ROI_POOLINGS = (
    ("roipooling", "pooled_h: 3 pooled_w: 4 spatial_scale: 0.25", ((3, 4), 0.25, 0.0, 1)),
    ("roipooling_of_items", "pooled_h: 2 pooled_w: 2", ((2, 2), 1.0, 0.0, 2)),
    ("roipooling_padded", "pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 pad_ratio: 0.25", ((2, 3), 0.5, 0.25, 1)),
)


def _roi_pooling(make_case, name, options, pooled, scale, pad_ratio, items):
    chance = np.random.RandomState(0)
    x = chance.permutation(2 * 3 * 7 * 9).reshape(2, 3, 7, 9).astype(np.float32) / 30 - 5  # no ties
    rois = regions(6, 9 / scale, items, len(name))
    y, places = roi_pooling(x, rois, pooled, scale, pad_ratio)
    dy, dx = _values(*y.shape, seed=1), np.zeros_like(x)
    for at, place in places.items():
        dx[place] += dy[at]
    layers = layer("ROIPooling", "x rois", "y", f"roi_pooling_param {{ {options} }}")
    return make_case(name, layers, "TRAIN", bottom__x=x, bottom__rois=rois, top__y=y, top_diff__y=dy, bottom_diff__x=dx)


# output_dim, group_size, spatial_scale, how many items
PSROI_POOLINGS = (("psroipooling", (2, 3, 0.25, 1)), ("psroipooling_of_items", (3, 2, 1.0, 2)))


def _psroi_pooling(make_case, name, outputs, group, scale, items):
    x, rois = _values(2, outputs * group**2, 7, 9), regions(6, 9 / scale, items, len(name))
    y = np.zeros((len(rois), outputs, group, group), np.float32)
    dy, dx = _values(*y.shape, seed=1), np.zeros_like(x)
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


def _smooth(x, sigma=1.0):
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
    a, b, inside, outside = (_values(4, 6, 1, 2, seed=i) for i in range(4))
    inside, outside = (w if count > i else np.ones_like(w) for i, w in ((2, inside), (3, outside)))
    loss, slope = _smooth(inside * (a - b), sigma)
    da = inside * outside * slope / 4 * (2 if "loss_weight" in options else 1)
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
    a, b, w = (_values(4, 3, 2, 1, seed=i) for i in range(3))
    w = w if weighted else np.ones_like(w)
    loss, slope = _smooth(w * (a - b))
    more = {"bottom__w": w} if weighted else {}
    more |= {"top__losses": loss.sum(1, keepdims=True)} if listed else {}
    bottoms, tops = "a b w" if weighted else "a b", "loss losses" if listed else "loss"
    return make_case(
        name, layer("SmoothL1LossOHEM", bottoms, tops, options), "TRAIN", bottom__a=a, bottom__b=b,
        top__loss=loss.sum() / divisor, bottom_diff__a=w * slope / divisor, bottom_diff__b=-w * slope / divisor, **more,
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
    x = _values(5, 4, 2, 1)
    label = np.random.RandomState(1).randint(0, 4, (5, 1, 2, 1))
    if ignore is not None:
        label[3, 0, 1] = ignore
    prob = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    counts = label != ignore if ignore is not None else np.ones_like(label, bool)
    losses = np.where(counts, -np.log(np.take_along_axis(prob, np.where(counts, label, 0), 1)), 0)
    hot = np.arange(4)[:, None, None] == label
    values = {"loss": losses.sum() / divisor, "prob": prob, "losses": losses}
    return make_case(
        name, layer("SoftmaxWithLossOHEM", "x label", tops, options), "TRAIN", bottom__x=x, bottom__label=label,
        bottom_diff__x=(prob - hot) * counts / divisor, **{f"top__{top}": values[top] for top in tops.split()},
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
            if (moved[2:] - moved[:2] + 1 >= shortest).all():
                found.append((scores[count + a, row, column], moved))
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
    values = {"top__rois": found[:, :5]} | ({"top__best": found[:, 5]} if "best" in tops else {})
    return make_case(
        name, layer("Proposal", "scores offsets facts", tops, f"proposal_param {{ {options} }}"), "TEST",
        bottom__scores=scores, bottom__offsets=offsets, bottom__facts=facts, **values,
    )  # fmt: skip
