"""``caffe.Classifier``: a net that classifies images."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.pycaffe import io, mode
from converters.pycaffe.net import TEST, Net

Path_ = str | os.PathLike[str]
Window = Sequence[Any] | NDArray[Any]


def transformer_of(
    net: Net,
    mean: NDArray[np.floating] | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> io.Transformer:
    """The transformer of images for the first input of *net*."""
    name = net.inputs[0]
    made = io.Transformer({name: net.blobs[name].shape})
    made.set_transpose(name, (2, 0, 1))
    if mean is not None:
        made.set_mean(name, mean)
    if input_scale is not None:
        made.set_input_scale(name, input_scale)
    if raw_scale is not None:
        made.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        made.set_channel_swap(name, channel_swap)
    return made


class Classifier(Net):
    """Classifies images: ``Classifier(prototxt, weights, image_dims, mean, input_scale, raw_scale, channel_swap)``.

    Images are resized to *image_dims* (the net's own input size by default) and cropped to the net's input; the others
    are those of `converters.pycaffe.io.Transformer`.
    """

    def __init__(
        self,
        model_file: Path_,
        pretrained_file: Path_,
        image_dims: Sequence[int] | None = None,
        mean: NDArray[np.floating] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        gpu: bool = False,
    ) -> None:
        if gpu:  # as in 2014
            mode.set_mode_gpu()
        super().__init__(model_file, pretrained_file, TEST)
        self.transformer = transformer_of(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else np.array(image_dims)

    def predict(self, inputs: Sequence[NDArray[np.floating]], oversample: bool = True) -> NDArray[np.float32]:
        """The predictions (N x classes) for images (H x W x K each).

        With *oversample* the mean over ten crops of each: corners and centre, and these mirrored; else the centre's.
        """
        images = np.stack([io.resize_image(image, self.image_dims) for image in inputs])
        if oversample:
            crops = io.oversample(images, self.crop_dims)
        else:
            top, left = (self.image_dims / 2.0 - self.crop_dims / 2.0).astype(int)
            height, width = self.crop_dims
            crops = images[:, top : top + height, left : left + width]
        name = self.inputs[0]
        made = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        batch: dict[str, Any] = {name: made}
        predictions = self.forward_all(**batch)[self.outputs[0]]
        if oversample:
            predictions = np.asarray(predictions.reshape(len(images), 10, -1).mean(1), np.float32)
        return predictions
