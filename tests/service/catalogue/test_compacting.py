"""Compaction: what is dropped, what stays, and that nothing comes back by it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from bundle.write import set_current
from tests.cli.conftest import Run, dimerec  # noqa: F401 - a fixture
from tests.factories import make_catalogue, publish_tiny_bundle
from tests.service.catalogue.replicas import Replicas, together
from tests.service.catalogue.test_catalogue_http import call, put, remove, similar
from tests.service.processes import until
from tests.service.serving import AUTHORIZED, KEY, Running, running, settings_for


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two bundles of 150 items, which obey changes up to 4 and up to 6."""
    for sequence in (4, 6):
        publish_tiny_bundle(tmp_path / "bundles", items=150, catalogue_sequence=sequence)
    return tmp_path / "bundles"


@pytest.fixture
def server(root: Path) -> Iterator[Running]:
    with running(settings_for(root)) as server:
        yield server


def change(server: Running) -> None:
    """Five changes: of an item that no bundle has, one that they have, one as they have it, one that differs,
    and of another that no bundle has, which one of them does not obey.
    """
    same = make_catalogue(150).item(2)
    remove(server, "nowhere")
    remove(server, "1001")
    put(server, same.item_id, title=same.title, categories=list(same.categories))
    put(server, "1003", title="Changed")
    remove(server, "late")


def compacted(server: Running) -> httpx.Response:
    return server.client.post("/catalogue/compact", headers=AUTHORIZED)


def entries(server: Running) -> list[str]:
    page = server.client.get("/catalogue", params={"limit": 1000}, headers=AUTHORIZED).json()
    return [entry["item_id"] for entry in page["entries"]]


def answers(server: Running) -> list[dict[str, float]]:
    """Items and their scores, for three histories."""
    asked = [{"history": history, "k": 500, "seed": 1} for history in (["1002", "1003"], ["1009"], [])]
    return [{item["item_id"]: item["score"] for item in server.answer(**one)["items"]} for one in asked]


def alike(found: list[dict[str, float]], expected: list[dict[str, float]]) -> bool:
    """True where the same items have the same scores, but for what other rows of a matrix product round."""
    pairs = zip(found, expected, strict=True)
    return all(one == pytest.approx(other, rel=1e-4, abs=1e-6) for one, other in pairs)


def test_only_that_is_dropped_from_which_nothing_follows(root: Path) -> None:
    with running(settings_for(root)) as server:
        change(server)
        before = answers(server)
        response = compacted(server)
        assert (response.status_code, set(response.json()["dropped"])) == (200, {"nowhere", "1002"})
        assert len(response.json()["kept"]) == 2
        assert entries(server) == ["1001", "1003", "late"]
        assert compacted(server).json()["dropped"] == []
        assert alike(answers(server), before)
        assert call(server, "GET", "1002").json()["source"] == "base"
        assert call(server, "GET", "nowhere").status_code == 404
    with running(settings_for(root)) as server:
        assert entries(server) == ["1001", "1003", "late"]
        assert alike(answers(server), before)
        assert similar(server, "1001") == 404
        assert put(server, "new", **{"from": {"like": ["1003"]}})["sequence"] == 6
        assert server.client.post("/admin/rollback", headers=AUTHORIZED).status_code == 200
        assert similar(server, "1001") == 404


def test_a_bundle_that_obeys_less_than_was_compacted_is_not_served_any_more(
    server: Running, root: Path
) -> None:
    change(server)
    current = server.client.get("/version").json()["model_version"]
    old = publish_tiny_bundle(root, items=150, make_current=False)
    refused = compacted(server)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:dimerec:problem:compaction-refused")
    assert f"{old} obeys no change" in refused.json()["detail"]
    assert len(entries(server)) == 5
    aside = root.parent / old
    (root / old).rename(aside)
    assert compacted(server).status_code == 200
    aside.rename(root / old)
    set_current(root, old)
    refused = server.client.post("/admin/reload", headers=AUTHORIZED)
    assert (refused.status_code, "up to 3 were compacted" in refused.json()["detail"]) == (409, True)
    assert server.client.get("/version").json()["model_version"] == current
    assert server.client.get("/health/ready").status_code == 200


def test_it_is_for_those_who_may_change_the_catalogue(server: Running) -> None:
    assert server.client.post("/catalogue/compact").status_code == 401


def test_what_other_replicas_keep_counts(replicas: Replicas) -> None:
    first_root = replicas.directory("first")
    for version in list(first_root.glob("2*")):
        version.rename(first_root.parent / version.name)
    publish_tiny_bundle(first_root, items=150, catalogue_sequence=6)
    second_root = replicas.copied("second")
    other = publish_tiny_bundle(second_root, items=150, catalogue_sequence=5, make_current=False)
    first, second = replicas.start("first"), replicas.start("second")
    change(first)
    together(first, second)
    refused = compacted(first)
    assert (refused.status_code, other in refused.json()["detail"]) == (409, True)
    assert set(compacted(second).json()["dropped"]) == {"nowhere", "1002", "late"}
    until(lambda: entries(first) == entries(second) == ["1001", "1003"])
    third = replicas.start("third")
    assert entries(third) == ["1001", "1003"]
    old_root = replicas.copied("old")
    for version in list(old_root.glob("2*")):
        version.rename(old_root.parent / f"{version.name}.aside")
    publish_tiny_bundle(old_root, items=150)
    old = replicas.start("old")
    ready = old.client.get("/health/ready")
    assert (ready.status_code, "up to 5 were compacted" in ready.json()["detail"]) == (503, True)


def test_a_command_compacts_by_either_way_and_keeps_what_there_was(
    dimerec: Run,  # noqa: F811
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIMEREC_KEY", KEY)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    with ExitStack() as stack:
        server = stack.enter_context(running(settings_for(root)))
        change(server)
        refused = dimerec("catalogue", "compact", "--output", before, "--bundles", root)
        assert (refused.code, "another process" in refused.err) == (1, True)
        assert not before.exists()
        done = dimerec("catalogue", "compact", "--output", before, "--url", server.url)
        assert done.code == 0, done.err
        assert "dropped the removal of nowhere" in done.out
        assert "dropped the description of 1002" in done.out
        said = f"1 removals and 1 descriptions dropped by 2 bundles; {before} has them"
        assert said in " ".join(done.out.split())
        assert len(before.read_text().splitlines()) == 6
    assert dimerec("catalogue", "import", "--items", before, "--bundles", root).code == 0
    done = dimerec("catalogue", "compact", "--output", after, "--bundles", root)
    assert said.replace(str(before), str(after)) in " ".join(done.out.split())
    assert after.read_bytes() == before.read_bytes()
