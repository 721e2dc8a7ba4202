"""`novelty` of a request over a real socket: rarer items, as far as the bundle says what they cost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.read import read_bundle
from tests.factories import make_catalogue, make_counts, publish_tiny_bundle
from tests.service.serving import AUTHORIZED, Running, running, settings_for
from training.data.dataset import Dataset

ITEMS, POWER = 200, 0.6
EVENTS = dict(zip(make_catalogue(ITEMS).item_ids, make_catalogue(ITEMS).popularity.tolist(), strict=True))
ASKED: dict[str, Any] = {"history": ["1003", "1007"], "k": ITEMS, "seed": 3}
NOVELTIES = (0.0, 0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("novel")
    publish_tiny_bundle(root, items=ITEMS, novelty=POWER, counts=make_counts(ITEMS))
    with running(settings_for(root)) as server:
        server.client.headers.update(AUTHORIZED)
        yield server


def said(answer: dict[str, Any]) -> dict[str, Any]:
    """What follows from the request alone."""
    return {name: answer[name] for name in ("items", "interests", "source")}


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["item_id"]: item["score"] for item in answer["items"]}


@pytest.mark.parametrize("novelty", NOVELTIES)
def test_a_score_is_divided_by_a_power_of_the_items_events(novel: Running, novelty: float) -> None:
    plain, found = scores(novel.answer(**ASKED)), scores(novel.answer(**ASKED, novelty=novelty))
    expected = {item: score / (1 + EVENTS[item]) ** (POWER * novelty) for item, score in plain.items()}
    assert found == pytest.approx(expected, rel=1e-4)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_interests_share_the_items_that_are_answered(novel: Running) -> None:
    answer = novel.answer(**ASKED | {"k": 20}, novelty=1)
    assert sum(one["weight"] for one in answer["interests"]) == pytest.approx(1, abs=1e-4)
    brought = [item["interest"] for item in answer["items"]]
    counts = [one["item_count"] for one in answer["interests"]]
    assert counts == [brought.count(index) for index in range(len(counts))]
    plain = novel.answer(**ASKED | {"k": 20})
    about = [[one["kind"], one["top_categories"]] for one in answer["interests"]]
    assert about == [[one["kind"], one["top_categories"]] for one in plain["interests"]]


def test_none_is_what_there_is_without(novel: Running) -> None:
    assert said(novel.answer(**ASKED, novelty=0)) == said(novel.answer(**ASKED))


def test_requests_of_one_batch_keep_their_own(novel: Running) -> None:
    wishes = [ASKED | {"k": 10, "novelty": novelty} for novelty in (*NOVELTIES, 0.5, 0.0)]
    together = novel.client.post("/recommend/batch", json={"requests": wishes}).json()["answers"]
    alone = [novel.answer(**wish) for wish in wishes]
    for one, other in zip(together, alone, strict=True):
        assert [item["item_id"] for item in one["items"]] == [item["item_id"] for item in other["items"]]
        assert scores(one) == pytest.approx(scores(other), rel=1e-4)


def test_of_whom_nothing_is_known_novelty_changes_nothing(novel: Running) -> None:
    asked = {"history": ["unheard of"], "k": 30}
    assert said(novel.answer(**asked, novelty=1)) == said(novel.answer(**asked))


@pytest.mark.parametrize("novelty", [-0.1, 1.5, "0.5", None, True, [1]])
def test_what_is_no_novelty_is_refused(novel: Running, novelty: object) -> None:
    response = novel.recommend(**ASKED, novelty=novelty)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["novelty"]


def test_a_bundle_that_does_not_say_what_it_costs_serves_none(server: Running) -> None:
    response = server.recommend(**ASKED, novelty=0.5)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == "novelty"
    assert "publish" in error["message"]
    assert server.recommend(**ASKED, novelty=0).status_code == 200
    wishes = [ASKED | {"novelty": 1}, ASKED]
    first, second = server.client.post("/recommend/batch", json={"requests": wishes}).json()["answers"]
    assert first["status"] == 422
    assert second["source"] == "personal"


def test_the_more_novelty_the_rarer_the_items_of_the_demo(
    movielens_bundle: tuple[Path, Dataset],
) -> None:
    """The mean share of the log of what 60 users get falls with it, and the same is answered twice."""
    root, dataset = movielens_bundle
    assert read_bundle(root).manifest.novelty is not None
    ids = np.array(dataset.catalogue.item_ids, dtype=object)
    events = dict(zip(ids.tolist(), dataset.catalogue.popularity.tolist(), strict=True))
    users = [dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]][-30:] for user in range(60)]
    histories = [ids[own - 1].tolist() for own in users]

    def answered(server: Running, novelty: float) -> list[list[str]]:
        wishes = [{"history": own, "k": 20, "novelty": novelty, "explain": False} for own in histories]
        results = server.client.post("/recommend/batch", json={"requests": wishes}).json()["answers"]
        return [[item["item_id"] for item in answer["items"]] for answer in results]

    with running(settings_for(root)) as server:
        server.client.headers.update(AUTHORIZED)
        lists = [answered(server, novelty) for novelty in NOVELTIES]
        assert answered(server, NOVELTIES[-1]) == lists[-1]
    common = [np.mean([events[item] for own in of_all for item in own]) for of_all in lists]
    assert common == sorted(common, reverse=True)
    assert common[-1] < common[0]
    listed = [len({item for own in of_all for item in own}) for of_all in lists]
    assert listed[-1] > listed[0]
