"""One word for one idea: what callers and operators read holds to docs/glossary.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from bundle.facts import Standing
from bundle.manifest import FileEntry, Manifest, ServingDefaults
from cli.main import COMMANDS, application
from model.config import ModelConfig
from service.app import create_app
from service.settings import Settings
from tests.service.serving import settings_for
from tests.test_rooms import ROOMS, ROOT, modules
from training.benchmark.comparisons import Comparison
from training.benchmark.diversity_curve import Point
from training.benchmark.probing import ProbeRow
from training.benchmark.rows import Row
from training.config import TrainingConfig

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^\| (.+?) \| (.+) \|$", GLOSSARY, re.MULTILINE)[1:]
MAX_TERMS = 40

RETIRED_NAMES = {
    r"generated": "draws",
    r"guidance_share|guidance-share": "guidance_weight",
    r"filtered|unfiltered|filter_seen": "exclude_seen",
    r"way": "variant",
    r"wish|told|asked|arrival": "request, response",
    r"place|slot|number": "row, rank, index",
    r"(most|longest|largest|greatest|fewest|least|shortest|smallest)[_-].*": "max_…, min_…",
    r"bundle|root|dimerec_bundle": "bundles",
    r"seen_weight|return_weight": "repeat_weight",
    r"roster": "registry",
    r"nothing": "none",
    r"luckiest": "best of M",
    r"outside": "external",
    r"depth": "blocks, candidates, queue length",
}
"""As a whole name → what it is called now."""

RETIRED_LOCAL_NAMES = re.compile(r"_?(wish(es)?|told|places?|slots?|roster)")
"""Of variables and functions inside."""

RETIRED_WORDS = re.compile(
    r"\b(wish(es)?|roster|luckiest|guidance[ _-]share|generated (interest|embedding)s?|filter[_-]seen)\b"
    r"|--(root|bundle)\b|\bDIMEREC_BUNDLE\b|\b(most|longest|least)_\w+",
    re.IGNORECASE,
)
"""In a sentence."""

MANIFEST: tuple[type[BaseModel], ...] = (Manifest, ServingDefaults, Standing, FileEntry, ModelConfig)
CONFIGURATION: tuple[type[BaseModel], ...] = (Settings, TrainingConfig)
RESULTS: tuple[type[BaseModel], ...] = (Row, Comparison, Point, ProbeRow)


@pytest.fixture(scope="module")
def openapi(bundle_root: Path) -> dict[str, Any]:
    return create_app(settings_for(bundle_root)).openapi()


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object inside of a JSON document."""
    if isinstance(schema, dict):
        yield schema
        for inner in schema.values():
            yield from walk(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from walk(inner)


def fields(openapi: dict[str, Any]) -> set[str]:
    """Of requests and responses."""
    return {
        name for schema in openapi["components"]["schemas"].values() for name in schema.get("properties", ())
    }


def values(openapi: dict[str, Any]) -> set[str]:
    """Of every field that has one of a few."""
    found = [
        *(one.get("enum", ()) for one in walk(openapi)),
        [one["const"] for one in walk(openapi) if "const" in one],
    ]
    return {value for some in found if isinstance(some, list) for value in some if isinstance(value, str)}


def names_of(*kinds: type[BaseModel]) -> set[str]:
    return {field.alias or name for kind in kinds for name, field in kind.model_fields.items()}


def options() -> Iterator[tuple[str, str]]:
    """Every option of every command, and its help."""
    for name in COMMANDS:
        waiting: list[Any] = [typer.main.get_group(application([name])).commands[name]]
        while waiting:
            command = waiting.pop()
            waiting += getattr(command, "commands", {}).values()
            yield name, command.help or ""
            for parameter in command.params:
                for option in parameter.opts:
                    yield option.lstrip("-"), getattr(parameter, "help", None) or ""


def messages() -> Iterator[str]:
    """The texts of all errors that are raised."""
    for path in [path for room in ROOMS for path in modules(room)]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def docstrings(room: str) -> Iterator[tuple[str, str]]:
    """Of modules, classes, functions and attributes, with the line of each."""
    for path in modules(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            body = getattr(node, "body", None)
            for one in body if isinstance(body, list) else ():
                match one:
                    case ast.Expr(ast.Constant(value=str(text))):
                        yield f"{path.relative_to(ROOT)}:{one.lineno}", text


def retired(name: str) -> str | None:
    for pattern, now in RETIRED_NAMES.items():
        if re.fullmatch(pattern, name.lower()):
            return now
    return None


def test_no_field_value_option_or_key_has_a_retired_name(openapi: dict[str, Any]) -> None:
    public = (
        fields(openapi)
        | values(openapi)
        | names_of(*MANIFEST, *CONFIGURATION, *RESULTS)
        | {name for name, _ in options()}
    )
    assert len(public) > 150
    assert {name: retired(name) for name in public if retired(name)} == {}
    assert "category" not in fields(openapi) | names_of(*MANIFEST, *RESULTS)
    assert "interests" not in names_of(*MANIFEST, TrainingConfig)


def test_no_help_description_or_message_has_a_retired_word(openapi: dict[str, Any]) -> None:
    texts = [
        text for one in walk(openapi) for name, text in one.items() if name in ("description", "summary")
    ]
    texts += [
        field.description or ""
        for kind in (*MANIFEST, *CONFIGURATION)
        for field in kind.model_fields.values()
    ]
    texts += [text for _, text in options()]
    texts += messages()
    assert len(texts) > 500
    assert [text for text in texts if isinstance(text, str) and RETIRED_WORDS.search(text)] == []


def test_every_field_of_requests_responses_and_the_manifest_is_in_the_glossary(
    openapi: dict[str, Any],
) -> None:
    known = {name for _, meaning in TERMS for name in re.findall(r"`(\w+)`", meaning)}
    assert (fields(openapi) | names_of(*MANIFEST)) - known == set()


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_are_of_one_dialect(room: str) -> None:
    """The subject first; names in single backticks, without roles."""
    for line, text in docstrings(room):
        assert not re.match(r"(What|Whether|How|Which|Where|When|Returns?)\b", text), line
        assert not re.search(r":(class|func|meth|mod|data|attr):`|(?<!`)``(?!`)", text), line


@pytest.mark.parametrize("room", ROOMS)
def test_no_variable_or_function_has_a_retired_name(room: str) -> None:
    for path in modules(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                    assert not RETIRED_LOCAL_NAMES.fullmatch(name), f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_number_says_where_it_is_from(room: str) -> None:
    """A measurement, an arithmetic reason or a choice: in a line below it or, of two numbers, below both."""
    for path in modules(room):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for position, node in enumerate(body):
            if isinstance(node, ast.Assign | ast.AnnAssign) and is_number(node.value):
                later = [one for one in body[position + 1 : position + 3] if isinstance(one, ast.Expr)]
                assert later, f"{path.relative_to(ROOT)}:{node.lineno}"


def is_number(value: ast.expr | None) -> bool:
    """True for 12, 1 << 20 and 24 * 3600."""
    match value:
        case ast.Constant(value=int() | float() as number):
            return not isinstance(number, bool)
        case ast.BinOp(left=left, right=right):
            return is_number(left) and is_number(right)
        case ast.UnaryOp(operand=operand):
            return is_number(operand)
    return False


def test_the_glossary_has_few_terms_in_order_each_once() -> None:
    terms = [term.lower() for term, _ in TERMS]
    assert len(terms) <= MAX_TERMS
    assert terms == sorted(set(terms))


@pytest.mark.parametrize("name", ["wish", "guidance_share", "most_steps", "way", "LONGEST_ID"])
def test_a_retired_name_would_be_found(name: str) -> None:
    assert retired(name)
