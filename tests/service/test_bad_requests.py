"""Every bad input gets a precise 4xx problem that names the field, and the server lives on."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from files.ids import MISSING_WORDS
from service.requests import EventsRequest, RecommendRequest
from tests.service.serving import Running

OK = {"history": ["1001"]}
NOW = 1_700_000_000_000


def refused(response: httpx.Response, status: int, *fields: str) -> dict[str, Any]:
    """Check the shape that all problems share, and give it back."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors", "request_id"}
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["type"].startswith("urn:dimerec:problem:")
    assert problem["detail"]
    assert [error["field"] for error in problem["errors"]] == list(fields)
    return problem


def post(server: Running, body: bytes | str, path: str = "/recommend", **headers: str) -> httpx.Response:
    return server.client.post(path, content=body, headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize(
    ("wish", "fields"),
    [
        ({}, ["user_id", "history"]),
        ({"k": 3}, ["user_id", "history"]),
        ({"user_id": None, "history": None}, ["user_id", "history"]),
        ({**OK, "k": 0}, ["k"]),
        ({**OK, "k": 501}, ["k"]),
        ({**OK, "k": 10**6}, ["k"]),
        ({**OK, "k": -1}, ["k"]),
        ({**OK, "k": "10"}, ["k"]),
        ({**OK, "k": 10.5}, ["k"]),
        ({**OK, "k": True}, ["k"]),
        ({**OK, "k": None}, ["k"]),
        ({**OK, "k": [1]}, ["k"]),
        ({"history": "1001"}, ["history"]),
        ({"history": {"0": "1001"}}, ["history"]),
        ({"history": ["1001", None]}, ["history[1]"]),
        ({"history": ["1001", True]}, ["history[1]"]),
        ({"history": [1.5]}, ["history[0]"]),
        ({"history": [1001.0]}, ["history[0]"]),
        ({**OK, "exclude": [1e3]}, ["exclude[0]"]),
        ({"history": [["1001"]]}, ["history[0]"]),
        ({"history": [""]}, ["history[0]"]),
        ({"history": ["a\nb"]}, ["history[0]"]),
        ({"history": ["1"] * 1001}, ["history"]),
        ({"user_id": True}, ["user_id"]),
        ({"user_id": 1.5}, ["user_id"]),
        ({"user_id": 1e300}, ["user_id"]),
        ({"user_id": ""}, ["user_id"]),
        ({"user_id": "a\x00b"}, ["user_id"]),
        ({"user_id": "\x7f"}, ["user_id"]),
        ({"user_id": "x" * 129}, ["user_id"]),
        ({"user_id": "x" * 10_000}, ["user_id"]),
        ({"user_id": {"a": 1}}, ["user_id"]),
        ({**OK, "exclude": ["1"] * 1001}, ["exclude"]),
        ({**OK, "exclude": None}, ["exclude"]),
        ({**OK, "exclude_seen": "yes"}, ["exclude_seen"]),
        ({**OK, "categories": []}, ["categories"]),
        ({**OK, "categories": ["c"] * 65}, ["categories"]),
        ({**OK, "categories": [1]}, ["categories[0]"]),
        ({**OK, "diversity": 1.01}, ["diversity"]),
        ({**OK, "diversity": -0.1}, ["diversity"]),
        ({**OK, "diversity": "0.5"}, ["diversity"]),
        ({**OK, "draws": 0}, ["draws"]),
        ({**OK, "draws": 33}, ["draws"]),
        ({**OK, "interest_mode": "all"}, ["interest_mode"]),
        ({**OK, "steps": 0}, ["steps"]),
        ({**OK, "steps": 51}, ["steps"]),
        ({**OK, "steps": 9}, ["steps"]),  # the tiny model has 8
        ({**OK, "seed": -1}, ["seed"]),
        ({**OK, "seed": 2**63}, ["seed"]),
        ({**OK, "deadline_ms": 0}, ["deadline_ms"]),
        ({**OK, "deadline_ms": 60_001}, ["deadline_ms"]),
        ({**OK, "unknown": 1}, ["unknown"]),
        ({**OK, "k": 0, "steps": 0}, ["k", "steps"]),
        ([], ["body"]),
        ("text", ["body"]),
        (None, ["body"]),
        (3, ["body"]),
    ],
)
def test_fields_out_of_bounds_are_named(server: Running, wish: Any, fields: list[str]) -> None:
    problem = refused(post(server, json.dumps(wish)), 422, *fields)
    assert problem["title"] == "The request is invalid"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["diversity", "k", "seed"])
def test_numbers_that_are_none_are_refused(server: Running, field: str, number: str) -> None:
    refused(post(server, f'{{"history": ["1001"], "{field}": {number}}}'), 422, field)


def test_a_whole_number_that_a_float_cannot_hold_is_refused(server: Running) -> None:
    assert server.recommend(**OK, seed=2**53 - 1.0).status_code == 200
    refused(post(server, '{"history": ["1001"], "seed": 9007199254740993.0}'), 422, "seed")
    refused(post(server, '{"history": ["1001"], "seed": 1e17}'), 422, "seed")


def test_an_event_that_names_its_user_twice_is_nobodys(server: Running) -> None:
    body = f'{{"user_id": "first", "user_id": "last", "item_id": "1001", "timestamp": {NOW}}}'
    assert post(server, body, "/events").status_code == 400
    assert post(server, f'{{"events": [{body}]}}', "/events").status_code == 400
    for user_id in ("first", "last"):
        assert server.client.get(f"/users/{user_id}/history").json()["events"] == []


def test_nan_in_a_list_is_refused(server: Running) -> None:
    refused(post(server, '{"history": [NaN]}'), 422, "history[0]")


def test_an_empty_body_is_told_so(server: Running) -> None:
    refused(server.client.post("/recommend"), 422, "body")
    refused(post(server, b""), 422, "body")


def test_a_history_of_a_hundred_thousand_items_is_refused(server: Running) -> None:
    problem = refused(post(server, json.dumps({"history": ["1001"] * 100_000})), 422, "history")
    assert "1000" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "character"),
        (b'{"k": }', "character"),
        (b"not json", "character"),
        (b'{"history": ["\xff\xfe"]}', "UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"),
        (b'{"history": [' + b"9" * 5000 + b"]}", "numbers of reasonable length"),
        (b'{"user_id": "a\x01"}', "Invalid control character at character"),
        (b'{"user_id": "a", "user_id": "b"}', "the name 'user_id' twice"),
        (b'{"user_id": "a", "exclude": [{"x": 1, "x": 1}]}', "the name 'x' twice"),
        (b'{"\\ud800": 1, "\\ud800": 2}', r"the name '\ud800' twice"),
        (b'{"%(name)s": 1, "%(name)s": 2}' % {b"name": b"x" * 9000}, "twice"),
    ],
    ids=[
        "open",
        "no value",
        "text",
        "not utf-8",
        "deep arrays",
        "deep objects",
        "huge number",
        "a control character",
        "a name twice",
        "a name twice inside",
        "a name twice that is no unicode",
        "a long name twice",
    ],
)
def test_malformed_json_is_refused(server: Running, body: bytes, says: str) -> None:
    response = post(server, body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert says in response.json()["detail"]
    assert len(response.text) < 2_000
    assert [fault["field"] for fault in response.json()["errors"]] == ["body"]
    assert response.json()["type"] == "urn:dimerec:problem:malformed-json"


@pytest.mark.parametrize("depth", [50, 500])
def test_nesting_that_can_be_read_is_refused_by_the_schema(server: Running, depth: int) -> None:
    refused(post(server, '{"history":' + "[" * depth + "]" * depth + "}"), 422, "history[0]")


def test_text_that_is_no_unicode_is_refused_even_in_names(server: Running) -> None:
    refused(post(server, r'{"user_id": "\ud800"}'), 422, "user_id")
    refused(post(server, r'{"user_id": "a", "\ud800": 1}'), 422, "body")


def test_many_faults_are_cut_short(server: Running) -> None:
    response = post(server, json.dumps({"history": [None] * 1000}))
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 20
    assert "980 more" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/recommend", "/events"])
def test_of_many_unknown_fields_the_first_are_named(server: Running, path: str) -> None:
    unknown = {f"k{index}": 0 for index in range(30_000)}
    given = OK if path == "/recommend" else {"user_id": "u", "item_id": "i", "timestamp": NOW}
    for body in ({**unknown, **given}, {**given, **unknown}):
        refused(post(server, json.dumps(body), path), 422, *(f"k{index}" for index in range(20)))


def test_of_many_faults_no_more_are_looked_for_than_are_told() -> None:
    requests: list[tuple[Any, Any]] = [
        (RecommendRequest, {f"k{index}": 0 for index in range(80_000)}),
        (EventsRequest, {"events": [{f"k{index}": 0 for index in range(80)}] * 1000}),
        (EventsRequest, {f"k{index}": 0 for index in range(80_000)}),
    ]
    for schema, body in requests:
        with pytest.raises(ValidationError) as raised:
            TypeAdapter(schema).validate_python(body)
        assert raised.value.error_count() <= 30


def test_a_name_twice_among_many_is_found_as_fast_as_the_body_is_read(server: Running) -> None:
    names = [f'"k{index}":0' for index in range(40_000)]
    response = post(server, "{" + ",".join([*names, names[-1]]) + "}")
    assert response.status_code == 400
    assert "'k39999' twice" in response.json()["detail"]


def test_a_long_unknown_name_is_not_echoed_whole(server: Running) -> None:
    response = post(server, json.dumps({**OK, "x" * 100_000: 1}))
    assert response.status_code == 422
    assert len(response.text) < 2_000


def chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b" " * 1_000_000


def test_a_fifty_megabyte_body_is_refused(server: Running) -> None:
    declared = post(server, b" " * 50_000_000)
    refused(declared, 413, "body")
    chunked = server.client.post(
        "/recommend", content=chunks(50), headers={"content-type": "application/json"}
    )
    refused(chunked, 413, "body")
    server.answer(**OK)


def test_a_caller_that_asks_first_is_told_before_it_sends(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as caller:
        caller.sendall(
            b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 50000000\r\nexpect: 100-continue\r\n\r\n"
        )
        assert caller.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("path", "valid"),
    [
        ("/recommend", OK),
        ("/recommend/batch", {"requests": [OK]}),
        ("/events", {"user_id": "limit", "item_id": "1001", "timestamp": NOW}),
    ],
)
def test_a_body_of_just_the_limit_is_read(server: Running, path: str, valid: dict[str, object]) -> None:
    limit = server.service.settings.max_body_bytes
    body = json.dumps(valid).encode()
    assert post(server, body + b" " * (limit - len(body)), path).status_code == 200
    refused(post(server, body + b" " * (limit - len(body) + 1), path), 413, "body")


def test_a_body_that_nobody_reads_is_bounded(server: Running) -> None:
    refused(server.client.request("DELETE", "/users/nobody/history", content=b" " * 4097), 413, "body")
    assert server.client.request("DELETE", "/users/nobody/history", content=b" " * 4096).status_code == 200


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", "text/json"],
)
def test_other_media_types_are_refused(server: Running, media_type: str) -> None:
    response = server.client.post("/recommend", content=json.dumps(OK), headers={"content-type": media_type})
    refused(response, 415)


def test_an_undeclared_body_is_refused(server: Running) -> None:
    response = server.client.send(
        httpx.Request("POST", f"{server.url}/recommend", content=json.dumps(OK).encode())
    )
    refused(response, 415)


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "application/vnd.x+json", "Application/JSON"]
)
def test_json_by_other_names_is_read(server: Running, media_type: str) -> None:
    response = server.client.post("/recommend", content=json.dumps(OK), headers={"content-type": media_type})
    assert response.status_code == 200


def test_unknown_routes_and_methods_are_problems(server: Running) -> None:
    refused(server.client.get("/nowhere"), 404)
    wrong = server.client.put("/recommend", json=OK)
    refused(wrong, 405)
    assert wrong.headers["allow"] == "POST"
    refused(server.client.get("/console/../settings.py"), 404)
    refused(server.client.get("/console/%2e%2e%2fsettings.py"), 404)
    refused(server.client.get("/console/__init__.py"), 404)
    refused(server.client.get(f"/console/{'x' * 5000}.js"), 404)
    refused(server.client.get("/console/%00.js"), 404)


@pytest.mark.parametrize(
    ("events", "fields"),
    [
        ({}, ["user_id", "item_id", "timestamp"]),
        ({"events": []}, ["events"]),
        ({"events": 3}, ["events"]),
        ([], ["body"]),
        ({"user_id": "u", "item_id": "i", "timestamp": 1.5}, ["timestamp"]),
        ({"user_id": "u", "item_id": "i", "timestamp": "now"}, ["timestamp"]),
        ({"user_id": "u", "item_id": "i", "timestamp": True}, ["timestamp"]),
        ({"user_id": "u", "item_id": "i", "timestamp": -1}, ["timestamp"]),
        ({"user_id": "u", "item_id": "i", "timestamp": 2**53}, ["timestamp"]),
        ({"user_id": "u", "item_id": "i", "timestamp": 10**30}, ["timestamp"]),
        ({"user_id": "u", "item_id": "i", "timestamp": 2**52}, ["timestamp"]),  # bound of 24 h ahead
        ({"user_id": "u", "item_id": "", "timestamp": NOW}, ["item_id"]),
        ({"user_id": " u", "item_id": "i\u3000", "timestamp": NOW}, ["user_id", "item_id"]),
        ({"user_id": "u", "item_id": "i", "timestamp": NOW, "event_id": "null"}, ["event_id"]),
        ({"user_id": "u", "item_id": "i", "timestamp": NOW, "event_id": "e" * 129}, ["event_id"]),
        ({"user_id": "u", "item_id": "i", "timestamp": NOW, "weight": 1}, ["weight"]),
        ({"events": [{"user_id": "u", "item_id": "i", "timestamp": NOW}] * 1001}, ["events"]),
        (
            {"events": [{"user_id": "u", "item_id": "i", "timestamp": NOW}, {"user_id": "u"}]},
            ["events[1].item_id", "events[1].timestamp"],
        ),
        (
            {
                "events": [
                    {"user_id": "u", "item_id": "i", "timestamp": NOW},
                    {"user_id": "u", "item_id": "i", "timestamp": 2**52},
                ]
            },
            ["events[1].timestamp"],
        ),
    ],
)
def test_bad_events_are_named_and_none_is_kept(server: Running, events: Any, fields: list[str]) -> None:
    refused(post(server, json.dumps(events), "/events"), 422, *fields)
    assert server.client.get("/users/u/history").json()["events"] == []


@pytest.mark.parametrize("word", MISSING_WORDS)
def test_a_word_for_a_missing_value_is_no_id(server: Running, word: str) -> None:
    event = {"user_id": word, "item_id": word, "timestamp": NOW, "event_id": word}
    refused(post(server, json.dumps(event), "/events"), 422, "user_id", "item_id", "event_id")


@pytest.mark.parametrize("number", ["9007199254740993.0", "1.2345678901235e+17", "1e5", "10.0", "-1E2"])
def test_a_number_with_a_fraction_or_an_exponent_is_no_id(server: Running, number: str) -> None:
    body = f'{{"user_id": {number}, "item_id": "i", "timestamp": {NOW}}}'
    problem = refused(post(server, body, "/events"), 422, "user_id")
    assert "fraction or an exponent" in problem["detail"]
    refused(post(server, f'{{"user_id": {number}}}'), 422, "user_id")


@pytest.mark.parametrize(
    ("timestamp", "says"),
    [
        (1_700_000_000, "looks like seconds; it is in ms since the epoch: 1700000000000"),
        (1_700_000_000_000_000, "looks like microseconds; it is in ms since the epoch: 1700000000000"),
        (1_700_000_000_000_000_000, "looks like nanoseconds; it is in ms since the epoch: 1700000000000"),
        (20231114221320, "looks like YYYYMMDDhhmmss"),
        (0, "before 1995"),
        (788_918_399_999, "before 1995"),
        (4_000_000_000_000, "24 h ahead"),
    ],
)
def test_another_clock_is_called_by_its_name(server: Running, timestamp: int, says: str) -> None:
    event = {"user_id": "clock", "item_id": "i", "timestamp": NOW}
    events = {"events": [event, {**event, "timestamp": timestamp}]}
    problem = refused(post(server, json.dumps(events), "/events"), 422, "events[1].timestamp")
    assert says in problem["detail"]
    refused(post(server, json.dumps({**event, "timestamp": timestamp}), "/events"), 422, "timestamp")
    assert server.client.get("/users/clock/history").json()["events"] == []


@pytest.mark.parametrize(
    ("path", "status", "fields"),
    [
        ("/items/nope/similar", 404, []),
        ("/items//similar", 422, ["item_id"]),
        ("/items/1001/similar?k=0", 422, ["k"]),
        ("/items/1001/similar?k=501", 422, ["k"]),
        ("/items/1001/similar?k=ten", 422, ["k"]),
        (f"/items/{'x' * 129}/similar", 422, ["item_id"]),
        ("/users//history", 404, []),
        ("/users/a%00b/history", 422, ["user_id"]),
        (f"/users/{'x' * 10_000}/history", 422, ["user_id"]),
        ("/users/u/history?limit=1001", 422, ["limit"]),
        ("/users?limit=0", 422, ["limit"]),
    ],
)
def test_bad_paths_and_queries_are_named(server: Running, path: str, status: int, fields: list[str]) -> None:
    refused(server.client.get(path), status, *fields)


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [OK] * 257}, "requests"),
        ({"requests": 1}, "requests"),
    ],
)
def test_a_bad_batch_is_refused_whole(server: Running, batch: Any, field: str) -> None:
    refused(post(server, json.dumps(batch), "/recommend/batch"), 422, field)
