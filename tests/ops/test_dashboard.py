"""The dashboard and the alert rules: every expression is PromQL, of metrics and labels that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.telemetry import Metrics

MONITORING = Path(__file__).parents[2] / "docker" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
SHOWN = {
    **{f"{panel['title']} {one['refId']}": one["expr"] for panel in PANELS for one in panel["targets"]},
    **{f"annotation {one['name']}": one["expr"] for one in DASHBOARD["annotations"]["list"]},
}
EXPRESSIONS = SHOWN | {rule["alert"]: rule["expr"] for rule in RULES}
OF_THE_SUPERVISOR = {"dimerec_worker_ends_total": {""}}
"""Seen in tests/service/test_workers.py."""

SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
SELECTOR = re.compile(r"\b(dimerec_\w+|up)(?:\{([^}]*)\})?")


def labels_of_samples() -> dict[str, set[str]]:
    """Sample → its labels; Prometheus adds `job` and `instance`, and a bucket has `le`."""
    metrics = Metrics()
    found: dict[str, set[str]] = {"up": set(), **{name: set() for name in OF_THE_SUPERVISOR}}
    collectors = metrics.registry._names_to_collectors
    for family in metrics.registry.collect():
        for suffix in SUFFIXES[family.type]:
            name = family.name + suffix
            found[name] = {*collectors[family.name]._labelnames, *(["le"] if suffix == "_bucket" else [])}  # type: ignore[attr-defined]
    return {name: labels | {"job", "instance"} for name, labels in found.items()}


SAMPLES = labels_of_samples()


def plain(expression: str) -> str:
    """The expression as Grafana sends it."""
    return expression.replace("$__rate_interval", "1m").replace("$instance", ".*")


def grouped_by(expression: str) -> set[str]:
    groups = re.findall(r"\bby \(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",")}


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_it_asks_for_metrics_and_labels_that_there_are(title: str) -> None:
    expression = plain(EXPRESSIONS[title])
    selectors = SELECTOR.findall(expression)
    assert selectors
    common = set.intersection(*(SAMPLES[name] for name, _ in selectors))
    for name, matchers in selectors:
        assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers)) <= SAMPLES[name]
    grouped = {
        label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")
    }
    assert grouped <= common


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_legend_names_labels_that_are_left(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= grouped_by(target["expr"])


def test_all_is_promql(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    rules = [
        {"record": f"dashboard:{number}", "expr": plain(expression)}
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    configuration = ("config", "--syntax-only", str(MONITORING / "prometheus.yml"))
    for what in (("rules", str(path)), configuration):
        command = [promtool, "check", *what]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(
        EXPRESSIONS[title] for title in EXPRESSIONS if title not in {rule["alert"] for rule in RULES}
    )
    for family in Metrics().registry.collect():
        assert re.search(rf"\b{family.name}(_\w+)?\b", shown), family.name


def test_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    titles, ids = [panel["title"] for panel in PANELS], [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
