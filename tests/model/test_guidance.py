"""GEM against plain-loop NumPy versions of the published formulas."""

import math
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch

from model.batch import collate
from model.config import GuidanceKind
from model.dimerec import DimeRec
from model.sphere import unit
from tests.factories import make_model

KINDS: tuple[GuidanceKind, ...] = get_args(GuidanceKind)
HISTORIES = [[3, 1, 4, 1, 5, 9, 2, 6], [5], [3, 5, 8, 9, 7], [2, 7, 1]]

Matrix = npt.NDArray[np.float64]


def model(kind: GuidanceKind, **fields: object) -> DimeRec:
    return make_model(12, 8, guidance=kind, guidance_vectors=3, max_length=8, seed=1, **fields).double()


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


def stirred(network: DimeRec) -> DimeRec:
    """With guidance weights that are all of a size to matter, unlike some at the start."""
    generator = torch.Generator().manual_seed(2)
    for weight in network.guidance.parameters():
        weight.data += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return network


def normalised(state: Matrix, weight: Matrix, bias: Matrix) -> Matrix:
    return (state - state.mean()) / math.sqrt(state.var() + 1e-5) * weight + bias


@pytest.mark.parametrize("history", HISTORIES)
def test_contextual_turns_the_newest_state_of_a_transformer_that_forgets(history: list[int]) -> None:
    network = stirred(model("contextual", blocks=1, heads=2))
    positions, log_rates, norm, norm_bias = (
        parameter(network, name)
        for name in ("positions.table.weight", "log_rates", "norm.weight", "norm.bias")
    )
    names = ("attention_norm", "qkv", "project", "feed_forward.0", "feed_forward.1", "feed_forward.4")
    before_attention, qkv, project, before_layers, widen, narrow = (
        [parameter(network, f"blocks.0.{name}.{part}") for part in ("weight", "bias")] for name in names
    )
    states = [
        (vector + positions[n]) * math.sqrt(8) for n, vector in enumerate(item_vectors(network, history))
    ]
    read = [qkv[0] @ normalised(state, *before_attention) + qkv[1] for state in states]
    newest, attended = len(history) - 1, np.zeros(8)
    for head in range(2):
        query, key, value = (slice(part * 8 + head * 4, part * 8 + head * 4 + 4) for part in range(3))
        weights = [
            math.exp(
                read[newest][query] @ event[key] / math.sqrt(4) - math.exp(log_rates[0][head]) * (newest - n)
            )
            for n, event in enumerate(read)
        ]
        for weight, event in zip(weights, read, strict=True):
            attended[head * 4 : head * 4 + 4] += weight / sum(weights) * event[value]
    state = states[newest] + project[0] @ attended + project[1]
    hidden = widen[0] @ normalised(state, *before_layers) + widen[1]
    bent = np.array([x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in hidden])
    state = normalised(state + narrow[0] @ bent + narrow[1], norm, norm_bias)
    turns = [[parameter(network, f"turns.{k}.{part}") for part in ("weight", "bias")] for k in range(2)]
    expected = np.array([*(state + turn @ state + bias for turn, bias in turns), state])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(network.guide(collate([history], 8))[0].detach().numpy(), expected, atol=1e-9)


def test_the_last_contextual_interest_is_the_state_that_a_single_one_is() -> None:
    three, one = stirred(model("contextual")), make_model(12, 8, max_length=8, guidance_vectors=1).double()
    weights = three.state_dict()
    one.load_state_dict({name: weights[name] for name in one.state_dict() if "denoiser" not in name}, False)
    batch = collate(HISTORIES, 8)
    assert torch.equal(three.guide(batch)[:, -1:], one.guide(batch))
    apart = three.guide(batch)[:, :-1] @ three.guide(batch)[:, -1:].mT
    assert apart.max() < 0.99


def test_contextual_interests_start_close_together() -> None:
    guidance = model("contextual").guide(collate(HISTORIES, 8))
    assert (guidance @ guidance.mT).min() > 0.99


def test_events_are_hidden_from_later_ones_in_training_alone() -> None:
    network = model("contextual", item_dropout=0.25, dropout=0.0)
    batches = [collate([[first, 7]] * 4000, 8) for first in (3, 5)]
    whole = [network.guide(batch) for batch in batches]
    assert all(torch.equal(guidance, guidance[:1].expand_as(guidance)) for guidance in whole)
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seen = [unit(network.guidance.prefixes(network.items(batch.items), batch.mask)) for batch in batches]
    without_first = []
    for guidance, of_all in zip(seen, whole, strict=True):
        oldest, newest = guidance.unbind(1)
        assert torch.allclose(oldest, oldest[:1])  # an event that is hidden from others still sees itself
        changed = (newest - of_all).norm(dim=-1).amax(1) > 1e-6
        assert changed.double().mean().item() == pytest.approx(0.25, abs=0.03)
        without_first.append(newest[changed])
    hidden = torch.cat(without_first)
    assert torch.allclose(hidden, hidden[:1])  # whichever event it was


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dynamic_routing"])
def test_the_order_of_a_history_matters(kind: GuidanceKind) -> None:
    network = model(kind)
    forwards, backwards = (network.guide(collate([history], 8)) for history in ([1, 2, 3, 4], [4, 3, 2, 1]))
    assert not torch.allclose(forwards, backwards, atol=1e-4)


def test_an_empty_history_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        collate([[1], []], 8)
