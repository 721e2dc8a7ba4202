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
from service.settings import Settings
from tests.redis_server import RedisServer

REPOSITORY = Path(__file__).parents[2]
COMPOSE = REPOSITORY / "docker-compose.yml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "${IMAGE:-dimerec-serve}"]


def volumes(name: str) -> dict[str, str]:
    """Where each named volume is mounted in a service."""
    return dict(volume.split(":")[:2] for volume in SERVICES[name].get("volumes", []))


def test_it_follows_the_compose_specification() -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [checker, "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_plain_up_starts_all_there_is() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == []
    assert set(SERVICES) == {"service", "redis", "train"}


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
    assert set(SERVICES[name]["networks"]) <= set(DOCUMENT["networks"])
    assert set(SERVICES[name].get("depends_on", {})) <= set(SERVICES)


def test_only_the_service_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"service": ["127.0.0.1:${PORT:-8000}:8000"]}


def test_redis_reaches_nobody_outside() -> None:
    assert SERVICES["redis"]["networks"] == ["histories"]
    assert DOCUMENT["networks"]["histories"]["internal"] is True


def test_the_service_waits_for_histories_and_a_bundle() -> None:
    healthy, done = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
    assert SERVICES["service"]["depends_on"] == {"redis": healthy, "train": done}
    assert SERVICES["train"]["depends_on"] == {"redis": healthy}
    assert "healthcheck" in SERVICES["redis"]


@pytest.mark.parametrize("name", ["service", "redis"])
def test_what_serves_comes_back_by_itself_and_may_finish(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert name != "service" or grace_s > Settings.model_fields["shutdown_grace_s"].default


def test_what_runs_once_is_not_restarted_and_has_no_probe() -> None:
    assert SERVICES["train"]["restart"] == "no"
    assert SERVICES["train"]["healthcheck"] == {"disable": True}


def test_the_service_finds_the_bundle_where_training_puts_it() -> None:
    assert volumes("train")["bundles"] == volumes("service")["bundles"] == "/data/bundles"
    assert SERVICES["train"]["command"][1:3] == ["--directory", "/data"]  # `demo` publishes in its bundles/


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {f"DIMEREC_{field.upper()}" for field in Settings.model_fields}
    for name in OURS:
        given = SERVICES[name].get("environment", {})
        assert set(given) <= known, name
        assert given["DIMEREC_REDIS_URL"] == "redis://redis:6379/0"


def test_the_console_can_list_users_unless_the_operator_forbids_it() -> None:
    assert SERVICES["service"]["environment"]["DIMEREC_LIST_USERS"] == "${DIMEREC_LIST_USERS:-true}"


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_ours_exists_with_its_options(name: str) -> None:
    subcommand, *options = SERVICES[name]["command"]
    group = typer.main.get_group(application([subcommand]))
    parsed = group.commands[subcommand].make_context(subcommand, list(options), resilient_parsing=True)
    assert parsed.args == []


def redis_arguments() -> list[str]:
    program, *arguments = SERVICES["redis"]["command"]
    assert program == "redis-server"
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
