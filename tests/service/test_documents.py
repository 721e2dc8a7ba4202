"""The documents tell the truth: every route, setting and problem is there, and every example works."""

import json
import re
from pathlib import Path
from typing import Any

from service.problems import KINDS, UNEXPECTED
from service.settings import Settings
from tests.service.serving import Running

DOCS = Path(__file__).parents[2] / "docs"
REST = (DOCS / "rest.md").read_text()
CONFIGURATION = (DOCS / "configuration.md").read_text()


def test_every_route_has_its_section_and_every_section_its_route(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(re.findall(r"^## `([A-Z]+ /\S*)`$", REST, re.MULTILINE)) == routes


def test_every_problem_is_listed_with_its_status() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", REST, re.MULTILINE)
    kinds = {(kind.name, str(kind.status)) for kind in (*KINDS.values(), UNEXPECTED)}
    assert set(listed) == kinds
    assert len(listed) == len(kinds)


def test_every_field_of_a_recommendation_is_listed(server: Running) -> None:
    schemas = server.client.get("/openapi.json").json()["components"]["schemas"]
    section = REST.partition("## `POST /recommend`")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(
        schemas["RecommendRequest"]["properties"]
    )


def test_every_example_works_and_shows_the_fields_of_the_answer(server: Running) -> None:
    requests = re.findall(r"```json POST (\S+)\n(.*?)```\n\n(?:```json answer\n(.*?)```)?", REST, re.DOTALL)
    assert len(requests) == 5
    for path, body, answer in requests:
        response = server.client.post(path, json=json.loads(body))
        assert response.status_code == 200, response.text
        if answer:
            shown: dict[str, Any] = json.loads(answer)
            assert list(shown) == list(response.json())
    problem: dict[str, Any] = json.loads(re.findall(r"```json problem\n(.*?)```", REST, re.DOTALL)[0])
    given = server.recommend(user_id="196", k=0).json()
    assert {**problem, "request_id": ""} == {**given, "request_id": ""}


def test_every_metric_is_listed(server: Running) -> None:
    server.answer(history=["1001"])
    families = re.findall(r"^# TYPE (\w+) ", server.client.get("/metrics").text, re.MULTILINE)
    for family in families:
        if not family.endswith("_created"):
            assert f"`{family}`" in REST, family


def test_every_setting_is_listed_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `DIMEREC_(\w+)` \| (.+?) \| (.+) \|$", CONFIGURATION, re.MULTILINE)
    settings = [
        (name.upper(), "unset" if field.default is None else f"`{field.default}`", field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert rows == settings
