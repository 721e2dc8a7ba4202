"""Settings: from the environment and `.env`, checked, and never echoed."""

from pathlib import Path

import pytest

from service.errors import StartupError
from service.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIMEREC_{name.upper()}", raising=False)


def test_environment_beats_dotenv_and_overrides_beat_both(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "DIMEREC_PORT=9001\nDIMEREC_HOST=0.0.0.0\nDIMEREC_MAX_BATCH=3\nSOMETHING_ELSE=1\n"
    )
    monkeypatch.setenv("DIMEREC_PORT", "9002")
    monkeypatch.setenv("DIMEREC_MAX_BATCH", "4")
    settings = read_settings(max_batch=5, host=None)
    assert (settings.host, settings.port, settings.max_batch) == ("0.0.0.0", 9002, 5)


def test_every_setting_is_described_and_has_a_default() -> None:
    assert all(field.description and not field.is_required() for field in Settings.model_fields.values())


def test_secrets_do_not_show_in_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMEREC_REDIS_URL", "redis://:hunter2@cache:6379/0")
    assert "hunter2" not in repr(read_settings())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("MAX_BATCH", "0"),
        ("MAX_QUEUE", "-1"),
        ("HISTORY_TIMEOUT_S", "nan"),
        ("HISTORY_TIMEOUT_S", "inf"),
        ("DEVICE", "tpu; rm"),
        ("LOG_LEVEL", "loud"),
        ("MAX_BODY_BYTES", "10"),
        ("EVENT_TYPES", "skip"),
        ("EVENT_TYPES", "skip=bad"),
        ("EVENT_TYPES", "=negative"),
        ("EVENT_TYPES", "a b=negative"),
        ("EVENT_TYPES", "skip=negative,skip=positive"),
        ("EVENT_TYPES", ",".join(f"t{number}=ignored" for number in range(65))),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"DIMEREC_{variable}", value)
    with pytest.raises(StartupError, match=f"^settings: DIMEREC_{variable} [^\n]+$"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("DIMEREC_MAXBATCH", "did you mean DIMEREC_MAX_BATCH?"),
        ("DIMEREC_REDIS", "did you mean DIMEREC_REDIS_URL?"),
        ("dimerec_log_levle", "did you mean DIMEREC_LOG_LEVEL?"),
        ("DIMEREC__PORT", "did you mean DIMEREC_PORT?"),
        ("DIMEREC_ZZZ", "docs/configuration.md"),
        ("DIMREC_REDIS_URL", "did you mean DIMEREC_REDIS_URL?"),
        ("DIME_REC_KEYS_FILE", "did you mean DIMEREC_KEYS_FILE?"),
        ("DIMERECPORT", "did you mean DIMEREC_PORT?"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(StartupError, match=r"^settings: [^\n]+$") as refused:
        read_settings()
    assert f"{name} is no setting" in str(refused.value)
    assert remedy in str(refused.value)

    monkeypatch.delenv(name)
    Path(".env").write_text(f"# a comment\n\nDIMEREC_PORT=9001\n\nexport {name}=5\n")
    with pytest.raises(StartupError, match=f"[.]env line 5: {name} is no setting") as refused:
        read_settings()
    assert remedy in str(refused.value)


def test_all_misspelt_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMEREC_PROT", "1")
    monkeypatch.setenv("DIMEREC_HOSTS", "x")
    Path(".env").write_text("DIMEREC_DEVICES=cpu\n")
    with pytest.raises(StartupError, match=r"HOSTS.*PROT.*DEVICES"):
        read_settings()


def test_variables_of_other_commands_and_programs_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMEREC_SOURCE_REVISION", "0a1b2c3")
    monkeypatch.setenv("dimerec_port", "9003")
    Path(".env").write_text("PORT=1\nEXTRA\nnot a line of ours\nDIMEREC_SOURCE_REVISION=0\n")
    assert read_settings().port == 9003


def test_what_kubernetes_sets_of_services_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("DIMEREC_REDIS", "DIMEREC_WEB", "DIMEREC"):
        monkeypatch.setenv(f"{service}_SERVICE_HOST", "10.0.0.7")
        monkeypatch.setenv(f"{service}_SERVICE_PORT", "6379")
        monkeypatch.setenv(f"{service}_SERVICE_PORT_HTTP", "6379")
        monkeypatch.setenv(f"{service}_PORT", "tcp://10.0.0.7:6379")
        monkeypatch.setenv(f"{service}_PORT_6379_TCP", "tcp://10.0.0.7:6379")
        monkeypatch.setenv(f"{service}_PORT_6379_TCP_ADDR", "10.0.0.7")
    with pytest.raises(StartupError, match=r"^settings: DIMEREC_PORT was .*enableServiceLinks[^\n]*$"):
        read_settings()
    assert read_settings(port=9001).port == 9001
    monkeypatch.delenv("DIMEREC_PORT")
    assert read_settings().port == 8000


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_dotenv_with_a_byte_order_mark_is_read(newline: str) -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbf" + f"DIMEREC_PORT=9001{newline}".encode())
    assert read_settings().port == 9001


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("DIMEREC_PORT=9001\n".encode("utf-16"), "no UTF-8 text"),
        ("DIMEREC_PORT=9001\n".encode("utf-16-le"), "no UTF-8 text"),
        ("DIMEREC_HOST=h\u00f6st\n".encode("latin-1"), "no UTF-8 text (byte 15)"),
        (b"A=1\nDIMEREC_PORT 9001\n", ".env line 2: cannot be read: write NAME=VALUE"),
        (b"DIMEREC_PORT\n", ".env line 1: cannot be read: write NAME=VALUE"),
        (b"DIMEREC_HOST='::\nDIMEREC_PORT=9001\nNAME='x'\n", ".env line 1: a quote"),
    ],
)
def test_a_dotenv_that_would_not_be_read_is_one_line(content: bytes, says: str) -> None:
    Path(".env").write_bytes(content)
    with pytest.raises(StartupError, match=r"^settings: [^\n]+$") as refused:
        read_settings()
    assert says in str(refused.value)


def test_a_directory_named_dotenv_is_no_settings() -> None:
    Path(".env").mkdir()
    assert read_settings().port == 8000


@pytest.mark.parametrize("url", ["redis://:hunter2@cache:6379/zero", "redis://:hun@ter2/@cache"])
def test_a_bad_redis_address_is_named_without_being_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DIMEREC_REDIS_URL", url)
    monkeypatch.setenv("DIMEREC_PORT", "http")
    with pytest.raises(StartupError, match=r"DIMEREC_PORT Input.*; DIMEREC_REDIS_URL has ") as refused:
        read_settings()
    assert "hun" not in str(refused.value)
    assert "cache" not in str(refused.value)


def test_idle_connections_outlive_a_balancers_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().keep_alive_s > 60
    monkeypatch.setenv("DIMEREC_KEEP_ALIVE_S", "620")
    assert read_settings().keep_alive_s == 620


@pytest.mark.parametrize("path", ["/dimerec", "/a/b-c_d~1.2", "/.well-known"])
def test_a_prefix_is_a_path(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("DIMEREC_ROOT_PATH", path)
    assert read_settings().root_path == path


@pytest.mark.parametrize(
    "path", ["dimerec", "/", "/dimerec/", "//dimerec", "/a//b", "/a/../b", "/.", "/a b", "/a?b", "http://h/a"]
)
def test_what_is_no_prefix_is_refused(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("DIMEREC_ROOT_PATH", path)
    with pytest.raises(StartupError, match="DIMEREC_ROOT_PATH must be a path like /dimerec"):
        read_settings()


def test_replicas_of_a_cluster_are_refused() -> None:
    cluster = "redis+cluster://localhost:7000"
    with pytest.raises(StartupError, match=r"DIMEREC_CATALOGUE_REDIS_REPLICAS cannot be had of a cluster"):
        read_settings(redis_url=cluster, catalogue_redis_replicas=1)
    assert read_settings(redis_url=cluster, catalogue_redis_replicas=0).catalogue_redis_replicas == 0
