"""On real data what is said of interests tells them apart, and is true of what each of them brings."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from bundle.read import read_bundle
from engine.contract import EngineAnswer, EngineRequest
from engine.engine import Engine
from training.data.dataset import Dataset

pytestmark = pytest.mark.smoke

USERS = 200


@pytest.fixture(scope="module")
def engine(movielens_bundle: tuple[Path, Dataset]) -> Engine:
    return Engine(read_bundle(movielens_bundle[0]), max_steps=16)


@pytest.fixture(scope="module")
def answers(engine: Engine, movielens_bundle: tuple[Path, Dataset]) -> list[EngineAnswer]:
    """The service's answers to users by chance: both kinds of interests, ten items, seen ones left out."""
    _, dataset = movielens_bundle
    users = np.random.default_rng(0).choice(len(dataset.user_ids), USERS, replace=False)
    histories = [[dataset.catalogue.item_id(row) for row in dataset.history(user)] for user in users]
    return engine.recommend(
        [
            EngineRequest(
                user_id=dataset.user_ids[user],
                history=history,
                excluded=history,
                k=10,
                diversity=0.0,
                interest_mode="both",
            )
            for user, history in zip(users, histories, strict=True)
        ]
    )


def labels(answer: EngineAnswer) -> list[frozenset[str]]:
    assert all(interest.top_categories is not None for interest in answer.interests)
    return [frozenset(interest.top_categories or ()) for interest in answer.interests]


def test_interests_of_one_user_are_told_apart(answers: list[EngineAnswer]) -> None:
    pairs = [pair for answer in answers for pair in combinations(labels(answer), 2)]
    assert len(pairs) > 5 * USERS
    assert sum(first == second for first, second in pairs) <= len(pairs) / 5


def test_a_label_is_true_of_the_items_that_its_interest_brings(answers: list[EngineAnswer]) -> None:
    """It agrees with an item when the item has one of its categories; the user's other labels do so less."""
    gains = []
    for answer in answers:
        mine = labels(answer)
        if len(mine) < 2:
            continue
        agrees = np.array([[bool(label & set(item.categories)) for label in mine] for item in answer.items])
        brought = np.array([item.interest for item in answer.items])
        own = agrees[np.arange(len(brought)), brought]
        shuffled = (agrees.sum(axis=1) - own) / (len(mine) - 1)
        gains.append(float((own - shuffled).mean()))
    generator = np.random.default_rng(0)
    means = generator.choice(gains, (2_000, len(gains))).mean(axis=1)
    assert len(gains) > USERS / 2
    assert np.quantile(means, 0.025) > 0
