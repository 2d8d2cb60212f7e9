"""PriorBox: SSD's default boxes, which follow from shapes alone."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Self

import torch
from torch import Tensor

from nets.emitter import Emitter, Value, fixed
from nets.layer import LAYERS, Layer, Shape
from protos.errors import NetError
from protos.schema import LayerParameter, PriorBoxParameter

EQUAL = 1e-6  # aspect ratios that are closer are one


@LAYERS("PriorBox")
class PriorBox(Layer):
    """Boxes around each pixel of a feature map, in parts of the image, and the variances that go with them.

    bottoms: feature map N x C x H x W, image N x any x height x width, whose values do not matter; top: 1 x 2 x 4HWB,
    the boxes (x1, y1, x2, y2) row by row, then variances. Of the B boxes at a pixel there are, for each min_size s: a
    square of s, one of sqrt(s max_size), and for each aspect ratio a but 1 a box of s sqrt(a) x s / sqrt(a). Sizes
    count without their fractions, as in the original.
    Options: min_size (at least one), max_size (none, or one for each min_size), aspect_ratio (none), flip (true: 1 / a
    as well), clip (false: boxes reach beyond the image), variance (0.1; one figure, or four), img_size or img_h and
    img_w (the second bottom's), step or step_h and step_w (image by feature map), offset (0.5). Source: SSD.
    """

    differentiable = False
    message = "prior_box_param"
    options = frozenset({
        "min_size", "max_size", "aspect_ratio", "flip", "clip", "variance", "img_size", "img_h", "img_w", "step",
        "step_h", "step_w", "offset",
    })  # fmt: skip
    hints = frozenset({"engine"})
    bottoms = (2, 2)
    fp32 = True
    sides: Tensor
    variances: Tensor

    def __init__(
        self,
        sides: Sequence[tuple[float, float]],
        variances: Sequence[float] = (0.1, 0.1, 0.1, 0.1),
        clip: bool = False,
        image: tuple[int, int] | None = None,
        step: tuple[float, float] | None = None,
        offset: float = 0.5,
    ) -> None:
        """*sides*: widths and heights of the boxes in pixels; *image* and *step*: of rows, then columns."""
        super().__init__()
        self._given = torch.tensor(sides, device="cpu"), torch.tensor(variances, device="cpu")
        self.clip = clip
        self.image = image
        self.step = step
        self.offset = offset
        self.register_buffer("sides", torch.empty(len(sides), 2), persistent=False)
        self.register_buffer("variances", torch.empty(4), persistent=False)

    @classmethod
    def from_proto(cls, proto: LayerParameter, bottoms: Sequence[Shape]) -> Self:
        p = proto.prior_box_param
        if any(len(shape) != 4 for shape in bottoms):
            raise NetError("its bottoms need 4 axes, N x C x H x W")
        variances = list(p.variance) or [0.1]
        if len(variances) not in (1, 4) or min(variances) <= 0:
            raise NetError(f"variance needs one or four positive figures, not {variances}")
        image, step = _pair(p, "img", "img_size"), _pair(p, "step", "step")
        whole = None if image is None else (int(image[0]), int(image[1]))
        return cls(list(_sides(p)), (variances * 4)[:4], p.clip, whole, step, p.offset)

    def top_shapes(self, bottoms: Sequence[Shape]) -> list[Shape]:
        return [(1, 2, 4 * prod(bottoms[0][2:]) * len(self.sides))]

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Put the figures of the message in their place."""
        self.sides.copy_(self._given[0])
        self.variances.copy_(self._given[1])

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        (rows, columns), (height, width) = x.shape[2:], self.image or image.shape[2:]
        step_y, step_x = self.step or (height / rows, width / columns)
        ys, xs = (
            (torch.arange(count, device=x.device, dtype=self.sides.dtype) + self.offset) * step
            for count, step in ((rows, step_y), (columns, step_x))
        )
        centers = torch.stack((xs.expand(rows, -1), ys[:, None].expand(-1, columns)), -1)[:, :, None]
        corners = torch.stack((centers - self.sides / 2, centers + self.sides / 2), 3)
        corners = torch.stack((corners[..., 0] / width, corners[..., 1] / height), -1)
        boxes = corners.clamp(0, 1) if self.clip else corners
        return torch.stack((boxes.reshape(-1), self.variances.repeat(boxes.numel() // 4)))[None]

    def emit(self, g: Emitter, x: Value, image: Value) -> Value:
        sizes = (fixed(x, (2, 3)), self.image or fixed(image, (2, 3)))
        planes = [torch.empty(1, 1, *size, device=self.sides.device) for size in sizes]
        return g.constant(self.forward(*planes), "boxes")


def _pair(p: PriorBoxParameter, stem: str, both: str) -> tuple[float, float] | None:
    """The figures STEM_h and STEM_w, or *both* for the two; None where the net's shapes say them."""
    parts = [f"{stem}_h", f"{stem}_w"]
    given = [name for name in parts if p.HasField(name)]
    if given and p.HasField(both):
        raise NetError(f"give {both}, or both {stem}_h and {stem}_w")
    if not given and not p.HasField(both):
        return None
    found = [getattr(p, name) for name in (parts if given else [both, both])]
    if min(found) <= 0:
        raise NetError(f"{' and '.join(parts if given else [both])} must be set and positive")
    return found[0], found[1]


def _sides(p: PriorBoxParameter) -> Iterator[tuple[float, float]]:
    """The width and height of each box at a pixel."""
    least, most = list(p.min_size), list(p.max_size)
    if not least or min(least) <= 0:
        raise NetError("min_size must be set and positive")
    if most and len(most) != len(least):
        raise NetError(f"has {len(least)} min_size but {len(most)} max_size: give none, or one for each")
    if any(high <= low for low, high in zip(least, most, strict=False)):
        raise NetError(f"max_size {most} must be above min_size {least}")
    ratios = list(_ratios(p))
    for i, size in enumerate(map(int, least)):
        yield size, size
        if most:
            yield ((size * int(most[i])) ** 0.5,) * 2
        yield from ((size * ratio**0.5, size / ratio**0.5) for ratio in ratios)


def _ratios(p: PriorBoxParameter) -> list[float]:
    """The aspect ratios besides 1, each once, and with ``flip`` what they are on their side."""
    known = [1.0]
    for ratio in p.aspect_ratio:
        if ratio <= 0:
            raise NetError(f"aspect_ratio {ratio:g} must be positive")
        if all(abs(ratio - other) >= EQUAL for other in known):
            known += [ratio, 1 / ratio] if p.flip else [ratio]
    return known[1:]
