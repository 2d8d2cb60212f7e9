"""Spatial transformers: ``TransformerLayer`` (affine) and ``TPSTransformerLayer`` (thin plate splines)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from converters.lasagne.layers.base import ComputedMerge, matched
from converters.lasagne.utils import as_tuple

BORDERS = ("nearest", "mirror", "wrap")


class _Transformer(ComputedMerge):
    def _prepare(self, downsample_factor: Any, border_mode: str, wanted: tuple[int, ...]) -> None:
        self.downsample_factor = as_tuple(downsample_factor, 2)
        self.border_mode = border_mode
        image, theta = self.input_shapes
        if border_mode not in BORDERS:
            raise ValueError(f"border_mode must be one of {', '.join(BORDERS)}, not {border_mode!r}")
        if len(image) != 4:
            raise ValueError(f"The input network must have a 4-dimensional output shape: (batch_size, num_input_channels, "  # noqa: E501
                             f"input_rows, input_columns), not {image}")  # fmt: skip
        if tuple(theta[1:]) != wanted:
            raise ValueError(f"The localization network must have {wanted[0]} outputs, not {theta[1:]}")

    def get_output_shape_for(self, input_shapes: Any) -> Any:
        """The image's shape, smaller by the factor."""
        sizes = zip(input_shapes[0][2:], self.downsample_factor, strict=True)
        return (*input_shapes[0][:2], *(None if n is None else int(n // factor) for n, factor in sizes))

    def out_size(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of the output."""
        rows, columns = (int(n // factor) for n, factor in zip(image.shape[2:], self.downsample_factor, strict=True))
        return rows, columns


class TransformerLayer(_Transformer):
    """The image, seen through the 2 x 3 matrix (6 values) that *localization_network* gives for each item."""

    def __init__(
        self,
        incoming: Any,
        localization_network: Any,
        downsample_factor: Any = 1,
        border_mode: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__([incoming, localization_network], **kwargs)
        self._prepare(downsample_factor, border_mode, (6,))

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """The samples."""
        image, theta = matched(*x)
        rows, columns = self.out_size(image)
        points = theta.reshape(-1, 2, 3) @ torch.cat([_grid(rows, columns, image), _ones(rows * columns, image)])
        return sample(image, points[:, 0], points[:, 1], self.border_mode).reshape(*image.shape[:2], rows, columns)


class TPSTransformerLayer(_Transformer):
    """The image, bent by a thin plate spline whose control points move by what *localization_network* gives."""

    def __init__(
        self,
        incoming: Any,
        localization_network: Any,
        downsample_factor: Any = 1,
        control_points: int = 16,
        precompute_grid: Any = "auto",
        border_mode: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__([incoming, localization_network], **kwargs)
        if round(np.sqrt(control_points)) ** 2 != control_points:
            raise ValueError("The number of control points must be a perfect square.")
        self._prepare(downsample_factor, border_mode, (2 * control_points,))
        self.control_points = control_points
        side = np.linspace(-1, 1, round(np.sqrt(control_points)))
        self.sources = np.stack([axis.ravel() for axis in np.meshgrid(side, side)])
        self.solver = _spline_solver(self.sources)

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """The samples."""
        image, offsets = matched(*x)
        rows, columns = self.out_size(image)
        sources = torch.from_numpy(self.sources).to(image)
        solver = torch.from_numpy(self.solver[:, 3:]).to(image)
        moved = sources + offsets.reshape(-1, 2, self.control_points)
        grid = _grid(rows, columns, image)
        squares = ((grid[:, None] - sources[:, :, None]) ** 2).sum(0)
        terms = torch.cat([_ones(rows * columns, image), grid, torch.special.xlogy(squares, squares)])
        points = moved @ solver.T @ terms
        return sample(image, points[:, 0], points[:, 1], self.border_mode).reshape(*image.shape[:2], rows, columns)


def _ones(count: int, like: Tensor) -> Tensor:
    return torch.ones(1, count, dtype=like.dtype, device=like.device)


def _grid(rows: int, columns: int, like: Tensor) -> Tensor:
    """The x and y of all pixels, row by row, from -1 to 1: 2 x pixels."""
    y, x = (torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) for n in (rows, columns))
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)])


def _spline_solver(points: NDArray[Any]) -> NDArray[Any]:
    """What turns the positions of the control points into coefficients of 1, x, y and r^2 log r^2."""
    count = points.shape[1]
    matrix = np.zeros((count + 3, count + 3))
    squares = ((points[:, :, None] - points[:, None, :]) ** 2).sum(0)
    matrix[0, 3:] = matrix[3:, 0] = 1
    matrix[1:3, 3:], matrix[3:, 1:3] = points, points.T
    matrix[3:, 3:] = squares * np.log(np.where(squares == 0, 1, squares))
    inverse: NDArray[Any] = np.linalg.inv(matrix)
    return inverse


def sample(image: Tensor, x: Tensor, y: Tensor, border_mode: str) -> Tensor:
    """The image N x C x H x W at N x P points, x and y from -1 to 1, between its pixels: N x C x P."""
    height, width = image.shape[2:]
    x, y = (x + 1) / 2 * (width - 1), (y + 1) / 2 * (height - 1)
    left, above = torch.floor(x), torch.floor(y)
    total = torch.zeros((), dtype=image.dtype, device=image.device)
    for column, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, weight_y in ((above, above + 1 - y), (above + 1, y - above)):
            place = _inside(row, height, border_mode) * width + _inside(column, width, border_mode)
            found = image.flatten(2).gather(2, place.long()[:, None].expand(-1, image.shape[1], -1))
            total = total + found * (weight_x * weight_y)[:, None]
    return total


def _inside(index: Tensor, size: int, border_mode: str) -> Tensor:
    """Indices beyond the image, brought into it."""
    if border_mode == "nearest":
        return index.clamp(0, size - 1)
    if border_mode == "wrap":
        return index % size
    period = 2 * (size - 1)
    return torch.minimum(index % period, -index % period)
