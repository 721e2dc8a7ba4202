"""The last look at what leaves: it is whole though items go while it is made."""

import pytest

from service.catalogue import live
from service.catalogue.last_look import SPARE_ITEMS, settled
from service.catalogue.live import LiveCatalogue
from service.catalogue.protocol import Contents, Entry
from service.errors import OverloadedError

FOUND = [f"v{rank}" for rank in range(100)]


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> LiveCatalogue:
    """Items go in it, until the test is over."""
    monkeypatch.setattr(live, "LOSING_S", 3600.0, raising=False)
    catalogue = LiveCatalogue(Contents([]))
    catalogue.take([Entry("v0", 1, removed=True)])
    return catalogue


def cut(catalogue: LiveCatalogue, found: list[str], k: int) -> tuple[list[str], int]:
    living = [item_id for item_id in found if not catalogue.is_gone(item_id)]
    return living[:k], len(found) - len(living)


async def test_a_list_is_whole_though_there_is_no_time_to_make_it_again(catalogue: LiveCatalogue) -> None:
    made: list[int] = []

    async def make(spare: int) -> list[str]:
        made.append(spare)
        if len(made) > 1:
            raise OverloadedError(waiting=1, retry_after_s=1)
        catalogue.take([Entry("v3", 2, removed=True)])
        return FOUND[1 : 11 + spare]

    settled_list = await settled(catalogue, make, lambda found: cut(catalogue, found, 10))
    assert settled_list == [*FOUND[1:3], *FOUND[4:12]]
    assert made == [SPARE_ITEMS]


async def test_what_lost_more_than_its_spare_items_is_made_again(catalogue: LiveCatalogue) -> None:
    gone = FOUND[1 : 2 + SPARE_ITEMS]
    made: list[int] = []

    async def make(spare: int) -> list[str]:
        made.append(spare)
        if len(made) > 1:
            return FOUND[2 + SPARE_ITEMS :][: 10 + spare]
        catalogue.take([Entry(item_id, 2 + rank, removed=True) for rank, item_id in enumerate(gone)])
        return FOUND[1 : 11 + spare]

    settled_list = await settled(catalogue, make, lambda found: cut(catalogue, found, 10))
    assert settled_list == FOUND[2 + SPARE_ITEMS :][:10]
    assert made == [SPARE_ITEMS, SPARE_ITEMS]
