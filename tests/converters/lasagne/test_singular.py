"""Singular vectors: those of any library, with the signs of LAPACK before 3.10."""

import numpy as np
import pytest

from converters.lasagne.singular import _vectors, orthonormal

# The signs of the first row (of wide matrices: column), from NumPy 1.16 and 1.23 with OpenBLAS.
SIGNS = {
    (2, 2): "--",
    (3, 2): "-+",
    (5, 4): "--++",
    (7, 3): "+--",
    (9, 9): "+---+----",
    (40, 6): "--+-+-",
    (25, 25): "+++----++++--+++----+-+-+",
    (45, 25): "-++-++-++++-++-+-+-++-+--",
    (2, 3): "+-",
    (4, 5): "-+++",
    (3, 7): "--+",
    (6, 40): "++--++",
    (12, 15): "--+-++---++-",
    (25, 40): "+++++-+---+-+----------+-",
    (25, 60): "----+++---++---++-+-++---",
    (30, 20): "-++-+-++-+-+++---+-+",
    (26, 26): "++--+--++-+----+---++---++",
    (30, 32): "-+++---++--+---+-+----++-+++-+",
    (64, 75): "+--+++--+---+-+----+-+-++---+-+---++----++-+-----+--+--+--+---++",
    (1, 5): "-",
    (5, 1): "+",
}


def values(rows: int, columns: int) -> np.ndarray:
    return np.random.RandomState(100 * rows + columns).normal(0, 1, (rows, columns))


def same_but_for_signs(found: np.ndarray, a: np.ndarray) -> None:
    u, _, v = np.linalg.svd(a, full_matrices=False)
    wanted = u if u.shape == a.shape else v
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SIGNS, ids=lambda shape: "x".join(map(str, shape)))
def test_vectors_have_the_signs_of_their_time(shape):
    found = orthonormal(values(*shape))
    same_but_for_signs(found, values(*shape))
    first = found[0] if shape[0] >= shape[1] else found[:, 0]
    assert "".join("+" if x > 0 else "-" for x in first) == SIGNS[shape]


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
@pytest.mark.parametrize("shape", [(6, 6), (8, 6), (6, 8), (20, 6), (6, 20)])
def test_scale_does_not_matter(shape, scale):
    np.testing.assert_allclose(orthonormal(scale * values(*shape)), orthonormal(values(*shape)), atol=1e-9)


@pytest.mark.parametrize(
    "a",
    [
        np.zeros((4, 4)), np.zeros((5, 3)), np.eye(4), np.eye(3, 5), np.ones((4, 6)), np.diag([3.0, 0, 2, 0]),
        np.diag([1.0, 1e-20, 1e-200]) + np.diag([1.0, 1.0], 1), np.tri(7), np.vander(np.arange(1.0, 9)),
        [[1.0, 1e20], [0, 0.5]], [[3.0, 1e20], [0, 2]], [[1.0, 1e-170], [0, 0]],
        np.outer(np.arange(9.0), np.arange(5.0)), -np.eye(3)[::-1], np.diag([0.0, 0, 0]) + np.diag([1.0, 2], 1),
    ],
)  # fmt: skip
def test_singular_and_ill_conditioned_matrices_give_orthonormal_vectors_that_make_them(a):
    a = np.array(a)
    q = orthonormal(a)
    assert q.shape == a.shape
    tall = a.shape[0] >= a.shape[1]
    np.testing.assert_allclose(q.T @ q if tall else q @ q.T, np.eye(min(a.shape)), atol=1e-12)
    squares = np.diag((a.T @ q).T @ (a.T @ q)) if tall else np.diag((a @ q.T).T @ (a @ q.T))
    wanted = np.linalg.svd(a, compute_uv=False) ** 2
    np.testing.assert_allclose(squares, wanted, rtol=1e-8, atol=1e-10 * max(1.0, wanted[0]))


@pytest.mark.parametrize(
    "a", [[[1.0, -1e20], [0, 0.5]], [[-3.0, 1e20], [0, 2]], [[1.0, 1e-170], [0, 0]], [[2.0, -3], [0, -1]]]
)
def test_the_vectors_of_both_sides_go_together(a):
    left, right = _vectors(np.array(a))
    found = np.diag(left.T @ a @ right.T)
    np.testing.assert_allclose(found[0], np.linalg.norm(a, 2))
    assert found[1] > -1e-10 * found[0]


@pytest.mark.parametrize("seed", range(200))
def test_random_matrices(seed):
    draw = np.random.default_rng(seed)
    a = draw.normal(0, 1, draw.integers(1, 31, 2))
    same_but_for_signs(orthonormal(a), a)
