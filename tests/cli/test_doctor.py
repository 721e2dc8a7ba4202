"""`dimerec doctor`: each fault in plain words with its remedy, and never a secret."""

import json
import os
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from service.access.keys import create_key
from service.access.roles import Role
from service.doctor.machine import examine_ports, examine_threads
from service.settings import Settings
from tests.cli.conftest import Finished, Run
from tests.factories import publish_tiny_bundle
from tests.redis_server import RedisServer, free_port
from tests.service.serving import running, settings_for

SECRET = "hunter2-4711"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but a test's own, from the environment or from a `.env`."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("DIMEREC_", "OMP_", "OTEL_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def good_redis() -> Iterator[RedisServer]:
    """As docker-compose.yml sets it up."""
    server = RedisServer("--maxmemory", "64mb", "--maxmemory-policy", "volatile-ttl", durable=True).start()
    with redis.Redis(port=server.port) as client:
        client.config_set("requirepass", SECRET)
    yield server
    server.close()


@pytest.fixture
def bad_redis() -> Iterator[RedisServer]:
    """One that a test spoils."""
    server = RedisServer().start()
    yield server
    server.close()


def examined(done: Finished) -> dict[str, list[tuple[str, str, str]]]:
    """Part → its findings, as verdict, fact and remedy."""
    assert SECRET not in done.out + done.err
    document = json.loads(done.out)
    parts: dict[str, list[tuple[str, str, str]]] = {}
    for finding in document["findings"]:
        assert set(finding) == {"part", "verdict", "fact", "remedy"}
        assert bool(finding["remedy"]) == (finding["verdict"] != "fine")
        parts.setdefault(finding["part"], []).append((finding["verdict"], finding["fact"], finding["remedy"]))
    verdicts = [verdict for findings in parts.values() for verdict, _, _ in findings]
    assert document["fine"] == ("wrong" not in verdicts)
    assert done.code == (0 if document["fine"] else 1)
    return parts


def found(done: Finished, part: str, *words: str) -> str:
    """The verdict of the one finding of a part whose fact has these words."""
    facts = [(verdict, fact) for verdict, fact, _ in examined(done)[part]]
    (verdict,) = [verdict for verdict, fact in facts if all(word in fact for word in words)] or [str(facts)]
    return verdict


def test_where_all_is_well_it_says_so(
    dimerec: Run, good_redis: RedisServer, bundle_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMEREC_REDIS_URL", good_redis.url.replace("//", f"//:{SECRET}@"))
    monkeypatch.setenv("DIMEREC_HISTORY_TIMEOUT_S", "10")
    monkeypatch.setenv("DIMEREC_DEFAULT_DEADLINE_MS", "20000")
    options = ("--bundles", bundle_root, "--port", free_port())
    done = dimerec("doctor", *options, "--json")
    parts = examined(done)
    assert done.code == 0
    expected = ["configuration", "bundle", "redis", "ports", "limits", "threads", "tracing", "packages"]
    assert list(parts) == expected
    assert {verdict for part in parts.values() for verdict, _, _ in part} == {"fine", "note"}
    notes = [fact for part in parts.values() for verdict, fact, _ in part if verdict == "note"]
    assert len(notes) == 1
    assert "nothing to roll back to" in notes[0]
    with redis.Redis(port=good_redis.port, password=SECRET) as client:
        assert client.dbsize() == 0
    table = dimerec("doctor", *options)
    assert table.code == 0
    assert all(part in table.out for part in parts)


@pytest.mark.parametrize(
    ("setting", "value", "verdict", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "wrong", ("allkeys-lru", "active users")),
        ("maxmemory-policy", "volatile-random", "wrong", ("volatile-random",)),
        ("maxmemory-policy", "noeviction", "note", ("noeviction", "refuses")),
        ("maxmemory", "0", "wrong", ("no limit of memory",)),
        ("save", "", "wrong", ("restart loses every history",)),
        ("save", "60 1", "note", ("snapshots only", "60 1")),
        ("maxclients", "40", "wrong", ("40 connections", "64")),
        ("maxclients", "80", "wrong", ("80 connections", "may open 94", "16 for rates", "11 for the cat")),
    ],
)
def test_a_redis_with_a_bad_set_up_is_told(
    dimerec: Run, bad_redis: RedisServer, setting: str, value: str, verdict: str, words: tuple[str, ...]
) -> None:
    with redis.Redis(port=bad_redis.port) as client:
        client.config_set("maxmemory", "64mb")
        client.config_set("maxmemory-policy", "volatile-ttl")
        client.config_set(setting, value)
    done = dimerec("doctor", "--redis", bad_redis.url, "--json")
    assert found(done, "redis", *words) == verdict


def test_a_spool_needs_connections_of_its_own(
    dimerec: Run, bad_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMEREC_SPOOL", str(tmp_path / "spool"))
    with redis.Redis(port=bad_redis.port) as client:
        client.config_set("maxclients", "150")
    done = dimerec("doctor", "--redis", bad_redis.url, "--json")
    assert found(done, "redis", "150 connections", "may open 158", "64 for the spool") == "wrong"


def test_certificates_of_redis_that_cannot_be_read_are_told_and_the_rest_is_still_examined(
    dimerec: Run, tmp_path: Path
) -> None:
    address = f"rediss://:{SECRET}@127.0.0.1:{free_port()}/0?ssl_ca_certs={tmp_path / 'none.pem'}"
    done = dimerec("doctor", "--redis", address, "--json")
    assert found(done, "redis", "certificates that cannot be read") == "wrong"
    assert "packages" in examined(done)


def fill(client: redis.Redis, key: str, seconds: int) -> None:
    """Let a key hold 2 MB that are not sent: of a long command Redis keeps as much again for a while."""
    client.setrange(key, 2_000_000, b"x")
    client.expire(key, seconds)


def test_a_redis_that_is_nearly_full_or_has_dropped_keys_is_told(
    dimerec: Run, bad_redis: RedisServer
) -> None:
    with redis.Redis(port=bad_redis.port) as client:
        client.config_set("maxmemory-policy", "volatile-ttl")
        fill(client, "long ago", seconds=100)
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 150_000)
        full = dimerec("doctor", "--redis", bad_redis.url, "--json")
        fill(client, "now", seconds=1_000)
        assert client.exists("long ago") == 0
    assert found(full, "redis", "MB are in use") == "wrong"
    evicted = dimerec("doctor", "--redis", bad_redis.url, "--json")
    assert found(evicted, "redis", "has dropped", "keys for want of memory") == "note"


def test_a_redis_that_refuses_writes_or_hides_its_set_up_is_told(
    dimerec: Run, bad_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis(port=bad_redis.port) as client:
        client.execute_command(
            "ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@read", "+ping", "+hello"
        )
    monkeypatch.setenv("DIMEREC_REDIS_URL", bad_redis.url.replace("//", f"//reader:{SECRET}@"))
    done = dimerec("doctor", "--json")
    assert found(done, "redis", "cannot be written", "permission") == "wrong"
    assert found(done, "redis", "cannot be seen") == "note"


def test_a_replica_is_told(dimerec: Run, bad_redis: RedisServer) -> None:
    with redis.Redis(port=bad_redis.port) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    done = dimerec("doctor", "--redis", bad_redis.url, "--json")
    assert found(done, "redis", "replica", "takes no events") == "wrong"
    assert found(done, "redis", "cannot be written") == "wrong"


@pytest.mark.parametrize("address", ["redis://:{}@127.0.0.1:{}/0", "redis://other:{}@127.0.0.1:{}/0"])
def test_a_password_is_never_shown(
    dimerec: Run, good_redis: RedisServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_password = SECRET[::-1]
    for password, port in ((wrong_password, good_redis.port), (SECRET, free_port())):
        monkeypatch.setenv("DIMEREC_REDIS_URL", address.format(password, port))
        for options in (("--json",), ()):
            done = dimerec("doctor", *options)
            assert done.code == 1
            assert SECRET not in done.out + done.err
            assert wrong_password not in done.out + done.err
            assert "Redis" in done.out
    monkeypatch.setenv("DIMEREC_REDIS_URL", f"redis://:{SECRET}@host/no/number")
    assert found(dimerec("doctor", "--json"), "configuration", "DIMEREC_REDIS_URL") == "wrong"


def test_settings_that_cannot_be_read_are_all_named_and_the_rest_is_still_examined(
    dimerec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMEREC_PORT", "many")
    monkeypatch.setenv("DIMEREC_MAX_BATCH", "0")
    done = dimerec("doctor", "--json")
    assert found(done, "configuration", "DIMEREC_PORT", "DIMEREC_MAX_BATCH") == "wrong"
    assert "packages" in examined(done)


@pytest.mark.parametrize(
    ("variables", "verdict", "words"),
    [
        ({"ALLOW_ANONYMOUS": "false"}, "wrong", ("nobody is served",)),
        ({"HOST": "0.0.0.0"}, "wrong", ("lets others in",)),
        ({"HOST": "0.0.0.0", "ALLOW_ANONYMOUS": "true"}, "note", ("OPEN WITHOUT A KEY",)),
        ({"HISTORY_TTL_S": "3600"}, "note", ("DIMEREC_HISTORY_TTL_S does nothing",)),
        ({"CATALOGUE_MAX_STALENESS_S": "30"}, "note", ("does nothing without DIMEREC_REDIS_URL",)),
        ({"CATALOGUE_REDIS_REPLICAS": "1"}, "note", ("does nothing without DIMEREC_REDIS_URL",)),
        ({"STANDING_QUEUE_MS": "2000"}, "note", ("is not below",)),
        ({"MAX_QUEUE": "8"}, "note", ("DIMEREC_MAX_BATCH", "DIMEREC_MAX_QUEUE")),
    ],
)
def test_settings_that_contradict_each_other_are_told(
    dimerec: Run,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    verdict: str,
    words: tuple[str, ...],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"DIMEREC_{name}", value)
    assert found(dimerec("doctor", "--json"), "configuration", *words) == verdict


def test_settings_of_the_store_that_is_not_in_use_are_told(
    dimerec: Run, bad_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMEREC_HISTORY_MAX_USERS", "5")
    monkeypatch.setenv("DIMEREC_HISTORY_TIMEOUT_S", "3")
    done = dimerec("doctor", "--redis", bad_redis.url, "--json")
    assert found(done, "configuration", "DIMEREC_HISTORY_MAX_USERS does nothing") == "note"
    assert found(done, "configuration", "DIMEREC_HISTORY_TIMEOUT_S", "1000 ms") == "note"


def test_a_broken_file_of_keys_is_told(dimerec: Run) -> None:
    create_key(Path("keys.json"), "one", [Role.READ])
    assert found(dimerec("doctor", "--json"), "configuration", "1 key in keys.json") == "fine"
    Path("keys.json").write_text("{")
    assert found(dimerec("doctor", "--json"), "configuration", "keys.json") == "wrong"


def test_a_secret_in_a_file_that_others_can_read_is_told(dimerec: Run) -> None:
    path = Path(".env")
    path.write_text(f"DIMEREC_REDIS_URL=redis://:{SECRET}@127.0.0.1:{free_port()}/0\n")
    path.chmod(0o644)
    assert found(dimerec("doctor", "--json"), "configuration", ".env can be read by others") == "note"
    path.chmod(0o600)
    assert not [
        fact for _, fact, _ in examined(dimerec("doctor", "--json"))["configuration"] if ".env" in fact
    ]
    path.chmod(0o640)
    assert ".env can be read" not in dimerec("doctor", "--json").out


@pytest.mark.parametrize("text", ["DIMEREC_MAX_BATCH=8\n", "DIMEREC_REDIS_URL=\n"])
def test_a_file_that_others_can_read_without_a_secret_is_no_matter(
    dimerec: Run, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    Path(".env").write_text(text)
    Path(".env").chmod(0o644)
    monkeypatch.setenv("DIMEREC_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:{free_port()}/0")
    assert ".env can be read" not in dimerec("doctor", "--json").out


def test_what_is_wrong_with_the_bundle_is_told(dimerec: Run, tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    assert found(dimerec("doctor", "--json"), "bundle", "bundles") == "wrong"
    older, newer = publish_tiny_bundle(root), publish_tiny_bundle(root, seed=1)
    done = dimerec("doctor", "--json")
    assert found(done, "bundle", newer, "200 items") == "fine"
    assert older not in done.out
    (root / newer / "index.faiss").write_bytes(b"short")
    assert found(dimerec("doctor", "--json"), "bundle", "index.faiss") == "wrong"
    shutil.rmtree(root / newer)
    assert found(dimerec("doctor", "--json"), "bundle", newer) == "wrong"


def test_a_taken_port_is_told_unless_a_service_of_ours_has_it(dimerec: Run, bundle_root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert found(dimerec("doctor", "--port", port, "--json"), "ports", str(port), "in use") == "wrong"
    with running(settings_for(bundle_root)) as server:
        (finding,) = examine_ports(Settings(_env_file=None, port=server.port))
    assert (finding.verdict, "answers already" in finding.fact) == ("note", True)


def test_a_spool_that_cannot_be_written_or_has_no_room_is_told(
    dimerec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIMEREC_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("DIMEREC_SPOOL", str(tmp_path / "new" / "spool"))
    assert found(dimerec("doctor", "--json"), "spool", "MB are free") == "fine"
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("DIMEREC_SPOOL_MAX_BYTES", str(1 << 40))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    assert found(dimerec("doctor", "--json"), "spool", "MB are free") == "wrong"
    (tmp_path / "new" / "spool").mkdir(parents=True)
    with (tmp_path / "new" / "spool" / "spool.db").open("wb") as file:
        file.truncate((1 << 40) - (1 << 30))
    assert found(dimerec("doctor", "--json"), "spool", "1,074 MB are free", "1,074 MB") == "fine"
    shutil.rmtree(tmp_path / "new")
    (tmp_path / "new").write_text("no directory")
    assert found(dimerec("doctor", "--json"), "spool", "cannot be written") == "wrong"


def test_too_few_open_files_are_told(dimerec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(dimerec("doctor", "--json"), "limits", "4,096 connections") == "fine"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    assert found(dimerec("doctor", "--json"), "limits", "1,024 open files", "896") == "wrong"


def test_more_threads_than_cores_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    limit = tmp_path / "cpu.max"

    def verdict(cpu_max: str, **settings: object) -> tuple[str, str]:
        limit.write_text(cpu_max)
        chosen = Settings(_env_file=None, redis_url="redis://cache/0", **settings)  # type: ignore[arg-type]
        (finding,) = examine_threads(chosen, limit)
        return finding.verdict, finding.remedy

    assert verdict("max 100000", workers=4) == ("fine", "")
    assert verdict("max 100000", workers=4, compute_threads=3) == ("wrong", "DIMEREC_COMPUTE_THREADS=2")
    assert verdict("200000 100000", workers=1) == ("wrong", "DIMEREC_COMPUTE_THREADS=2")
    assert verdict("50000 100000", workers=1, compute_threads=1) == ("fine", "")
    assert verdict("100000 100000", workers=4, compute_threads=1) == (
        "wrong",
        "DIMEREC_COMPUTE_THREADS=1 and DIMEREC_WORKERS=1",
    )
    limit.unlink()
    (finding,) = examine_threads(Settings(_env_file=None), limit)
    assert finding.verdict == "fine"


def test_without_faiss_it_says_how_to_get_one(
    dimerec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_tiny_bundle(tmp_path / "bundles")
    monkeypatch.setitem(sys.modules, "faiss", None)
    done = dimerec("doctor", "--json")
    assert found(done, "bundle", "pip install 'dimerec-serve[cpu]'") == "wrong"


def test_what_keeps_traces_from_being_sent_is_told(dimerec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(dimerec("doctor", "--json"), "tracing", "off") == "fine"
    port = free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:{SECRET}@127.0.0.1:{port}")
    assert (
        found(dimerec("doctor", "--json"), "tracing", f"nobody listens at 127.0.0.1 port {port}") == "wrong"
    )
    with socket.create_server(("127.0.0.1", port)):
        assert found(dimerec("doctor", "--json"), "tracing", "on") == "fine"
    monkeypatch.setitem(sys.modules, "service.otel", None)
    assert found(dimerec("doctor", "--json"), "tracing", "dimerec-serve[tracing]") == "wrong"
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    assert found(dimerec("doctor", "--json"), "tracing", "OTEL_TRACES_EXPORTER") == "wrong"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, ("OTEL_… variables: max_queue_size",)),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x"}, ("OTEL_… variables: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a..b:4318"}, ("a..b",)),
    ],
)
def test_variables_of_traces_that_cannot_be_meant_are_told(
    dimerec: Run, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = dimerec("doctor", "--json")
    assert found(done, "tracing", *words) == "wrong"
    assert "packages" in examined(done)


def test_a_propagator_that_is_not_there_ends_serve_and_doctor_in_plain_words(
    dimerec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "b3")
    monkeypatch.delitem(sys.modules, "opentelemetry.propagate")  # whose import looks for them
    assert found(dimerec("doctor", "--json"), "tracing", "OTEL_PROPAGATORS", "b3") == "wrong"
    refused = dimerec("serve", "--port", "0")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "OTEL_PROPAGATORS: Propagator b3 not found" in refused.err
