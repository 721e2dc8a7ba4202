"""Each loss against one written out by hand."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from model.losses import Choices, guidance_loss, reconstruction_loss, sampled_softmax_loss
from model.sphere import uniform

TEMPERATURE = 0.3


def gradient(leaf: torch.Tensor) -> torch.Tensor:
    assert leaf.grad is not None
    return leaf.grad


@pytest.fixture
def parts() -> tuple[torch.Tensor, torch.Tensor, Choices]:
    generator = torch.Generator().manual_seed(0)
    guidance = uniform(4 * 3, 6, generator).double().view(4, 3, 6)
    candidates = uniform(5, 6, generator).double()
    targets = torch.stack([candidates[2], *uniform(3, 6, generator).double()])
    collisions = torch.zeros(4, 5, dtype=torch.bool)
    collisions[0, 2] = True
    return guidance, targets, Choices(candidates, collisions)


def by_hand(query: np.ndarray, target: np.ndarray, negatives: list[np.ndarray]) -> float:
    weights = [math.exp(float(query @ vector) / TEMPERATURE) for vector in [target, *negatives]]
    return -math.log(weights[0] / sum(weights))


def test_sampled_softmax_loss(parts: tuple[torch.Tensor, torch.Tensor, Choices]) -> None:
    guidance, targets, choices = parts
    queries, candidates = guidance[:, 0], choices.vectors.numpy()
    expected = []
    for row in range(4):
        negatives = [candidates[j] for j in range(5) if not choices.collisions[row, j]]
        expected.append(by_hand(queries[row].numpy(), targets[row].numpy(), negatives))
    loss = sampled_softmax_loss(queries, targets, choices, TEMPERATURE)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-9)


def test_gradients_are_those_of_a_cross_entropy(parts: tuple[torch.Tensor, torch.Tensor, Choices]) -> None:
    guidance, targets, (candidates, collisions, _) = parts
    leaves = [guidance[:, 0].clone(), targets.clone(), candidates.clone()]
    query, target, vectors = (leaf.requires_grad_() for leaf in leaves)
    sampled_softmax_loss(query, target, Choices(vectors, collisions, 0.7), TEMPERATURE).backward()
    found = [gradient(leaf).clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    negative = (query @ vectors.T / TEMPERATURE + 0.7).masked_fill(collisions, -torch.inf)
    logits = torch.cat([(query * target).sum(1, keepdim=True) / TEMPERATURE, negative], dim=1)
    torch.nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)).backward()
    for ours, leaf in zip(found, leaves, strict=True):
        torch.testing.assert_close(ours, leaf.grad, rtol=1e-9, atol=1e-12)


def test_in_bfloat16_loss_and_gradient_are_close_to_those_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    leaves = [uniform(64, 16, generator), uniform(64, 16, generator), uniform(500, 16, generator)]
    query, target, vectors = (leaf.requires_grad_() for leaf in leaves)
    choices = Choices(vectors, torch.zeros(64, 500, dtype=torch.bool))
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = sampled_softmax_loss(query, target, choices, 0.1)
        assert loss.dtype is torch.float32
        loss.backward()
        found.append([loss.detach(), *(gradient(leaf).clone() for leaf in leaves)])
        for leaf in leaves:
            leaf.grad = None
    for wide, narrow in zip(*found, strict=True):
        assert ((wide - narrow).norm() / wide.norm()).item() < 0.02


def test_guidance_loss_trains_the_interest_that_matches_best(
    parts: tuple[torch.Tensor, torch.Tensor, Choices],
) -> None:
    guidance, targets, choices = parts
    guidance.requires_grad_()
    expected, best = [], []
    for row in range(4):
        cosines = [float(vector @ targets[row].numpy()) for vector in guidance[row].detach().numpy()]
        best.append(int(np.argmax(cosines)))
        negatives = [choices.vectors[j].numpy() for j in range(5) if not choices.collisions[row, j]]
        chosen = guidance[row, best[row]].detach().numpy()
        expected.append(by_hand(chosen, targets[row].numpy(), negatives))
    loss = guidance_loss(guidance, targets, choices, TEMPERATURE)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-9)
    loss.backward()
    moved = gradient(guidance).norm(dim=-1) > 0
    assert moved.sum(1).tolist() == [1, 1, 1, 1]
    assert moved.long().argmax(1).tolist() == best


def test_a_sample_of_candidates_stands_for_all_of_them(
    parts: tuple[torch.Tensor, torch.Tensor, Choices],
) -> None:
    """Over all equally likely samples of 3 out of 5, the mean sum of the softmax is that over the 5."""
    guidance, targets, (candidates, collisions, _) = parts
    for row in range(4):
        query, target = guidance[row : row + 1, 0], targets[row : row + 1]
        sums = []
        for sample in map(list, product(range(5), repeat=3)):
            choices = Choices(candidates[sample], collisions[row : row + 1, sample], math.log(5 / 3))
            sums.append(math.exp(sampled_softmax_loss(query, target, choices, TEMPERATURE).item()))
        negatives = [candidates[j].numpy() for j in range(5) if not collisions[row, j]]
        expected = math.exp(by_hand(query[0].numpy(), target[0].numpy(), negatives))
        assert np.mean(sums) == pytest.approx(expected, rel=1e-9)


def test_rows_that_are_not_present_count_as_no_loss(
    parts: tuple[torch.Tensor, torch.Tensor, Choices],
) -> None:
    guidance, targets, choices = parts
    guidance.requires_grad_()
    present = torch.tensor([True, False, True, False])
    alone = [
        guidance_loss(
            guidance[row : row + 1],
            targets[row : row + 1],
            Choices(choices.vectors, choices.collisions[row : row + 1]),
            TEMPERATURE,
        ).item()
        for row in (0, 2)
    ]
    loss = guidance_loss(guidance, targets * present[:, None], choices, TEMPERATURE, present)
    assert loss.item() == pytest.approx(sum(alone) / 4, rel=1e-9)
    loss.backward()
    assert (gradient(guidance).norm(dim=-1) > 0).any(1).tolist() == present.tolist()


def test_reconstruction_loss() -> None:
    target, prediction = np.array([[1.0, 0], [0, 1]]), np.array([[0.5, 0.5], [0, 2]])
    expected = np.mean([0.25 + 0.25, 0 + 1])
    loss = reconstruction_loss(torch.from_numpy(target), torch.from_numpy(prediction))
    assert loss.item() == pytest.approx(expected)
