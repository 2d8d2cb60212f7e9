"""Pixels as an image inside the page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nets.report.html import Markup, element


def picture(pixels: NDArray[np.uint8], alt: str) -> Markup:
    """H x W or H x W x 3 (RGB) pixels as a PNG; the page enlarges them without blur."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    height, width = pixels.shape[:2]
    return data_image(out.getvalue(), "png", alt, width=width, height=height, class_="pixels")


def data_image(content: bytes, kind: str, alt: str, **attributes: object) -> Markup:
    """An image of the format *kind* (``png``, ``svg+xml``) inside the page."""
    return element("img", src=f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt=alt, **attributes)
