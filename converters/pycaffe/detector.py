"""``caffe.Detector``: a net that classifies windows of images."""

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.pycaffe import io, mode
from converters.pycaffe.classifier import Path_, Window, transformer_of
from converters.pycaffe.net import TEST, Net
from protos.errors import CaffeError, DataError

SELECTIVE_SEARCH = "selective_search_ijcv_with_python"


class Detector(Net):
    """Classifies windows: ``Detector(prototxt, weights, mean, input_scale, raw_scale, channel_swap, context_pad)``.

    A window is (y0, x0, y1, x1) in pixels, the ends excluded, and is warped to the net's input. With *context_pad* it
    is widened so that its surroundings fill a border of that many pixels in the input; beyond the image lies the mean.
    The other options are those of `converters.pycaffe.io.Transformer`.
    """

    def __init__(
        self,
        model_file: Path_,
        pretrained_file: Path_,
        mean: NDArray[np.floating] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
        gpu: bool = False,
    ) -> None:
        if gpu:  # as in 2014
            mode.set_mode_gpu()
        super().__init__(model_file, pretrained_file, TEST)
        self.transformer = transformer_of(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def configure_crop(self, context_pad: int | None) -> None:
        """Let crops have *context_pad* pixels of their surroundings on each side."""
        name = self.inputs[0]
        channels, height, width = self.blobs[name].shape[1:]
        self.crop_dims = np.array([height, width, channels])
        self.context_pad = context_pad
        self.crop_mean = np.zeros(self.crop_dims, np.float32)
        if context_pad and name in self.transformer.mean:
            mean = self.transformer.mean[name].transpose(1, 2, 0)
            if name in self.transformer.channel_swap:
                mean = mean[:, :, np.argsort(self.transformer.channel_swap[name])]
            self.crop_mean = np.array(mean / self.transformer.raw_scale.get(name, 1), np.float32)

    def detect_windows(self, images_windows: Iterable[tuple[Path_, Iterable[Window]]]) -> list[dict[str, Any]]:
        """The predictions for the windows of images, given as pairs of a file's name and its windows.

        A list of ``{"window": ..., "prediction": ..., "filename": ...}``.
        """
        found, made = [], []
        name = self.inputs[0]
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                found.append({"window": window, "prediction": None, "filename": filename})
                made.append(self.transformer.preprocess(name, self.crop(image, window)))
        if made:
            batch: dict[str, Any] = {name: np.stack(made)}
            for entry, prediction in zip(found, self.forward_all(**batch)[self.outputs[0]], strict=True):
                entry["prediction"] = prediction
        return found

    def detect_selective_search(self, image_fnames: Iterable[Path_]) -> list[dict[str, Any]]:
        """The predictions for the windows that selective search proposes.

        Raises CaffeError where its program, ``selective_search_ijcv_with_python``, is missing.
        """
        names = [str(Path(name).resolve()) for name in image_fnames]
        try:
            search = importlib.import_module(SELECTIVE_SEARCH)
        except ImportError as error:
            remedy = "give windows of your own to detect_windows"
            raise CaffeError(f"detect_selective_search needs {SELECTIVE_SEARCH}: {error}; {remedy}") from None
        return self.detect_windows(zip(names, search.get_windows(names, cmd="selective_search_rcnn"), strict=True))

    def crop(self, im: NDArray[np.floating], window: Window) -> NDArray[np.float32]:
        """The *window* of *im* (H x W x K), with its surroundings where ``context_pad`` says so.

        Raises DataError where it has nothing of the image.
        """
        if not self.context_pad:
            y0, x0, y1, x1 = (int(side) for side in window)
            return _filled(im[y0:y1, x0:x1], window)
        size = self.blobs[self.inputs[0]].width  # square, as in the original
        y0, y1, top, height = _side(window[0], window[2], im.shape[0], size, self.context_pad)
        x0, x1, left, width = _side(window[1], window[3], im.shape[1], size, self.context_pad)
        made = np.ones(self.crop_dims, np.float32) * self.crop_mean
        inside = io.resize_image(_filled(im[y0:y1, x0:x1], window), (height, width))
        made[top : top + height, left : left + width] = inside
        return made


def _filled(part: NDArray[Any], window: Window) -> NDArray[Any]:
    if not part.size:
        raise DataError(f"the window {tuple(window)} has no pixels: it is (y0, x0, y1, x1), within the image")
    return part


def _side(first: float, last: float, length: int, size: int, pad: int) -> tuple[int, int, int, int]:
    """From where to where to cut on one axis of an image, and where it begins in the input and how long it is there."""
    half = (last - first + 1) / 2
    reach = half * size / (size - 2 * pad)
    start, end = np.round((first + half) - reach), np.round((first + half) + reach)
    scale = size / (end - start + 1)
    before = _rounded(max(0, -start) * scale)
    start, end = np.clip([start, end], 0, length)
    return int(start), int(end), before, min(_rounded((end - start + 1) * scale), size - before)


def _rounded(value: float) -> int:
    """As Python 2 rounds: halves go up."""
    return int(value + 0.5)
