"""MultiBoxLoss: what an SSD net is trained by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.layer import LAYERS, Shape, check_indices, shape_text
from nets.layers.box_loss import smooth_l1, worth
from nets.layers.boxes import areas, decode, encode, suppress
from nets.layers.detection import NMS_OPTIONS, check_priors
from nets.layers.loss import LOSS_OPTIONS, MOST_SURPRISED, Loss, floored, normalization, unsupported
from nets.layers.matching import UNMATCHED, Rule, Truth, match_all
from protos.errors import NetError
from protos.schema import LayerParameter, MultiBoxLossParameter, PriorBoxParameter

LEAST_AREA = 1e-5  # smaller boxes are no examples


@dataclass(frozen=True)
class Mining:
    """Which priors count as examples. MAX_NEGATIVE: all that are matched, and ``ratio`` times as many of those that
    overlap all ground truth by less than ``overlap``; HARD_EXAMPLE: ``samples`` of an item; NONE: all. Of more, those
    with the greatest loss; with a ``threshold``, what is left of the ``top_k`` greatest by suppression of their boxes,
    the priors if ``of_priors``, else the predicted ones."""

    kind: str = "MAX_NEGATIVE"
    ratio: float = 3.0
    overlap: float = 0.5
    samples: int = 64
    threshold: float = 0.0
    top_k: int | None = None
    of_priors: bool = False

    def pick(self, losses: Tensor, match: Tensor, shared: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the priors (N x P) count as matched, and which as background, from their losses, their matches, how
        much they overlap ground truth (N x P each) and their boxes (N x P x 4)."""
        matched = match >= 0
        hard = self.kind == "HARD_EXAMPLE"
        eligible = torch.ones_like(matched) if hard else (match == UNMATCHED) & (shared < self.overlap)
        wanted = torch.full_like(match[:, 0], self.samples) if hard else (matched.sum(1) * self.ratio).long()
        score, order = losses.masked_fill(~eligible, -torch.inf).sort(dim=1, descending=True, stable=True)
        valid = score > -torch.inf
        if self.threshold > 0:
            ordered = boxes.gather(1, order[..., None].expand_as(boxes))
            if self.top_k is not None:
                valid = valid & (torch.arange(valid.shape[1], device=valid.device) < self.top_k)
            valid = suppress(ordered, valid & (areas(ordered) >= LEAST_AREA), self.threshold)
        picked = valid & (valid.cumsum(1) <= wanted[:, None])
        chosen = torch.zeros_like(matched).scatter(1, order, picked)
        return (matched & chosen if hard else matched), (match == UNMATCHED) & chosen


@LAYERS("MultiBoxLoss")
class MultiBoxLoss(Loss):
    """The loss of the classes of priors plus loc_weight times the loss of the offsets of those that are matched to
    ground truth, by as many as these.

    bottoms: offsets N x 4PL, scores N x PC, prior boxes 1 x 2 x 4P, ground truth 1 x 1 x G x 8 (item, class, any, x1,
    y1, x2, y2, difficult; item -1: none); top: scalar. Each box of ground truth is matched to the prior that overlaps
    it most, and priors to what they overlap most by overlap_threshold at least. Of the others the hardest count as
    background, none in an item without ground truth.

    Options: num_classes (C), share_location (true: L is 1, else C; then mining_type must be NONE), loc_loss_type
    (SMOOTH_L1; L2: half the square), conf_loss_type (SOFTMAX; LOGISTIC: each class by itself), loc_weight (1),
    match_type (PER_PREDICTION; BIPARTITE: none but the best of each ground truth), overlap_threshold (0.5),
    use_prior_for_matching (true; false: the predicted boxes are matched), background_label_id (0), use_difficult_gt
    (true), mining_type (MAX_NEGATIVE: neg_pos_ratio (3) times the matched, of those that overlap less than neg_overlap
    (0.5); HARD_EXAMPLE: sample_size (64) of all; NONE: all others), do_neg_mining (old; it must agree), nms_param with
    nms_threshold and top_k (0; -1: all), and use_prior_for_nms (false): suppression among the hardest, without any left
    where top_k is not set; code_type (CORNER; CENTER_SIZE, CORNER_SIZE), encode_variance_in_target (false; true: as in
    the original the gradient is not divided by the variances), map_object_to_agnostic (false: all classes but the
    background are one), ignore_cross_boundary_bbox (false), bp_inside (false: true leaves out sides beyond the image);
    loss_param.normalization (VALID: by the matched; FULL: by NP, BATCH_SIZE: by N, NONE), normalize. The original takes
    wrong targets for LOGISTIC where the background is not 0, and without mining for more than one item; here they are
    right. Source: SSD.
    """

    message = "multibox_loss_param"
    options = frozenset({
        "loc_loss_type", "conf_loss_type", "loc_weight", "num_classes", "share_location", "match_type",
        "overlap_threshold", "use_prior_for_matching", "background_label_id", "use_difficult_gt", "do_neg_mining",
        "neg_pos_ratio", "neg_overlap", "code_type", "encode_variance_in_target", "map_object_to_agnostic",
        "ignore_cross_boundary_bbox", "bp_inside", "mining_type", "nms_param", "sample_size", "use_prior_for_nms",
    })  # fmt: skip
    bottoms = (4, 4)
    labels = (2, 3)
    predicted = 2
    loss_options = LOSS_OPTIONS - {"ignore_label"}

    def __init__(
        self,
        classes: int,
        *,
        mining: Mining,
        rule: Rule,
        code: str = "CORNER",
        background: int = 0,
        share_location: bool = True,
        match_priors: bool = True,
        variance_in_target: bool = False,
        squared: bool = False,
        logistic: bool = False,
        agnostic: bool = False,
        inside: bool = False,
        with_difficult: bool = True,
        normalization: str = "VALID",
        weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """*weights*: of the offsets' loss and of the classes' loss."""
        super().__init__()
        self.classes = classes
        self.mining = mining
        self.rule = rule
        self.code = code
        self.background = background
        self.share_location = share_location
        self.match_priors = match_priors
        self.variance_in_target = variance_in_target
        self.squared = squared
        self.logistic = logistic
        self.agnostic = agnostic
        self.inside = inside
        self.with_difficult = with_difficult
        self.normalization = normalization
        self.weights = weights

    @classmethod
    def check(cls, proto: LayerParameter) -> Iterable[str]:
        p = proto.multibox_loss_param
        yield from unsupported(proto.loss_param, cls.loss_options)
        for field, value in p.nms_param.ListFields():
            if field.name not in NMS_OPTIONS - {"eta"} and value != field.default_value:
                yield f"option multibox_loss_param.nms_param.{field.name} is not supported"
        mined = p.mining_type != MultiBoxLossParameter.NONE
        if p.HasField("do_neg_mining") and p.do_neg_mining != mined:
            yield "do_neg_mining is old and says other than mining_type: leave it out, NONE is without mining"
        if mined and not p.share_location:
            yield "mining needs share_location: set mining_type: NONE"

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.multibox_loss_param
        if not p.num_classes:
            raise NetError("num_classes must be set and positive")
        check_priors(bottoms[0], bottoms[1], bottoms[2], p.num_classes, 1 if p.share_location else p.num_classes)
        if len(bottoms[3]) != 4 or bottoms[3][3] != 8:
            raise NetError(f"its fourth bottom, the ground truth, must be 1 x 1 x G x 8, not {shape_text(bottoms[3])}")
        if p.conf_loss_type == MultiBoxLossParameter.SOFTMAX and p.background_label_id >= p.num_classes:
            raise NetError(f"background_label_id {p.background_label_id} must be one of {p.num_classes} classes")
        if p.map_object_to_agnostic and p.num_classes != 2:
            raise NetError(f"map_object_to_agnostic needs num_classes 2, not {p.num_classes}")
        if p.mining_type == MultiBoxLossParameter.HARD_EXAMPLE and p.sample_size < 1:
            raise NetError(f"sample_size {p.sample_size} must be positive")
        flows = list(proto.propagate_down) or [True, True]
        return cls(
            p.num_classes,
            mining=_mining(p),
            rule=Rule(
                p.overlap_threshold, p.match_type == MultiBoxLossParameter.BIPARTITE, p.ignore_cross_boundary_bbox
            ),
            code=PriorBoxParameter.CodeType.Name(p.code_type),
            background=p.background_label_id,
            share_location=p.share_location,
            match_priors=p.use_prior_for_matching,
            variance_in_target=p.encode_variance_in_target,
            squared=p.loc_loss_type == MultiBoxLossParameter.L2,
            logistic=p.conf_loss_type == MultiBoxLossParameter.LOGISTIC,
            agnostic=p.map_object_to_agnostic,
            inside=p.bp_inside,
            with_difficult=p.use_difficult_gt,
            normalization=normalization(proto.loss_param, "VALID"),
            weights=(p.loc_weight if flows[0] else 0.0, 1.0 if flows[1] else 0.0),
        )

    def forward(self, loc: Tensor, conf: Tensor, prior: Tensor, rows: Tensor) -> Tensor:
        items, count = loc.shape[0], prior.shape[2] // 4
        priors, variances = prior.detach().reshape(2, count, 4)
        offsets = loc.reshape(items, count, -1, 4).transpose(1, 2)  # N x L x P x 4
        scores = conf.reshape(items, count, self.classes)
        truth = Truth.of(rows.to(loc.dtype), self.with_difficult)
        self._check(truth, items)
        with torch.no_grad():
            decoded = decode(self.code, priors, 1.0 if self.variance_in_target else variances, offsets)
            match, shared = self._match(priors, decoded, truth)
            marks = self._marks(match, truth)
        apart = self._apart(offsets, decoded, priors, variances, match, truth)
        losses = (apart * apart / 2 if self.squared else smooth_l1(apart)).sum(-1)  # N x L x P
        surprises = self._surprises(scores, marks)  # N x P
        matched, background = self._examples(match, shared, losses, surprises, priors, decoded, truth)
        loc_loss = torch.where(matched, losses, 0.0).sum()
        conf_loss = torch.where(matched.any(1) | background, surprises, 0.0).sum()
        total = self.weights[0] * loc_loss + self.weights[1] * conf_loss
        divisors = {"FULL": items * count, "BATCH_SIZE": items, "NONE": 1}
        return total / (matched.sum().clamp(min=1) if self.normalization == "VALID" else divisors[self.normalization])

    def _check(self, truth: Truth, items: int) -> None:
        check_indices(truth.items, items, "ground truth of item {} is out of range: there are {} items")
        if not self.agnostic:
            check_indices(truth.labels, self.classes, "class {} of ground truth is out of range: there are {} classes")
        if truth.labels.device.type == "cpu" and bool((truth.labels == self.background).any()):
            raise NetError(f"ground truth has the class {self.background} of the background")

    def _match(self, priors: Tensor, decoded: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
        """What each prior is matched to, and how much it overlaps: N x L x P each."""
        classes = [None] if self.share_location else range(self.classes)
        if not self.match_priors:
            match, shared = match_all(self.rule, list(decoded), truth, list(classes))
        else:
            match, shared = match_all(self.rule, [priors[None]] * decoded.shape[0], truth, [None])
        if self.share_location:
            return match, shared
        label = torch.arange(self.classes, device=match.device)[:, None]
        if self.match_priors:
            own = _labels(match, truth.labels) == label
            match, shared = torch.where(own | (match < UNMATCHED), match, UNMATCHED), shared.expand_as(own)
        return match.masked_fill(label == self.background, UNMATCHED), shared

    def _marks(self, match: Tensor, truth: Truth) -> Tensor:
        """The class of what each prior is matched to, -1 where it is not: N x L x P."""
        return _labels(match, torch.full_like(truth.labels, self.background + 1) if self.agnostic else truth.labels)

    def _apart(
        self, offsets: Tensor, decoded: Tensor, priors: Tensor, variances: Tensor, match: Tensor, truth: Truth
    ) -> Tensor:
        """How far the offsets are from those of the ground truth, N x L x P x 4; 0 where there is none."""
        there = (match >= 0)[..., None].expand_as(offsets)
        if not truth.boxes.shape[0]:
            return offsets * 0
        boxes = torch.where(there, truth.boxes[match.clamp(min=0)], priors)
        wanted = encode(self.code, priors, 1.0 if self.variance_in_target else variances, boxes)
        if self.inside:
            own = priors.expand_as(decoded) if self.match_priors else decoded
            there = there & (own >= 0) & (own <= 1)
        apart = torch.where(there, offsets - wanted, 0.0)
        return worth(apart, apart / variances) if self.variance_in_target else apart

    def _surprises(self, scores: Tensor, marks: Tensor) -> Tensor:
        """The loss of each prior's class, N x P, from scores N x P x C and the classes that it stands for."""
        label = marks.max(1).values
        if self.logistic:
            classes = torch.arange(self.classes, device=marks.device)
            hot = (marks[..., None] == classes).any(1)
            if self.mining.kind != "NONE":  # without mining the original has no target for the background
                hot = hot | ((label < 0)[..., None] & (classes == self.background))
            return F.binary_cross_entropy_with_logits(scores, hot.to(scores.dtype), reduction="none").sum(-1)
        logs = floored(torch.log_softmax(scores, -1), -MOST_SURPRISED)
        return -logs.gather(2, torch.where(label < 0, self.background, label)[..., None])[..., 0]

    @torch.no_grad()
    def _examples(
        self,
        match: Tensor,
        shared: Tensor,
        losses: Tensor,
        surprises: Tensor,
        priors: Tensor,
        decoded: Tensor,
        truth: Truth,
    ) -> tuple[Tensor, Tensor]:
        """Which priors count as matched (N x L x P), and which as background (N x P)."""
        if self.mining.kind == "NONE":
            return match >= 0, torch.ones_like(match[:, 0], dtype=torch.bool)
        total = surprises + losses[:, 0] if self.mining.kind == "HARD_EXAMPLE" else surprises
        boxes = priors.expand_as(decoded[:, 0]) if self.mining.of_priors else decoded[:, 0]
        matched, background = self.mining.pick(total, match[:, 0], shared[:, 0], boxes)
        known = (torch.arange(match.shape[0], device=match.device)[:, None] == truth.items).any(1)
        return matched[:, None], background & known[:, None]


def _labels(match: Tensor, labels: Tensor) -> Tensor:
    """Those of the *labels* (G) that *match* (any shape) says, -1 where it says none."""
    return torch.where(match >= 0, labels[match.clamp(min=0)], -1) if len(labels) else torch.full_like(match, -1)


def _mining(p: MultiBoxLossParameter) -> Mining:
    nms = p.nms_param
    return Mining(
        MultiBoxLossParameter.MiningType.Name(p.mining_type),
        p.neg_pos_ratio,
        p.neg_overlap,
        p.sample_size,
        nms.nms_threshold if p.HasField("nms_param") else 0.0,
        nms.top_k if nms.top_k >= 0 else None,
        p.use_prior_for_nms,
    )
