"""Everything an answer is made from, at one moment."""

from dataclasses import dataclass, replace

from engine.descriptions import Descriptions
from engine.explain import Explainer
from engine.popularity import Popularity, Trend
from index.catalogue import Catalogue
from index.layered import LayeredIndex
from index.overlay import LayeredCatalogue, LayeredEligibility
from index.retrieval import Retriever
from index.vector_index import VectorIndex, Vectors
from index.vector_table import ItemVectors, LayeredTable


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
    index: VectorIndex
    table: ItemVectors
    temperature: float
    max_whole_items: int | None
    added: Vectors | None = None
    """Vectors (rows, dim) of the items that are not the bundle's, which the model has no row for."""


def take_snapshot(
    catalogue: Catalogue,
    index: VectorIndex,
    table: ItemVectors,
    temperature: float,
    max_whole_items: int | None = None,
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
        index=index,
        table=table,
        temperature=temperature,
        max_whole_items=max_whole_items,
    )


def trending_snapshot(snapshot: Snapshot, trend: Trend) -> Snapshot:
    """The snapshot with a popularity that recent events have a part in, in place of earlier ones."""
    return replace(snapshot, popularity=Popularity(snapshot.catalogue, trend))


def layered_snapshot(
    base: Snapshot, catalogue: LayeredCatalogue, added: Vectors, indexed: VectorIndex | None = None
) -> Snapshot:
    """The snapshot of a `base` with a catalogue of more rows, whose vectors are `added` (rows, dim).

    `indexed`: an index of the base's rows and the first of these, in place of its own.
    """
    first = base.index if indexed is None else indexed
    twins = catalogue.ties.twins
    index = LayeredIndex(first, added[len(first) - len(base.index) :], catalogue.alive, twins)
    table = LayeredTable(base.table, added, twins)
    eligibility = LayeredEligibility(base.retriever.eligibility, catalogue)
    return Snapshot(
        catalogue=catalogue,
        retriever=Retriever(index, table, catalogue, base.max_whole_items, eligibility),
        explainer=Explainer(index, table, catalogue, base.temperature),
        popularity=Popularity(catalogue),
        descriptions=Descriptions(catalogue, base.descriptions),
        index=index,
        table=table,
        temperature=base.temperature,
        max_whole_items=base.max_whole_items,
        added=added,
    )
