"""`dimerec recommend --novelty`: rarer items without the service."""

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.factories import make_catalogue, publish_tiny_bundle

ITEMS, POWER = 120, 0.6


def test_the_scores_are_divided_by_a_power_of_the_events(dimerec: Run, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=ITEMS, novelty=POWER)
    catalogue = make_catalogue(ITEMS)
    events = dict(zip(catalogue.item_ids, catalogue.popularity.tolist(), strict=True))

    def scores(*options: object) -> dict[str, float]:
        asked = ("--bundles", tmp_path, "--history", "1001,1002", "-k", ITEMS, "--json", *options)
        done = dimerec("recommend", *asked)
        assert done.code == 0, done.err
        return {item["item_id"]: item["score"] for item in json.loads(done.out)["items"]}

    novel = scores("--novelty", 0.5)
    for item_id, score in scores().items():
        expected = score / (1 + events[item_id]) ** (0.5 * POWER)
        assert abs(novel[item_id] - expected) < 1e-4 * expected


def test_a_bundle_that_does_not_say_what_it_costs_serves_none(dimerec: Run, tmp_path: Path) -> None:
    publish_tiny_bundle(tmp_path, items=ITEMS)
    done = dimerec("recommend", "--bundles", tmp_path, "--history", "1001", "--novelty", 1)
    assert done.code == 1
    assert "--novelty: the bundle in service does not say what it would cost" in done.err
