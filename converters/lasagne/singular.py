"""Singular vectors with the signs that they had when Lasagne's nets were made.

A pair of singular vectors may be negated, and which of the two a library gives is an accident of its rotations. LAPACK
3.10 turned some of them around, so that the same seed no longer gives the same orthogonal weights. Here small matrices
are taken apart as LAPACK did before: by reflections to two diagonals, then by Demmel and Kahan's implicit QR sweeps
(Accurate singular values of bidiagonal matrices, 1990), with its choice of directions, shifts and signs.
"""

from math import copysign, hypot, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SWEPT = 25  # singular values at most; above, LAPACK divides and conquers, where the signs of its rotations cancel
REFLECTED = 512  # at most, where a wide matrix has to be reflected here first; above, that would take seconds
TALL = 11 / 6  # from this ratio of its sides on a matrix is made a triangle first
EPSILON = 2.0**-53
TOLERANCE = EPSILON ** (1 - 1 / 8)
SWEEPS = 6  # at most, times the square of the number of singular values


def orthonormal(values: Array) -> Array:
    """The left singular vectors of *values* (m x n) where they have its shape, else the right ones, both thin.

    Raises numpy's LinAlgError where they cannot be found.
    """
    rows, columns = values.shape
    count, near_wide = min(rows, columns), rows < columns < int(rows * TALL)
    if count < 2 or count > (REFLECTED if near_wide else SWEPT):
        u, _, v = np.linalg.svd(values, full_matrices=False)
    elif rows >= int(columns * TALL):
        q, r = np.linalg.qr(values)
        u, v = _vectors(r)
        u = q @ u
    elif columns >= int(rows * TALL):
        q, r = np.linalg.qr(values.T)
        u, v = _vectors(r.T)
        v = v @ q.T
    else:
        u, v = _vectors(values)
    return u if u.shape == values.shape else v


def _vectors(values: Array) -> tuple[Array, Array]:
    left, d, e, right = _two_diagonals(values)
    if len(d) > SWEPT:
        u, _, v = np.linalg.svd(np.diag(d) + np.diag(e, 1))
        return left.T @ u, v @ right
    _sweep_all(d, e, left, right)
    right[d < 0] *= -1
    order = np.argsort(-np.abs(d), kind="stable")
    return left[order].T, right[order]


# ---- reflections


def _two_diagonals(values: Array) -> tuple[Array, Array, Array, Array]:
    """``left.T @ B @ right`` is *values*, with B's diagonal and the one above it."""
    a, (rows, columns) = values.copy(), values.shape
    left, right = np.eye(rows), np.eye(columns)
    count, lower = min(rows, columns), rows < columns
    for i in range(count):
        if lower:
            _reflect(a[i:, i:].T, right[i:])
            _reflect(a[i + 1 :, i:], left[i + 1 :])
        else:
            _reflect(a[i:, i:], left[i:])
            _reflect(a[i:, i + 1 :].T, right[i + 1 :])
    d, e = np.diagonal(a)[:count].copy(), np.diagonal(a, -1 if lower else 1)[: count - 1].copy()
    left, right = left[:count].copy(), right[:count].copy()
    if lower:
        for i in range(count - 1):
            c, s, d[i] = _rotation(d[i], e[i])
            e[i], d[i + 1] = s * d[i + 1], c * d[i + 1]
            _turn(left, i, c, s)
    return left, d, e, right


def _reflect(a: Array, followers: Array) -> None:
    """Reflect the rows of *a* so that its first column is zero below the top, and *followers* likewise."""
    if a.shape[0] < 2 or a.shape[1] == 0:
        return
    x = a[:, 0]
    norm = sqrt(float(x[1:] @ x[1:]))
    if norm == 0:
        return
    top = -copysign(hypot(x[0], norm), x[0])
    v = np.concatenate(([1.0], x[1:] / (x[0] - top)))
    factor = (top - x[0]) / top
    a -= factor * np.outer(v, v @ a)
    a[0, 0], a[1:, 0] = top, 0.0
    followers -= factor * np.outer(v, v @ followers)


# ---- rotations


def _rotation(f: float, g: float) -> tuple[float, float, float]:
    """(c, s, r) with c f + s g = r and c g = s f; c is positive where f is the larger one."""
    if g == 0:
        return 1.0, 0.0, f
    if f == 0:
        return 0.0, 1.0, g
    r = hypot(f, g)
    if abs(f) > abs(g) and f < 0:
        r = -r
    return f / r, g / r, r


def _turn(rows: Array, i: int, c: float, s: float) -> None:
    """Rotate the rows i and i + 1."""
    rows[i : i + 2] = np.array(((c, s), (-s, c))) @ rows[i : i + 2]


def _sweep_all(d: Array, e: Array, left: Array, right: Array) -> None:
    """Make *e* zero by rotations, which *left* and *right* follow."""
    threshold = _threshold(d, e)
    last, down, seen = len(d) - 1, True, (-1, -1)
    for _ in range(SWEEPS * len(d) ** 2):
        if last < 1:
            return
        low = _start_of_block(e, last, threshold)
        if low == last:
            last -= 1
        elif low == last - 1:
            _solve_pair(d, e, left, right, low)
            last -= 2
        else:
            if low > seen[1] or last < seen[0]:
                down = abs(d[low]) >= abs(d[last])
            block, between = slice(low, last + 1), slice(low, last)
            if down:
                swept = _sweep(d[block], e[between], left[block], right[block], threshold, len(d))
            else:  # the same, seen from the other end
                ends = d[block][::-1], e[between][::-1], right[block][::-1], left[block][::-1]
                swept = _sweep(*ends, threshold, len(d))
            seen = (low, last) if swept else seen
    raise np.linalg.LinAlgError("SVD did not converge")


def _start_of_block(e: Array, last: int, threshold: float) -> int:
    """Where the block that ends at *last* begins: above it *e* is as good as zero, and made so."""
    low = last
    while low > 0 and abs(e[low - 1]) > threshold:
        low -= 1
    if low > 0:
        e[low - 1] = 0.0
    return low


def _threshold(d: Array, e: Array) -> float:
    """Below it a value above the diagonal counts as zero."""
    least = part = abs(d[0])
    for value, beside in zip(np.abs(d[1:]), np.abs(e), strict=True):
        if least == 0:
            break
        part = value * (part / (part + beside))
        least = min(least, part)
    floor = SWEEPS * len(d) ** 2 * np.finfo(np.float64).tiny
    return float(max(TOLERANCE * least / sqrt(len(d)), floor))


def _smallest(d: Array, e: Array) -> float | None:
    """A lower bound of the singular values; None where a value of *e* was small enough to become zero."""
    if abs(e[-1]) <= TOLERANCE * abs(d[-1]):
        e[-1] = 0.0
        return None
    least = part = abs(d[0])
    for i in range(len(e)):
        if abs(e[i]) <= TOLERANCE * part:
            e[i] = 0.0
            return None
        part = abs(d[i + 1]) * (part / (part + abs(e[i])))
        least = min(least, part)
    return float(least)


def _shift(d: Array, e: Array, smallest: float, count: int) -> float:
    """The smaller singular value of the last two by two, or 0 where a shift would spoil the small ones."""
    greatest = max(np.abs(d).max(), np.abs(e).max())
    if count * TOLERANCE * (smallest / greatest) <= max(EPSILON, 0.01 * TOLERANCE):
        return 0.0
    shift = _smaller_of_two(abs(d[-2]), abs(e[-1]), abs(d[-1]))
    start = abs(d[0])
    return 0.0 if start > 0 and (shift / start) ** 2 < EPSILON else shift


def _smaller_of_two(f: float, g: float, h: float) -> float:
    """The smaller singular value of ((f, g), (0, h)), all of them positive."""
    low, high = min(f, h), max(f, h)
    if low == 0:
        return 0.0
    if g < high:
        ratio = (g / high) ** 2
        return low * (2 / (sqrt((1 + low / high) ** 2 + ratio) + sqrt((1 - low / high) ** 2 + ratio)))
    part = high / g
    if part == 0:
        return low * high / g
    roots = sqrt(1 + ((1 + low / high) * part) ** 2) + sqrt(1 + ((1 - low / high) * part) ** 2)
    return 2 * (low * (1 / roots)) * part


def _sweep(d: Array, e: Array, left: Array, right: Array, threshold: float, count: int) -> bool:
    """One implicit QR step from the top down; False where none was needed, since a value of *e* became zero."""
    smallest = _smallest(d, e)
    if smallest is None:
        return False
    shift = _shift(d, e, smallest, count)
    if shift == 0:
        _sweep_unshifted(d, e, left, right)
    else:
        _sweep_shifted(d, e, left, right, shift)
    if abs(e[-1]) <= threshold:
        e[-1] = 0.0
    return True


def _sweep_shifted(d: Array, e: Array, left: Array, right: Array, shift: float) -> None:
    """The step that makes the last value of *e* small fast."""
    f, g = (abs(d[0]) - shift) * (copysign(1, d[0]) + shift / d[0]), e[0]
    for i in range(len(e)):
        c, s, r = _rotation(f, g)
        _turn(right, i, c, s)
        if i > 0:
            e[i - 1] = r
        f, e[i] = c * d[i] + s * e[i], c * e[i] - s * d[i]
        g, d[i + 1] = s * d[i + 1], c * d[i + 1]
        c, s, d[i] = _rotation(f, g)
        _turn(left, i, c, s)
        f, d[i + 1] = c * e[i] + s * d[i + 1], c * d[i + 1] - s * e[i]
        if i + 1 < len(e):
            g, e[i + 1] = s * e[i + 1], c * e[i + 1]
    e[-1] = f


def _sweep_unshifted(d: Array, e: Array, left: Array, right: Array) -> None:
    """The step with a shift of zero, which keeps the relative accuracy of the smallest values."""
    c = c_before = 1.0
    s_before = 0.0
    for i in range(len(e)):
        c, s, r = _rotation(d[i] * c, e[i])
        _turn(right, i, c, s)
        if i > 0:
            e[i - 1] = s_before * r
        c_before, s_before, d[i] = _rotation(c_before * r, d[i + 1] * s)
        _turn(left, i, c_before, s_before)
    h = d[-1] * c
    d[-1], e[-1] = h * c_before, h * s_before


def _solve_pair(d: Array, e: Array, left: Array, right: Array, i: int) -> None:
    """Make e[i] zero, where only d[i] and d[i + 1] are beside it."""
    f, g, h = float(d[i]), float(e[i]), float(d[i + 1])
    swapped = abs(h) > abs(f)
    big, small = (h, f) if swapped else (f, h)
    greatest = 3 if swapped else 1  # which of f, g and h is greatest
    if abs(g) > abs(big):
        greatest = 2
    if abs(g) > abs(big) and abs(big) / abs(g) < EPSILON:
        larger = abs(g)
        smaller = abs(big) / (abs(g) / abs(small)) if abs(small) > 1 else abs(big) / abs(g) * abs(small)
        c_left, s_left, c_right, s_right = 1.0, small / g, big / g, 1.0
    else:
        smaller, larger, c_left, s_left, c_right, s_right = _pair_of(big, g, small)
    if swapped:
        c_left, s_left, c_right, s_right = s_right, c_right, s_left, c_left
    signs = {
        1: copysign(1, c_right) * copysign(1, c_left) * copysign(1, f),
        2: copysign(1, s_right) * copysign(1, c_left) * copysign(1, g),
        3: copysign(1, s_right) * copysign(1, s_left) * copysign(1, h),
    }
    sign = signs[greatest]
    d[i], e[i] = copysign(larger, sign), 0.0
    d[i + 1] = copysign(smaller, sign * copysign(1, f) * copysign(1, h))
    _turn(right, i, c_right, s_right)
    _turn(left, i, c_left, s_left)


def _pair_of(f: float, g: float, h: float) -> tuple[float, float, float, float, float, float]:
    """The singular values of ((f, g), (0, h)) with |f| >= |h|, and the rotations that lead to them."""
    if g == 0:
        return abs(h), abs(f), 1.0, 0.0, 1.0, 0.0
    step = abs(f) - abs(h)
    part, m = step / abs(f), g / f
    t = 2 - part
    s, r = sqrt(t * t + m * m), sqrt(part * part + m * m)
    mean = 0.5 * (s + r)
    if m * m == 0:
        t = copysign(2, f) * copysign(1, g) if part == 0 else g / copysign(step, f) + m / t
    else:
        t = (m / (s + t) + m / (r + part)) * (1 + mean)
    length = sqrt(t * t + 4)
    c_right, s_right = 2 / length, t / length
    return abs(h) / mean, abs(f) * mean, (c_right + s_right * m) / mean, h / f * s_right / mean, c_right, s_right
