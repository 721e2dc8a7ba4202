"""The rules of what counts, against a reference that knows every change and no log: whatever is put, removed
and loaded, each item is served by the description and the vector that the rules name.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bundle.read import Bundle, read_bundle
from bundle.write import publish
from engine.engine import Engine
from engine.recipes import Given, Like
from index.catalogue import Catalogue
from service.catalogue.compacting import Kept, droppable
from service.catalogue.live import LiveCatalogue
from service.catalogue.protocol import Description, Origin, Write
from service.catalogue.sqlite import SqliteLog
from tests.effort import examples
from tests.factories import make_index, make_model, make_serving

DIM = 8
CHANGED = ("a", "b", "c", "1")
"""Items that are changed: none, some or all of the bundles have them."""
BUNDLES: tuple[tuple[tuple[str, ...], int], ...] = (
    (("1", "2", "3", "4"), 0),
    (("1", "2", "3", "a", "b"), 5),
    (("2", "4", "a", "c", "1"), 9),
)
"""The items of each bundle, and the last change that its data obey."""
UNTRAINED = ("3", "c")
"""Those without events, wherever they are."""
TITLES = {"1": "One", "a": "Two"}
CATEGORIES = {"1": ("X",), "2": ("X", "Y"), "3": ("Z",), "4": ("Y",)}


class Put(NamedTuple):
    """`origin`: ids that it is like, or the number of the bundle of whose space a vector is."""

    item_id: str
    title: str
    categories: tuple[str, ...]
    origin: tuple[str, ...] | int | None


class Removal(NamedTuple):
    item_id: str


class Load(NamedTuple):
    """Put another bundle into service, `restarted`: by another process."""

    number: int
    restarted: bool


Step = Put | Removal | Load
PUTS = st.builds(
    Put,
    st.sampled_from(CHANGED),
    st.sampled_from(["One", "Two"]),
    st.sampled_from([(), ("X",), ("Y", "Z"), ("Z",), ("Unknown",)]),
    st.none() | st.sampled_from([("1",), ("4",), ("3", "c"), ("a", "2"), ("nobody",), 0, 1, 2]),
)
CHANGES = PUTS | st.builds(Removal, st.sampled_from(CHANGED))
STEPS = CHANGES | st.builds(Load, st.sampled_from(range(len(BUNDLES))), st.booleans())
GIVEN = np.linspace(1, 2, DIM)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    root = tmp_path_factory.mktemp("rules")
    return [read_bundle(root, published(root, number)) for number in range(len(BUNDLES))]


def published(root: Path, number: int) -> str:
    item_ids, sequence = BUNDLES[number]
    catalogue = Catalogue(
        list(item_ids),
        [TITLES.get(item_id, f"{item_id} in {number}") for item_id in item_ids],
        [CATEGORIES.get(item_id, ()) for item_id in item_ids],
        [0 if item_id in UNTRAINED else 5 for item_id in item_ids],
    )
    model = make_model(len(item_ids), DIM, seed=number)
    return publish(
        root,
        model,
        catalogue,
        make_index(model),
        serving=make_serving(),
        metrics={},
        data_fingerprint=str(number),
        catalogue_sequence=sequence,
    )


class Reference:
    """All changes by their numbers, from 1; what follows from them in a bundle."""

    def __init__(self, bundles: list[Bundle]) -> None:
        self._bundles = bundles
        self.changes: list[Put | Removal] = []

    def served(self, number: int) -> dict[str, tuple[str, NDArray[np.float64]]]:
        """Every item that is served: its title and its vector."""
        found = {}
        for item_id in {*BUNDLES[number][0], *CHANGED}:
            own = [(at, one) for at, one in enumerate(self.changes, 1) if one.item_id == item_id]
            title, vector = self._of(item_id, own, number)
            if title is not None and vector is not None:
                found[item_id] = title, vector / np.linalg.norm(vector)
        return found

    def _of(
        self, item_id: str, own: list[tuple[int, Put | Removal]], number: int
    ) -> tuple[str | None, NDArray[np.float64] | None]:
        learned = self._learned(item_id, number)
        if not own:
            title = TITLES.get(item_id, f"{item_id} in {number}")
            return (None if learned is None else title), learned
        removals = [at for at, one in own if isinstance(one, Removal)]
        since = [(at, one) for at, one in own if isinstance(one, Put) and at > max(removals, default=0)]
        if not since:
            return None, None
        explicit = [(at, put) for at, put in since if put.origin is not None]
        at, first = explicit[-1] if explicit else since[0]
        trained = learned is not None and item_id not in UNTRAINED
        beaten = trained and at <= BUNDLES[number][1]
        vectors = [
            None if beaten else self._explicit(first.origin, number),
            learned,
            self._of_categories(first.categories, number),
        ]
        return since[-1][1].title, next((vector for vector in vectors if vector is not None), None)

    def _learned(self, item_id: str, number: int) -> NDArray[np.float64] | None:
        row = self._bundles[number].catalogue.row(item_id)
        if row is None:
            return None
        vector: NDArray[np.float64] = self._bundles[number].table.all[row - 1].astype(np.float64)
        return vector

    def _mean(self, item_ids: tuple[str, ...], number: int) -> NDArray[np.float64] | None:
        trained = [item_id for item_id in item_ids if item_id not in UNTRAINED]
        vectors = [vector for one in trained if (vector := self._learned(one, number)) is not None]
        return np.mean(vectors, axis=0) if vectors else None

    def _explicit(self, origin: tuple[str, ...] | int | None, number: int) -> NDArray[np.float64] | None:
        if isinstance(origin, tuple):
            return self._mean(origin, number)
        return GIVEN if origin == number else None

    def _of_categories(self, names: tuple[str, ...], number: int) -> NDArray[np.float64] | None:
        of_each = [
            self._mean(tuple(one for one in BUNDLES[number][0] if name in CATEGORIES.get(one, ())), number)
            for name in names
        ]
        known = [mean for mean in of_each if mean is not None]
        return np.mean(known, axis=0) if known else None


def write_of(step: Put | Removal, bundles: list[Bundle]) -> Write:
    if isinstance(step, Removal):
        return Write(step.item_id)
    match step.origin:
        case tuple(item_ids):
            origin: Like | Given | None = Like(item_ids)
        case int(number):
            origin = Given(tuple(GIVEN.tolist()), bundles[number].version)
        case None:
            origin = None
    return Write(
        step.item_id,
        Description(step.title, step.categories),
        Origin(origin, step.categories),
        keep_origin=origin is None,
    )


def check(engine: Engine, live: LiveCatalogue, served: dict[str, tuple[str, NDArray[np.float64]]]) -> None:
    """Compare what is served, and how near each item is to each other one."""
    assert len(engine) == len(served)
    for item_id, (title, vector) in served.items():
        described = engine.describe(item_id)
        assert described is not None, item_id
        assert described.title == title
        assert not live.is_gone(item_id)
        found = {one.item_id: one.score for one in engine.similar(item_id, len(served)) or ()}
        near = {other: float(vector @ one) for other, (_, one) in served.items() if other != item_id}
        assert found == pytest.approx(near, abs=1e-5), item_id
    for item_id in set(CHANGED) - served.keys():
        assert engine.describe(item_id) is None


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=14))
async def test_each_item_is_served_as_the_rules_say(
    bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    root = tmp_path_factory.mktemp("log")
    log, reference, number = SqliteLog(root), Reference(bundles), 0
    live, engine = LiveCatalogue(log.read()), Engine(bundles[0], max_steps=5)
    live.serve(engine)
    try:
        for step in steps:
            if isinstance(step, Load):
                number, engine = step.number, Engine(bundles[step.number], max_steps=5)
                live = LiveCatalogue(log.read()) if step.restarted else live
                live.serve(engine)
            else:
                live.take(await log.write([write_of(step, bundles)]))
                reference.changes.append(step)
            check(engine, live, reference.served(number))
    finally:
        await log.close()


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(CHANGES, min_size=3, max_size=14))
async def test_nothing_that_is_served_follows_from_what_a_compaction_drops(
    bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory, steps: list[Put | Removal]
) -> None:
    kept = [Kept(one.version, one.catalogue, one.manifest.catalogue_sequence) for one in bundles[1:]]
    log, reference = SqliteLog(tmp_path_factory.mktemp("log")), Reference(bundles)
    try:
        log.read()
        for step in steps:
            await log.write([write_of(step, bundles)])
            reference.changes.append(step)
        await log.drop(droppable(log.read().entries, kept))
        for number in range(1, len(bundles)):
            live, engine = LiveCatalogue(log.read()), Engine(bundles[number], max_steps=5)
            live.serve(engine)
            check(engine, live, reference.served(number))
    finally:
        await log.close()
