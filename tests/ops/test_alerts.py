"""The alert rules of docs/operations.md, as Prometheus itself reads and applies them.

`promtool` comes with Debian's package prometheus.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
(RULES,) = re.findall(
    r"```yaml\n(groups:.*?)```", (REPOSITORY / "docs" / "operations.md").read_text(), re.DOTALL
)
ALERTS = [rule["alert"] for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]

GROWS, STAYS = "0+60x120", "1000+0x120"
"""A counter over two hours, a sample a minute: one that gains one a second, and one that stands still."""

TROUBLE = {
    "DimerecDown": {'up{job="dimerec"}': "0x120"},
    "DimerecErrors": {
        'dimerec_requests_total{status="200"}': GROWS,
        'dimerec_requests_total{status="500"}': "0+1x120",
    },
    "DimerecSlow": {
        'dimerec_request_seconds_bucket{route="/recommend",le="0.1"}': "0+50x120",
        'dimerec_request_seconds_bucket{route="/recommend",le="0.5"}': GROWS,
        'dimerec_request_seconds_bucket{route="/recommend",le="+Inf"}': GROWS,
    },
    "DimerecDegraded": {"dimerec_degraded_total": "0+1x120", "dimerec_answers_total": GROWS},
    "DimerecLosesEvents": {'dimerec_history_errors_total{operation="append"}': "0+1x120"},
    "DimerecOverloaded": {'dimerec_refused_total{reason="deadline"}': "0+1x120"},
    "DimerecKnowsNobody": {
        'dimerec_answers_total{source="popularity"}': GROWS,
        'dimerec_answers_total{source="personal"}': "0+50x120",
    },
    "DimerecSwapFailed": {'dimerec_bundle_swaps_total{outcome="failed"}': "0+1x120"},
    "DimerecReplicasDisagree": {
        'dimerec_bundle_info{version="1",instance="a"}': "1x120",
        'dimerec_bundle_info{version="2",instance="b"}': "1x120",
    },
}
"""Series that each alert is for."""

WELL = {
    'up{job="dimerec"}': "1x120",
    'dimerec_requests_total{status="200"}': GROWS,
    'dimerec_requests_total{status="500"}': STAYS,
    'dimerec_request_seconds_bucket{route="/recommend",le="0.1"}': GROWS,
    'dimerec_request_seconds_bucket{route="/recommend",le="+Inf"}': GROWS,
    "dimerec_degraded_total": STAYS,
    'dimerec_answers_total{source="personal"}': GROWS,
    'dimerec_answers_total{source="popularity"}': "0+1x120",
    'dimerec_history_errors_total{operation="append"}': STAYS,
    'dimerec_refused_total{reason="deadline"}': STAYS,
    'dimerec_bundle_swaps_total{outcome="failed"}': STAYS,
    'dimerec_bundle_info{version="1",instance="a"}': "1x120",
    'dimerec_bundle_info{version="1",instance="b"}': "1x120",
}
"""A service that serves, after some trouble long ago."""


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: apt-get install prometheus")
    return found


def fired(promtool: str, directory: Path, series: dict[str, str]) -> set[str]:
    """The alerts that these series raise within two hours, by a test that expects none to be raised."""
    (directory / "rules.yml").write_text(RULES)
    expected = [{"eval_time": "110m", "alertname": alert, "exp_alerts": []} for alert in ALERTS]
    test: dict[str, Any] = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": expected,
            }
        ],
    }
    (directory / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=directory, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    raised = set(re.findall(r"alertname: ?(\w+), time", said))
    assert (done.returncode == 0) == (not raised), said
    return raised


def test_every_alert_has_a_trouble_here() -> None:
    assert sorted(ALERTS) == sorted(TROUBLE)


def test_no_alert_is_raised_by_a_service_that_is_well(promtool: str, tmp_path: Path) -> None:
    assert fired(promtool, tmp_path, WELL) == set()


@pytest.mark.parametrize("alert", TROUBLE)
def test_each_alert_is_raised_by_its_trouble_and_by_no_other(
    promtool: str, tmp_path: Path, alert: str
) -> None:
    assert fired(promtool, tmp_path, TROUBLE[alert]) == {alert}
