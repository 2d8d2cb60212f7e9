"""``scipy.misc``: the images that SciPy read, resized and wrote up to 1.2."""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
WAYS = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS,
        "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC,
        "cubic": Image.Resampling.BICUBIC}  # fmt: skip


def imread(name: Any, flatten: bool = False, mode: str | None = None) -> Array:
    """The image in a file; as floats of gray with *flatten*."""
    with Image.open(name) as image:
        return fromimage(image if mode is None else image.convert(mode), flatten)


def fromimage(im: Image.Image, flatten: bool = False) -> Array:
    """An image of Pillow as an array."""
    if im.mode == "P":
        im = im.convert("RGBA" if "transparency" in im.info else "RGB")
    elif im.mode == "1":
        im = im.convert("L")
    return np.array(im.convert("F") if flatten else im)


def bytescale(data: Array, cmin: Any = None, cmax: Any = None, high: int = 255, low: int = 0) -> Array:
    """*data* as bytes, its least value as *low* and its greatest as *high*; bytes stay as they are."""
    if data.dtype == np.uint8:
        return data
    least, most = data.min() if cmin is None else cmin, data.max() if cmax is None else cmax
    scaled = (data - least) * (float(high - low) / float((most - least) or 1)) + low
    made: Array = (scaled.clip(low, high) + 0.5).astype(np.uint8)
    return made


def toimage(arr: Any, high: int = 255, low: int = 0, cmin: Any = None, cmax: Any = None, mode: Any = None) -> Any:
    """An array, H x W, H x W x 3 or 4 or with its channels in front, as an image of Pillow."""
    data = np.asarray(arr)
    if mode == "F":
        return Image.fromarray(data.astype(np.float32))
    if data.ndim == 3 and data.shape[2] not in (3, 4):
        data = np.moveaxis(data, next(axis for axis in (0, 1) if data.shape[axis] in (3, 4)), 2)
    return Image.fromarray(np.ascontiguousarray(bytescale(data, cmin, cmax, high, low)))


def imsave(name: Any, arr: Any, format: str | None = None) -> None:
    """Write an array as an image."""
    toimage(arr).save(name, format)


def imresize(arr: Any, size: Any, interp: str = "bilinear", mode: str | None = None) -> Array:
    """An image at another *size*: per cent (an int), a factor (a float), or (height, width)."""
    image = toimage(arr, mode=mode)
    if isinstance(size, tuple | list | np.ndarray):
        wanted = (int(size[1]), int(size[0]))
    else:
        factor = size / 100 if isinstance(size, int | np.integer) else size
        wanted = (int(image.size[0] * factor), int(image.size[1] * factor))
    return fromimage(image.resize(wanted, resample=WAYS[interp]))


def imrotate(arr: Any, angle: float, interp: str = "bilinear") -> Array:
    """An image turned by *angle* degrees."""
    return fromimage(toimage(arr).rotate(angle, resample=WAYS[interp]))


def misc() -> ModuleType:
    """The module."""
    made = ModuleType("scipy.misc")
    names = (bytescale, fromimage, imread, imresize, imrotate, imsave, toimage)
    made.__dict__.update({function.__name__: function for function in names})
    return made
