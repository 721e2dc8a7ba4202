"""Nothing that was cut short, altered, swapped or pointed elsewhere is ever loaded."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.errors import (
    BundleDamagedError,
    BundleError,
    BundleIncompatibleError,
    BundleMissingError,
    BundleRequestError,
)
from bundle.manifest import CONTENT_FILES, FileEntry, new_manifest
from bundle.read import current_version, previous_version, read_bundle, verify, versions
from bundle.write import set_current
from index.building import build_index
from model.checkpoint import write_checkpoint
from tests.factories import make_catalogue, make_index, make_model, make_unit_vectors, publish_tiny_bundle

FILES = ("manifest.json", *CONTENT_FILES)


def refusal(root: Path, version: str | None = None) -> str:
    """The one line with which the bundle is refused, the same whether it is loaded or verified."""
    with pytest.raises(BundleError) as raised:
        read_bundle(root, version)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(root: Path, version: str, name: str) -> None:
    (root / version / name).unlink()
    assert f"{version}/{name} is missing" in refusal(root)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_file_cut_short_is_named(root: Path, version: str, name: str, share: float) -> None:
    path = root / version / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert f"{version}/{name}" in refusal(root)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_more_at_its_end_is_named(root: Path, version: str, name: str) -> None:
    with (root / version / name).open("ab") as file:
        file.write(b"x")
    assert f"{version}/{name}" in refusal(root)


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_is_noticed(root: Path, version: str, name: str) -> None:
    path = root / version / name
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for position in generator.choice(len(content), size=min(60, len(content)), replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            verify(root, version)
    path.write_bytes(content)
    verify(root, version)


@pytest.mark.parametrize("name", FILES)
def test_links_and_pipes_are_refused(root: Path, version: str, name: str, tmp_path: Path) -> None:
    path = root / version / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert f"{version}/{name} is a symbolic link" in refusal(root)
    path.unlink()
    os.mkfifo(path)
    assert f"{version}/{name} is no regular file" in refusal(root)
    path.unlink()
    path.mkdir()
    assert f"{version}/{name} is no regular file" in refusal(root)


def test_a_version_that_is_a_link_is_refused_and_not_listed(root: Path, version: str, tmp_path: Path) -> None:
    (root / version).rename(tmp_path / version)
    (root / version).symlink_to(tmp_path / version)
    assert "is a symbolic link" in refusal(root)
    assert version not in versions(root)


def test_current_that_is_a_link_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "CURRENT").rename(tmp_path / "CURRENT")
    (root / "CURRENT").symlink_to(tmp_path / "CURRENT")
    assert "CURRENT is a symbolic link" in refusal(root)


@pytest.mark.parametrize(
    "name",
    ["", "..", "../bundles", "/etc", "20250101T000000.000000Z-0000000g", "a\nb", "\x00", "ü", "x" * 200],
)
def test_names_that_are_no_versions_never_become_paths(root: Path, name: str) -> None:
    for use in (read_bundle, verify, set_current):
        with pytest.raises(BundleRequestError, match="is no bundle version"):
            use(root, name)
    (root / "CURRENT").write_text(name)
    with pytest.raises(BundleRequestError, match="is no bundle version"):
        read_bundle(root)
    with pytest.raises(BundleRequestError, match="is no bundle version"):
        previous_version(root)


def test_a_current_saved_with_a_byte_order_mark_is_read(root: Path, version: str) -> None:
    (root / "CURRENT").write_text(f"{version}\r\n", encoding="utf-8-sig")
    assert read_bundle(root).version == version


def test_a_current_in_another_encoding_is_named_with_the_remedy(root: Path, version: str) -> None:
    (root / "CURRENT").write_text(f"{version}\r\n", encoding="utf-16")
    with pytest.raises(BundleRequestError, match=r"CURRENT is wrong: .* `dimerec bundles use VERSION`"):
        read_bundle(root)
    set_current(root, version)
    assert current_version(root) == version


def test_a_current_that_never_ends_is_refused(root: Path) -> None:
    (root / "CURRENT").write_text("2" * 10_000)
    assert "CURRENT is larger than 256 bytes" in refusal(root)


def test_a_version_that_is_not_there_is_missing(root: Path, version: str) -> None:
    shutil.rmtree(root / version)
    assert current_version(root) == version
    with pytest.raises(BundleMissingError, match=f"{version} is not published"):
        read_bundle(root)


def test_nothing_published_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleMissingError, match="run `dimerec publish` first"):
        read_bundle(tmp_path)


def test_a_bundle_under_another_name_is_refused(root: Path, version: str) -> None:
    other = version[:-1] + ("0" if version[-1] != "0" else "1")
    (root / version).rename(root / other)
    assert "is another bundle's" in refusal(root, other)


def edit_manifest(root: Path, version: str, edit: Callable[[dict[str, Any]], object]) -> None:
    path = root / version / "manifest.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content["metrics"].update(ndcg=0.9), "was altered"),
        (lambda content: content["serving"].update(steps=1), "was altered"),
        (lambda content: content.update(created="2025-01-01T00:00:00Z"), "was altered"),
        (lambda content: content.update(surprise=1), "unusable surprise"),
        (lambda content: content.pop("data_fingerprint"), "unusable data_fingerprint"),
        (lambda content: content["files"].pop("index.faiss"), "files must be"),
        (lambda content: content["files"].update({"../x": content["files"]["index.faiss"]}), "files must be"),
        (lambda content: content["model"].update(dim=3), "unusable model.dim"),
        (lambda content: content.update(created="2025-01-01T00:00:00"), "unusable created"),
    ],
)
def test_an_edited_manifest_is_refused(
    root: Path, version: str, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_manifest(root, version, edit)
    assert message in refusal(root)


@pytest.mark.parametrize("found", [1, 0, 4, None, "2", [2], "x" * 1000])
def test_another_format_says_what_to_do(root: Path, version: str, found: object) -> None:
    edit_manifest(root, version, lambda content: content.update(format_version=found, unheard_of=True))
    with pytest.raises(BundleIncompatibleError, match="this program reads 2 and 3") as raised:
        read_bundle(root)
    assert len(str(raised.value)) < 250


def test_a_bundle_of_the_format_before_attributes_is_read(root: Path, version: str) -> None:
    content = json.loads((root / version / "manifest.json").read_text())
    manifest = new_manifest({**content, "format_version": 2, "created": datetime.now(UTC)})
    (root / version).rename(root / manifest.version)
    (root / manifest.version / "manifest.json").write_text(manifest.model_dump_json())
    bundle = read_bundle(root, manifest.version)
    assert (bundle.manifest.format_version, bundle.catalogue.attributes.schema) == (2, {})


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, '{"format_version": NaN}', "\udcff"])
def test_a_manifest_that_is_no_object_is_refused(root: Path, version: str, text: str) -> None:
    (root / version / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert "manifest" in refusal(root) or "bundle format" in refusal(root)


def test_a_manifest_that_never_ends_is_refused(root: Path, version: str) -> None:
    (root / version / "manifest.json").write_bytes(b" " * (1 << 20) + b" ")
    assert "manifest.json is larger than" in refusal(root)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("model", "model.safetensors is not the model of its manifest"),
        ("weights", "model.safetensors"),
        ("items", "items.arrow has 41 items, the model 40"),
        ("count", "vectors.npy has 41 items, the model 40"),
        ("links", "index.faiss has the count 41, expected 40"),
        ("dim", "vectors.npy has 8 dimensions, the model 16"),
    ],
)
def test_parts_of_another_bundle_are_refused(root: Path, version: str, part: str, message: str) -> None:
    """Somebody put together what does not belong together, with a manifest that is right about every file."""
    manifest = verify(root, version)
    mixed = root / "mixed"
    (root / version).rename(mixed)
    if part == "model":
        write_checkpoint(mixed / "model.safetensors", make_model(40, guidance_vectors=3))
    elif part == "weights":
        (mixed / "model.safetensors").write_bytes(b"not tensors")
    elif part == "items":
        make_catalogue(41).write(mixed / "items.arrow")
    elif part == "count":
        make_index(make_model(41)).table.write(mixed / "vectors.npy")
    elif part == "dim":
        index = build_index(make_unit_vectors(40, 8))
        index.table.write(mixed / "vectors.npy")
        index.write(mixed / "index.faiss")
    else:
        make_index(make_model(41), "hnsw").write(mixed / "index.faiss")
    entries = {
        name: FileEntry(
            sha256=hashlib.sha256((mixed / name).read_bytes()).hexdigest(), size=(mixed / name).stat().st_size
        )
        for name in CONTENT_FILES
    }
    facts = {name: getattr(manifest, name) for name in ("model", "serving", "metrics", "data_fingerprint")}
    forged = new_manifest({**facts, "files": entries})
    (mixed / "manifest.json").write_text(forged.model_dump_json())
    mixed.rename(root / forged.version)
    verify(root, forged.version)
    with pytest.raises(BundleIncompatibleError, match=message):
        read_bundle(root, forged.version)


def test_what_is_no_version_is_not_listed(root: Path) -> None:
    before = versions(root)
    (root / "20250101T000000.000000Z-00000000").write_text("a file")
    (root / "notes").mkdir()
    (root / ".publishing-00ff").mkdir()
    assert versions(root) == before


def test_a_root_that_is_a_link_is_as_good_as_any(root: Path, version: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read_bundle(tmp_path / "link").version == version
    newest = publish_tiny_bundle(tmp_path / "link", items=40)
    assert read_bundle(root).version == newest


def test_damage_tells_from_other_trouble(root: Path, version: str) -> None:
    (root / version / "index.faiss").write_bytes(b"")
    with pytest.raises(BundleDamagedError, match="has 0 bytes instead of"):
        read_bundle(root)


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x", "meta", "garbage"])
def test_a_device_that_is_not_there_is_named_before_anything_is_read(tmp_path: Path, device: str) -> None:
    with pytest.raises(BundleRequestError, match=f"^device '{device}' .*: say cpu") as raised:
        read_bundle(tmp_path / "nothing", device=device)
    assert "\n" not in str(raised.value)


def test_every_file_is_read_once_and_what_was_verified_is_what_is_used(
    root: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of gigabytes: the open file is hashed and mapped, whatever gets its name in the meantime."""
    hashed: list[str] = []
    file_digest = hashlib.file_digest

    def swapping(file: Any, digest: str) -> Any:
        found = file_digest(file, digest)
        path = (
            Path(file.name) if isinstance(file.name, str) else Path(os.readlink(f"/proc/self/fd/{file.name}"))
        )
        hashed.append(path.name)
        path.unlink()
        path.write_bytes(b"something else")
        return found

    expected = read_bundle(root, version)
    monkeypatch.setattr(hashlib, "file_digest", swapping)
    bundle = read_bundle(root, version)
    assert sorted(hashed) == sorted(CONTENT_FILES)
    assert bundle.catalogue.item_ids == expected.catalogue.item_ids
    np.testing.assert_array_equal(bundle.table.all, expected.table.all)
    np.testing.assert_array_equal(
        bundle.model.item_vectors().detach().numpy(), expected.model.item_vectors().detach().numpy()
    )


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told of by /proc")
def test_pages_that_only_the_checks_have_read_are_given_back(tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=20_000, dim=64)
    bundle = read_bundle(tmp_path)
    assert resident("vectors.npy") < bundle.table.all.nbytes / 1024 / 4
    assert np.linalg.norm(bundle.table.all[:100], axis=1) == pytest.approx(1, abs=1e-4)


def resident(name: str) -> int:
    """Kilobytes of the file that this process has mapped and looked at."""
    maps = Path("/proc/self/smaps").read_text(encoding="utf-8").split("VmFlags")
    return sum(int(re.findall(r"^Rss: +(\d+)", one, re.MULTILINE)[0]) for one in maps if name in one)
