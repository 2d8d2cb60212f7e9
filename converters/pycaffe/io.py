"""``caffe.io``: images, arrays and messages, and the Transformer that makes inputs of images."""

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from protos import schema
from protos.errors import CaffeError, DataError
from protos.schema import BlobProto, BlobProtoVector, Datum

caffe_pb2 = schema
Array = NDArray[Any]
Path_ = str | os.PathLike[str]

_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])  # of linear light (ITU-R BT.709), as scikit-image weighs

_OF_OTHERS = {"skimage": ("skimage", ""), "resize": ("skimage.transform", "resize"), "zoom": ("scipy.ndimage", "zoom")}


def __getattr__(name: str) -> Any:
    """What the original had imported and scripts take from here: scikit-image, its ``resize`` and SciPy's ``zoom``."""
    if name not in _OF_OTHERS:
        raise AttributeError(f"module 'caffe.io' has no attribute '{name}'")
    module, attribute = _OF_OTHERS[name]
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise CaffeError(f"caffe.io.{name} is not Caffe's own: {error}; install it, or call resize_image") from None
    return getattr(found, attribute) if attribute else found


# ---- messages


def blobproto_to_array(blob: BlobProto, return_diff: bool = False) -> Array:
    """The values of *blob*, or its gradient, as float64 in its shape."""
    values = np.array(blob.diff if return_diff else blob.data, np.float64)
    legacy = [name for name in ("num", "channels", "height", "width") if blob.HasField(name)]
    return values.reshape([getattr(blob, name) for name in legacy] if legacy else list(blob.shape.dim))


def array_to_blobproto(arr: Array, diff: Array | None = None) -> BlobProto:
    """*arr*, and its gradient *diff*, as a message."""
    blob = BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[Array]) -> bytes:
    """Arrays as the bytes of a BlobProtoVector."""
    return BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist]).SerializeToString()


def blobprotovector_str_to_arraylist(content: bytes) -> list[Array]:
    """The arrays in the bytes of a BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in BlobProtoVector.FromString(content).blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Datum:
    """*arr* (C x H x W) as a Datum: uint8 as its bytes, all else as floats."""
    if arr.ndim != 3:
        raise ValueError(f"a Datum holds C x H x W, not {arr.ndim} axes")
    datum = Datum(channels=arr.shape[0], height=arr.shape[1], width=arr.shape[2])
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Datum) -> Array:
    """The C x H x W values of *datum*: uint8 of its bytes, or float64."""
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, float)
    return values.reshape(datum.channels, datum.height, datum.width)


# ---- images


class _ImageError(DataError, OSError):
    """A file that is no image: scripts catch an IOError."""


def load_image(filename: Path_, color: bool = True) -> NDArray[np.float32]:
    """The image in a file, H x W x 3 (RGB) or, without *color*, H x W x 1, from 0 to 1."""
    try:
        with Image.open(filename) as image:
            values = _from_0_to_1(image)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise _ImageError(f"{_name(filename)}: cannot be read as an image: {error}") from error
    if values.ndim == 2:
        return np.repeat(values[:, :, None], 3 if color else 1, 2)
    if not color:
        values = (values[:, :, :3] @ _LUMINANCE)[:, :, None].astype(np.float32)
    return values[:, :, :3]


def _name(filename: Any) -> str:
    return os.fsdecode(filename) if isinstance(filename, str | bytes | os.PathLike) else repr(filename)


def _from_0_to_1(image: Image.Image) -> NDArray[np.float32]:
    if image.mode.startswith("I"):
        return (np.asarray(image, np.float64) / 65535).astype(np.float32)
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    return (np.asarray(image) / 255).astype(np.float32)


def resize_image(im: Array, new_dims: Iterable[int], interp_order: int = 1) -> NDArray[np.float32]:
    """*im* (H x W x K) at another height and width, bilinear, or with *interp_order* 0 the nearest values.

    As scikit-image did it in Caffe's days: with 1 or 3 channels pixels are squares about their centres, and beyond the
    image lies its least value; with others its outermost pixels stay where they are. Nothing is averaged where the
    image becomes smaller.
    """
    if interp_order not in (0, 1):
        raise CaffeError(f"resize_image: interp_order {interp_order} is not supported: give 0 (nearest) or 1 (linear)")
    places = _centres if im.shape[-1] in (1, 3) else _ends
    sides = zip(im.shape[:2], map(int, new_dims), strict=True)
    rows, columns = (_taps(size, places(size, wanted), interp_order) for size, wanted in sides)
    least = im.min()
    made = np.einsum("yh,hwk,xw->yxk", rows, im.astype(float) - least, columns, optimize=True)
    resized: NDArray[np.float32] = (made + least).astype(np.float32)
    return resized


def _centres(size: int, wanted: int) -> NDArray[np.float64]:
    """Where the centres of *wanted* squares lie among *size*."""
    return (np.arange(wanted) + 0.5) * size / wanted - 0.5


def _ends(size: int, wanted: int) -> NDArray[np.float64]:
    """Where *wanted* points lie among *size*, the first and last on each other."""
    return np.linspace(0, size - 1, wanted)


def _taps(size: int, places: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """How much of each of *size* values is in each of *places*; what is outside of them is 0."""
    padded = np.pad(np.eye(size), ((1, 1), (0, 0)))
    low = np.floor(places + (0.5 if order == 0 else 0.0)).astype(int)
    share = (places - low)[:, None] if order else np.zeros((len(places), 1))
    taps: NDArray[np.float64] = padded[low + 1] * (1 - share) + padded[np.minimum(low + 2, size + 1)] * share
    return taps


def oversample(images: Iterable[Array], crop_dims: Iterable[int]) -> NDArray[np.float32]:
    """Ten crops of each image (H x W x K): its corners and its centre, then these mirrored: 10 N x h x w x K."""
    height, width = map(int, crop_dims)
    crops = []
    for image in images:
        down, right = image.shape[0] - height, image.shape[1] - width
        places = [(0, 0), (0, right), (down, 0), (down, right), (int(down / 2), int(right / 2))]
        cut = [image[y : y + height, x : x + width] for y, x in places]
        crops += cut + [each[:, ::-1] for each in cut]
    return np.array(crops, np.float32)


class Transformer:
    """Makes the inputs of a net of images: resizes, transposes, swaps channels, scales, and takes the mean away.

    *inputs*: {blob: its shape}, such as ``{"data": net.blobs["data"].data.shape}``. The order of the steps is that of
    this list; raw_scale comes before the mean, input_scale behind it.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self.transpose: dict[str, tuple[int, ...]] = {}
        self.channel_swap: dict[str, tuple[int, ...]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def _shape(self, in_: str) -> tuple[int, ...]:
        if in_ not in self.inputs:
            raise ValueError(f"{in_} is not one of the net's inputs: {', '.join(self.inputs)}")
        return self.inputs[in_]

    def preprocess(self, in_: str, data: Array) -> NDArray[np.float32]:
        """*data* (an image, H x W x K) as a C x H x W input for the blob *in_*."""
        wanted = self._shape(in_)[2:]
        made: Array = data.astype(np.float32, copy=False)
        if made.shape[:2] != wanted:
            made = resize_image(made, wanted)
        if in_ in self.transpose:
            made = made.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            made = made[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            made = made * np.float32(self.raw_scale[in_])
        if in_ in self.mean:
            made = made - self.mean[in_]
        if in_ in self.input_scale:
            made = made * np.float32(self.input_scale[in_])
        return made.astype(np.float32, copy=False)

    def deprocess(self, in_: str, data: Array) -> Array:
        """The image that *data*, an input, was made of, at the input's size."""
        self._shape(in_)
        made: Array = data.copy().squeeze()
        if in_ in self.input_scale:
            made = made / self.input_scale[in_]
        if in_ in self.mean:
            made = made + self.mean[in_]
        if in_ in self.raw_scale:
            made = made / self.raw_scale[in_]
        if in_ in self.channel_swap:
            made = made[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            made = made.transpose(np.argsort(self.transpose[in_]))
        return made.astype(data.dtype, copy=False) if data.dtype.kind == "f" else made

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """The order of the image's axes in the input: (2, 0, 1) for H x W x K."""
        if len(order) != len(self._shape(in_)) - 1:
            raise ValueError("Transpose order needs to have the same number of dimensions as the input.")
        self.transpose[in_] = tuple(order)

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """The order of the channels in the input: (2, 1, 0) for RGB as BGR."""
        if len(order) != self._shape(in_)[1]:
            raise ValueError("Channel swap needs to have the same number of dimensions as the input channels.")
        self.channel_swap[in_] = tuple(order)

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """What values are multiplied by before the mean: 255 for images from 0 to 1."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: Array) -> None:
        """The mean to take away: a value for each channel, or C x H x W (resized where it has to be), or H x W."""
        shape = self._shape(in_)
        if mean.ndim == 1:
            if mean.shape[0] != shape[1]:
                raise ValueError("Mean channels incompatible with input.")
            self.mean[in_] = mean[:, None, None]
            return
        found = mean[None] if mean.ndim == 2 else mean
        if found.ndim != 3:
            raise ValueError("Mean shape invalid")
        if found.shape != shape[1:]:
            found = resize_image(found.transpose(1, 2, 0), shape[2:]).transpose(2, 0, 1)
        self.mean[in_] = found

    def set_input_scale(self, in_: str, scale: float) -> None:
        """What values are multiplied by behind the mean."""
        self._shape(in_)
        self.input_scale[in_] = scale
