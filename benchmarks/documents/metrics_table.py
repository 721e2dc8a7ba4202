"""The table of metrics in docs/rest.md, from those that the service keeps."""

from prometheus_client import Counter, Gauge, Histogram

from service.telemetry import Metrics

_KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}


def metrics_table() -> str:
    """A line a metric, by name: its kind, its labels and its meaning."""
    kept = [one for one in vars(Metrics()).values() if isinstance(one, Counter | Gauge | Histogram)]
    lines = ["| metric | kind | labels | |", "|---|---|---|---|"]
    return "\n".join([*lines, *sorted(_line(one) for one in kept)])


def _line(metric: Counter | Gauge | Histogram) -> str:
    (family,) = metric.describe()
    name = f"{family.name}_total" if isinstance(metric, Counter) else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # no public name for them
    return f"| `{name}` | {_KINDS[type(metric)]} | {labels} | {family.documentation} |"
