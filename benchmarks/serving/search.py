"""Search alone at a million items: our kinds of index beside hnswlib, usearch and Intel's SVS.

`make` samples items around a bundle's vectors, and its users' interests as queries:

    python -m benchmarks.serving.search make --bundles .demo/bundles --data .demo/data --cache DIR

`build NAME` builds one index and keeps it in DIR, as long as that takes; `run` loads those that are there,
finds for each the least effort that reaches a recall of .95 (.93) of the nearest 100, times all of them in
turns, and prints JSON. These two need NumPy, Arrow, FAISS and the peers alone, so that an environment of
their own will do:

    python -m benchmarks.serving.search build ivf --cache DIR
    python -m benchmarks.serving.search run --cache DIR --threads 1

An item is a bundle's vector plus noise of .75 of its length, with the covariance of the bundle's vectors.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from index.building import build_index
from index.faiss_index import FaissIndex
from index.measuring import recall
from index.vector_table import VectorTable

ITEMS, QUERIES, BATCH, HITS, NEAREST = 1_000_000, 1_024, 64, 128, 100
NOISE = 0.75
"""Length of the noise: an item's cosine with the vector that it is around is .8, as that of the demo's
nearest items to each other (.77, median).
"""
LINKS, BUILD_DEPTH = 16, 100
"""Of the graphs of peers: hnswlib's and usearch's documentation has 16 links and depths from 100 to 200."""

Search = Callable[[Any, Any], Any]


class Side(NamedTuple):
    """An index that is there: `search(queries, effort)` gives positions (queries, HITS)."""

    name: str
    search: Search
    bytes: int
    """Of vectors and structure, as they lie on disk."""


def make(bundles: Path, data: Path, cache: Path) -> None:
    """Write items, queries and the exact nearest of these into `cache`."""
    from bundle.read import read_bundle
    from index.exact import ExactIndex
    from training.data.dataset import read_dataset
    from training.data.splits import SPLITS
    from training.evaluation.dimerec_scorer import DimeRecScorer

    bundle, random = read_bundle(bundles), np.random.default_rng(0)
    learned = bundle.table.all
    factor = np.linalg.cholesky(np.cov(learned.T) + 1e-9 * np.eye(bundle.table.dim)).astype(np.float32)
    parents = random.integers(len(learned), size=ITEMS)
    noise = random.standard_normal((ITEMS, bundle.table.dim), dtype=np.float32) @ factor.T
    items = _unit(learned[parents] + np.float32(NOISE) * _unit(noise))
    split = SPLITS[bundle.manifest.split or "leave-one-out"](read_dataset(data))
    interests = DimeRecScorer(bundle.model, bundle.manifest.serving).interests(split.test.histories)
    queries = _unit(random.permutation(interests.flatten(0, 1).numpy())[:QUERIES])
    cache.mkdir(parents=True, exist_ok=True)
    np.save(cache / "items.npy", items)
    np.save(cache / "queries.npy", queries)
    np.save(cache / "nearest.npy", ExactIndex(VectorTable(items)).search(queries, NEAREST).rows - 1)


def build(name: str, cache: Path) -> None:
    """Build the index `name` of the items in `cache`, and keep it there."""
    items = np.load(cache / "items.npy")
    if name in ("ivf", "hnsw"):
        build_index(items, name).write(cache / f"{name}.faiss")  # type: ignore[arg-type]
    elif name == "hnswlib":
        import hnswlib

        index = hnswlib.Index("ip", items.shape[1])
        index.init_index(len(items), M=LINKS, ef_construction=BUILD_DEPTH)
        index.add_items(items)
        index.save_index(str(cache / name))
    elif name == "usearch":
        from usearch.index import Index

        index = Index(
            ndim=items.shape[1], metric="ip", dtype="f32", connectivity=LINKS, expansion_add=BUILD_DEPTH
        )
        index.add(np.arange(len(items)), items)
        index.save(str(cache / name))
    elif name == "svs":
        import svs

        parameters = svs.VamanaBuildParameters(
            alpha=0.95, graph_max_degree=2 * LINKS, window_size=BUILD_DEPTH
        )
        index = svs.Vamana.build(parameters, items, svs.DistanceType.MIP, num_threads=2)
        index.save(*(str(cache / name / part) for part in ("config", "graph", "data")))


def run(cache: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Recall, queries a second and bytes of every index that is in `cache`, at a recall of .95 and of .93."""
    queries, nearest = np.load(cache / "queries.npy"), np.load(cache / "nearest.npy")
    found = [opened(cache, threads) for opened in (_ours, _hnswlib, _usearch, _svs)]
    sides = [side for some in found for side in some]
    rows = []
    for target in (0.95, 0.93):
        efforts = [_effort(side, queries, nearest, target) for side in sides]
        times: list[list[float]] = [[] for _ in sides]
        for _ in range(rounds):
            for side, effort, spent in zip(sides, efforts, times, strict=True):
                spent.append(_seconds(side, queries, effort))
        for side, effort, spent in zip(sides, efforts, times, strict=True):
            rows.append(
                {
                    "name": side.name,
                    "target": target,
                    "effort": effort,
                    "recall": round(_recall(side, queries, nearest, effort), 4),
                    "queries_a_second": round(len(queries) / float(np.median(spent))),
                    "rounds": [round(len(queries) / one) for one in spent],
                    "bytes_a_raw_byte": round(side.bytes / (ITEMS * queries.shape[1] * 4), 3),
                }
            )
    return {"items": ITEMS, "batch": BATCH, "hits": HITS, "threads": threads, "rows": rows}


def _ours(cache: Path, threads: int) -> list[Side]:
    import faiss

    faiss.omp_set_num_threads(threads)
    table = VectorTable(np.load(cache / "items.npy", mmap_mode="r"))
    sides = []
    for name in ("ivf", "hnsw"):
        if (path := cache / f"{name}.faiss").exists():
            index = FaissIndex.parse(path.read_bytes(), path.name, table)
            size = path.stat().st_size + table.all.nbytes
            sides.append(Side(f"ours, {name}", _of_ours(index), size))
    return sides


def _of_ours(index: FaissIndex) -> Search:
    return lambda queries, effort: index.with_effort(effort).search(queries, HITS).rows - 1


def _hnswlib(cache: Path, threads: int) -> list[Side]:
    if not (path := cache / "hnswlib").exists():
        return []
    import hnswlib

    index = hnswlib.Index("ip", np.load(cache / "queries.npy").shape[1])
    index.load_index(str(path))
    index.set_num_threads(threads)

    def search(queries: Any, effort: int) -> Any:
        index.set_ef(effort)
        return index.knn_query(queries, HITS)[0]

    return [Side("hnswlib", search, path.stat().st_size)]


def _usearch(cache: Path, threads: int) -> list[Side]:
    if not (path := cache / "usearch").exists():
        return []
    from usearch.index import Index

    index = Index.restore(str(path))

    def search(queries: Any, effort: int) -> Any:
        index.expansion_search = effort
        return index.search(queries, HITS, threads=threads).keys

    return [Side("usearch", search, path.stat().st_size)]


def _svs(cache: Path, threads: int) -> list[Side]:
    if not (path := cache / "svs").exists():
        return []
    import svs

    parts = [str(path / part) for part in ("config", "graph", "data")]
    index = svs.Vamana(*parts, svs.DistanceType.MIP, num_threads=threads)

    def search(queries: Any, effort: int) -> Any:
        index.search_window_size = effort
        return index.search(queries, HITS)[0]

    return [Side("SVS, Vamana float32", search, sum(part.stat().st_size for part in path.rglob("*.*")))]


def _effort(side: Side, queries: Any, nearest: Any, target: float) -> int:
    """The least effort that reaches the target, by bisection."""
    low, high = (1, 512) if side.name == "ours, ivf" else (HITS, 1_024)
    while low < high:
        middle = (low + high) // 2
        reached = _recall(side, queries[:256], nearest[:256], middle) >= target
        low, high = (low, middle) if reached else (middle + 1, high)
    return high


def _recall(side: Side, queries: Any, nearest: Any, effort: int) -> float:
    batches = range(0, len(queries), BATCH)
    found = np.concatenate([side.search(queries[first : first + BATCH], effort) for first in batches])
    return recall(found.astype(np.int64), nearest)


def _seconds(side: Side, queries: Any, effort: int) -> float:
    started = time.perf_counter()
    for first in range(0, len(queries), BATCH):
        side.search(queries[first : first + BATCH], effort)
    return time.perf_counter() - started


def _unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    """Make, build or run, as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=["make", "build", "run"])
    parser.add_argument("name", nargs="?", choices=["ivf", "hnsw", "hnswlib", "usearch", "svs"])
    parser.add_argument("--cache", type=Path, required=True, help="outside the repository: 1.5 GB")
    parser.add_argument("--bundles", type=Path, default=Path(".demo/bundles"))
    parser.add_argument("--data", type=Path, default=Path(".demo/data"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.action == "make":
        make(asked.bundles, asked.data, asked.cache)
    elif asked.action == "build":
        build(asked.name, asked.cache)
    else:
        print(json.dumps(run(asked.cache, asked.threads, asked.rounds), indent=2))


if __name__ == "__main__":
    main()
