"""A library of vector search: `python searching.py LIBRARY DIRECTORY THREADS`, or `build` for THREADS.

The directory has `vectors.npy`, `queries.npy` and `exact.npy` (the lines of the nearest of each query), and
keeps the indexes. The first line out has the memory and, by setting, recall@100; then each line in, a number
of seconds for each setting, is answered with queries a second by setting. Of this project it imports only
`index`, and that only for the library `ours-KIND`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

K = 128
RECALL_AT = 100
"""As the service asks an index, and as the targets judge it."""
AT_ONCE = 64
"""The service's largest batch by default."""
_BUILD_THREADS = os.cpu_count() or 1

Search = Callable[[Any, int], Any]
"""Queries and a setting in; lines of vectors `(queries, K)` out."""
Library = Callable[[Any, Path, int], tuple[Search, list[int]]]
"""Vectors, a place for the index and a number of threads in; a search and its settings out."""
_DEPTHS = [128, 160, 192, 256, 384, 512, 768]
_PROBES = [8, 16, 32, 64, 128, 256]


def faiss_flat(vectors: Any, _: Path, threads: int) -> tuple[Search, list[int]]:
    """FAISS, exact."""
    faiss: Any = import_module("faiss")

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return lambda queries, _setting: index.search(queries, K)[1], [0]


def faiss_hnsw(vectors: Any, path: Path, threads: int) -> tuple[Search, list[int]]:
    """FAISS, HNSW with 32 links."""
    faiss: Any = import_module("faiss")

    if not path.exists():
        faiss.omp_set_num_threads(_BUILD_THREADS)
        built = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        built.hnsw.efConstruction = 40
        built.add(vectors)
        faiss.write_index(built, str(path))
    faiss.omp_set_num_threads(threads)
    index = faiss.read_index(str(path))

    def search(queries: Any, depth: int) -> Any:
        return index.search(queries, K, params=faiss.SearchParametersHNSW(efSearch=depth))[1]

    return search, _DEPTHS


def faiss_ivf(vectors: Any, path: Path, threads: int) -> tuple[Search, list[int]]:
    """FAISS, IVF with 4 √n cells."""
    faiss: Any = import_module("faiss")

    cells = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // 39))
    if not path.exists():
        faiss.omp_set_num_threads(_BUILD_THREADS)
        built = faiss.index_factory(vectors.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
        built.cp.spherical, built.cp.max_points_per_centroid = True, 64
        built.train(vectors)
        built.add(vectors)
        faiss.write_index(built, str(path))
    faiss.omp_set_num_threads(threads)
    index = faiss.read_index(str(path))

    def search(queries: Any, probes: int) -> Any:
        return index.search(queries, K, params=faiss.SearchParametersIVF(nprobe=probes))[1]

    return search, [probes for probes in _PROBES if probes <= cells]


def hnswlib(vectors: Any, path: Path, threads: int) -> tuple[Search, list[int]]:
    """hnswlib, M = 16 and efConstruction = 200: those of its documentation."""
    import hnswlib as library

    index = library.Index(space="ip", dim=vectors.shape[1])
    if not path.exists():
        index.init_index(max_elements=len(vectors), M=16, ef_construction=200)
        index.add_items(vectors, num_threads=_BUILD_THREADS)
        index.save_index(str(path))
        index = library.Index(space="ip", dim=vectors.shape[1])
    index.load_index(str(path))
    index.set_num_threads(threads)

    def search(queries: Any, depth: int) -> Any:
        index.set_ef(depth)
        return index.knn_query(queries, K)[0]

    return search, _DEPTHS


def usearch(vectors: Any, path: Path, threads: int) -> tuple[Search, list[int]]:
    """usearch, float32, its default connectivity (16) and expansion_add (128)."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    if not path.exists():
        index.add(np.arange(len(vectors)), vectors, threads=_BUILD_THREADS)
        index.save(str(path))
    else:
        index.load(str(path))

    def search(queries: Any, depth: int) -> Any:
        index.expansion_search = depth
        return index.search(queries, K, threads=threads).keys

    return search, _DEPTHS


def svs(vectors: Any, path: Path, threads: int) -> tuple[Search, list[int]]:
    """Intel's SVS: a Vamana graph of degree 64 over float32; its LVQ codes run on Intel's processors only."""
    import svs as library

    parameters = library.VamanaBuildParameters(graph_max_degree=64, window_size=128, alpha=0.95)
    parts = [str(path / name) for name in ("config", "graph", "data")]
    if not path.exists():
        built = library.Vamana.build(
            parameters, vectors, library.DistanceType.MIP, num_threads=_BUILD_THREADS
        )
        path.mkdir()
        built.save(*parts)
    loader = library.VectorDataLoader(parts[2], library.DataType.float32)
    index = library.Vamana(
        parts[0], library.GraphLoader(parts[1]), loader, library.DistanceType.MIP, num_threads=threads
    )

    def search(queries: Any, window: int) -> Any:
        index.search_window_size = window
        return index.search(queries, K)[0]

    return search, _DEPTHS


def ours(kind: Any) -> Library:
    """An index of this project."""

    def made(vectors: Any, path: Path, threads: int) -> tuple[Search, list[int]]:
        faiss: Any = import_module("faiss")

        from index.building import build_index
        from index.faiss_index import FaissIndex
        from index.vector_table import VectorTable

        if not path.exists():
            faiss.omp_set_num_threads(_BUILD_THREADS)
            build_index(np.array(vectors), kind).write(path)
        faiss.omp_set_num_threads(threads)
        index = FaissIndex.parse(np.fromfile(path, np.uint8), path.name, VectorTable(np.asarray(vectors)))

        def search(queries: Any, effort: int) -> Any:
            return index.with_effort(effort).search(queries, K).rows - 1

        cells = 4 * len(vectors) ** 0.5
        efforts = {"hnsw": _DEPTHS, "ivf": [probes for probes in _PROBES if probes <= cells]}
        return search, efforts.get(kind, [0])

    return made


LIBRARIES: dict[str, Library] = {
    "faiss-flat": faiss_flat,
    "faiss-hnsw": faiss_hnsw,
    "faiss-ivf": faiss_ivf,
    "hnswlib": hnswlib,
    "usearch": usearch,
    "svs": svs,
}


def resident_gb() -> float:
    """Resident memory of this process, GB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def recall(found: Any, exact: Any) -> float:
    """Part of the nearest `RECALL_AT` that are among as many found."""
    pairs = zip(found[:, :RECALL_AT], exact[:, :RECALL_AT], strict=True)
    return float(np.mean([len(np.intersect1d(one, other)) / RECALL_AT for one, other in pairs]))


def timed(search: Search, setting: int, queries: Any, seconds: float) -> float:
    """Queries a second, `AT_ONCE` at once."""
    batches = [queries[start : start + AT_ONCE] for start in range(0, len(queries), AT_ONCE)]
    done, began = 0, time.perf_counter()
    while not done or time.perf_counter() < began + seconds:
        done += len(search(batches[(done // AT_ONCE) % len(batches)], setting))
    return done / (time.perf_counter() - began)


def main() -> None:
    """Build the index; or read it and measure as the lines of standard input ask."""
    name, directory = sys.argv[1], Path(sys.argv[2])
    library = ours(name.removeprefix("ours-")) if name.startswith("ours-") else LIBRARIES[name]
    path = directory / f"{name}.index"
    if sys.argv[3] == "build":
        library(np.load(directory / "vectors.npy"), path, _BUILD_THREADS)
        return
    queries, exact = np.load(directory / "queries.npy"), np.load(directory / "exact.npy")
    vectors = np.load(directory / "vectors.npy", mmap_mode="r")
    import_module("faiss" if name.startswith(("ours-", "faiss-")) else name)
    before = resident_gb()
    search, settings = library(vectors, path, int(sys.argv[3]))
    found = {setting: recall(search(queries, setting), exact) for setting in settings}
    print(json.dumps({"memory_gb": resident_gb() - before, "recall": found}), flush=True)
    for line in sys.stdin:
        rates = {one: timed(search, one, queries, json.loads(line)) for one in settings}
        print(json.dumps(rates), flush=True)


if __name__ == "__main__":
    main()
