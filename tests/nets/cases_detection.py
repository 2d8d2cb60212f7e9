"""Cases of SSD's layers, with what their formulas give, worked out box by box in NumPy."""

import numpy as np


def values(*shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def detection_cases(make_case):
    """The cases, through *make_case*(name, layers, phase, **values)."""
    return (
        *(_normalize(make_case, name, options, *how) for name, options, how in NORMALIZE),
        *(_prior_box(make_case, name, options, *how) for name, options, how in PRIORS),
        *(_detection_output(make_case, name, options, how) for name, options, how in DETECTIONS),
        *(_evaluation(make_case, name, options, *how) for name, options, how in EVALUATIONS),
    )


def layer(kind, bottoms, tops, options):
    ends = "".join(f'bottom: "{b}" ' for b in bottoms.split()) + "".join(f'top: "{t}" ' for t in tops.split())
    return f'layer {{ name: "layer" type: "{kind}" {ends} {options} }}\n'


# ---- Normalize

NORMALIZE = (
    ("normalize", "norm_param { }", ((1, 2, 3), 1e-10, False)),
    ("normalize_pixels", "norm_param { across_spatial: false eps: 0.1 }", ((1,), 0.1, False)),
    ("normalize_channels", "norm_param { across_spatial: false channel_shared: false }", ((1,), 1e-10, True)),
    ("normalize_image_channels", "norm_param { channel_shared: false }", ((1, 2, 3), 1e-10, True)),
)


def _normalize(make_case, name, options, axes, eps, by_channel):
    """The gradient takes the scale last, also where each channel has its own."""
    x, dy = values(2, 3, 4, 5).astype(np.float64), values(2, 3, 4, 5, seed=1)
    scale = values(3, seed=2) if by_channel else np.float32(1.7)
    spread = scale.reshape(-1, 1, 1)
    norm = np.sqrt((x**2).sum(axes, keepdims=True) + eps)
    y = x / norm
    dscale = (dy * y).sum((0, 2, 3)) if by_channel else (dy * y).sum()
    return make_case(
        name, layer("Normalize", "x", "y", options), "TRAIN", bottom__x=x, param__layer__0=scale, top__y=y * spread,
        top_diff__y=dy, bottom_diff__x=(dy - y * (dy * y).sum(axes, keepdims=True)) / norm * spread,
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
        "priorbox_fractions",
        "min_size: 5.9 max_size: 8.7 aspect_ratio: 2",
        (
            [(5, 5), (40**0.5,) * 2, (50**0.5, 12.5**0.5), (12.5**0.5, 50**0.5)],
            (12, 20), (4, 4), 0.5, False, [0.1] * 4,
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
    x, image = values(2, 1, 3, 5), values(2, 3, 12, 20)
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


def decoded(code, prior, variance, offset):
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
                decoded(code, boxes[p], scale[p], offsets[item, p, 0 if shared else label]) for p in range(priors)
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


# ---- DetectionEvaluate

# options; then the threshold, whether difficult ground truth counts
EVALUATIONS = (
    ("evaluate", "", (0.5, True)),
    ("evaluate_without_difficult", "overlap_threshold: 0.2 evaluate_difficult_gt: false", (0.2, False)),
)


def _judged(rows, truth, threshold, with_difficult):
    """The rows of the boxes of one item and class; where there is no ground truth they stay in their order."""
    taken = set()
    for row in sorted(rows, key=lambda row: -row[2] if len(truth) else 0):
        shared = [overlap(row[3:], known[3:7]) for known in truth]
        best = int(np.argmax(shared)) if shared else -1
        right, wrong = 0, 1
        if shared and shared[best] >= threshold:
            right, wrong = (0, 1) if best in taken else (1, 0)
            taken.add(best)
            if truth[best][7] and not with_difficult:
                right = wrong = 0
        yield [*row[:3], right, wrong]


def _evaluation(make_case, name, options, threshold, with_difficult):
    chance = np.random.RandomState(3)
    low = chance.uniform(0, 0.5, (8, 2))
    truth = np.concatenate([
        chance.randint(0, 2, (8, 1)), chance.randint(1, 3, (8, 1)), np.zeros((8, 1)), low, low + 0.4,
        chance.randint(0, 2, (8, 1)),
    ], 1)  # fmt: skip
    truth[-1, 0] = -1
    near = truth[chance.randint(0, 7, 20)]
    found = np.concatenate([
        near[:, :1], near[:, 1:2], chance.uniform(size=(20, 1)), near[:, 3:7] + chance.normal(0, 0.05, (20, 4))
    ], 1)  # fmt: skip
    found[:3, 1], found[3, 0], found[4, 0] = 3, 2, -1  # a class and an item without ground truth, and no box
    known = [row for row in truth if row[0] >= 0 and (with_difficult or not row[7])]
    rows = [[-1, label, sum(row[1] == label for row in known), -1, -1] for label in (1, 2, 3)]
    for item in range(3):
        for label in (1, 2, 3):
            of = [[row for row in part if row[0] == item and row[1] == label] for part in (found, truth)]
            rows += _judged(*of, threshold, with_difficult)
    layers = layer(
        "DetectionEvaluate", "found truth", "marks", f"detection_evaluate_param {{ num_classes: 4 {options} }}"
    )
    return make_case(
        name, layers, "TEST", bottom__found=found[None, None], bottom__truth=truth[None, None],
        top__marks=np.array([*rows, [0] * 5])[None, None],
    )  # fmt: skip
