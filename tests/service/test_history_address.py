"""Redis addresses: what can be meant is read as meant, all else is one line that repeats nothing of it."""

from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from service.history.errors import HistoryUnavailableError, HistoryUrlError
from service.history.protocol import Event
from service.history.redis import RedisHistory
from service.redis_address import parse
from tests.redis_server import RedisServer

SECRET = "hunter2"


def refusal(url: str) -> str:
    with pytest.raises(HistoryUrlError, match=r"^redis url: [^\n]+$") as caught:
        parse(url)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "hosts", "database"),
    [
        ("redis://cache", [("cache", 6379)], 0),
        ("redis://cache/", [("cache", 6379)], 0),
        ("REDIS://my_cache-1.internal.:6380/15", [("my_cache-1.internal.", 6380)], 15),
        ("redis://127.0.0.1:6411?db=3", [("127.0.0.1", 6411)], 3),
        ("redis://[::1]/2", [("::1", 6379)], 2),
        ("redis://[fe80::1%25eth0]:7000", [("fe80::1%eth0", 7000)], 0),
        ("redis+sentinel://a,b:5/my-master.1/4", [("a", 26379), ("b", 5)], 4),
        ("redis+cluster://a,[::1]:7001,b/0", [("a", 6379), ("::1", 7001), ("b", 6379)], 0),
    ],
)
def test_hosts_ports_and_databases(url: str, hosts: list[tuple[str, int]], database: int) -> None:
    address = parse(url)
    assert (list(address.hosts), address.database) == (hosts, database)


def test_sockets_tls_services_and_options() -> None:
    unix = parse("unix://me:pw@/run/a%40b.sock?db=2&protocol=2")
    assert (unix.socket, unix.hosts, unix.database) == ("/run/a@b.sock", (), 2)
    assert (unix.credentials, unix.options) == ({"username": "me", "password": "pw"}, {"protocol": 2})
    assert (parse("redis+sentinel://a/m").service, parse("redis+sentinel://a/m").topology) == (
        "m",
        "sentinel",
    )
    assert [parse(f"{scheme}://a/0").tls for scheme in ("redis", "rediss", "rediss+cluster")] == [
        False,
        True,
        True,
    ]
    assert parse("rediss://a?ssl_ca_certs=%2Fca.pem").options == {"ssl_ca_certs": "/ca.pem"}


def test_nobody_is_named_by_empty_credentials() -> None:
    assert parse("redis://:@a").credentials == {}
    assert parse("redis://me:@a").credentials == {"username": "me"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://h:6411/0?timeout=5", "unknown option timeout: set DIMEREC_HISTORY_TIMEOUT_S"),
        ("redis://h:6411/0?ssl=true", "unknown option ssl: write rediss://"),
        ("redis://h:6411/0?decode_responses=true", "unknown option decode_responses"),
        ("redis://h?password=hunter2&un=ter2", "unknown option password: write redis://USER:PASSWORD@HOST"),
        ("redis://h?HUNTER2", "unknown option:"),
        ("redis://h?db=1&db=1", "db twice"),
        ("redis://h/1?db=1", "database twice"),
        ("redis://h?db=", "without a value"),
        ("redis://h?protocol=4", "neither 2 nor 3"),
        ("redis://h?ssl_ca_certs=/x", "write rediss://"),
        ("rediss://h?ssl_certfile=/x", "give both"),
        ("redis://h:6411/cache", "database that is no number"),
        ("redis://h:6411/3/x", "database that is no number"),
        ("redis://h:6411/-1", "database that is no number"),
        ("redis://h:6411/٣", "database that is no number"),
        ("unix:///a?db=x", "database that is no number"),
        ("redis+sentinel://h/m/zero", "database that is no number"),
        ("redis+sentinel://h/m/1/2", "database that is no number"),
        ("redis+cluster://h/1", "cluster has only number 0"),
        ("redis+sentinel://h", "names no service"),
        ("redis://:hunter2@h:6379:1/0", "too many colons"),
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://:hunter2/0", "names no host"),
        ("redis+cluster://a,,b", "names no host"),
        ("redis://hunter2@h", "a user without a password"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:", "port"),
        ("redis://user:hunter2", "port"),
        ("redis://[::1]x", "between the IPv6 address and the port"),
        ("redis://[h]", "no IPv6 address"),
        ("redis://fe80::1", "in brackets"),
        ("redis://6379/0", "neither a host name nor an IPv4 address"),
        ("redis://1.2.3.400", "neither a host name nor an IPv4 address"),
        ("redis://a..b", "neither a host name nor an IPv4 address"),
        ("redis://a,b", "redis+sentinel:// or redis+cluster://"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix+cluster:///a", "must begin with"),
        ("http://h", "must begin with"),
        ("h:6379", "must begin with"),
        ("redis+other://h", "must begin with"),
        ("", "must begin with"),
        ("redis://h/0\n", "blanks or control characters"),
        ("redis://:pa hunter2@h", "blanks or control characters"),
        ("redis://:\udcffhunter2@h", "blanks or control characters"),
        ("redis://:hunter2%@h", "% that begins no percent-encoding"),
        ("redis://:%ffhunter2@h", "no UTF-8"),
        ("redis://:p@ss/hunter2#rd@127.0.0.1:6411/0", "percent-encode"),
        ("redis://:hunter2#@h", "percent-encode"),
        ("redis://:12/hunter2@h", "percent-encode"),
        ("redis://user:12?hunter2=x@h", "percent-encode"),
        ("redis://:@hunter2@h", "percent-encode"),
        ("redis://h:6379/0#hunter2", "percent-encode"),
    ],
)
def test_what_cannot_be_meant_is_one_line_with_the_remedy(url: str, says: str) -> None:
    line = refusal(url)
    assert says in line
    assert SECRET not in line.lower()
    assert "ter2" not in line


@given(st.text(min_size=1), st.text())
@example("p@ss/w#rd?&=%:[]", "u@ser:")
@example("m", "")
def test_any_password_that_is_percent_encoded_is_read_as_it_is(password: str, username: str) -> None:
    try:
        encoded, user = quote(password, safe=""), quote(username, safe="")
    except UnicodeEncodeError:
        return
    for place in ("redis://{}@cache:1/2", "redis+sentinel://{}@a,cache:1/m/2", "unix://{}@/a?db=2"):
        address = parse(place.format(f"{user}:{encoded}"))
        other = parse(place.format(f"{user}:{quote(password + 'x', safe='')}"))
        assert repr(address) == repr(other)  # it shows nothing of the password, which "m" and "a" may be
        assert address.credentials.pop("username", "") == username
        assert address.credentials == {"password": password}
        assert address.database == 2


@given(st.text(alphabet=st.sampled_from("aZ09:@/#?&=%[], ;+\\é\t"), min_size=1, max_size=12))
@example("p@ss/w#rd")
def test_no_piece_of_a_password_is_ever_taken_for_something_else(password: str) -> None:
    try:
        address = parse(f"redis://:{password}@cache.internal:6379/4?protocol=2")
    except HistoryUrlError as error:
        fault = error.fault
    else:
        fault = ""
    assert not set(fault) & set("Z9é")  # letters of passwords alone, that no message has
    if fault:
        return
    assert address.hosts == (("cache.internal", 6379),)
    assert (address.database, address.options) == (4, {"protocol": 2})
    assert address.credentials == {"password": unquote(password)}


def test_certificates_are_read_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    for path in (broken, tmp_path / "absent.pem"):
        with pytest.raises(HistoryUrlError, match=r"certificates that cannot be read \([^)]+\)"):
            RedisHistory.from_url(f"rediss://h?ssl_ca_certs={path}")


@pytest.mark.parametrize("protocol", [2, 3])
async def test_an_awkward_password_opens_a_server(redis_server: RedisServer, protocol: int) -> None:
    password = "p@ss/w#rd?&=%:[] é"
    url = f"redis://:{quote(password, safe='')}@127.0.0.1:{redis_server.port}/3?protocol={protocol}"
    with redis.Redis(port=redis_server.port) as raw:
        raw.config_set("requirepass", password)
        try:
            store = RedisHistory.from_url(url, timeout_s=5.0)
            await store.append("u", [Event("a", 1)])
            assert await store.read("u", 9) == [Event("a", 1)]
            await store.close()
        finally:
            raw.config_set("requirepass", "")


@pytest.mark.parametrize("credentials", ["", ":wrong-hunter2@", "nobody:hunter2@"])
async def test_a_server_that_refuses_the_password_is_unavailable(
    redis_server: RedisServer, credentials: str
) -> None:
    with redis.Redis(port=redis_server.port) as raw:
        raw.config_set("requirepass", "right")
        try:
            store = RedisHistory.from_url(
                f"redis://{credentials}127.0.0.1:{redis_server.port}", timeout_s=5.0
            )
            with pytest.raises(
                HistoryUnavailableError, match=r"^Redis refuses the user or password"
            ) as caught:
                await store.read("u", 9)
            assert SECRET not in str(caught.value)
            await store.close()
        finally:
            raw.config_set("requirepass", "")
