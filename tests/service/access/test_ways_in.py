"""The ways to the service: names, pages of others, proxies, ports, headers, HTTPS."""

import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.access.headers import SECURITY
from service.access.loopback import is_loopback
from service.access.roles import ROLES
from service.access.settings import AccessSettings
from service.doctor.machine import examine_ports
from service.errors import StartupError
from service.settings import Settings, read_settings
from tests.service.access.conftest import ELSEWHERE, call, problem
from tests.service.conftest import Serve
from tests.service.processes import process
from tests.service.serving import AUTHORIZED, Running

PAGE = "https://app.example.org"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000"])
def test_this_machine_has_its_own_names(server: Running, host: str) -> None:
    assert server.client.get("/version", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:80:80", "a b", "127.1"],
)
def test_by_another_name_nobody_is_of_this_machine(server: Running, host: str) -> None:
    refused = server.client.get("/version", headers={"host": host})
    assert (refused.status_code, problem(refused)) == (401, "key-missing")
    assert server.client.get("/version", headers={"host": host, **AUTHORIZED}).status_code == 200


def test_the_settings_say_which_names_count(serve: Serve) -> None:
    server = serve(allowed_hosts=("reco.example.org", "*.internal"))
    for path in ("/health/live", "/health/ready"):
        assert server.client.get(path, headers={"host": "10.1.2.3:8000"}).status_code == 200
    for host, status in {
        "reco.example.org": 200,
        "a.b.internal:8000": 200,
        "localhost": 200,
        "example.org": 400,
        "internal": 400,
    }.items():
        answer = server.client.get("/version", headers={"host": host, **AUTHORIZED})
        assert answer.status_code == status, host
    refused = server.client.get("/version", headers={"host": "example.org", **AUTHORIZED})
    assert problem(refused) == "host-refused"
    assert "DIMEREC_ALLOWED_HOSTS" in refused.json()["detail"]


def preflight(server: Running, origin: str, path: str = "/recommend") -> httpx.Response:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return server.client.options(path, headers=asked)


def test_pages_of_other_origins_get_nothing(server: Running) -> None:
    assert preflight(server, PAGE).status_code == 405
    answer = server.client.get("/version", headers={"origin": PAGE})
    assert not any(name.startswith("access-control-") for name in answer.headers)


def test_pages_of_origins_that_are_named_may_call(serve: Serve) -> None:
    server = serve(cors_origins=(PAGE,))
    allowed = preflight(server, PAGE)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert {"authorization", "content-type"} <= set(
        allowed.headers["access-control-allow-headers"].lower().split(", ")
    )
    assert preflight(server, "https://evil.example").status_code == 400
    headers = {"origin": PAGE, **ELSEWHERE}
    answer = server.client.post("/recommend", json={"history": ["1001"]}, headers={**headers, **AUTHORIZED})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers
    refused = server.client.post("/recommend", json={"history": ["1001"]}, headers=headers)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_every_answer_has_the_headers_that_keep_browsers_careful(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(allowed_hosts=())
    answers = [call(server, route, AUTHORIZED) for route in ROLES]
    answers += [call(server, route, ELSEWHERE) for route in ROLES]
    answers += [server.client.get("/nowhere"), server.client.get("/version", headers={"host": "evil"})]
    monkeypatch.setattr(server.service.metrics, "exposition", lambda: 1 / 0)
    failed = server.client.get("/metrics")
    assert failed.status_code == 500
    for answer in [*answers, failed]:
        assert set(SECURITY) <= set(answer.headers), answer.url
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        names = [name for name, _ in answer.headers.multi_items()]
        assert len(names) == len(set(names)), answer.url


@pytest.mark.parametrize(
    ("forwarded", "caller"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 127.0.0.1", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_only_a_proxy_that_is_trusted_says_who_calls(serve: Serve, forwarded: str, caller: str) -> None:
    headers = {"x-forwarded-for": forwarded}
    for trusted, seen in ((("127.0.0.0/8",), caller), (("10.0.0.0/8",), "127.0.0.1"), (None, "127.0.0.1")):
        server = serve(trusted_proxies=trusted, allow_anonymous=True)
        assert caller_of(server, headers) == seen


def test_a_key_is_who_calls_wherever_from(server: Running) -> None:
    assert caller_of(server, AUTHORIZED) == "everything"
    assert is_loopback(caller_of(server, {}))


def caller_of(server: Running, headers: dict[str, str]) -> str:
    """By whom a request's share is counted."""
    callers: list[str] = []
    answer = server.app.middleware_stack
    assert answer is not None

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
        callers.append(scope["state"]["caller"])

    server.app.middleware_stack = noting
    assert server.client.get("/version", headers=headers).status_code == 200
    server.app.middleware_stack = answer
    return callers[-1]


@pytest.mark.parametrize("workers", [1, 2])
def test_operators_have_a_port_of_their_own(
    bundle_root: Path, tmp_path: Path, redis_url: str, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--bundles", bundle_root, "--redis", redis_url, "--workers", workers)
    with process(tmp_path, *options, DIMEREC_ADMIN_PORT=str(port)) as served:
        inside = f"http://127.0.0.1:{port}"
        for path in ("/", "/metrics", "/console/console.js", "/console/settings.json"):
            assert httpx.get(inside + path).status_code == 200, path
            answer = httpx.get(served.url + path)
            assert (answer.status_code, problem(answer)) == (404, "not-found"), path
        assert httpx.post(f"{served.url}/admin/reload").status_code == 404
        assert httpx.post(f"{inside}/admin/reload").status_code == 401
        for url in (inside, served.url):
            assert httpx.post(f"{url}/recommend", json={"history": ["1001"]}).status_code == 200
            assert httpx.get(f"{url}/health/ready").status_code == 200


def test_https_by_a_certificate_of_the_settings(bundle_root: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    variables = {"DIMEREC_TLS_CERTIFICATE": str(certificate), "DIMEREC_TLS_KEY": str(key)}
    with process(tmp_path, "--bundles", bundle_root, before=None, **variables) as served:
        assert served.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(certificate))
        assert httpx.get(f"{served.url}/version", verify=context).status_code == 200
        ready = subprocess.run(
            ["python3", "docker/ready.py", served.url.rpartition(":")[2]],
            env={**variables, "PATH": "/usr/bin:/bin"},
            cwd=Path(__file__).parents[3],
            check=False,
        )
        assert ready.returncode == 0
        port = int(served.url.rpartition(":")[2])
        chosen = Settings(_env_file=None, port=port, tls_certificate=certificate, tls_key=key)
        assert [finding.verdict for finding in examine_ports(chosen)] == ["note"]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"TLS_KEY": "key.pem"}, "belong together"),
        ({"TLS_KEY": "nothing.pem", "TLS_CERTIFICATE": "nothing.pem"}, "No such file"),
        ({"TLS_KEY": "keys.json", "TLS_CERTIFICATE": "keys.json"}, "PEM"),
        ({"ALLOWED_HOSTS": "http://reco.example.org"}, "DIMEREC_ALLOWED_HOSTS must be"),
        ({"ALLOWED_HOSTS": "reco.example.org:8000"}, "DIMEREC_ALLOWED_HOSTS must be"),
        ({"ALLOWED_HOSTS": "a*.example.org"}, "DIMEREC_ALLOWED_HOSTS must be"),
        ({"CORS_ORIGINS": "app.example.org"}, "DIMEREC_CORS_ORIGINS must be"),
        ({"CORS_ORIGINS": "https://app.example.org/page"}, "DIMEREC_CORS_ORIGINS must be"),
        ({"TRUSTED_PROXIES": "proxy.example.org"}, "DIMEREC_TRUSTED_PROXIES must be"),
        ({"TRUSTED_PROXIES": "*"}, "DIMEREC_TRUSTED_PROXIES must be"),
        ({"PORT": "8000", "ADMIN_PORT": "8000"}, "DIMEREC_ADMIN_PORT"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keys.json").write_text("{}")
    for name, value in variables.items():
        monkeypatch.setenv(f"DIMEREC_{name}", value)
    with pytest.raises(StartupError, match=r"^settings: [^\n]+$") as refused:
        read_settings()
    assert says in str(refused.value)


def test_lists_are_joined_by_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIMEREC_ALLOWED_HOSTS", "reco.example.org, *.internal,[fd00::1],")
    monkeypatch.setenv("DIMEREC_TRUSTED_PROXIES", "10.0.0.7,fd00::/8")
    settings: AccessSettings = read_settings()
    assert settings.allowed_hosts == ("reco.example.org", "*.internal", "[fd00::1]")
    assert settings.trusted_proxies == ("10.0.0.7", "fd00::/8")
