"""The FAISS index that suits a catalogue, and its parameters.

- up to `MAX_FLAT_ITEMS` items `flat` costs a request less than the model does, and is exact;
- above, `ivf`: a million items take 41 MB beside their vectors, and a filter costs little, since it is
  applied while codes are scanned;
- `hnsw`, only where it is asked for, takes 270 MB for its links, minutes to build, and walks through what a
  filter leaves out.

The retrieval of one request, 12 interests among 1,000,000 items around the demo's, one thread, k = 10,
median: ivf 1.3 ms (32 cells, recall .951), of a category that two fifths have at random 1.5 ms; hnsw 3.0 and
9.5 ms.
"""

import math
from typing import Literal

IndexKind = Literal["flat", "hnsw", "ivf"]
IndexChoice = Literal["auto", IndexKind]
"""A kind, or the one that suits the catalogue."""

MAX_WHOLE_ITEMS = 50_000
"""Eligible items that are all scored, without the index: chosen, for exact answers cost little so far.

12 interests a request around the demo's, one thread, machine shared, ms a request in batches of 64 (of one):
20,000 items .75 (.89), by ivf .46 (.56); 50,000 items 2.0 (2.1), ivf .56 (.69), hnsw 1.2 (1.4); 100,000 items
5.2 (5.3), ivf .72 (.98), hnsw 1.7 (2.1).
"""

MAX_FLAT_ITEMS = 50_000
"""Items that `auto` takes a flat index for, as all of them are scored without one (`MAX_WHOLE_ITEMS`)."""

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
"""Links a node keeps on each upper level, twice as many on the lowest; FAISS's default."""
HNSW_BUILD_DEPTH = 40
"""Candidates that are looked at when a node is added; FAISS's default."""
HNSW_SEARCH_DEPTH = 128
"""Candidates that are looked at when a query walks the graph: as many as it is to find at least
(`index.pooling.SOFTMAX_HITS`).
"""

IVF_TRAINING_POINTS_PER_CELL = 64
"""Points of k-means, of which FAISS takes up to 256; the figures above were measured with this."""
IVF_TRAINING_ROUNDS = 10
"""Of k-means; FAISS's default for ivf."""
IVF_SMALLEST_CELL = 39
"""Items a cell below which FAISS warns that k-means has too few points."""
IVF_MIN_TRAINING_POINTS = 16 * IVF_SMALLEST_CELL
"""Points that the 16 values of a code are learned from at least, by the same rule."""

REFINED = 2
"""Hits by codes that are scored exactly, for each hit that is wanted.

Of 1,000,000 items around the demo's, 64 interests at once, the first 100 of 128 hits, 32 of 2,000 cells:
recall .951 with 2, .952 with 3 to 6, which take a tenth to a half more time.
"""
SPARE_CODED_HITS = 128
"""At most so many more than are wanted, or a quarter of these: codes err about the hits at the margin alone.

100,000 items around the demo's, 31 of 632 cells, 12 interests a request: of 256 hits recall .9631 with 384
and .9632 with 512, for .72 and .82 ms a request; of 1,024 hits .844 with 1,024, .859 with 1,280 and .860 with
2,048, for 1.8, 2.1 and 2.6 ms.
"""

WIDENING = 4
"""Times as many cells are looked into where the nearest have too few items of a category.

Of 1,000,000 items, two fifths that lie apart, 32 cells, 200 requests in turns with plain ones, four rounds:
1.99 times a plain request at k = 10 (1.93 to 2.08), 1.85 at 100 (1.75 to 1.96). An exact search instead took
some 200 times, in a run beside other work.
"""


def choose_kind(items: int) -> IndexKind:
    """The kind of index for a catalogue of this many items."""
    return "flat" if items <= MAX_FLAT_ITEMS else "ivf"


def ivf_cells(items: int) -> int:
    """The number of cells: 2 √n, fewer where cells would be too small to train."""
    return max(1, min(int(2 * math.sqrt(items)), items // IVF_SMALLEST_CELL))


def ivf_probes(cells: int) -> int:
    """Number of cells that a query looks into (nprobe)."""
    return min(cells, max(16, cells // 20))


def coded_hits(hits: int) -> int:
    """The number of hits by codes, of which the best `hits` are taken once they are scored exactly."""
    return hits + min((REFINED - 1) * hits, max(SPARE_CODED_HITS, hits // 4))
