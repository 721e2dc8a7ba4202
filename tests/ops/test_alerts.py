"""The alert rules of docker/monitoring, as Prometheus itself reads and applies them.

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
RULES = (REPOSITORY / "docker" / "monitoring" / "alerts.yml").read_text()
ALERTS = [rule["alert"] for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]

GROWS, STAYS = "0+60x120", "1000+0x120"
"""A counter over two hours, a sample a minute: one that gains one a second, and one that stands still."""

TROUBLE = {
    "DimerecDown": {'up{job="dimerec"}': "0x120"},
    "DimerecErrors": {
        'dimerec_requests_total{status="200"}': GROWS,
        'dimerec_errors_total{route="/recommend"}': "0+1x120",
    },
    "DimerecSlow": {
        'dimerec_request_seconds_bucket{route="/recommend",le="0.1"}': "0+50x120",
        'dimerec_request_seconds_bucket{route="/recommend",le="0.5"}': GROWS,
        'dimerec_request_seconds_bucket{route="/recommend",le="+Inf"}': GROWS,
    },
    "DimerecDegraded": {
        "dimerec_degraded_total": "0+1x120",
        'dimerec_answers_total{source="personal"}': GROWS,
    },
    "DimerecCircuitOpen": {'dimerec_history_circuit_open{operation="read"}': "1x120"},
    "DimerecRedisEvicts": {"dimerec_redis_evicted_keys": "0+1x120"},
    "DimerecRedisFull": {
        "dimerec_redis_memory_bytes": "95x120",
        "dimerec_redis_memory_limit_bytes": "100x120",
    },
    "DimerecBundleOld": {"dimerec_bundle_created_timestamp_seconds": f"{-15 * 86_400}x120"},
    "DimerecWorkersEnd": {"dimerec_worker_ends_total": "0+1x120"},
    "DimerecLosesEvents": {'dimerec_requests_total{route="/events",status="503"}': "0+1x120"},
    "DimerecSpoolWaits": {"dimerec_spool_oldest_seconds": "400x120"},
    "DimerecCatalogueStale": {"dimerec_catalogue_lag_seconds": "60x120"},
    "DimerecSpoolRefuses": {'dimerec_spool_records_total{outcome="refused"}': "0+1x120"},
    "DimerecOverloaded": {'dimerec_refused_total{reason="deadline"}': "0+1x120"},
    "DimerecKnowsNobody": {
        'dimerec_answers_total{source="popularity"}': "0+30x120",
        'dimerec_answers_total{source="trending"}': "0+30x120",
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
    'dimerec_requests_total{status="503"}': "0+30x120",
    'dimerec_errors_total{route="/recommend"}': STAYS,
    'dimerec_history_circuit_open{operation="read"}': "0x120",
    "dimerec_redis_evicted_keys": STAYS,
    "dimerec_redis_memory_bytes": "85x120",
    "dimerec_redis_memory_limit_bytes": "100x120",
    "dimerec_bundle_created_timestamp_seconds": f"{-13 * 86_400}x120",
    "dimerec_worker_ends_total": STAYS,
    'dimerec_request_seconds_bucket{route="/recommend",le="0.1"}': GROWS,
    'dimerec_request_seconds_bucket{route="/recommend",le="+Inf"}': GROWS,
    "dimerec_degraded_total": STAYS,
    'dimerec_answers_total{source="personal"}': GROWS,
    'dimerec_answers_total{source="popularity"}': "0+1x120",
    'dimerec_requests_total{route="/events",status="503"}': STAYS,
    "dimerec_spool_oldest_seconds": "100x120",
    "dimerec_catalogue_lag_seconds": "1x120",
    'dimerec_spool_records_total{outcome="refused"}': STAYS,
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


def fired(promtool: str, directory: Path, series: dict[str, str], at: str = "110m") -> set[str]:
    """The alerts that these series raise at this time, by a test that expects none to be raised."""
    (directory / "rules.yml").write_text(RULES)
    expected = [{"eval_time": at, "alertname": alert, "exp_alerts": []} for alert in ALERTS]
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


WELL_AGAIN = {
    "dimerec_spool_oldest_seconds": "0",
    "dimerec_catalogue_lag_seconds": "0",
    'up{job="dimerec"}': "1",
    'dimerec_history_circuit_open{operation="read"}': "0",
    "dimerec_redis_memory_bytes": "50",
    "dimerec_redis_memory_limit_bytes": "100",
    "dimerec_bundle_created_timestamp_seconds": "0",
    'dimerec_bundle_info{version="1",instance="a"}': "0",
    'dimerec_bundle_info{version="2",instance="b"}': "1",
}
"""Gauges when their trouble has ended."""

NO_LIMIT = {"dimerec_redis_memory_bytes": "95x120", "dimerec_redis_memory_limit_bytes": "0x120"}
"""A Redis without a limit of its memory is not full."""


IN_BATCHES = {
    'dimerec_requests_total{route="/recommend/batch",status="200"}': "0+1x120",
    'dimerec_batch_requests_total{status="200"}': "0+999x120",
    'dimerec_batch_requests_total{status="500"}': "0+1x120",
    'dimerec_errors_total{route="/recommend/batch"}': "0+1x120",
}
"""Batches of a thousand, one request of each a fault: one of a thousand, not one a batch."""


def test_every_alert_has_a_trouble_here() -> None:
    assert sorted(ALERTS) == sorted(TROUBLE)


def test_no_alert_is_raised_by_a_service_that_is_well(promtool: str, tmp_path: Path) -> None:
    assert fired(promtool, tmp_path, WELL) == set()
    assert fired(promtool, tmp_path, NO_LIMIT) == set()
    assert fired(promtool, tmp_path, IN_BATCHES) == set()


def test_faults_inside_of_batches_are_errors(promtool: str, tmp_path: Path) -> None:
    failing = IN_BATCHES | {
        'dimerec_batch_requests_total{status="500"}': "0+20x120",
        'dimerec_errors_total{route="/recommend/batch"}': "0+20x120",
    }
    assert fired(promtool, tmp_path, failing) == {"DimerecErrors"}


@pytest.mark.parametrize("alert", TROUBLE)
def test_each_alert_is_raised_by_its_trouble_and_by_no_other_and_cleared_by_its_end(
    promtool: str, tmp_path: Path, alert: str
) -> None:
    series = {name: until_minute_70(name, values) for name, values in TROUBLE[alert].items()}
    assert fired(promtool, tmp_path, series, at="69m") == {alert}
    assert fired(promtool, tmp_path, series) == set()


def until_minute_70(name: str, values: str) -> str:
    """These values up to then; after it a counter stands still, and a gauge is as it is when all is well."""
    start, _, growth = values.removesuffix("x120").partition("+")
    if growth:
        return f"{start}+{growth}x70 {int(start) + 70 * int(growth)}x50"
    return f"{start}x70 {WELL_AGAIN[name]}x50"
