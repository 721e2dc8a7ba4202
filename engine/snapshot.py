"""Everything an answer is made from, at one moment."""

from dataclasses import dataclass

from engine.descriptions import Descriptions
from engine.explain import Explainer
from engine.popularity import Popularity
from index.catalogue import Catalogue
from index.retrieval import Retriever
from index.vector_index import VectorIndex
from index.vector_table import VectorTable


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A catalogue with the index and the vectors of its items.

    Immutable: a request takes one and keeps to it.
    """

    catalogue: Catalogue
    retriever: Retriever
    explainer: Explainer
    popularity: Popularity
    descriptions: Descriptions
    generation: int
    """Counts the snapshots of one engine."""


def take_snapshot(
    catalogue: Catalogue,
    index: VectorIndex,
    table: VectorTable,
    temperature: float,
    max_whole_items: int | None = None,
    generation: int = 0,
) -> Snapshot:
    """A snapshot of these.

    `temperature`: τ of the softmax that weighs an interest's nearest items; `max_whole_items`: as the
    Retriever's.
    """
    return Snapshot(
        catalogue=catalogue,
        retriever=Retriever(index, table, catalogue, max_whole_items),
        explainer=Explainer(index, table, catalogue, temperature),
        popularity=Popularity(catalogue),
        descriptions=Descriptions(catalogue),
        generation=generation,
    )
