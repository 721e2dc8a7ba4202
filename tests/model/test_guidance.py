"""GEM against plain-loop NumPy versions of the published formulas."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.batch import collate
from model.config import GuidanceKind
from model.dimerec import DimeRec
from model.sphere import unit
from tests.factories import make_model

KINDS: list[GuidanceKind] = [
    "recency_attentive",
    "self_attentive",
    "dynamic_routing",
    "sasrec",
    "mlp",
    "recent",
]
HISTORIES = [[3, 1, 4, 1, 5, 9, 2, 6], [5], [3, 5, 8, 9, 7], [2, 7, 1]]

Matrix = npt.NDArray[np.float64]


def model(kind: GuidanceKind, **fields: object) -> DimeRec:
    return make_model(12, 8, guidance=kind, interests=3, max_length=8, seed=1, **fields).double()


def item_vectors(network: DimeRec, history: list[int]) -> Matrix:
    table = network.items.table.weight.detach().numpy()[history]
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def parameter(network: DimeRec, name: str) -> Matrix:
    return network.get_parameter(f"guidance.{name}").detach().numpy()


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("kind", ["self_attentive", "recency_attentive"])
def test_self_attentive_is_comirec_sa_and_recency_attentive_takes_ages_off(
    kind: GuidanceKind, history: list[int]
) -> None:
    network = model(kind)
    rates = np.exp(parameter(network, "log_rates")) if kind == "recency_attentive" else np.zeros(3)
    vectors = item_vectors(network, history)
    positions, w1, w2 = (
        parameter(network, name) for name in ("positions.table.weight", "hidden.weight", "interests.weight")
    )
    expected = np.zeros((3, 8))
    for k in range(3):
        logits = [
            sum(w2[k][j] * math.tanh(w1[j] @ (vector + positions[n])) for j in range(len(w1)))
            - rates[k] * (len(history) - 1 - n)
            for n, vector in enumerate(vectors)
        ]
        weights = [math.exp(logit) for logit in logits]
        for weight, vector in zip(weights, vectors, strict=True):
            expected[k] += weight / sum(weights) * vector
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(network.guide(collate([history], 8))[0].detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("iterations", [1, 3])
def test_dynamic_routing_is_comirec_dr(history: list[int], iterations: int) -> None:
    network = model("dynamic_routing", routing_iterations=iterations)
    vectors, transform = item_vectors(network, history), parameter(network, "transform")
    votes = [[transform[k].T @ vector for vector in vectors] for k in range(3)]
    logits = np.zeros((3, len(history)))
    for iteration in range(iterations):
        capsules = []
        for k in range(3):
            total = np.zeros(8)
            for n in range(len(history)):
                share = math.exp(logits[k][n]) / sum(math.exp(logits[j][n]) for j in range(3))
                total += share * votes[k][n]
            length = np.linalg.norm(total)
            capsules.append(length**2 / (1 + length**2) * total / length)
        if iteration < iterations - 1:
            for k in range(3):
                for n in range(len(history)):
                    logits[k][n] += votes[k][n] @ capsules[k]
    expected = np.array([capsule / np.linalg.norm(capsule) for capsule in capsules])
    assert np.allclose(network.guide(collate([history], 8))[0].detach().numpy(), expected, atol=1e-6)


def test_recent_is_the_newest_items_and_repeats_the_newest_of_a_short_history() -> None:
    network = model("recent")
    long, short = (item_vectors(network, history) for history in ([3, 1, 4, 1, 5], [6, 2]))
    guidance = network.guide(collate([[3, 1, 4, 1, 5], [6, 2]], 8)).detach().numpy()
    assert np.allclose(guidance[0], long[-3:], atol=1e-9)
    assert np.allclose(guidance[1], short[[1, 0, 1]], atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_companions_in_the_batch_change_nothing(kind: GuidanceKind) -> None:
    network = model(kind)
    together = network.guide(collate(HISTORIES, 8))
    for row, history in enumerate(HISTORIES):
        alone = network.guide(collate([history], 8))[0]
        assert torch.allclose(together[row], alone, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_events_beyond_the_window_are_not_read(kind: GuidanceKind) -> None:
    network = model(kind)
    assert torch.equal(
        network.guide(collate([[11, 12, *HISTORIES[0]]], 8)), network.guide(collate([HISTORIES[0]], 8))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_over_a_history_gives_the_guidance_of_every_prefix(kind: GuidanceKind) -> None:
    network = model(kind)
    batch = collate(HISTORIES, 8)
    length = batch.items.shape[1]
    one_pass = unit(network.guidance.prefixes(network.items(batch.items), batch.mask))
    for row, history in enumerate(HISTORIES):
        for newest in range(1, len(history) + 1):
            alone = network.guide(collate([history[:newest]], 8))[0]
            position = length - len(history) + newest - 1
            assert torch.allclose(one_pass[row, position], alone, atol=1e-9)


@pytest.mark.parametrize("kind", ["recency_attentive", "self_attentive", "sasrec", "mlp", "recent"])
def test_the_order_of_a_history_matters(kind: GuidanceKind) -> None:
    network = model(kind)
    forwards, backwards = (network.guide(collate([history], 8)) for history in ([1, 2, 3, 4], [4, 3, 2, 1]))
    assert not torch.allclose(forwards, backwards, atol=1e-4)


def test_an_empty_history_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        collate([[1], []], 8)
