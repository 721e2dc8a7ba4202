"""Prefix batches against a plain loop over the log."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.batches import PrefixBatches
from training.splits import Sequences


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12),
    st.integers(1, 12),
    st.integers(1, 50),
    st.integers(0, 2**31),
)
def test_an_epoch_holds_every_next_item_once_with_the_events_before_it(
    lengths: list[int], max_length: int, batch_size: int, seed: int
) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.arange(1, offsets[-1] + 1, dtype=np.int32)  # item = place in the log + 1
    batches = PrefixBatches(Sequences(items, offsets), batch_size, max_length)
    expected = {
        int(place) + 1: list(range(start + 1, place + 1))
        for start, end in pairwise(offsets)
        for place in range(start + 1, end)
    }
    seen = []
    for history, positions, targets in batches.epoch(np.random.default_rng(seed)):
        assert history.items.shape[1] <= max_length
        for position, target in zip(positions.tolist(), targets.tolist(), strict=True):
            row, slot = divmod(position, history.items.shape[1])
            window = history.items[row, : slot + 1][history.mask[row, : slot + 1]].tolist()
            before = expected[target]
            assert window == before[-len(window) :]
            assert len(window) >= min(len(before), max_length - max_length // 2, max_length)
            seen.append(target)
    assert sorted(seen) == sorted(expected)
    assert batches.examples == len(expected)


def test_batches_hold_about_as_many_examples_as_asked() -> None:
    lengths = np.random.default_rng(0).integers(2, 30, size=300)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.ones(offsets[-1], dtype=np.int32)
    batches = PrefixBatches(Sequences(items, offsets), 128, 10)
    sizes = [len(batch.targets) for batch in batches.epoch(np.random.default_rng(1))]
    assert max(sizes) <= 128 + 10
    assert len(sizes) <= batches.examples / 128 * 1.2 + 1


def test_the_order_follows_the_generator() -> None:
    batches = PrefixBatches(Sequences(np.arange(1, 201, dtype=np.int32), np.array([0, 90, 200])), 16, 8)

    def order(seed: int) -> list[int]:
        epoch = batches.epoch(np.random.default_rng(seed))
        return [target for batch in epoch for target in batch.targets.tolist()]

    assert order(1) == order(1)
    assert order(1) != order(2)
