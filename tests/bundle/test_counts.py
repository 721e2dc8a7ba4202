"""The counts in a bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import BundleDamagedError, BundleIncompatibleError
from bundle.manifest import COUNTS_FILE
from bundle.read import read_bundle, verify
from index.counts import Counts
from tests.factories import make_counts, publish_tiny_bundle

ITEMS = 200


def test_a_bundle_has_the_counts_it_was_published_with(tmp_path: Path) -> None:
    made = make_counts(ITEMS)
    version = publish_tiny_bundle(tmp_path, counts=made)
    found = read_bundle(tmp_path).counts
    assert found is not None
    assert found.followers.tolist() == made.followers.tolist()
    assert found.parts.tolist() == made.parts.tolist()
    assert (found.decay, found.weight) == (0.8, 0.3)
    assert f"{version}/counts.safetensors" in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert not found.followers.flags.writeable
    facts = verify(tmp_path, version).counts
    assert facts is not None
    assert (facts.followers, facts.weight) == (6, 0.3)


def test_counts_without_a_weight_are_told_of_and_left_out(tmp_path: Path) -> None:
    version = publish_tiny_bundle(tmp_path, counts=make_counts(ITEMS, weight=0.0))
    assert not (tmp_path / version / COUNTS_FILE).exists()
    facts = verify(tmp_path, version).counts
    assert facts is not None
    assert facts.weight == 0
    assert read_bundle(tmp_path).counts is None


def test_counts_that_were_altered_or_are_missing_are_damage(tmp_path: Path) -> None:
    version = publish_tiny_bundle(tmp_path, counts=make_counts(ITEMS))
    path = tmp_path / version / COUNTS_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleDamagedError, match=COUNTS_FILE):
        verify(tmp_path, version)
    path.unlink()
    with pytest.raises(BundleDamagedError, match=f"{COUNTS_FILE} is missing"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (make_counts(ITEMS - 1), "is not the counts"),
        (replace(make_counts(ITEMS), followers=np.full((ITEMS, 6), ITEMS + 1, np.int32)), "are no items"),
        (replace(make_counts(ITEMS), followers=np.full((ITEMS, 6), -1, np.int32)), "are no items"),
        (replace(make_counts(ITEMS), parts=np.full((ITEMS, 6), np.nan, np.float32)), "no numbers above 0"),
        (replace(make_counts(ITEMS), parts=np.full((ITEMS, 6), -1, np.float32)), "no numbers above 0"),
        (replace(make_counts(ITEMS), parts=np.ones((ITEMS, 6), np.float32)), "parts of no item"),
    ],
)
def test_counts_that_do_not_fit_are_refused(tmp_path: Path, wrong: Counts, message: str) -> None:
    publish_tiny_bundle(tmp_path, counts=wrong)
    with pytest.raises(BundleIncompatibleError, match=f"{COUNTS_FILE}.*{message}"):
        read_bundle(tmp_path)
