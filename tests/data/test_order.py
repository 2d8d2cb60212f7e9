import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import chance
from data.loader import Loader
from data.order import Order


@given(count=st.integers(1, 30), world_size=st.integers(1, 5), start=st.integers(0, 40), shuffled=st.booleans())
def test_ranks_together_read_the_whole_run_in_order(count, world_size, start, shuffled):
    seed = 7 if shuffled else None
    alone = Order(count, start=start, shuffle_seed=seed).indices(0, 12 * world_size)
    dealt = [
        Order(count, start=start, rank=rank, world_size=world_size, shuffle_seed=seed).indices(0, 12)
        for rank in range(world_size)
    ]
    np.testing.assert_array_equal(np.array(dealt).T.ravel(), alone)


@given(count=st.integers(1, 30), first=st.integers(0, 100), number=st.integers(1, 70))
def test_indices_may_be_asked_for_in_any_pieces(count, first, number):
    order = Order(count, shuffle_seed=3)
    together = order.indices(first, number)
    pieces = [order.indices(first + k, 1)[0] for k in reversed(range(number))][::-1]
    np.testing.assert_array_equal(together, pieces)


@given(count=st.integers(1, 30), world_size=st.integers(1, 6))
def test_a_sequential_order_repeats_after_its_period(count, world_size):
    order = Order(count, rank=world_size - 1, world_size=world_size)
    period = order.indices(0, order.period)
    np.testing.assert_array_equal(order.indices(order.period, order.period), period)
    assert len(set(period.tolist())) == order.period


def test_draws_depend_on_seed_batch_and_rank_alone():
    draws = chance.Draws((3, 64), seed=5)
    forward = [draws[number].copy() for number in range(300)]
    for number in (299, 0, 150):
        np.testing.assert_array_equal(chance.Draws((3, 64), seed=5)[number], forward[number])
    assert not np.array_equal(chance.Draws((3, 64), seed=5, rank=1)[0], forward[0])
    assert not np.array_equal(forward[0], forward[1])
    assert np.mean(forward) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_loader_keeps_the_order_and_bounds_what_is_ahead(workers):
    read = []
    loader = Loader(lambda n: read.append(n) or n, lambda n, raw: (n, raw * raw), workers, depth=3)
    try:
        assert [loader[n] for n in range(20)] == [(n, n * n) for n in range(20)]
        assert loader[5] == (5, 25)
        assert loader[6] == (6, 36)
    finally:
        loader.close()
    assert read[:20] == list(range(20))
    assert len(read) <= 23 + 6


def test_a_loader_raises_where_the_bad_batch_is_taken_and_goes_on():
    def work(number, raw):
        if number == 2:
            raise ValueError("bad")
        return raw

    loader = Loader(lambda n: n, work, 2, 4)
    assert [loader[0], loader[1]] == [0, 1]
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            loader[2]
    assert loader[3] == 3
    loader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("data-")]
