"""docs/operations.md names only what exists, and no metric is left out of it."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from cli.main import COMMANDS, application
from service.settings import Settings
from service.telemetry import Metrics

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "operations.md").read_text()
OTHER_VARIABLES = {"DIMEREC_KEY", "DIMEREC_SOURCE_REVISION"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def commands() -> list[str]:
    """Every `dimerec …` in the text and in its shell blocks, the containers' included."""
    written = re.findall(r"`dimerec ([^`]+)`", DOCUMENT)
    shell = "\n".join(blocks("sh"))
    written += re.findall(r"^dimerec (.+)$", shell, re.MULTILINE)
    written += re.findall(r"compose run --rm .*?(?:train|import-history) ([a-z].*)$", shell, re.MULTILINE)
    return [command.partition("#")[0].strip() for command in written]


def sample_names() -> set[str]:
    families = Metrics().registry.collect()
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count", ""], "gauge": [""]}
    return {family.name + suffix for family in families for suffix in suffixes[family.type]}


def test_every_metric_it_names_exists() -> None:
    of_the_supervisor = {"dimerec_worker_ends_total"}  # seen in tests/service/test_workers.py
    assert set(re.findall(r"\bdimerec_\w+", DOCUMENT)) <= sample_names() | of_the_supervisor


def test_every_setting_it_names_exists() -> None:
    known = {f"DIMEREC_{field.upper()}" for field in Settings.model_fields} | OTHER_VARIABLES
    assert set(re.findall(r"\bDIMEREC_\w+", DOCUMENT)) <= known


def test_every_make_target_it_names_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z]+)", DOCUMENT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_it_names_exists_with_its_options(command: str) -> None:
    name, *rest = shlex.split(command)
    if name.startswith("-"):
        return
    assert name in COMMANDS
    found = typer.main.get_group(application([name])).commands[name]
    while rest and rest[0] in getattr(found, "commands", {}):
        found = found.commands[rest.pop(0)]  # type: ignore[attr-defined]
    options = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= options


def test_every_file_it_names_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", DOCUMENT):
        assert (REPOSITORY / "docs" / link).exists(), link
    for path in re.findall(r"`((?:docker|benchmarks|tests)/[\w./-]+|[\w.-]+\.(?:yml|txt))`", DOCUMENT):
        assert (REPOSITORY / path).exists() or path == "docker-compose.override.yml", path


def test_the_readme_of_the_benchmarks_names_every_module() -> None:
    folder = REPOSITORY / "benchmarks"
    cells = re.findall(r"^\| (`[\w/]+(?:\.py|/)`.*?) \|", (folder / "README.md").read_text(), re.MULTILINE)
    named = set(re.findall(r"`([\w/]+(?:\.\w+|/))`", " ".join(cells)))
    modules = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.py") if path.name != "__init__.py"
    }
    assert not {name for name in named if not (folder / name).exists()}
    assert not {module for module in modules if not any(module.startswith(name) for name in named)}
