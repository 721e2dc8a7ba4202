"""What was counted, in an answer over HTTP."""

from pathlib import Path

import pytest

from tests.factories import make_counts, publish_tiny_bundle
from tests.service.serving import AUTHORIZED, running, settings_for


def test_an_answer_tells_of_what_was_counted(tmp_path: Path) -> None:
    counts = make_counts(200)
    publish_tiny_bundle(tmp_path, counts=counts)
    asked = {"history": ["1003", "1007"], "k": 20}
    with running(settings_for(tmp_path)) as server:
        answer = server.client.post("/recommend", json=asked, headers=AUTHORIZED).json()
    *_, last = answer["interests"]
    assert last["kind"] == "counts"
    assert last["top_categories"]
    assert sum(one["weight"] for one in answer["interests"]) == pytest.approx(1)
    brought = [item for item in answer["items"] if item["interest"] == len(answer["interests"]) - 1]
    assert len(brought) == last["item_count"] > 0
    followers = {str(1000 + row) for line in (2, 6) for row in counts.followers[line].tolist() if row}
    assert {item["item_id"] for item in brought} <= followers
    assert {one["item_id"] for item in brought for one in item["because"]} <= {"1003", "1007"}
