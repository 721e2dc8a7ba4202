"""On real data what is said of interests tells them apart, and is true of what each of them brings."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from bundle.read import load
from service.engine import Engine, EngineAnswer, EngineRequest
from training.dataset import Dataset

USERS = 200


@pytest.fixture(scope="module")
def engine(movielens_bundle: tuple[Path, Dataset]) -> Engine:
    return Engine(load(movielens_bundle[0]))


@pytest.fixture(scope="module")
def answers(engine: Engine, movielens_bundle: tuple[Path, Dataset]) -> list[EngineAnswer]:
    """The service's answers to users by chance: both kinds of interests, ten items, seen ones left out."""
    _, dataset = movielens_bundle
    users = np.random.default_rng(0).choice(len(dataset.user_ids), USERS, replace=False)
    return engine.recommend(
        [
            EngineRequest(
                history=dataset.history(user),
                k=10,
                excluded=np.unique(dataset.history(user)),
                categories=None,
                diversity=0.0,
                draws=engine.defaults.draws,
                interest_mode="both",
                steps=engine.defaults.steps,
                seed=engine.seed_for("user", dataset.user_ids[user]),
                explain=True,
            )
            for user in users
        ]
    )


def labels(answer: EngineAnswer) -> list[frozenset[str]]:
    assert all(interest.explanation for interest in answer.interests)
    return [
        frozenset(interest.explanation.top_categories)
        for interest in answer.interests
        if interest.explanation
    ]


def test_interests_of_one_user_are_told_apart(answers: list[EngineAnswer]) -> None:
    pairs = [pair for answer in answers for pair in combinations(labels(answer), 2)]
    assert len(pairs) > 5 * USERS
    assert sum(first == second for first, second in pairs) <= len(pairs) / 5


def test_a_label_is_true_of_the_items_that_its_interest_brings(
    engine: Engine, answers: list[EngineAnswer]
) -> None:
    """It agrees with an item when the item has one of its categories; the user's other labels do so less."""
    gains = []
    for answer in answers:
        mine = labels(answer)
        if len(mine) < 2:
            continue
        agrees = np.array(
            [
                [bool(label & set(engine.catalogue.category(item.row))) for label in mine]
                for item in answer.items
            ]
        )
        brought = np.array([item.interest for item in answer.items])
        own = agrees[np.arange(len(brought)), brought]
        shuffled = (agrees.sum(axis=1) - own) / (len(mine) - 1)
        gains.append(float((own - shuffled).mean()))
    generator = np.random.default_rng(0)
    means = generator.choice(gains, (2_000, len(gains))).mean(axis=1)
    assert len(gains) > USERS / 2
    assert np.quantile(means, 0.025) > 0
