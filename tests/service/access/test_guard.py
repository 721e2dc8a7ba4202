"""Who may do what: over real HTTP, route by route."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter

from service.access import guard
from service.access.keyring import Keyring
from service.access.keys import create_key, revoke_key
from service.access.loopback import is_loopback
from service.access.roles import ANONYMOUS, ROLES, Role, RouteRoles
from service.errors import KeysError, StartupError
from service.routes import recommend
from tests.service.access.conftest import ELSEWHERE, bearer, call, problem
from tests.service.conftest import Serve
from tests.service.serving import AUTHORIZED, KEY, Running, write_keys

GUARDED = {route: role for route, role in ROLES.items() if role is not None}
OPEN = [route for route, role in ROLES.items() if role is None]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with a key for each role, named and written as the role, and one for none but metrics."""
    path = tmp_path / "keys.json"
    write_keys(path, **{role: (f"dimerec_{role}", role) for role in Role})
    return path


def test_every_route_has_a_role(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    console = {"GET /", "GET /console/{name}", "GET /console/settings.json", "GET /openapi.json"}
    assert described | console == set(ROLES)


def test_no_service_starts_with_a_route_that_has_none() -> None:
    router = APIRouter()
    router.add_api_route("/unguarded", lambda: None)
    with pytest.raises(StartupError, match="GET /unguarded has no role"):
        RouteRoles([*recommend.router.routes, *router.routes])


@pytest.mark.parametrize("route", GUARDED)
def test_a_route_is_for_keys_with_its_role_and_for_no_other(
    server: Running, serve: Serve, keys: Path, route: str
) -> None:
    role = GUARDED[route]
    guarded = serve(keys_file=keys)
    for other in Role:
        answer = call(guarded, route, bearer(f"dimerec_{other}"))
        if other == role:
            assert answer.status_code not in (401, 403), answer.text
        else:
            assert (answer.status_code, problem(answer)) == (403, "role-missing")
            assert f"role {role}" in answer.json()["detail"]
    refused = call(guarded, route, ELSEWHERE)
    assert (refused.status_code, problem(refused)) == (401, "key-missing")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert f"role {role}" in refused.json()["detail"]


@pytest.mark.parametrize("route", OPEN)
def test_what_is_nobodys_own_needs_no_key(serve: Serve, route: str) -> None:
    server = serve(allow_anonymous=False)
    path = route.removeprefix("GET ").replace("{name}", "console.js")
    assert server.client.get(path, headers=ELSEWHERE).status_code == 200


@pytest.mark.parametrize("route", GUARDED)
def test_without_a_key_this_machine_may_do_most_and_never_administer(server: Running, route: str) -> None:
    answer = call(server, route, {})
    allowed = GUARDED[route] in {Role.READ, Role.WRITE, Role.USERS, Role.METRICS}
    assert (answer.status_code != 401) == allowed


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "x-forwarded-host", "X-FORWARDED-PROTO", "X-Real-IP", "Via"],
)
def test_what_a_proxy_passed_on_is_not_from_this_machine(server: Running, header: str) -> None:
    for value in ("127.0.0.1", "for=127.0.0.1", ""):
        answer = server.client.post("/recommend", json={"history": ["1001"]}, headers={header: value})
        assert (answer.status_code, problem(answer)) == (401, "key-missing")


def test_the_settings_say_from_where_anonymous_callers_are_served(serve: Serve) -> None:
    everywhere, nowhere = serve(allow_anonymous=True), serve(allow_anonymous=False)
    assert everywhere.client.get("/version", headers=ELSEWHERE).status_code == 200
    assert everywhere.client.post("/admin/reload", headers=ELSEWHERE).status_code == 401
    assert nowhere.client.get("/version").status_code == 401
    assert nowhere.client.get("/version", headers=AUTHORIZED).status_code == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_addresses_of_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["", "10.0.0.1", "::", "0.0.0.0", "localhost", "::ffff:10.0.0.1", "127.1"]
)
def test_addresses_of_others(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer   {KEY}"},
        {"x-api-key": KEY},
        {"x-api-key": KEY, "authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY, "authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_either_header_carries_the_key(server: Running, headers: dict[str, str]) -> None:
    assert server.client.get("/version", headers={**ELSEWHERE, **headers}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY[:-1]},
        {"x-api-key": KEY + "x"},
        {"x-api-key": KEY.upper()},
        {"authorization": "Bearer not-the-key-at-all"},
        {"x-api-key": KEY, "authorization": "Bearer another"},
    ],
)
def test_a_wrong_key_is_refused_even_where_none_is_needed(server: Running, headers: dict[str, str]) -> None:
    before = server.metric("dimerec_wrong_keys_total")
    for path in ("/version", "/health/live", "/admin/reload"):
        refused = server.client.get(path, headers=headers)
        assert (refused.status_code, problem(refused)) == (401, "key-unknown")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert KEY not in refused.text
    assert server.metric("dimerec_wrong_keys_total") == before + 3


def test_an_empty_header_and_another_scheme_are_no_key(server: Running) -> None:
    for headers in ({"x-api-key": ""}, {"authorization": "Bearer"}, {"authorization": f"Basic {KEY}"}):
        assert problem(server.client.get("/version", headers={**ELSEWHERE, **headers})) == "key-missing"
        assert server.client.get("/version", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/%61dmin/reload",
        "/admin%2Freload",
        "//admin/reload",
        "/admin/reload/",
        "/admin/./reload",
        "/x/../admin/reload",
        "/ADMIN/reload",
        "/admin/reload?x=/health/live",
        "/shop/admin/reload",
        "/shop/%61dmin/reload",
        "/users/a%2Fhistory/history",
        "/users/%2e%2e/history",
    ],
)
def test_no_way_of_writing_a_path_goes_past_the_guard(serve: Serve, path: str) -> None:
    server = serve(allow_anonymous=False, root_path="/shop")
    for method in ("GET", "POST", "HEAD", "DELETE"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            status = int(connection.recv(4096).split()[1])
        assert status in (401, 404, 405), (method, path)


def test_a_refusal_does_not_wait_for_the_body(serve: Serve) -> None:
    server = serve(allow_anonymous=False)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_a_change_of_the_file_counts_at_once_for_all_who_ask_later(serve: Serve, keys: Path) -> None:
    server = serve(keys_file=keys, allow_anonymous=False)
    clock = Clock(server, keys)
    made = create_key(keys, "new", [Role.READ])
    clock.pass_second()
    assert server.client.get("/version", headers=bearer(made)).status_code == 200
    revoke_key(keys, "new")
    clock.pass_second()
    assert problem(server.client.get("/version", headers=bearer(made))) == "key-unknown"


class Clock:
    """Time of a server's keyring, which only the test makes pass."""

    def __init__(self, server: Running, path: Path) -> None:
        self.now = 0.0
        self.keyring = server.service.keyring
        self.keyring._clock = lambda: self.now
        self.keyring._checked = 0.0

    def pass_second(self) -> None:
        self.now += 1.0


def test_a_file_that_breaks_keeps_the_keys_that_were_read(keys: Path) -> None:
    now = 0.0
    keyring = Keyring(keys, clock=lambda: now)
    keys.write_text("{")
    now = 1.0
    assert keyring.find("dimerec_read") is not None
    keys.unlink()
    now = 2.0
    assert keyring.find("dimerec_read") is None
    write_keys(keys, again=("dimerec_again", Role.READ))
    now = 2.5
    assert keyring.find("dimerec_again") is None, "the file is looked at once a second"
    now = 3.0
    found = keyring.find("dimerec_again")
    assert found is not None
    assert (found.name, *found.roles) == ("again", Role.READ)


def test_no_service_starts_with_a_broken_file(serve: Serve, keys: Path) -> None:
    keys.write_text('{"format_version": 1, "keys": [{"name": "x"}]}')
    with pytest.raises(KeysError, match=r"keys\.json is no file of keys: keys\[0\]\.roles"):
        serve(keys_file=keys)


def test_which_key_asked_is_in_the_metrics(serve: Serve, keys: Path) -> None:
    server = serve(keys_file=keys)
    server.client.get("/version", headers=bearer("dimerec_read"))
    server.client.get("/version", headers=bearer("dimerec_write"))
    server.client.get("/version", headers=bearer("dimerec_nobody"))
    server.client.get("/version")
    counted = {
        (key, status): server.metric("dimerec_key_requests_total", key=key, status=status)
        for key, status in (("read", "200"), ("write", "403"), ("wrong", "401"), ("anonymous", "200"))
    }
    assert counted.pop(("anonymous", "200")) == 2  # the first was the probe at the start
    assert set(counted.values()) == {1}


def test_a_wrong_key_waits_for_its_answer(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "DELAY_S", 0.3)
    began = time.monotonic()
    assert server.client.get("/version", headers=bearer("wrong")).status_code == 401
    assert time.monotonic() - began >= 0.3


def test_no_more_answers_wait_than_there_is_room_for(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "DELAY_S", 3600.0)
    monkeypatch.setattr(guard, "MAX_DELAYED", 0)
    assert server.client.get("/version", headers=bearer("wrong")).status_code == 401


def test_many_wrong_keys_lock_nobody_out(server: Running) -> None:
    with ThreadPoolExecutor(8) as callers:
        wrong = [
            callers.submit(httpx.get, f"{server.url}/version", headers=bearer(f"wrong {number}"))
            for number in range(40)
        ]
        right = [callers.submit(httpx.get, f"{server.url}/version", headers=AUTHORIZED) for _ in range(16)]
        assert {future.result().status_code for future in wrong} == {401}
        assert {future.result().status_code for future in right} == {200}


def test_the_document_says_which_key_a_route_needs(server: Running) -> None:
    document = server.client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            role = ROLES[f"{method.upper()} {path}"]
            assert ("security" in operation) == (role is not None)
            assert role is None or ({} in operation["security"]) == (role in ANONYMOUS)
