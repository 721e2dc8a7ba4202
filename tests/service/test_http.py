"""What proxies, probes and clients expect of any HTTP service: HEAD, gzip, prefixes, kept connections."""

import gzip
import json
import re
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.app import create_app
from service.bodies import MAX_GZIP_MEMBERS, MAX_UNREAD_BYTES, Gunzip
from service.errors import StartupError
from tests.service.conftest import Serve
from tests.service.prefix import PREFIX, served_under_prefix
from tests.service.processes import process
from tests.service.serving import Running, settings_for

BODY = json.dumps({"history": ["1001", "1002"], "k": 3}).encode()
CLOSED = {"/catalogue", "/items", "/items/{item_id}"}
"""Paths that nobody may get without a key."""
VOLATILE = {"date", "x-request-id", "content-length"}


def post(server: Running, content: bytes, *encodings: str, path: str = "/recommend") -> httpx.Response:
    headers = [("content-type", "application/json"), *(("content-encoding", name) for name in encodings)]
    return server.client.post(path, content=content, headers=headers)


def paths_of_gets(server: Running) -> list[str]:
    described = server.client.get("/openapi.json").json()["paths"]
    public = [path for path, methods in described.items() if "get" in methods]
    page = server.client.get("/").text
    files = re.findall(r'(?:href|src)="/?(console/[^"]+)"', page)
    assert len(files) >= 4
    return [*public, "/", "/openapi.json", *(f"/{name}" for name in files)]


def test_head_answers_as_get_does_without_a_body(server: Running) -> None:
    for template in paths_of_gets(server):
        path = template.format(user_id="u", item_id="1001")
        got, head = server.client.get(path), server.client.head(path)
        assert got.status_code == head.status_code == (401 if template in CLOSED else 200), path
        assert head.content == b""
        for headers in (got.headers, head.headers):
            assert headers["x-request-id"]
        assert {**head.headers, **dict.fromkeys(VOLATILE)} == {**got.headers, **dict.fromkeys(VOLATILE)}, path
        assert head.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/items/nope/similar", 404), ("/users?limit=0", 422), ("/recommend", 405)],
)
def test_head_of_what_get_refuses_is_refused_alike(server: Running, path: str, status: int) -> None:
    got, head = server.client.get(path), server.client.head(path)
    assert (got.status_code, head.status_code, head.content) == (status, status, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers.get("allow") == got.headers.get("allow")


def test_head_is_counted_under_its_own_name_and_route_and_leaves_the_connection_usable(
    server: Running,
) -> None:
    counted = server.metric("dimerec_requests_total", method="HEAD", route="/health/live", status="200")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as caller:
        caller.sendall(b"HEAD /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2)
        caller.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: caller.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b'{"status":"live"}') == 1
    now = server.metric("dimerec_requests_total", method="HEAD", route="/health/live", status="200")
    assert now == counted + 2


def test_what_get_is_allowed_for_head_is_too(server: Running) -> None:
    assert server.client.post("/version").headers["allow"] == "GET, HEAD"
    assert server.client.put("/recommend").headers["allow"] == "POST"


@pytest.mark.parametrize(
    "encodings",
    [["gzip"], ["GZIP"], ["x-gzip"], ["identity"], [""], ["identity, gzip"], ["identity", "gzip"]],
)
def test_gzip_is_read(server: Running, encodings: list[str]) -> None:
    compressed = any("gzip" in name.lower() for name in encodings)
    plain = post(server, BODY).json()
    answer = post(server, gzip.compress(BODY) if compressed else BODY, *encodings)
    assert answer.status_code == 200, answer.text
    assert answer.json()["items"] == plain["items"]


def test_gzip_is_read_wherever_a_body_is(server: Running) -> None:
    event = json.dumps({"user_id": "zipped", "item_id": "1001", "timestamp": 1_795_000_000_000}).encode()
    assert post(server, gzip.compress(event), "gzip", path="/events").json()["added"] == 1
    batch = json.dumps({"requests": [{"user_id": "zipped"}]}).encode()
    assert post(server, gzip.compress(batch), "gzip", path="/recommend/batch").status_code == 200


def test_gzip_that_comes_in_pieces_and_members_is_read(server: Running) -> None:
    members = gzip.compress(BODY[:10]) + gzip.compress(b"") + gzip.compress(BODY[10:]) + b"\0" * 7

    def pieces() -> Iterator[bytes]:
        for place in range(len(members)):
            yield members[place : place + 1]

    headers = {"content-type": "application/json; charset=utf-8", "content-encoding": "gzip"}
    answer = server.client.post("/recommend", content=pieces(), headers=headers)
    assert answer.status_code == 200, answer.text


MALFORMED = {
    "plain": (BODY, "not gzip"),
    "zlib": (zlib.compress(BODY), "not gzip"),
    "cut off in its last bytes": (gzip.compress(BODY)[:-5], "end too early"),
    "cut off in its header": (gzip.compress(BODY)[:5], "end too early"),
    "a wrong checksum": (gzip.compress(BODY)[:-6] + b"broken", "not gzip"),
    "something after it": (gzip.compress(BODY) + b"more", "not gzip"),
    "half a second member": (gzip.compress(BODY) + gzip.compress(b" ")[:6], "end too early"),
    "too many members": (gzip.compress(BODY) + gzip.compress(b"") * MAX_GZIP_MEMBERS, "as one"),
}


@pytest.mark.parametrize(("content", "says"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_the_gzip_that_it_says_is_400(server: Running, content: bytes, says: str) -> None:
    response = post(server, content, "gzip")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "urn:dimerec:problem:malformed-gzip"
    assert [fault["field"] for fault in problem["errors"]] == ["body"]
    assert says in problem["detail"]


def test_an_empty_body_is_told_so_whatever_its_encoding(server: Running) -> None:
    for encoding in ("gzip", "br"):
        response = post(server, b"", encoding)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "body")
    assert server.client.get("/health/live", headers={"content-encoding": "br"}).status_code == 200


@pytest.mark.parametrize("encodings", [["br"], ["deflate"], ["zstd"], ["gzip", "gzip"], ["gzip, br"], ["x"]])
def test_other_encodings_are_refused_with_the_remedy(server: Running, encodings: list[str]) -> None:
    response = post(server, BODY, *encodings)
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip"
    assert response.json()["type"] == "urn:dimerec:problem:content-encoding-unsupported"
    assert "uncompressed" in response.json()["detail"]


def test_the_limit_holds_for_what_gzip_becomes(server: Running) -> None:
    limit = server.service.settings.max_body_bytes
    full = BODY + b" " * (limit - len(BODY))
    assert post(server, gzip.compress(full), "gzip").status_code == 200
    for bomb in (
        gzip.compress(full + b" "),
        gzip.compress(full) + gzip.compress(b" "),
        gzip.compress(b" " * 200_000_000, 1),
    ):
        assert len(bomb) < limit
        response = post(server, bomb, "gzip")
        assert response.status_code == 413
        assert "decompressed" in response.json()["detail"]
    padded = post(server, gzip.compress(BODY) + b"\0" * limit, "gzip")
    assert padded.status_code == 413
    server.answer(history=["1001"])


@given(st.binary(max_size=3000), st.lists(st.integers(1, 700), max_size=20), st.integers(0, 3500))
def test_decompression_stops_at_the_room_there_is(content: bytes, cuts: list[int], room: int) -> None:
    compressed = gzip.compress(content[:1000]) + gzip.compress(content[1000:])
    gunzip, found, start = Gunzip(), bytearray(), 0
    for size in [*cuts, len(compressed)]:
        piece = gunzip.feed(compressed[start : start + size], room - len(found))
        assert len(piece) <= room - len(found) + 1
        found += piece
        start += size
        if len(found) > room:
            assert len(content) > room
            assert found == content[: room + 1]
            return
    gunzip.finish()
    assert found == content


@pytest.mark.parametrize("path", ["/recommend/", "/health/live/", "/users/u/history/", "/console/"])
def test_no_path_is_redirected_to_a_host_that_the_caller_names(server: Running, path: str) -> None:
    for method in ("GET", "POST", "HEAD"):
        response = server.client.request(method, path, headers={"host": "evil.example.org"})
        assert response.status_code in (404, 405)
        assert "location" not in response.headers
        assert method == "HEAD" or response.status_code == 405 or "slash" in response.json()["detail"]


@pytest.mark.parametrize("proxy", ["keeps", "strips"])
def test_everything_works_under_a_prefix(serve: Serve, proxy: str) -> None:
    with (
        served_under_prefix(serve(root_path=PREFIX), strips=proxy == "strips") as url,
        httpx.Client(base_url=f"{url}/") as client,
    ):
        assert client.post("recommend", json={"history": ["1001"], "k": 2}).status_code == 200
        assert client.get("items/1001/similar?k=2").status_code == 200
        assert client.get("users/a%2Fb/history").json()["user_id"] == "a/b"
        assert client.head("health/ready").status_code == 200
        assert client.get("nowhere").json()["status"] == 404
        assert client.post("recommend/").status_code == 404
        described: dict[str, Any] = client.get("openapi.json").json()
        assert described["servers"] == [{"url": PREFIX}]
        files = re.findall(r'(?:href|src)="([^"#]+)"', client.get("").text)
        assert len(files) >= 4
        for file in files:
            assert not file.startswith("/")
            assert client.get(file).status_code == 200, file


@pytest.mark.parametrize(
    ("prefix", "path"), [("/r", "/recommend"), ("/e", "/events"), ("/recommen", "/recommend")]
)
def test_a_prefix_that_own_paths_begin_with_is_no_part_of_them(serve: Serve, prefix: str, path: str) -> None:
    server = serve(root_path=prefix)
    now = int(time.time() * 1000)
    bodies: dict[str, dict[str, Any]] = {
        "/recommend": {"history": ["1001"] * 1000, "k": 2},
        "/events": {
            "events": [{"user_id": "u", "item_id": "1001", "timestamp": now + n} for n in range(100)]
        },
    }
    assert len(json.dumps(bodies[path])) > MAX_UNREAD_BYTES
    for asked in (path, prefix + path):  # of a proxy that strips the prefix, of one that keeps it
        answered = server.client.post(asked, json=bodies[path])
        assert answered.status_code == 200, (asked, answered.text)


def test_the_prefix_alone_leads_to_the_console_whatever_host_is_named(serve: Serve) -> None:
    server = serve(root_path=PREFIX)
    for method in ("GET", "HEAD"):
        response = server.client.request(method, f"{PREFIX}?k=5", headers={"host": "evil.example.org"})
        assert (response.status_code, response.headers["location"]) == (307, f"{PREFIX}/?k=5")
    assert server.client.post(PREFIX).status_code == 404
    assert server.client.get(f"{PREFIX}x/version").status_code == 404
    assert server.client.get("/version").status_code == 200
    route = server.metric("dimerec_requests_total", method="GET", route="/version", status="200")
    server.client.get(f"{PREFIX}/version")
    assert server.metric("dimerec_requests_total", method="GET", route="/version", status="200") == route + 1


def test_a_prefix_that_is_the_services_own_path_is_refused(server: Running, bundle_root: Path) -> None:
    own = {path.split("/")[1] for path in paths_of_gets(server)} - {"", "openapi.json"} | {
        "recommend",
        "admin",
    }
    assert {"console", "health", "users"} <= own
    for first in own:
        with pytest.raises(StartupError, match=f"DIMEREC_ROOT_PATH .* /{first}: use another"):
            create_app(settings_for(bundle_root, root_path=f"/{first}/x"))


def test_an_idle_connection_is_kept_as_long_as_the_setting_says(bundle_root: Path, tmp_path: Path) -> None:
    request = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with process(tmp_path, "--bundles", bundle_root, DIMEREC_KEEP_ALIVE_S="1") as served:
        address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=30) as caller:
            caller.sendall(request)
            received = b"".join(iter(lambda: caller.recv(65536), b""))
            assert received.startswith(b"HTTP/1.1 200")
