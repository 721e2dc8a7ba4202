"""The FAISS index that suits a catalogue, and its parameters.

Measured with 64 dimensions on one core of a small server, 128 hits for each of the eight interests of one
request, over vectors on a smooth low-rank manifold (no tidy clusters; recall@50 in brackets):

| items   | flat   | hnsw           | ivf            |
|---------|--------|----------------|----------------|
| 20,000  | 0.9 ms |                |                |
| 100,000 | 5.7 ms | 1.5 ms (0.994) | 1.1 ms (0.964) |
| 400,000 | 29 ms  | about 2 ms     | 3.6 ms (0.988) |

- up to `MAX_FLAT_ITEMS` items `flat` costs a request less than the model does, and is exact;
- above, `hnsw` has the best recall for its time, for 256 bytes of links an item and a build of roughly
  10,000 items a second on two cores;
- above `MAX_HNSW_ITEMS` that build and that memory hurt: `ivf` builds faster, needs no links, and gives
  up a little recall.
"""

import math
from typing import Literal

IndexKind = Literal["flat", "hnsw", "ivf"]
IndexChoice = Literal["auto", IndexKind]
"""A kind, or the one that suits the catalogue."""

MAX_WHOLE_ITEMS = 50_000
"""Eligible items that are all scored, without the index.

Eight interests, ms of one core on a busy machine: 20,000 items .5 (a flat search .8), 50,000 items 1.6 (2.5),
100,000 items 3.2, where hnsw searches in .8.
"""

MAX_FLAT_ITEMS = 50_000
MAX_HNSW_ITEMS = 1_000_000
"""Sizes up to which each kind is taken, by the table above: an hnsw of a million takes 100 s and 256 MB."""

MAX_HITS = 2_048
"""Hits that an index is asked for at most: what FAISS gives on a GPU. More are found exactly."""

FILTER_MARGIN = 1.5
"""A category is assumed to be this much rarer near an interest than in the whole catalogue.

hnsw, 50 hits of 100,000 items, categories that 10 and 30 % of them have at random: with 1, recall is .95 and
a half of the searches come back short; with 1.5 it is .975 and .999, and none does, for a sixth more time; 3
gains nothing. Where categories are regions of the space, searches come back short with any of them (at 30 %:
recall .55 with 1.5, .66 with 3).
"""

HNSW_LINKS = 32
"""Links a node keeps on each upper level, twice as many on the lowest, as in the table above."""
HNSW_BUILD_DEPTH = 40
"""Candidates that are looked at when a node is added; FAISS's default."""
HNSW_SEARCH_DEPTH = 128
"""Candidates that are looked at when a query walks the graph: as many as it is to find at least
(`index.pooling.SOFTMAX_HITS`).
"""

IVF_TRAINING_POINTS_PER_CELL = 64
"""Points of k-means, of which FAISS takes up to 256. The table above was measured with this."""
IVF_TRAINING_ROUNDS = 10
"""Of k-means; FAISS's default for ivf."""
IVF_SMALLEST_CELL = 39
"""Items a cell below which FAISS warns that k-means has too few points."""
IVF_MIN_TRAINING_POINTS = 16 * IVF_SMALLEST_CELL
"""Points that the 16 values of a code are learned from at least, by the same rule."""

REFINED = 2
"""Hits by codes that are scored exactly, for each hit that is wanted.

Of 1,000,000 items around the demo's, 64 interests at once, the first 100 of 128 hits, 32 of 2,048 cells:
recall .951 with 2, .952 with 3 to 6, which take a tenth to a half more time.
"""


def choose_kind(items: int) -> IndexKind:
    """The kind of index for a catalogue of this many items."""
    if items <= MAX_FLAT_ITEMS:
        return "flat"
    return "hnsw" if items <= MAX_HNSW_ITEMS else "ivf"


def ivf_cells(items: int) -> int:
    """The number of cells: 2 √n, fewer where cells would be too small to train."""
    return max(1, min(int(2 * math.sqrt(items)), items // IVF_SMALLEST_CELL))


def ivf_probes(cells: int) -> int:
    """Number of cells that a query looks into (nprobe)."""
    return min(cells, max(16, cells // 20))
