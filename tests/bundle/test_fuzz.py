"""Whatever the files of a bundle hold, with checksums that are right: it answers, or is refused by name."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import BundleError
from bundle.manifest import CONTENT_FILES
from bundle.read import read_bundle
from bundle.write import publish
from engine.engine import Engine
from service.rehearsal import rehearse, rehearsed
from tests.bundle.sealing import sealed
from tests.factories import make_catalogue, make_index, make_model, make_serving, publish_tiny_bundle

EDITS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=4)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("original")
    return root, publish_tiny_bundle(root, items=40, dim=8)


def damaged(content: bytes, edits: list[tuple[float, bytes]], kept: float) -> bytes:
    changed = bytearray(content)
    for share, piece in edits:
        position = int(share * len(changed))
        changed[position : position + len(piece)] = piece
    return bytes(changed[: int(kept * len(changed))])


@given(
    name=st.sampled_from(CONTENT_FILES), edits=EDITS, kept=st.sampled_from([1.0, 1.0, 1.0, 0.99, 0.5, 0.0])
)
def test_a_bundle_of_any_content_answers_or_is_refused(
    original: tuple[Path, str],
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    edits: list[tuple[float, bytes]],
    kept: float,
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    shutil.copytree(original[0], root, dirs_exist_ok=True)
    path = root / original[1] / name
    path.write_bytes(damaged(path.read_bytes(), edits, kept))
    version = sealed(root, original[1])
    try:
        bundle = read_bundle(root)
        rehearse(Engine(bundle, max_steps=50), (bundle.catalogue.item_id(1), bundle.catalogue.item_id(40)))
    except BundleError as error:
        refusal = str(error)
    else:
        refusal = version
    assert version in refusal
    assert "\n" not in refusal
    shutil.rmtree(root)


def test_a_denoiser_that_cannot_answer_is_refused_where_guidance_is_the_default(tmp_path: Path) -> None:
    """Whoever names draws has them, so they are rehearsed, too."""
    model = make_model(40, dim=8)
    with torch.no_grad():
        for weights in model.denoiser.parameters():
            weights.fill_(1e30)  # finite, so the file passes
    publish(
        *(tmp_path, model, make_catalogue(40), make_index(model)),
        serving=make_serving(interest_mode="guidance"),
        metrics={},
        data_fingerprint="none",
    )
    with pytest.raises(BundleError, match="cannot answer"):
        rehearsed(read_bundle(tmp_path))
