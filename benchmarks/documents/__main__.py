"""Makes the generated parts of the documents anew: `make documents`.

README's table of quality, the picture of the packages, the tables of faults and of metrics always; README's
answer where `make demo` was run.
"""

import json
import re
from pathlib import Path
from typing import Any

import typer

from benchmarks.documents.blocks import with_block
from benchmarks.documents.chaos_table import chaos_table, read_rows
from benchmarks.documents.demo_answer import demo_answer, model_digest, written
from benchmarks.documents.metrics_table import metrics_table
from benchmarks.documents.novelty_table import novelty_table
from benchmarks.documents.package_picture import draw
from benchmarks.documents.quality_table import quality_table
from files.atomic import replacing
from training.benchmark.comparisons import Comparison
from training.benchmark.rows import Row
from training.benchmark.store import read_kept

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "images" / "packages.svg"
RESULTS = ROOT / "docs" / "results"
REST = ROOT / "docs" / "rest.md"
EXPERIMENTS = ROOT / "docs" / "experiments.md"
RELIABILITY = ROOT / "docs" / "reliability.md"
QUALITY = "quality table: make documents"
"""Name of the block with the table."""
FAULTS = "faults: make documents"
"""Name of the block with the table of faults."""
NOVELTY = "novelty: make documents"
"""Name of the block with the table of novelty."""
METRICS = "metrics: make documents"
"""Name of the block with the table of metrics."""
ANSWER = "answer: make documents"
"""Name of the block with the answer to README's request."""
DEMO = ROOT / ".demo"


def made_table() -> str:
    """The table of the results that are in the repository."""
    return quality_table(
        read_kept(RESULTS / "quality.json", Row), read_kept(RESULTS / "differences.json", Comparison)
    )


def made_faults() -> str:
    """The table of faults that are in the repository."""
    return chaos_table(read_rows(RESULTS / "chaos.json"))


def made_novelty() -> str:
    """The table of what novelty costs, of the results that are in the repository."""
    return novelty_table(json.loads((RESULTS / "novelty.json").read_bytes()))


def shown_request(readme: str) -> dict[str, Any]:
    """The request that README's `curl` sends."""
    (body,) = re.findall(r"^curl .*/recommend .*-d '(\{.*\})'$", readme, re.MULTILINE | re.DOTALL)
    request: dict[str, Any] = json.loads(body)
    return request


def made_answer(readme: str, digest: str) -> str:
    """The answer of the demo, whose model has this digest, to the request that README shows."""
    answer = written(demo_answer(DEMO, shown_request(readme)))
    return f"<!-- by the model {digest} -->\n\n```json\n{answer}\n```"


def main() -> None:
    """Make the generated parts of the documents anew."""
    readme = with_block(README.read_text(encoding="utf-8"), QUALITY, made_table())
    digest = model_digest(DEMO)
    if digest is None:
        typer.echo("documents: no demo is there, README keeps its answer; `make demo` trains one", err=True)
    else:
        readme = with_block(readme, ANSWER, made_answer(readme, digest))
    _write(README, readme)
    _write(RELIABILITY, with_block(RELIABILITY.read_text(encoding="utf-8"), FAULTS, made_faults()))
    _write(EXPERIMENTS, with_block(EXPERIMENTS.read_text(encoding="utf-8"), NOVELTY, made_novelty()))
    _write(REST, with_block(REST.read_text(encoding="utf-8"), METRICS, metrics_table()))
    _write(PICTURE, draw(ROOT))


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
