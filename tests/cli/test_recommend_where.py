"""`dimerec recommend --where`: the service's filter without the service."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bundle.read import read_bundle
from tests.cli.conftest import Run
from tests.factories import publish_tiny_bundle

ITEMS = 120
WHERE = {
    "all_of": [{"attribute": "language", "in": ["en"]}, {"none_of": [{"attribute": "live", "in": [True]}]}]
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    publish_tiny_bundle(root, items=ITEMS, seed=5, attributes=True)
    return root


@pytest.fixture(scope="module")
def fitting(root: Path) -> set[str]:
    catalogue = read_bundle(root).catalogue
    return {
        catalogue.item_id(row)
        for row in range(1, ITEMS + 1)
        if catalogue.attributes_of(row).get("language") == "en"
        and catalogue.attributes_of(row).get("live") is not True
    }


def test_only_what_fits_is_answered_and_as_many_as_there_are(
    dimerec: Run, root: Path, fitting: set[str]
) -> None:
    def found(k: int) -> list[str]:
        asked = ("--history", "1001,1002", "-k", k, "--where", json.dumps(WHERE), "--json")
        done = dimerec("recommend", "--bundles", root, *asked)
        assert done.code == 0, done.err
        return [item["item_id"] for item in json.loads(done.out)["items"]]

    assert fitting
    assert set(found(ITEMS)) == fitting - {"1001", "1002"}
    assert found(3) == found(ITEMS)[:3]


def test_the_file_of_many_users_has_only_what_fits(
    dimerec: Run, root: Path, fitting: set[str], tmp_path: Path
) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "out.csv"
    rows = [("known", "1001", 1), ("unknown", "elsewhere", 2)]
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(log)
    asked = ("--events", log, "--out", out, "-k", ITEMS, "--where", json.dumps(WHERE))
    assert dimerec("recommend", "--bundles", root, *asked).code == 0
    table = pl.read_csv(out, schema_overrides={"item_id": pl.String})
    for user, source in (("known", "personal"), ("unknown", "popularity")):
        answered = table.filter(user_id=user)
        assert set(answered["item_id"]) == fitting - {"1001"} | (
            {"1001"} & fitting if user == "unknown" else set()
        )
        assert set(answered["source"]) == {source}


def test_changes_of_the_catalogue_count(dimerec: Run, root: Path, tmp_path: Path) -> None:
    changes = tmp_path / "changes.jsonl"
    description: dict[str, Any] = {
        "title": "New",
        "categories": [],
        "available_from": None,
        "available_until": None,
        "attributes": {"length": 2000},
    }
    origin = {"given": {"type": "like", "item_ids": ["1001"]}, "of_categories": []}
    entry = {"item_id": "new", "sequence": 1, "removed": False, "description": description}
    lines: list[dict[str, Any]] = [
        {"format": "dimerec-catalogue-1", "sequence": 1, "passed_ms": 0, "entries": 1},
        {**entry, "origin": origin, "origin_sequence": 1},
    ]
    changes.write_text("".join(json.dumps(line) + "\n" for line in lines))
    where = '{"attribute": "length", "above": 1000}'
    asked = ("--history", "1001", "--catalogue", changes, "--where", where, "--json")
    done = dimerec("recommend", "--bundles", root, *asked)
    assert [item["item_id"] for item in json.loads(done.out)["items"]] == ["new"]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (
            '{"attribute": "colour", "in": ["red"]}',
            "--where.attribute: 'colour' is no attribute of the bundle in service, which has ",
        ),
        (
            '{"all_of": [{"attribute": "length", "in": ["long"]}]}',
            "--where.all_of[0].in[0]: must be a finite number",
        ),
        ("language=en", "--where: must be JSON: Expecting value at character 0"),
        ('{"attribute": "length"}', "--where: give either `in`, or one of `at_least` and `above`"),
        ('{"attribute": "length", "among": [1]}', "--where.among: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_filter_is_one_line(dimerec: Run, root: Path, where: str, told: str) -> None:
    done = dimerec("recommend", "--bundles", root, "--history", "1001", "--where", where)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"dimerec: {told}")
    assert done.err.count("\n") == 1
