"""The content map in a bundle."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bundle.content_map import ContentMap
from bundle.errors import BundleDamagedError, BundleIncompatibleError
from bundle.manifest import CONTENT_MAP_FILE
from bundle.read import read_bundle, verify
from files.errors import DimeRecError
from tests.bundle.room import file_size
from tests.factories import CATEGORIES, make_content_map, publish_tiny_bundle


def test_a_bundle_has_the_map_it_was_published_with(tmp_path: Path) -> None:
    made = make_content_map(5)
    version = publish_tiny_bundle(tmp_path, content_map=made)
    found = read_bundle(tmp_path).content_map
    assert found is not None
    assert (found.inputs, found.categories) == (5, CATEGORIES)
    content = np.arange(5.0)
    expected = (
        made.bias + sum(made.weights[line] * line for line in range(5)) + made.shifts[1] + made.shifts[7]
    )
    np.testing.assert_allclose(found.vector(content, ["Sport", "Comedy", "Sport", "No such"]), expected, 1e-5)
    facts = verify(tmp_path, version).content
    assert facts is not None
    assert facts.inputs == 5


def test_a_map_that_is_not_used_is_measured_and_left_out(tmp_path: Path) -> None:
    version = publish_tiny_bundle(tmp_path, content_map=make_content_map(5), content_used=False)
    assert not (tmp_path / version / CONTENT_MAP_FILE).exists()
    facts = verify(tmp_path, version).content
    assert facts is not None
    assert not facts.used
    assert read_bundle(tmp_path).content_map is None


def test_a_map_that_was_altered_or_is_missing_is_damage(tmp_path: Path) -> None:
    version = publish_tiny_bundle(tmp_path, content_map=make_content_map(5))
    path = tmp_path / version / CONTENT_MAP_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleDamagedError, match=CONTENT_MAP_FILE):
        verify(tmp_path, version)
    path.unlink()
    with pytest.raises(BundleDamagedError, match=f"{CONTENT_MAP_FILE} is missing"):
        read_bundle(tmp_path)


class Forged(ContentMap):
    """Writes something else than a map."""

    def write(self, path: Path) -> None:
        save_file({"bias": self.bias}, path)


def with_numbers(made: ContentMap) -> ContentMap:
    return ContentMap(made.bias * np.float32("nan"), made.weights, made.shifts, made.categories)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (make_content_map(5, dim=8), "is not the content map"),
        (with_numbers(make_content_map(5)), "not finite"),
        (Forged(*(np.zeros((1, 1), np.float32),) * 3, ()), "cannot be read"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tmp_path: Path, wrong: ContentMap, said: str) -> None:
    publish_tiny_bundle(tmp_path, content_map=wrong)
    with pytest.raises(BundleIncompatibleError, match=f"{said}.*publish"):
        read_bundle(tmp_path)


def test_without_room_nothing_is_left(tmp_path: Path) -> None:
    with file_size(10), pytest.raises((OSError, DimeRecError)):
        make_content_map(500).write(tmp_path / "part")
    assert list(tmp_path.iterdir()) == []
