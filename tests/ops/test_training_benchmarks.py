"""Speed and memory of training: what is made of the measurements."""

import polars as pl
import pytest

from benchmarks.quality.training_memory import peak_mb, repeated
from benchmarks.quality.training_speed import LABELS, Epoch, Pair, compared, seconds_to, table

OURS = (Epoch(100, 2.0, 0.1), Epoch(100, 2.0, 0.3), Epoch(100, 4.0, 0.2))
THEIRS = (Epoch(80, 8.0, 0.2), Epoch(80, 8.0, 0.25), Epoch(80, 8.0, 0.2))


def test_the_level_is_reached_at_the_end_of_an_epoch() -> None:
    assert seconds_to(OURS, 0.1) == 2
    assert seconds_to(OURS, 0.2) == 4
    assert seconds_to(OURS, 0.4) is None


def test_both_are_compared_epoch_by_epoch_and_at_the_lower_best() -> None:
    found = compared([Pair(OURS, THEIRS)], None)
    assert set(found) == set(LABELS)
    epochs, reached = found["seconds_per_epoch"], found["seconds_to_level"]
    assert epochs is not None
    assert (epochs.ours.median, epochs.rectools.median) == (2, 8)
    assert (epochs.ratio.least, epochs.ratio.median, epochs.ratio.most) == (2, 4, 4)
    assert reached is not None
    assert (reached.ours.median, reached.rectools.median, reached.ratio.median) == (4, 16, 4)
    assert compared([Pair(OURS, THEIRS)], 0.3)["seconds_to_level"] is None


def test_the_table_says_what_was_not_reached() -> None:
    text = table("walks", [Pair(OURS, THEIRS)], 0.3)
    assert "| seconds per epoch | 2 (2–4) | 8 (8–8) | 4 (2–4) |" in text
    assert "NDCG@10 of 0.3 | not reached | not reached | not reached |" in text
    assert "the lower of both bests | 4 (4–4) | 16 (16–16) | 4 (4–4) |" in table(
        "walks", [Pair(OURS, THEIRS)], None
    )


def test_a_log_is_repeated_with_other_users() -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 7], "timestamp": [0, 1, 0]})
    long = repeated(log, 3)
    assert long["user_id"].n_unique() == 6
    assert long["item_id"].to_list() == log["item_id"].to_list() * 3


def test_the_peak_is_that_of_this_process() -> None:
    assert peak_mb() == pytest.approx(peak_mb(), rel=0.1)
    assert peak_mb() > 50
