"""What SSD does to an image and its objects before a net sees them: distort, widen, cut out, resize, crop, mirror."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data.annotations import Floats, Objects, draw_frame, resized_size
from data.colors import distort
from data.images import Pixels
from data.interpolation import resize_by
from data.source import check_options
from protos.errors import DataError, listing
from protos.schema import (
    BatchSampler,
    DistortionParameter,
    LayerParameter,
    ResizeParameter,
    TransformationParameter,
)

HONOURED = (
    "scale", "mirror", "crop_size", "crop_h", "crop_w", "mean_file", "mean_value", "force_color", "force_gray",
    "resize_param", "distort_param", "expand_param", "emit_constraint",
)  # fmt: skip
_RESIZE = (
    "prob", "resize_mode", "height", "width", "pad_mode", "pad_value", "interp_mode", "height_scale", "width_scale",
)  # fmt: skip
_DISTORT = (
    "brightness_prob", "brightness_delta", "contrast_prob", "contrast_lower", "contrast_upper", "hue_prob", "hue_delta",
    "saturation_prob", "saturation_lower", "saturation_upper", "random_order_prob",
)  # fmt: skip
_NEAR_ONE = 1e-2  # a max_expand_ratio this near to 1 does nothing


class Augmentation:
    """The steps that *layer* (AnnotatedData) asks for, its batch_samplers among them.

    Raises DataError that names what is not supported or cannot be.
    """

    def __init__(self, layer: LayerParameter) -> None:
        self._param = param = layer.transform_param
        _check(layer)
        self._samplers = list(layer.annotated_data_param.batch_sampler)
        self.resize = param.resize_param[0] if param.resize_param else None
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None
        self._crop = (param.crop_size,) * 2 if param.crop_size else (param.crop_h, param.crop_w)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """What comes of an image of *height* x *width* that is neither widened nor cut; DataError if a crop is larger.

        After a resize that keeps the whole image within one size, all have that size.
        """
        height, width = self._resized(height, width)
        if self._crop[0] > height or self._crop[1] > width:
            raise DataError(f"the crop of {self._crop[0]}x{self._crop[1]} exceeds the images of {height}x{width}")
        return self._crop if all(self._crop) else (height, width)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize is None:
            return height, width
        if self.resize.resize_mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
            return self.resize.height, self.resize.width
        return resized_size(self.resize, height, width)

    def __call__(
        self, pixels: Pixels, objects: Objects, chance: np.random.Generator | None, central: bool = False
    ) -> tuple[Pixels, Objects]:
        """C x H x W pixels and objects after all steps, *central*: with the crop in the middle; without *chance* after
        those that need none: resize, crop."""
        if chance is not None:
            pixels, objects = self._drawn(pixels, objects, chance)
        height, width = pixels.shape[1:]
        if self.resize is not None:
            pixels, resized = _fit(pixels, self.resize, chance), objects.resized(self.resize, height, width)
        else:
            resized = objects
        pixels, frame = self._cropped(pixels, None if central else chance)
        objects = resized.within(frame, self._emit)
        if chance is not None and self._param.mirror and chance.random() < 0.5:
            pixels, objects = pixels[:, :, ::-1], objects.mirrored()
        if self.resize is not None:
            objects = objects.extrapolated(self.resize, height, width, frame)
        return pixels, objects

    def _drawn(self, pixels: Pixels, objects: Objects, chance: np.random.Generator) -> tuple[Pixels, Objects]:
        if self._param.HasField("distort_param"):
            pixels = distort(pixels, self._param.distort_param, chance)
        expand = self._param.expand_param
        if self._param.HasField("expand_param") and chance.random() <= expand.prob:
            pixels, objects = self._widened(pixels, objects, expand.max_expand_ratio, chance)
        frame = draw_frame(self._samplers, objects.boxes, chance)
        if frame is None:
            return pixels, objects
        bounds = frame * np.tile(pixels.shape[:0:-1], 2)
        left, top = bounds[:2].astype(int)
        width, height = (bounds[2:] - bounds[:2]).astype(int).clip(min=1)
        return pixels[:, top : top + height, left : left + width], objects.within(frame, self._emit)

    def _widened(
        self, pixels: Pixels, objects: Objects, most: float, chance: np.random.Generator
    ) -> tuple[Pixels, Objects]:
        """The image at a random place in one up to *most* times as high and wide, else filled with the mean."""
        if abs(most - 1) < _NEAR_ONE:
            return pixels, objects
        channels, *old = pixels.shape
        size = (np.array(old) * chance.uniform(1, most)).astype(int)
        corner = (chance.random(2) * (size - old)).astype(int)
        mean = np.rint(list(self._param.mean_value) or [0]).clip(0, 255).astype(np.uint8)
        out = np.empty((channels, *size), np.uint8)
        out[...] = mean[:, None, None]
        out[:, corner[0] : corner[0] + old[0], corner[1] : corner[1] + old[1]] = pixels
        frame = np.concatenate((-corner, size - corner)) / np.tile(old, 2)
        return out, objects.within(frame[[1, 0, 3, 2]], self._emit)

    def _cropped(self, pixels: Pixels, chance: np.random.Generator | None) -> tuple[Pixels, Floats]:
        """A crop, if any, at a random place, or without *chance* in the middle; and its frame."""
        shape = np.array(pixels.shape[1:])
        crop = np.array(self._crop) if all(self._crop) else shape
        if (crop > shape).any():
            raise DataError("the crop of {}x{} exceeds an image of {}x{}".format(*crop, *shape))
        corner = (shape - crop) // 2 if chance is None else chance.integers(shape - crop + 1)
        (top, left), (below, right) = corner, corner + crop
        frame = np.array([left, top, right, below]) / np.tile(shape[::-1], 2)
        return pixels[:, top:below, left:right], frame


def _fit(pixels: Pixels, param: ResizeParameter, chance: np.random.Generator | None) -> Pixels:
    """Resized in one of the interp_modes (the first, without *chance*), and padded where its mode says so."""
    height, width = pixels.shape[1:]
    modes = [ResizeParameter.Interp_mode.Name(mode) for mode in param.interp_mode] or ["LINEAR"]
    mode = modes[int(chance.integers(len(modes)))] if chance is not None else modes[0]
    out = resize_by(mode, pixels, *resized_size(param, height, width))
    if param.resize_mode != ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        return out
    top, left = (param.height - out.shape[1]) // 2, (param.width - out.shape[2]) // 2
    if param.pad_mode != ResizeParameter.CONSTANT:
        mirror = param.pad_mode == ResizeParameter.MIRRORED
        rows = _reached(out.shape[1], top, param.height, mirror)
        return out[:, rows[:, None], _reached(out.shape[2], left, param.width, mirror)]
    values = np.rint(list(param.pad_value) or [0]).clip(0, 255).astype(np.uint8)
    padded = np.empty((len(out), param.height, param.width), np.uint8)
    padded[...] = values[:, None, None]
    padded[:, top : top + out.shape[1], left : left + out.shape[2]] = out
    return padded


def _reached(size: int, before: int, wanted: int, mirror: bool) -> NDArray[np.int64]:
    """Which of *size* pixels fill *wanted* places, the first at *before*; beyond them mirrored, or the last one."""
    places = np.arange(wanted) - before
    if not mirror or size == 1:
        return places.clip(0, size - 1)
    return size - 1 - np.abs(places % (2 * size - 2) - (size - 1))


# ---- what cannot be


def _check(layer: LayerParameter) -> None:
    param = layer.transform_param
    check_options(layer, param, HONOURED)
    check_options(layer, param.distort_param, _DISTORT)
    problems = [
        *_of_crops(param),
        *(problem for resize in param.resize_param for problem in _of_resize(resize)),
        *_of_distortion(param.distort_param),
        *(problem for sampler in layer.annotated_data_param.batch_sampler for problem in _of_sampler(sampler)),
    ]
    for resize in param.resize_param:
        check_options(layer, resize, _RESIZE)
    if problems:
        raise DataError(f"layer {layer.name!r} ({layer.type}): {listing(problems)}")


def _of_crops(param: TransformationParameter) -> Iterable[str]:
    if bool(param.crop_h) != bool(param.crop_w):
        yield "crop_h and crop_w go together; one of them is missing"
    if param.force_color and param.force_gray:
        yield "force_color and force_gray exclude each other"
    if len(param.resize_param) > 1:
        yield f"takes one resize_param, not {len(param.resize_param)}"
    if param.HasField("expand_param") and param.expand_param.max_expand_ratio < 1:
        yield f"max_expand_ratio {param.expand_param.max_expand_ratio:g} must be at least 1"
    if param.HasField("expand_param") and param.mean_file:
        yield "expand_param fills with mean_value, and has no use for a mean_file"


def _of_resize(param: ResizeParameter) -> Iterable[str]:
    if not (param.height and param.width):
        yield "resize_param needs a height and a width"
    if param.prob != 1:
        yield f"resize_param.prob must be 1, not {param.prob:g}: the images of a batch have one size"


def _of_distortion(param: DistortionParameter) -> Iterable[str]:
    for name in ("brightness_delta", "hue_delta", "contrast_lower", "saturation_lower"):
        if getattr(param, name) < 0:
            yield f"{name} {getattr(param, name):g} must not be negative"
    for name in ("contrast", "saturation"):
        low, high = getattr(param, f"{name}_lower"), getattr(param, f"{name}_upper")
        if low > high:
            yield f"{name}_lower {low:g} exceeds {name}_upper {high:g}"


def _of_sampler(batch: BatchSampler) -> Iterable[str]:
    sampler = batch.sampler
    if not 0 < sampler.min_scale <= sampler.max_scale <= 1:
        yield f"min_scale {sampler.min_scale:g} and max_scale {sampler.max_scale:g} must rise, above 0 and at most 1"
    if not 0 < sampler.min_aspect_ratio <= sampler.max_aspect_ratio < np.inf:
        least, most = sampler.min_aspect_ratio, sampler.max_aspect_ratio
        yield f"min_aspect_ratio {least:g} and max_aspect_ratio {most:g} must rise, above 0"
