"""Prefix batches against a plain loop over the log."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from training.batches import LATER_DECAY, PrefixBatches
from training.data.splits import Sequences


@settings(max_examples=examples(60))
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
    last = {place + 1: int(end) for start, end in pairwise(offsets) for place in range(start, end)}
    seen = []
    for history, *example_parts in batches.epoch(np.random.default_rng(seed)):
        assert history.items.shape[1] <= max_length
        for position, target, later in zip(*(part.tolist() for part in example_parts), strict=True):
            row, slot = divmod(position, history.items.shape[1])
            window = history.items[row, : slot + 1][history.mask[row, : slot + 1]].tolist()
            before = expected[target]
            assert window == before[-len(window) :]
            assert len(window) >= min(len(before), max_length - max_length // 2, max_length)
            assert later == 0 or target < later <= last[target]
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

    def order(seed: int) -> list[tuple[int, int]]:
        epoch = batches.epoch(np.random.default_rng(seed))
        return [
            pair for batch in epoch for pair in zip(batch.targets.tolist(), batch.later.tolist(), strict=True)
        ]

    assert order(1) == order(1)
    assert order(1) != order(2)


def distances(lengths: list[int], seed: int) -> list[int]:
    """How many events after its target each example's later item comes, of every example that has one."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    batches = PrefixBatches(Sequences(items, offsets), 1000, 20).epoch(np.random.default_rng(seed))
    apart = torch.cat([batch.later - batch.targets for batch in batches])
    return apart[apart > 0].tolist()


def test_the_nearest_later_items_are_the_likeliest() -> None:
    found = distances([40_000], seed=3)
    assert len(found) > 39_900
    for apart in range(1, 12):
        share = (1 - LATER_DECAY) * LATER_DECAY ** (apart - 1)
        deviation = np.sqrt(share * (1 - share) / 40_000)
        assert np.mean(np.array(found) == apart) == pytest.approx(share, abs=4 * deviation)


def test_what_would_come_after_the_last_event_is_none() -> None:
    users = 20_000
    assert distances([2] * users, seed=0) == []
    found = distances([4] * users, seed=1)  # of three targets one has two after it, one has one, one has none
    nearest, next_nearest = 1 - LATER_DECAY, (1 - LATER_DECAY) * LATER_DECAY
    assert found.count(1) == pytest.approx(2 * users * nearest, rel=0.05)
    assert found.count(2) == pytest.approx(users * next_nearest, rel=0.05)
    assert len(found) == found.count(1) + found.count(2)
