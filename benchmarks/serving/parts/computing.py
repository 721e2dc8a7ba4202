"""The engine alone, without HTTP: steps, draws, sizes of the catalogue, both models, filters by category."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.serving.bare_engine import BareEngine
from benchmarks.serving.bodies import Body, inline_bodies
from benchmarks.serving.checkouts import Code
from benchmarks.serving.results import Findings
from benchmarks.serving.stage import Stage
from benchmarks.serving.synthetic import Architecture, synthetic_bundles
from index.tuning import IndexChoice

DRAWS = (1, 4, 8, 16)
STEPS = (1, 4)
SIZES = (1_682, 100_000, 1_000_000)
DEFAULT_SIZES = (1_682, 100_000)
"""For the default model: its index of a million items would take most of an hour to build here."""
KS = (10, 100, 500)
LENGTHS = (1, 50, 200, 1_000)
"""Of histories; the model reads the newest 50, all of them are left out of the answer."""
_BATCH = 32
_SHARE = 0.4
"""Of the catalogue, in the category of the filter."""


def measure(stage: Stage) -> Findings:
    """Steps and draws, of both models, each in turns."""
    findings = Findings("compute")
    bundles = {
        "demo": stage.bundles(stage.ours),
        "default": synthetic(stage, DEFAULT_SIZES[0], "default"),
    }
    asked = {
        (steps, draws): _file(stage, f"steps{steps}-draws{draws}", {"steps": steps, "draws": draws})
        for steps in STEPS
        for draws in (DRAWS if steps == STEPS[-1] else DRAWS[:1])
    }
    with ExitStack() as stack:
        engines = {name: _engine(stage, stack, f"{name} model", path) for name, path in bundles.items()}
        for _ in range(stage.rounds):
            for name, engine in engines.items():
                for (steps, draws), path in asked.items():
                    took = engine.batches(path, _BATCH, 0.5)
                    findings.add(_quantity(name, steps, draws), 1000 * median(took) / _BATCH)
    findings.notes |= {"k": 10, "interest_mode": "draws", "batch": _BATCH}
    for name in bundles:
        prefix = "" if name == "demo" else f"{name} model: "
        one_step = findings.rounds[_quantity(name, 1, 1)]
        one_draw = findings.rounds[_quantity(name, 4, 1)]
        findings.compare(
            f"{prefix}4 steps ÷ 1 step, 1 draw, batch of 32", "ms a request", one_draw, "1 step", one_step
        )
        for draws in DRAWS[1:]:
            found = findings.rounds[_quantity(name, 4, draws)]
            findings.compare(
                f"{prefix}{draws} draws ÷ 1 draw, 4 steps, batch of 32",
                "ms a request",
                found,
                "1 draw",
                one_draw,
            )
    return findings


def measure_sizes(stage: Stage) -> Findings:
    """A request's computation by catalogue, k and length of the history, in batches of 64 and of one."""
    findings = Findings("catalogues")
    files = {f"k = {k}": stage.body_file(f"size-k{k}", stage.bodies(k)) for k in KS}
    everything = [list(stage.dataset.catalogue.item_ids)]  # of one who watched all, in the catalogue's order
    files |= {
        f"histories of {length:,}": stage.body_file(
            f"length-{length}", inline_bodies(everything, KS[0], shortest=length, longest=length)
        )
        for length in LENGTHS
    }
    with ExitStack() as stack:
        engines = {}
        for architecture, sizes in (("demo", SIZES), ("default", DEFAULT_SIZES)):
            for items in sizes:
                name = f"{architecture} model, {items:,} items"
                path = synthetic(stage, items, "demo" if architecture == "demo" else "default")
                engines[name] = _engine(stage, stack, name, path)
        for _ in range(stage.rounds):
            for name, engine in engines.items():
                for asked, path in files.items():
                    for batch in (64, 1):
                        took = engine.batches(path, batch, 0.3)
                        findings.add(f"{name}, {asked}, batch of {batch}", 1000 * median(took) / batch)
    for name, rounds in findings.rounds.items():
        findings.report(name, "ms a request", rounds)
    return findings


def measure_million(stage: Stage) -> Findings:
    """A filter by a category of two fifths of a million items, beside the same requests without."""
    findings = Findings("million")
    category, share = frequent_category(stage)
    with ExitStack() as stack:
        engines = {
            kind: _engine(stage, stack, f"million {kind}", synthetic(stage, SIZES[-1], kind=kind))
            for kind in stage.kinds
        }
        files = {
            (k, filtered): _file(
                stage, f"million-{k}-{filtered}", {"categories": [category]} if filtered else {}, k
            )
            for k in KS
            for filtered in (False, True)
        }
        for _ in range(stage.rounds):
            for (k, filtered), path in files.items():
                for kind, engine in engines.items():
                    took = engine.batches(path, 1, 1.0)
                    name = f"{of_kind(kind)}k = {k}, {'filtered' if filtered else 'plain'}"
                    findings.add(name, 1000 * median(took))
    findings.notes |= {"category": category, "share": round(share, 3), "batch": 1, "kinds": [*stage.kinds]}
    for kind in stage.kinds:
        for k in KS:
            found, plain = (
                findings.rounds[f"{of_kind(kind)}k = {k}, {name}"] for name in ("filtered", "plain")
            )
            name = f"{of_kind(kind)}category of two fifths ÷ plain, k = {k}"
            findings.compare(name, "ms a request", found, "plain", plain)
    return findings


def of_kind(kind: IndexChoice) -> str:
    """The beginning of the names of rows: none for `auto`, the index that such a catalogue is given."""
    return "" if kind == "auto" else f"{kind}: "


def synthetic(
    stage: Stage,
    items: int,
    architecture: Architecture = "demo",
    kind: IndexChoice = "auto",
    *,
    attributes: bool = False,
) -> Path:
    """The synthetic bundles of this size and kind of index."""
    return synthetic_bundles(
        stage.run,
        stage.data,
        stage.cache,
        items,
        architecture=architecture,
        kind=kind,
        attributes=attributes,
    )


def frequent_category(stage: Stage) -> tuple[str, float]:
    """The category nearest to two fifths of the items, and its share."""
    catalogue = stage.dataset.catalogue
    shares = {name: len(catalogue.rows_of(name)) / len(catalogue) for name in catalogue.category_names}
    return min(shares.items(), key=lambda one: abs(one[1] - _SHARE))


def _engine(stage: Stage, stack: ExitStack, name: str, bundles: Path) -> BareEngine:
    code = Code(name.replace(" ", "-").replace(",", ""), stage.ours.directory)
    return stack.enter_context(BareEngine(code, bundles, stage.device, stage.work))


def _file(stage: Stage, name: str, fields: Mapping[str, object], k: int = 10) -> Path:
    mode = {} if "categories" in fields or not fields else {"interest_mode": "draws"}
    bodies: list[Body] = [{**body, **fields, **mode} for body in stage.bodies(k)]
    return stage.body_file(name, bodies)


def _quantity(name: str, steps: int, draws: int) -> str:
    return f"{name} model, steps = {steps}, draws = {draws}"
