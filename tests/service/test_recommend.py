"""`POST /recommend` and `/recommend/batch` over a real socket: what callers may rely on."""

from typing import Any

import pytest

from service.history.in_process import InProcessHistory
from tests.factories import make_catalogue
from tests.service.conftest import Serve
from tests.service.serving import Running

CATALOGUE = make_catalogue(200)
MAX_POPULAR = [
    CATALOGUE.item_id(row)
    for row in sorted(range(1, 201), key=lambda row: (-CATALOGUE.popularity[row - 1], row))
]


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_history_gives_a_personal_answer_with_reasons(server: Running) -> None:
    answer: Any = server.answer(history=["1001", "1002"], k=7, draws=3)
    assert answer["source"] == "personal"
    assert answer["degraded"] is None
    assert answer["model_version"] == server.service.engines.engine.version
    assert len(set(ids(answer))) == 7
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert 1 <= len(answer["interests"]) <= 3
    assert sum(interest["weight"] for interest in answer["interests"]) == pytest.approx(1, abs=1e-4)
    for item in answer["items"]:
        row = CATALOGUE.row(item["item_id"])
        assert row is not None
        assert item["title"] == CATALOGUE.title(row)
        assert item["categories"] == list(CATALOGUE.category(row))
        assert 0 <= item["interest"] < len(answer["interests"])
    timings = answer["timings_ms"]
    assert set(timings) == {"queue", "model", "search", "total"}
    assert timings["total"] >= timings["queue"] + timings["model"] + timings["search"] > 0


def test_no_stage_is_said_to_last_longer_than_the_whole_answer(server: Running) -> None:
    for _ in range(200):  # a clock of whole milliseconds would be wrong every few answers
        timings: Any = server.answer(history=["1001"], k=1, draws=1, steps=1)["timings_ms"]
        assert timings["total"] >= timings["queue"] + timings["model"] + timings["search"]


def test_stored_history_is_read_and_left_out(server: Running) -> None:
    server.watch("stored", "1001", "1002", "1003")
    stored: Any = server.answer(user_id="stored", k=500, seed=1)
    inline: Any = server.answer(history=["1001", "1002", "1003"], k=500, seed=1)
    assert ids(stored) == ids(inline)
    assert len(ids(stored)) == 197
    assert not {"1001", "1002", "1003"} & set(ids(stored))


def test_an_inline_history_replaces_the_input_but_both_count_as_seen(server: Running) -> None:
    server.watch("both", "1001", "1002")
    answer: Any = server.answer(user_id="both", history=["1050"], k=500, seed=1)
    alone: Any = server.answer(history=["1050"], k=500, seed=1, exclude=["1001", "1002"])
    assert ids(answer) == ids(alone)
    assert not {"1001", "1002", "1050"} & set(ids(answer))


def test_seen_items_stay_in_when_asked_for_and_exclude_still_holds(server: Running) -> None:
    answer: Any = server.answer(
        history=["1001", "1002"], k=500, exclude_seen=False, exclude=["1002", "nowhere"]
    )
    assert "1001" in ids(answer)
    assert "1002" not in ids(answer)
    assert len(ids(answer)) == 199


def test_a_cold_user_gets_what_is_popular(server: Running) -> None:
    cold: list[Any] = [{"user_id": "nobody"}, {"history": []}, {"history": ["not", "in", "catalogue"]}]
    for wish in cold:
        answer: Any = server.answer(**wish, k=5)
        assert answer["source"] == "popularity"
        assert answer["degraded"] is None
        assert answer["interests"] == []
        assert ids(answer) == MAX_POPULAR[:5]
        assert all(item["interest"] is None for item in answer["items"])


def test_popularity_respects_exclusions_and_categories(server: Running) -> None:
    answer: Any = server.answer(user_id="nobody", k=5, exclude=MAX_POPULAR[:3])
    assert ids(answer) == MAX_POPULAR[3:8]
    comedies: Any = server.answer(user_id="nobody", k=5, categories=["Comedy"])
    assert all("Comedy" in item["categories"] for item in comedies["items"])


@pytest.mark.parametrize("history", [["1001", "1002"], []])
def test_categories_are_any_of_and_never_come_back_short(server: Running, history: list[str]) -> None:
    fitting = {
        CATALOGUE.item_id(row)
        for row in range(1, 201)
        if {"Comedy", "News"} & set(CATALOGUE.category(row)) and CATALOGUE.item_id(row) not in history
    }
    answer: Any = server.answer(history=history, k=500, categories=["Comedy", "News"])
    assert set(ids(answer)) == fitting
    assert len(ids(answer)) == len(fitting)


@pytest.mark.parametrize("user", [{"history": ["1001", "1002"]}, {"user_id": "nobody"}])
def test_categories_that_no_item_has_are_told(server: Running, user: dict[str, Any]) -> None:
    asked = ["Comedy", "comedy", "Comedies", "Comedies", "News"]
    answer: Any = server.answer(**user, k=5, categories=asked)
    assert answer["unknown_categories"] == ["comedy", "Comedies"]
    assert len(answer["items"]) == 5
    nothing: Any = server.answer(**user, k=5, categories=["Comedies"])
    assert (nothing["items"], nothing["unknown_categories"]) == ([], ["Comedies"])
    everything: Any = server.answer(**user, k=5)
    assert everything["unknown_categories"] == []


def test_diversity_spreads_the_answer(server: Running) -> None:
    def overlap(answer: Any) -> float:
        sets = [set(item["categories"]) for item in answer["items"]]
        pairs = [(a, b) for place, a in enumerate(sets) for b in sets[:place]]
        return sum(len(a & b) / max(1, len(a | b)) for a, b in pairs)

    plain = server.answer(history=["1001", "1002"], k=10, seed=3)
    diverse = server.answer(history=["1001", "1002"], k=10, seed=3, diversity=0.9)
    assert overlap(diverse) < overlap(plain)


def test_the_same_request_gets_the_same_answer_and_the_seed_changes_it(server: Running) -> None:
    server.watch("steady", "1004", "1005")
    first: Any = server.answer(user_id="steady", k=10)
    again: Any = server.answer(user_id="steady", k=10)
    seeded: Any = server.answer(user_id="steady", k=10, seed=1)
    other: Any = server.answer(user_id="steady", k=10, seed=2)
    assert first["items"] == again["items"]
    assert first["items"] != seeded["items"] != other["items"]


def test_modes_and_steps_have_their_effect(server: Running) -> None:
    def kinds(answer: dict[str, Any]) -> set[str]:
        return {interest["kind"] for interest in answer["interests"]}

    asked = {
        mode: server.answer(history=["1001"], interest_mode=mode) for mode in ("draws", "guidance", "both")
    }
    assert kinds(asked["draws"]) == {"draw"}
    assert kinds(asked["guidance"]) == {"guidance"}
    assert kinds(asked["both"]) == {"draw", "guidance"}
    single: Any = server.answer(history=["1001"], interest_mode="both", draws=1)
    assert [interest["kind"] for interest in single["interests"]].count("draw") == 1
    defaults: Any = server.answer(history=["1001"])
    assert defaults["items"] == asked[server.service.engines.engine.defaults.interest_mode]["items"]
    one: Any = server.answer(history=["1001"], seed=1, steps=1)
    many: Any = server.answer(history=["1001"], seed=1, steps=8)
    assert one["items"] != many["items"]


def test_integers_are_integers_however_written_and_integer_ids_their_digits(server: Running) -> None:
    event = {"user_id": 777, "item_id": 1001, "timestamp": 1_700_000_000_000.0}
    assert server.client.post("/events", json=event).json()["added"] == 1
    by_integer: Any = server.answer(user_id=777, k=500.0)
    by_text: Any = server.answer(user_id="777", k=500)
    assert by_integer["items"] == by_text["items"]
    assert "1001" not in ids(by_integer)


def test_only_the_newest_events_are_read(serve: Serve) -> None:
    server = serve(InProcessHistory(max_events=5), history_max_events=5)
    server.watch("long", *[str(1000 + row) for row in range(1, 31)])
    answer: Any = server.answer(user_id="long", k=500)
    assert len(ids(answer)) == 195


def test_a_batch_answers_each_in_place_and_a_bad_one_spoils_nothing(server: Running) -> None:
    wishes: list[Any] = [
        {"history": ["1001"], "k": 3, "seed": 1},
        {"k": 3},
        {"user_id": "nobody", "k": 0},
        17,
        {"user_id": "nobody", "k": 2},
        {"history": ["1001"], "steps": 50},
    ]
    response = server.client.post("/recommend/batch", json={"requests": wishes})
    assert response.status_code == 200
    first, nobody, no_items, no_object, popular, too_many_steps = response.json()["answers"]
    assert first["items"] == server.answer(**wishes[0])["items"]
    assert {error["field"] for error in nobody["errors"]} == {"user_id", "history"}
    assert [error["field"] for error in no_items["errors"]] == ["k"]
    assert no_object["status"] == 422
    assert ids(popular) == MAX_POPULAR[:2]
    assert [error["field"] for error in too_many_steps["errors"]] == ["steps"]
    assert {answer["request_id"] for answer in response.json()["answers"]} == {
        response.headers["x-request-id"]
    }
    assert all(problem["status"] == 422 for problem in (nobody, no_items, no_object, too_many_steps))


def test_a_request_id_goes_in_and_out(server: Running) -> None:
    named = server.client.post(
        "/recommend", json={"history": ["1001"]}, headers={"x-request-id": "trace-1.a_B"}
    )
    assert named.headers["x-request-id"] == named.json()["request_id"] == "trace-1.a_B"
    for unusable in ("has space", "x" * 129, 'quote"', "{}"):
        response = server.client.post("/recommend", json={}, headers={"x-request-id": unusable})
        assert response.headers["x-request-id"] == response.json()["request_id"] != unusable
        assert len(response.headers["x-request-id"]) == 32
