"""Cases of MultiBoxLoss, with what its formulas give, worked out prior by prior in NumPy."""

import numpy as np

from tests.nets.cases_detection import CLASSES, PRIOR_COUNT, decoded, found_by, layer, overlap
from tests.nets.cases_rois import smooth


def multibox_cases(make_case):
    """The cases, through *make_case*(name, layers, phase, **values)."""
    return tuple(_multibox(make_case, name, options, how) for name, options, how in MULTIBOXES)


VARIED = "code_type: CENTER_SIZE mining_type: NONE"
MULTIBOXES = (
    ("multibox", "", {}),
    ("multibox_ssd", "code_type: CENTER_SIZE neg_overlap: 0.3 neg_pos_ratio: 1.5 loc_weight: 2 do_neg_mining: true",
     {"code": "CENTER_SIZE", "least": 0.3, "ratio": 1.5, "loc_weight": 2}),
    ("multibox_hard", "mining_type: HARD_EXAMPLE sample_size: 5 loc_loss_type: L2",
     {"mining": "HARD_EXAMPLE", "samples": 5, "squared": True}),
    ("multibox_suppressed", "mining_type: HARD_EXAMPLE sample_size: 6 nms_param { nms_threshold: 0.4 top_k: 14 } "
     "use_prior_for_nms: true", {"mining": "HARD_EXAMPLE", "samples": 6, "nms": 0.4, "top_k": 14, "of_priors": True}),
    ("multibox_suppressed_predictions", "nms_param { nms_threshold: 0.2 top_k: 9 }", {"nms": 0.2, "top_k": 9}),
    ("multibox_logistic", "conf_loss_type: LOGISTIC background_label_id: 1 match_type: BIPARTITE",
     {"logistic": True, "background": 1, "bipartite": True}),
    ("multibox_all", "mining_type: NONE code_type: CORNER_SIZE overlap_threshold: 0.3 use_difficult_gt: false",
     {"mining": "NONE", "code": "CORNER_SIZE", "threshold": 0.3, "difficult": False}),
    ("multibox_own_locations", f"{VARIED} share_location: false conf_loss_type: LOGISTIC",
     {"mining": "NONE", "code": "CENTER_SIZE", "shared": False, "logistic": True}),
    ("multibox_own_predictions", f"{VARIED} share_location: false use_prior_for_matching: false overlap_threshold: 0.2",
     {"mining": "NONE", "code": "CENTER_SIZE", "shared": False, "priors": False, "threshold": 0.2}),
    ("multibox_predictions", "use_prior_for_matching: false bp_inside: true code_type: CENTER_SIZE",
     {"priors": False, "inside": True, "code": "CENTER_SIZE"}),
    ("multibox_inside", "ignore_cross_boundary_bbox: true bp_inside: true encode_variance_in_target: true",
     {"ignore": True, "inside": True, "in_target": True}),
    ("multibox_suppressed_all", "nms_param { nms_threshold: 0.9 }", {"nms": 0.9, "top_k": 0}),
    ("multibox_agnostic", "map_object_to_agnostic: true", {"agnostic": True, "classes": 2}),
    ("multibox_by_items", "} loss_param { normalization: BATCH_SIZE", {"divisor": 3}),
    ("multibox_by_all", "} loss_param { normalization: FULL", {"divisor": 3 * PRIOR_COUNT}),
    ("multibox_offsets_alone", "} propagate_down: [true, false, false, false] loss_param { normalization: NONE",
     {"divisor": 1, "conf_weight": 0}),
)  # fmt: skip


def _matches(boxes, truth, threshold, bipartite, ignore):
    """What each box is matched to, None where to nothing, "out" where it is ignored; and how much it overlaps."""
    shared = np.array([[overlap(box, other) for other in truth] for box in boxes]).reshape(len(boxes), -1)
    out = [ignore and bool(((box < 0) | (box > 1)).any()) for box in boxes]
    shared[out] = 0
    found, most = ["out" if gone else None for gone in out], [row.max() if row.size else 0.0 for row in shared]
    pool = set(range(len(truth)))
    while pool:
        free = [(i, j) for i in range(len(boxes)) if found[i] is None for j in sorted(pool) if shared[i, j] > 1e-6]
        if not free:
            break
        i, j = max(free, key=lambda pair: shared[pair])
        found[i], most[i] = j, shared[i, j]
        pool.remove(j)
    for i in range(0 if not bipartite and len(truth) else len(boxes), len(boxes)):
        if found[i] is None and most[i] >= threshold and most[i] > 1e-6:
            found[i] = int(shared[i].argmax())
    return found, most


def _encoded(code, prior, variance, box):
    sides = prior[2:] - prior[:2]
    if code == "CORNER":
        return (box - prior) / variance
    if code == "CORNER_SIZE":
        return (box - prior) / [*sides, *sides] / variance
    center = ((box[:2] + box[2:]) - (prior[:2] + prior[2:])) / 2 / sides
    return np.array([*center, *np.log((box[2:] - box[:2]) / sides)]) / variance


def _apart(order, boxes, threshold):
    """Of the priors in *order* those whose boxes are not suppressed."""
    kept = []
    for p in order:
        size = np.maximum(boxes[p][2:] - boxes[p][:2], 0).prod()
        if size >= 1e-5 and all(overlap(boxes[p], boxes[q]) <= threshold for q in kept):
            kept.append(p)
    return kept


class _MultiBox:
    """The loss of one item of MultiBoxLoss, prior by prior, and its gradients."""

    def __init__(
        self, loc, conf, prior, variance, truth, code="CORNER", background=0, shared=True, priors=True, threshold=0.5,
        bipartite=False, ignore=False, inside=False, in_target=False, squared=False, logistic=False, agnostic=False,
        mining="MAX_NEGATIVE", least=0.5, ratio=3, samples=64, nms=0, top_k=None, of_priors=False, **_,
    ):  # fmt: skip
        self.loc, self.conf, self.prior, self.variance = loc, conf, prior, variance  # P x L x 4, P x C, P x 4 each
        self.in_target, self.code, self.squared, self.logistic = in_target, code, squared, logistic
        self.background, self.mining = background, mining
        used = np.ones_like(variance) if in_target else variance
        labels = [background + 1 if agnostic else int(row[0]) for row in truth]
        self.places = [
            [decoded(code, prior[p], used[p], loc[p, c]) for c in range(loc.shape[1])] for p in range(len(prior))
        ]
        self.positives, self.negatives = [], []
        found, most = self._match(truth, labels, shared, priors, (threshold, bipartite, ignore))
        self.inside = inside and (prior if priors else np.array([places[0] for places in self.places]))
        if mining == "NONE":
            self.negatives = [p for p in range(len(prior)) if p not in {one[0] for one in self.positives}]
        elif len(truth):
            hard = mining == "HARD_EXAMPLE"
            able = [p for p in range(len(prior)) if hard or (found[p] is None and most[p] < least)]
            count = min(samples if hard else int(len(self.positives) * ratio), len(able))
            order = self._hardest(able, hard)
            boxes = prior if of_priors else [places[0] for places in self.places]
            chosen = set((_apart(order[:top_k], boxes, nms) if nms else order)[:count])
            self.negatives = [p for p in chosen if found[p] is None]
            self.positives = [one for one in self.positives if one[0] in chosen or not hard]

    def _hardest(self, able, hard):
        """The priors *able*, those with the greatest loss first."""
        taken = {one[0]: one for one in self.positives}
        loss = {p: self.class_loss(p, taken[p][3] if p in taken else None)[0] for p in able}
        if hard:
            loss = {p: loss[p] + (self.offset_loss(*taken[p][:3])[0] if p in taken else 0) for p in able}
        return sorted(able, key=lambda p: -loss[p])

    def _match(self, truth, labels, shared, priors, rule):
        """Fill the positives: (prior, location, box, class); what the last location's priors are matched to."""
        for c in range(self.loc.shape[1]):
            if not shared and c == self.background:
                continue
            mine = [k for k in range(len(truth)) if shared or priors or labels[k] == c]
            boxes = self.prior if priors else np.array([places[c] for places in self.places])
            found, most = _matches(boxes, [truth[k][1:] for k in mine], *rule)
            for p, j in enumerate(found):
                if isinstance(j, int) and (shared or labels[mine[j]] == c):
                    self.positives.append((p, c, truth[mine[j]][1:], labels[mine[j]]))
        return found, most

    def offset_loss(self, p, c, box):
        used = np.ones(4) if self.in_target else self.variance[p]
        apart = self.loc[p, c] - _encoded(self.code, self.prior[p], used, box)
        if self.inside is not False:
            apart = np.where((self.inside[p] >= 0) & (self.inside[p] <= 1), apart, 0)
        apart = apart / self.variance[p] if self.in_target else apart
        value, slope = (apart**2 / 2, apart) if self.squared else smooth(apart)
        if self.inside is not False:
            slope = np.where((self.inside[p] >= 0) & (self.inside[p] <= 1), slope, 0)
        return value.sum(), slope  # not divided by the variances once more, where these are in the target

    def class_loss(self, p, label):
        scores = self.conf[p]
        hot = np.zeros(len(scores))
        if label is not None or self.mining != "NONE" or not self.logistic:
            hot[self.background if label is None else label] = 1
        if self.logistic:
            return (np.log1p(np.exp(scores)) - hot * scores).sum(), 1 / (1 + np.exp(-scores)) - hot
        prob = np.exp(scores) / np.exp(scores).sum()
        return -np.log(prob[hot == 1].sum()), prob - hot

    def run(self):
        """The losses of offsets and of classes, and their gradients."""
        dloc, dconf, totals = np.zeros_like(self.loc), np.zeros_like(self.conf), [0.0, 0.0]
        for p, c, box, _ in self.positives:
            value, slope = self.offset_loss(p, c, box)
            totals[0] += value
            dloc[p, c] += slope
        marks = {one[0]: one[3] for one in self.positives} | dict.fromkeys(self.negatives)
        for p, label in marks.items():
            value, slope = self.class_loss(p, label)
            totals[1] += value
            dconf[p] += slope
        return totals, dloc, dconf


def _multibox(make_case, name, options, how):
    classes, chance = how.get("classes", CLASSES), np.random.RandomState(len(name))
    _, _, prior = found_by(len(name))
    boxes, variance = prior.reshape(2, PRIOR_COUNT, 4).astype(np.float64)
    loc = chance.normal(scale=0.7, size=(3, PRIOR_COUNT, 1 if how.get("shared", True) else classes, 4))
    conf = chance.normal(size=(3, PRIOR_COUNT, classes))
    low = chance.uniform(0, 0.6, (7, 2))
    label = [k for k in range(classes) if k != how.get("background", 0)]
    rows = np.concatenate([
        np.array([0, 0, 2, -1, 2, 2, 0])[:, None], chance.choice(label, (7, 1)), np.zeros((7, 1)), low,
        low + chance.uniform(0.1, 0.4, (7, 2)), np.array([0, 1, 0, 0, 0, 1, 0])[:, None],
    ], 1).astype(np.float32)  # fmt: skip
    loc, conf = loc.astype(np.float32).astype(np.float64), conf.astype(np.float32).astype(np.float64)
    totals, dloc, dconf, matched = np.zeros(2), np.zeros_like(loc), np.zeros_like(conf), 0
    for i in range(3):
        truth = [row[[1, 3, 4, 5, 6]].astype(np.float64) for row in rows if row[0] == i]
        if not how.get("difficult", True):
            truth = [row[[1, 3, 4, 5, 6]].astype(np.float64) for row in rows if row[0] == i and row[7] == 0]
        item = _MultiBox(loc[i], conf[i], boxes, variance, truth, **how)
        values, dloc[i], dconf[i] = item.run()
        totals, matched = totals + values, matched + len(item.positives)
    weights, divisor = (how.get("loc_weight", 1), how.get("conf_weight", 1)), how.get("divisor", max(1, matched))
    layers = layer(
        "MultiBoxLoss", "loc conf prior truth", "loss", f"multibox_loss_param {{ num_classes: {classes} {options} }}"
    )
    gradients = {"bottom_diff__loc": (weights[0] * dloc / divisor).reshape(3, -1)}
    gradients |= {"bottom_diff__conf": (weights[1] * dconf / divisor).reshape(3, -1)} if weights[1] else {}
    return make_case(
        name, layers, "TRAIN", bottom__loc=loc.reshape(3, -1), bottom__conf=conf.reshape(3, -1), bottom__prior=prior,
        bottom__truth=rows[None, None], top__loss=np.dot(weights, totals) / divisor, **gradients,
    )  # fmt: skip
