"""Boxes of objects in an image, and what becomes of them where the image is cut, widened, resized or turned round.

Boxes are N x 4 rows of x1, y1, x2, y2 as shares of the image's width and height; so are *frames*, boxes of 4.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from protos.schema import BatchSampler, EmitConstraint, ResizeParameter, SampleConstraint, Sampler

Floats = NDArray[np.float64]
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])


@dataclass(frozen=True)
class Objects:
    """The objects of an image: their boxes, and rows of class, instance and whether they are difficult (N x 3)."""

    boxes: Floats
    facts: NDArray[np.int64]

    @classmethod
    def none(cls) -> "Objects":
        """No objects."""
        return cls(np.zeros((0, 4)), np.zeros((0, 3), np.int64))

    def within(self, frame: Floats, constraint: EmitConstraint | None) -> "Objects":
        """What is left in a *frame*, in its shares, clipped; objects that do not meet the *constraint* go."""
        corner, size = frame[:2], frame[2:] - frame[:2]
        boxes = ((self.boxes.reshape(-1, 2, 2) - corner) / size).reshape(-1, 4).clip(0, 1)
        kept = _areas(boxes) > 0
        if constraint is not None:
            kept &= _emitted(self.boxes, frame, constraint)
        return Objects(boxes[kept], self.facts[kept])

    def mirrored(self) -> "Objects":
        """Left and right exchanged."""
        x1, y1, x2, y2 = self.boxes.T
        return replace(self, boxes=np.stack((1 - x2, y1, 1 - x1, y2), 1))

    def resized(self, param: ResizeParameter, height: int, width: int) -> "Objects":
        """In shares of what :func:`resized_size` says of an image, its padding included; at most as large as it."""
        inner = inner_box(param, height, width)
        spread = (inner[2:] - inner[:2])[None, None]
        boxes = inner[:2] + self.boxes.clip(0, 1).reshape(-1, 2, 2) * spread
        return replace(self, boxes=boxes.reshape(-1, 4))

    def extrapolated(self, param: ResizeParameter, height: int, width: int, frame: Floats) -> "Objects":
        """In units of width_scale and height_scale pixels of FIT_SMALL_SIZE, where both are given, else unchanged."""
        if not (param.height_scale and param.width_scale and param.resize_mode == ResizeParameter.FIT_SMALL_SIZE):
            return self
        aspect = width / height
        short = aspect < param.width / param.height
        size = (param.width, param.width / aspect) if short else (param.height * aspect, param.height)
        unit = np.array(size) * (frame[2:] - frame[:2]) / (param.width_scale, param.height_scale)
        return replace(self, boxes=self.boxes * np.tile(unit, 2))


def resized_size(param: ResizeParameter, height: int, width: int) -> tuple[int, int]:
    """Height and width of an image after a resize, without padding: at least 1."""
    aspect = np.float32(width) / np.float32(height)
    wide = aspect > np.float32(param.width) / np.float32(param.height)
    if param.resize_mode == ResizeParameter.WARP or aspect == np.float32(param.width) / np.float32(param.height):
        return param.height, param.width
    fit_width = wide == (param.resize_mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD)
    if fit_width:
        return max(1, int(np.float32(param.width) / aspect)), param.width
    return param.height, max(1, int(aspect * np.float32(param.height)))


def inner_box(param: ResizeParameter, height: int, width: int) -> Floats:
    """The frame that an image of *height* x *width* has within its padding."""
    if param.resize_mode != ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        return WHOLE
    aspect, wanted = width / height, param.width / param.height
    shares = np.array([min(1.0, aspect / wanted), min(1.0, wanted / aspect)])
    return np.concatenate(((1 - shares) / 2, (1 + shares) / 2))


# ---- frames to cut out


def draw_frame(samplers: list[BatchSampler], boxes: Floats, chance: np.random.Generator) -> Floats | None:
    """One of all frames that the *samplers* found for these *boxes*, each as likely; None where they found none."""
    found = [frame for sampler in samplers if sampler.use_original_image for frame in _frames(sampler, boxes, chance)]
    return found[int(chance.integers(len(found)))] if found else None


def _frames(sampler: BatchSampler, boxes: Floats, chance: np.random.Generator) -> Floats:
    """The first max_sample (all, where that is not set) that fit of max_trials frames, N x 4."""
    frames = _drawn(sampler.sampler, sampler.max_trials, chance)
    found = frames[fits(frames, boxes, sampler.sample_constraint)]
    return found[: sampler.max_sample] if sampler.HasField("max_sample") else found


def _drawn(sampler: Sampler, count: int, chance: np.random.Generator) -> Floats:
    """Frames within the image: the root of the area is the scale, width by height the aspect."""
    draws = chance.random((count, 4))
    scale = sampler.min_scale + draws[:, 0] * (sampler.max_scale - sampler.min_scale)
    aspect = sampler.min_aspect_ratio + draws[:, 1] * (sampler.max_aspect_ratio - sampler.min_aspect_ratio)
    root = np.sqrt(aspect.clip(scale**2, scale**-2))
    size = np.minimum(np.stack((scale * root, scale / root), 1), 1)
    corner = draws[:, 2:] * (1 - size)
    return np.concatenate((corner, corner + size), 1)


def fits(frames: Floats, boxes: Floats, constraint: SampleConstraint) -> NDArray[np.bool_]:
    """Whether one of the *boxes* has in each of the *frames* what the *constraint* asks for; all fit where it asks for
    nothing.

    As in the original only the first of overlap, share of the frame and share of the box that has a limit counts.
    """
    shared = _shared(boxes, frames[:, None])
    area, areas = _areas(frames)[:, None], _areas(boxes)
    kinds = (("jaccard_overlap", area + areas - shared), ("sample_coverage", area), ("object_coverage", areas))
    for name, whole in kinds:
        least, most = f"min_{name}", f"max_{name}"
        if constraint.HasField(least) or constraint.HasField(most):
            share = np.divide(shared, whole, out=np.zeros(shared.shape), where=shared > 0)
            low = getattr(constraint, least) if constraint.HasField(least) else -np.inf
            high = getattr(constraint, most) if constraint.HasField(most) else np.inf
            within = (share >= low) & (share <= high)
            return np.asarray(within.any(1))
    return np.ones(len(frames), np.bool_)


def _emitted(boxes: Floats, frame: Floats, constraint: EmitConstraint) -> NDArray[np.bool_]:
    """Whether the centre of each of the *boxes* lies in the *frame*, or more than emit_overlap of its area."""
    if constraint.emit_type == EmitConstraint.CENTER:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = (centres >= frame[:2]) & (centres <= frame[2:])
        return inside[:, 0] & inside[:, 1]
    share = np.divide(_shared(boxes, frame), _areas(boxes), out=np.zeros(len(boxes)), where=_areas(boxes) > 0)
    return np.greater(share, constraint.emit_overlap)


def _areas(boxes: Floats) -> Floats:
    """The areas of boxes ... x 4."""
    out: Floats = (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1)
    return out


def _shared(boxes: Floats, frames: Floats) -> Floats:
    """The areas that *boxes* (N x 4) have in common with a frame (4), or with each of *frames* (T x 1 x 4)."""
    corner, end = np.maximum(boxes[:, :2], frames[..., :2]), np.minimum(boxes[:, 2:], frames[..., 2:])
    out: Floats = (end - corner).clip(min=0).prod(-1)
    return out
