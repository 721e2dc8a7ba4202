"""One published bundle, made once and copied for each test that spoils it."""

import shutil
from pathlib import Path

import pytest

from bundle.read import versions
from tests.factories import publish_tiny_bundle


@pytest.fixture(scope="session")
def pristine_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two versions, the newer in service; not to be changed."""
    root = tmp_path_factory.mktemp("pristine") / "bundles"
    publish_tiny_bundle(root, items=40, seed=1)
    publish_tiny_bundle(root, items=40, seed=2)
    return root


@pytest.fixture
def root(pristine_root: Path, tmp_path: Path) -> Path:
    """A copy of `pristine_root` that the test may change."""
    return Path(shutil.copytree(pristine_root, tmp_path / "bundles"))


@pytest.fixture
def version(root: Path) -> str:
    """The version in service under `root`."""
    return versions(root)[0]
