"""Training and offline recommendations obey an export of the catalogue's changes."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bundle.read import read_bundle
from service.catalogue.export import write_export
from service.catalogue.protocol import Contents, Description, Entry, Origin
from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle
from tests.service.serving import AUTHORIZED, running, settings_for
from training.data.dataset import read_dataset
from training.data.prepare import prepare

ITEMS, USERS, LENGTH = 12, 40, 8


def exported(path: Path, *entries: Entry, sequence: int = 0) -> Path:
    last = max(sequence, *(entry.sequence for entry in entries))
    write_export(path, Contents(list(entries), sequence=last))
    return path


def described(item_id: str, sequence: int, title: str | None, *categories: str) -> Entry:
    return Entry(item_id, sequence, False, Description(title, categories), Origin(None, categories), sequence)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Everybody watches eight of twelve items in a row."""
    rows = [
        (f"u{user}", f"v{(user + step) % ITEMS}", 1_700_000_000 + 100 * step + user)
        for user in range(USERS)
        for step in range(LENGTH)
    ]
    path = tmp_path / "log.csv"
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(path)
    items = [
        {"item_id": f"v{number}", "title": f"Video {number}", "category": "Old"} for number in range(ITEMS)
    ]
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")
    return path


def test_a_removed_item_never_enters_a_bundle_and_others_have_their_newest_names(
    dimerec: Run, log: Path, tmp_path: Path
) -> None:
    changes = exported(
        tmp_path / "changes.jsonl",
        described("v1", 3, "Renamed", "New", "Old"),
        described("v2", 4, "Video 2", "Old"),  # as it was
        described("v5", 5, None),
        described("cold", 6, "No events"),
        Entry("v3", 7, True, Description("Gone", ())),
        Entry("v4", 8, True),
        Entry("not yet", 9, True),
        sequence=20,
    )
    data, run, bundles, rejects = (tmp_path / name for name in ("data", "run", "bundles", "rejects.csv"))
    done = dimerec(
        *("prepare", "--events", log, "--items", tmp_path / "items.csv", "--out", data),
        *("--catalogue", changes, "--rejects", rejects, "--json"),
    )
    card = json.loads(done.out)
    assert card["catalogue"] == {"files": ["changes.jsonl"], "sequence": 20, "removed": 2, "renamed": 2}
    lost = [row["item_id"] for row in pl.read_csv(log).to_dicts() if row["item_id"] in ("v3", "v4")]
    reason = "the item was removed from the catalogue"
    assert {"reason": reason, "events": len(lost), "users": None, "items": 2} in card["dropped"]
    assert pl.read_csv(rejects)["reason"].to_list() == [reason] * len(lost)
    dimerec("train", "--data", data, "--out", run, "--set", "epochs=1")
    published = dimerec("publish", "--run", run, "--data", data, "--bundles", bundles, "--json")
    assert published.code == 0, published.err
    bundle = read_bundle(bundles)
    assert set(bundle.catalogue.item_ids) == {f"v{number}" for number in range(ITEMS)} - {"v3", "v4"}
    titles = dict(zip(bundle.catalogue.item_ids, bundle.catalogue.titles, strict=True))
    categories = dict(zip(bundle.catalogue.item_ids, bundle.catalogue.categories, strict=True))
    assert (titles["v1"], categories["v1"]) == ("Renamed", ("New", "Old"))
    assert (titles["v5"], categories["v5"]) == (None, ())
    assert (titles["v0"], categories["v0"]) == ("Video 0", ("Old",))
    assert bundle.manifest.catalogue_sequence == 20


def test_what_is_prepared_is_what_a_log_without_the_removed_items_gives(log: Path, dimerec: Run) -> None:
    with_changes, without = log.with_name("with"), log.with_name("without")
    changes = exported(log.with_name("changes.jsonl"), Entry("v3", 7, True), Entry("v9", 8, True))
    done = dimerec("prepare", "--events", log, "--out", with_changes, "--catalogue", changes)
    said = " ".join(done.out.replace("│", " ").split())
    assert "up to 8: 2 items of the log were removed, 0 have other titles or categories" in said
    shorter = log.with_name("shorter.csv")
    pl.read_csv(log).filter(~pl.col("item_id").is_in(["v3", "v9"])).write_csv(shorter)
    prepare(shorter, None, without)
    assert read_dataset(with_changes).fingerprint == read_dataset(without).fingerprint
    assert (read_dataset(with_changes).catalogue_sequence, read_dataset(without).catalogue_sequence) == (8, 0)


def test_of_several_exports_the_newest_of_each_item_counts(log: Path, dimerec: Run) -> None:
    data = log.with_name("data")
    old = exported(log.with_name("old.jsonl"), Entry("v1", 1, True), described("v2", 2, "Two"))
    new = exported(log.with_name("new.jsonl"), described("v1", 3, "Back"), Entry("v2", 4, True))
    dimerec("prepare", "--events", log, "--out", data, "--catalogue", new, "--catalogue", old)
    catalogue = read_dataset(data).catalogue
    assert "v2" not in catalogue.item_ids
    assert catalogue.titles[catalogue.item_ids.index("v1")] == "Back"


def test_attributes_are_those_of_the_newest_change(log: Path, dimerec: Run) -> None:
    items = pl.DataFrame(
        {
            "item_id": [f"v{number}" for number in range(ITEMS)],
            "length": [float(number) for number in range(ITEMS)],
            "released": ["2020-01-01"] * ITEMS,
            "language": ["en"] * ITEMS,
            "free": [True] * ITEMS,
            "tags": [["a", "b"]] * ITEMS,
        }
    )
    items.write_parquet(log.with_name("items.parquet"))
    now: dict[str, Any] = {
        "length": 7.5,
        "released": "2024-05-01",
        "language": "de",
        "free": False,
        "tags": ["c"],
    }
    changed = Entry("v1", 1, False, Description("All", (), attributes=now), Origin(None, ()))
    other: dict[str, Any] = {"length": "long", "unknown": 1, "language": "fr"}
    partly = Entry("v2", 2, False, Description("Some", (), attributes=other), Origin(None, ()))
    changes = exported(log.with_name("changes.jsonl"), changed, partly)
    kinds = {"length": "number", "released": "date", "language": "text", "free": "boolean", "tags": "texts"}
    given = [part for name, kind in kinds.items() for part in ("--attribute", f"{name}:{kind}")]
    data = log.with_name("data")
    done = dimerec(
        *("prepare", "--events", log, "--items", log.with_name("items.parquet"), "--out", data),
        *("--catalogue", changes, *given),
    )
    assert done.code == 0, done.err
    catalogue = read_dataset(data).catalogue
    found = {item_id: catalogue.attributes_of(catalogue.row(item_id) or 0) for item_id in ("v0", "v1", "v2")}
    assert found["v1"] == now
    assert found["v2"] == {"language": "fr"}
    assert found["v0"]["tags"] == ["a", "b"]
    assert (found["v0"]["length"], found["v0"]["free"]) == (0, True)


def test_a_log_of_removed_items_alone_or_a_file_that_is_none_is_refused(log: Path, dimerec: Run) -> None:
    gone = [Entry(f"v{number}", number + 1, True) for number in range(ITEMS)]
    changes = exported(log.with_name("changes.jsonl"), *gone)
    for path, fault in ((changes, "has no event of an item that is not removed"), (log, "is no export")):
        done = dimerec("prepare", "--events", log, "--out", log.with_name("data"), "--catalogue", path)
        assert (done.code, done.err.count("\n"), fault in done.err) == (1, 1, True), done.err
        assert not log.with_name("data").exists()


def test_recommendations_offline_are_those_of_the_service_with_the_same_changes(
    dimerec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles, changes = tmp_path / "bundles", tmp_path / "changes.jsonl"
    publish_tiny_bundle(bundles)
    monkeypatch.setenv("DIMEREC_KEY", AUTHORIZED["authorization"].split()[1])
    history = ["1050", "new", "1181"]

    def offline(*options: object) -> Any:
        given = ("--bundles", bundles, "--history", ",".join(history), "-k", 50, "--json")
        return json.loads(dimerec("recommend", *given, *options).out)["items"]

    first = [item["item_id"] for item in offline()]
    with running(settings_for(bundles)) as server:
        server.client.headers.update(AUTHORIZED)
        server.client.put("/items/new", json={"title": "New", "from": {"like": [first[3]]}})
        server.client.put("/items/newer", json={"title": "Newer", "from": {"like": [first[4]]}})
        server.client.put(f"/items/{first[1]}", json={"title": "Renamed"})
        server.client.delete(f"/items/{first[0]}")
        dimerec("catalogue", "export", "--output", changes, "--url", server.url)
        served = server.answer(history=history, k=50, explain=True)["items"]
    found = offline("--catalogue", changes)
    assert [item["item_id"] for item in found] == [item["item_id"] for item in served]
    assert first[0] not in [item["item_id"] for item in found]
    assert {"newer", first[1]} <= {item["item_id"] for item in found}
    assert next(item["title"] for item in found if item["item_id"] == first[1]) == "Renamed"
