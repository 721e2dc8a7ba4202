"""docker-compose.yml: valid, complete, confined, and its Redis does what the documents say."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import typer.main
import yaml

from cli.main import application
from service.access.keys import digest, read_keys
from service.access.roles import Role
from service.settings import Settings
from tests.redis_server import RedisServer

REPOSITORY = Path(__file__).parents[2]
COMPOSE = REPOSITORY / "docker-compose.yml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "${IMAGE:-dimerec-serve}"]


def mounts(name: str) -> dict[str, str]:
    """Where each volume, or file of the repository, is mounted in a service."""
    return dict(volume.split(":")[:2] for volume in SERVICES[name].get("volumes", []))


def volumes(name: str) -> dict[str, str]:
    """Where each named volume is mounted in a service."""
    return {source: path for source, path in mounts(name).items() if not source.startswith("./")}


def test_it_follows_the_compose_specification() -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [checker, "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


MONITORING = {"prometheus", "grafana", "monitoring-keys"}
"""Services of the profile of that name."""


def test_plain_up_starts_all_but_what_watches() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {name: ["monitoring"] for name in MONITORING}
    assert set(SERVICES) - MONITORING == {"service", "redis", "train", "keys", "redis-password"}
    for name in set(SERVICES) - MONITORING:
        assert not set(SERVICES[name].get("depends_on", ())) & MONITORING


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_runs_as_root(name: str) -> None:
    image_has_a_user = name in OURS  # test_dockerfile.py checks that
    assert image_has_a_user or SERVICES[name]["user"] not in ("root", "0", 0)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_named_is_declared(name: str) -> None:
    assert set(volumes(name)) <= set(DOCUMENT["volumes"])
    assert set(SERVICES[name].get("networks", ())) <= set(DOCUMENT["networks"])
    assert set(SERVICES[name].get("depends_on", {})) <= set(SERVICES)


def test_only_the_service_and_what_watches_are_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "service": ["127.0.0.1:${PORT:-8000}:8000"],
        "prometheus": ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }


def test_redis_reaches_nobody_outside() -> None:
    assert SERVICES["redis"]["networks"] == ["histories"]
    assert DOCUMENT["networks"]["histories"]["internal"] is True


def test_the_service_waits_for_histories_and_a_bundle() -> None:
    healthy, done = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
    assert SERVICES["service"]["depends_on"] == {"redis": healthy, "train": done, "keys": done}
    assert SERVICES["train"]["depends_on"] == {"redis": healthy}
    assert SERVICES["redis"]["depends_on"] == {"redis-password": done}
    assert "healthcheck" in SERVICES["redis"]


@pytest.mark.parametrize("name", ["service", "redis"])
def test_what_serves_comes_back_by_itself_and_may_finish(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert name != "service" or grace_s > Settings.model_fields["shutdown_grace_s"].default


@pytest.mark.parametrize("name", ["train", "keys", "redis-password", "monitoring-keys"])
def test_what_runs_once_is_not_restarted_and_has_no_probe(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    assert SERVICES[name]["healthcheck"] == {"disable": True}


def test_the_service_finds_the_bundle_where_training_puts_it() -> None:
    assert volumes("train")["bundles"] == volumes("service")["bundles"] == "/data/bundles"
    assert SERVICES["train"]["command"][1:3] == ["--directory", "/data"]  # `demo` publishes in its bundles/


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {f"DIMEREC_{field.upper()}" for field in Settings.model_fields}
    for name in OURS:
        given = SERVICES[name].get("environment", {})
        assert set(given) <= known, name


def test_the_console_can_list_users_unless_the_operator_forbids_it() -> None:
    assert SERVICES["service"]["environment"]["DIMEREC_LIST_USERS"] == "${DIMEREC_LIST_USERS:-true}"


@pytest.mark.parametrize("name", ["service", "train"])
def test_every_command_of_ours_exists_with_its_options(name: str) -> None:
    subcommand, *options = SERVICES[name]["command"]
    group = typer.main.get_group(application([subcommand]))
    parsed = group.commands[subcommand].make_context(subcommand, list(options), resilient_parsing=True)
    assert parsed.args == []


def run_here(name: str, keys: Path, *arguments: str, **programs: str) -> str:
    """What a service's entry point and command print on this machine, with `programs` as scripts in its path.

    `keys`: the directory that stands for the volume.
    """
    for program, script in programs.items():
        path = keys.parent / "bin" / program.replace("_", "-")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    words = [*SERVICES[name]["entrypoint"], *(arguments or SERVICES[name]["command"])]
    here = [
        word.replace("$$", "$").replace("/data/keys", str(keys)).replace("/data/monitoring", str(keys))
        for word in words
    ]
    python = Path(sys.executable).parent
    environment = {
        "PATH": f"{keys.parent / 'bin'}:{python}:/usr/bin:/bin",
        "DIMEREC_KEYS_FILE": str(keys / "keys.json"),
    }
    done = subprocess.run(here, env=environment, cwd=keys, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.mkdir()
    return path


def test_the_first_start_makes_a_key_with_all_roles_and_the_second_keeps_it(keys: Path) -> None:
    run_here("keys", keys)
    made = (keys / "compose.key").read_text().strip()
    (kept,) = read_keys(keys / "keys.json")
    assert (kept.sha256, *sorted(kept.roles)) == (digest(made), *sorted(Role))
    run_here("keys", keys)
    assert (keys / "compose.key").read_text().strip() == made
    assert SERVICES["service"]["environment"]["DIMEREC_KEYS_FILE"] == "/data/keys/keys.json"
    assert volumes("service")["keys"] == volumes("keys")["keys"] == "/data/keys"


def test_redis_has_a_password_that_the_first_start_made_and_the_service_gives(keys: Path) -> None:
    run_here("redis-password", keys)
    password = (keys / "redis-password").read_text().strip()
    assert len(password) == 48
    run_here("redis-password", keys)
    assert (keys / "redis-password").read_text().strip() == password
    asked = run_here("redis", keys, "--port", "0", redis_server='echo "$@"')
    assert asked.split() == ["--port", "0", "--requirepass", password]
    for name in ("service", "train"):
        told = run_here(name, keys, "a b", "c", dimerec='echo "$DIMEREC_REDIS_URL" "$#" "$1"')
        assert told == f"redis://:{password}@redis:6379/0 2 a b\n"


def test_prometheus_has_a_key_that_reads_metrics_alone_and_grafana_a_password(keys: Path) -> None:
    run_here("keys", keys)
    for _ in range(2):
        run_here("monitoring-keys", keys)
    known = {key.name: key for key in read_keys(keys / "keys.json")}
    made = keys / "prometheus.key"
    assert known["prometheus"].sha256 == digest(made.read_text().strip())
    assert known["prometheus"].roles == {Role.METRICS}
    assert made.stat().st_mode & 0o777 == 0o644  # its reader is another user than its writer
    password = (keys / "grafana-password").read_text()
    assert len(password) == 48
    run_here("monitoring-keys", keys)
    assert (keys / "grafana-password").read_text() == password
    for name in ("prometheus", "grafana"):
        assert volumes(name)["monitoring"] == "/data/monitoring"
        assert "keys" not in volumes(name)


def test_what_watches_reads_files_that_are_there() -> None:
    for name in ("prometheus", "grafana"):
        for source in mounts(name):
            assert not source.startswith("./") or (REPOSITORY / source).is_file(), source
    scraped = yaml.safe_load((REPOSITORY / "docker/monitoring/prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    assert job["authorization"]["credentials_file"] == "/data/monitoring/prometheus.key"
    assert job["static_configs"] == [{"targets": ["service:8000"]}]
    grafana = REPOSITORY / "docker/monitoring/grafana"
    (source,) = yaml.safe_load((grafana / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((grafana / "dashboards.yml").read_text())["providers"]
    mounted = mounts("grafana")["./docker/monitoring/grafana/dashboard.json"]
    assert Path(mounted).parent == Path(provider["options"]["path"])


def redis_arguments() -> list[str]:
    arguments: list[str] = SERVICES["redis"]["command"]
    return arguments


def test_redis_takes_its_arguments_and_forgets_the_idle_first_when_full() -> None:
    server = RedisServer(*redis_arguments())
    try:
        with redis.Redis.from_url(server.start().url, decode_responses=True) as client:
            # one by one: Redis 6 takes no more
            kept = {
                name: client.config_get(name)[name]
                for name in ("maxmemory", "maxmemory-policy", "appendfsync")
            }
    finally:
        server.close()
    assert kept == {
        "maxmemory": str(512 * 1024 * 1024),
        "maxmemory-policy": "volatile-ttl",
        "appendfsync": "everysec",
    }
