"""The one way a model is asked: each history for itself, weights that sum to 1."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batch import collate
from model.dimerec import DimeRec
from model.interests import InterestFinder, InterestMode, InterestSettings, history_seeds, interest_weights
from model.network import Network, TorchNetwork, network_of
from model.sampler import starting_noise
from model.sphere import unit
from tests.effort import examples
from tests.factories import make_model


@given(st.integers(1, 32), st.integers(1, 8), st.floats(0, 1))
def test_the_guidance_has_its_weight_however_many_draws_there_are(
    draws: int, guidance: int, weight: float
) -> None:
    given = interest_weights(draws, guidance, weight)
    assert given.shape == (draws + guidance,)
    assert given[:draws].sum() == pytest.approx(1 - weight, abs=1e-5)
    assert given[draws:].sum() == pytest.approx(weight, abs=1e-5)
    assert len(set(given[:draws].tolist())) == len(set(given[draws:].tolist())) == 1


@given(st.integers(1, 32))
def test_interests_of_one_kind_weigh_the_same(count: int) -> None:
    for weights in (interest_weights(count, 0, 0.9), interest_weights(0, count, 0.1)):
        np.testing.assert_allclose(weights, np.full(count, 1 / count), rtol=1e-6)


def test_each_history_is_asked_as_its_own_settings_say() -> None:
    model = make_model(60, guidance_vectors=2)
    histories, seeds = [[1, 2, 3], [9], [4, 4, 5, 60], [7, 8]], [3, 1, 4, 1]
    modes: list[InterestMode] = ["draws", "guidance", "both", "draws"]
    asked = [InterestSettings(2 + place, 1 + place % 2, mode, 0.25) for place, mode in enumerate(modes)]
    finder = InterestFinder(model)
    together = finder.find(collate(histories, 20), asked, seeds)
    kinds = [("draw",) * 2, ("guidance",) * 2, ("draw",) * 4 + ("guidance",) * 2, ("draw",) * 5]
    assert [found.kinds for found in together] == kinds
    for found, history, setting, seed in zip(together, histories, asked, seeds, strict=True):
        (alone,) = finder.find(collate([history], 20), [setting], [seed])
        np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-5)
        assert found.weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)


def test_of_a_mixture_each_interest_weighs_as_the_gate_says_of_the_history() -> None:
    """The one for later items counts half of the guidance's part, those that are mixed the other half."""
    model = stirred_model(guidance="contextual", guidance_vectors=2, next_vectors=3)
    batch = collate([[1, 2, 3], [9]], 20)
    log_shares = model.guidance.log_shares(model.guide(batch))
    assert log_shares is not None
    shares = log_shares.exp().detach().numpy()
    assert np.abs(shares[0] - shares[1]).max() > 1e-3
    both = InterestSettings(2, 1, "both", 0.4)
    for setting, part in ((both, 0.4), (both._replace(mode="guidance"), 1.0)):
        found = InterestFinder(model).find(batch, [setting] * 2, [3, 4])
        for own, of in zip(shares, found, strict=True):
            drawn = [] if part == 1 else [(1 - part) / 2] * 2
            expected = [*drawn, part / 2, *(part / 2 * own)]
            np.testing.assert_allclose(of.weights, expected, rtol=1e-5)
    (drawn_alone, _) = InterestFinder(model).find(batch, [both._replace(mode="draws")] * 2, [3, 4])
    np.testing.assert_allclose(drawn_alone.weights, [0.5, 0.5])


MODES: list[InterestMode] = ["draws", "guidance", "both"]
HISTORY = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@st.composite
def asked_of_a_model(draw: st.DrawFn) -> tuple[list[list[int]], list[InterestSettings], list[int]]:
    """Batches on both sides of what oneDNN computes and of its steps, settings mixed."""
    histories = draw(st.lists(HISTORY, min_size=1, max_size=12))
    setting = st.builds(
        InterestSettings, st.integers(1, 20), st.sampled_from([1, 3, 8]), st.sampled_from(MODES), st.just(0.3)
    )
    count = len(histories)
    wanted = draw(st.lists(setting, min_size=count, max_size=count))
    return histories, wanted, draw(st.lists(st.integers(0, 2**63 - 1), min_size=count, max_size=count))


@pytest.mark.parametrize(
    "config",
    [
        {"guidance": "recency_attentive", "denoiser": "mlp"},
        {"guidance": "self_attentive", "denoiser": "mlp", "project_reconstruction": True},
        {"guidance": "contextual", "denoiser": "posterior", "blocks": 3},
        {"guidance": "contextual", "denoiser": "posterior", "next_vectors": 3},
        {"guidance": "sasrec", "denoiser": "posterior"},
        {"guidance": "contextual", "denoiser": "mlp", "process": "none"},
        {"guidance": "dynamic_routing", "denoiser": "posterior", "process": "euclidean"},
    ],
    ids=str,
)
@pytest.mark.parametrize("computed_by", [network_of, TorchNetwork])
@settings(max_examples=examples(25), deadline=None)
@given(asked=asked_of_a_model())
def test_interests_are_those_of_the_model_asked_plainly(
    config: dict[str, Any],
    computed_by: Callable[[DimeRec], Network],
    asked: tuple[list[list[int]], list[InterestSettings], list[int]],
) -> None:
    """One history and one draw at a time, by the methods that training uses, with gradients."""
    histories, wanted, seeds = asked
    model = stirred_model(**config)
    together = InterestFinder(model, computed_by(model)).find(collate(histories, 20), wanted, seeds)
    for found, history, setting, seed in zip(together, histories, wanted, seeds, strict=True):
        batch = collate([history], 20)
        guidance = unit(model.guidance.prefixes(model.items(batch.items), batch.mask))[:, -1]
        noise = starting_noise(seed, setting.draws, model.config.dim).split(1)
        drawn = [model.generate(guidance, start, setting.steps) for start in noise]
        parts = {"draws": drawn, "guidance": [guidance[0]], "both": [*drawn, guidance[0]]}[setting.mode]
        np.testing.assert_allclose(found.vectors, torch.cat(parts).detach(), atol=1e-5)


def test_onnx_runtime_computes_what_there_are_graphs_for_and_torch_the_rest() -> None:
    for guidance in ("contextual", "recency_attentive", "self_attentive", "sasrec"):
        assert network_of(make_model(60, guidance=guidance)).computes_by == "onnxruntime"
    for guidance in ("dynamic_routing", "mlp", "recent"):
        assert network_of(make_model(60, guidance=guidance)).computes_by == "torch"
    assert network_of(make_model(60, guidance="contextual", next_vectors=3)).computes_by == "onnxruntime"
    assert network_of(make_model(60).to(torch.bfloat16)).computes_by == "torch"


@pytest.mark.parametrize("guidance", ["contextual", "recency_attentive"])
def test_vectors_of_added_items_are_read_whatever_computes(guidance: str) -> None:
    model = stirred_model(guidance=guidance, denoiser="mlp")
    added = unit(torch.randn(3, model.config.dim, generator=torch.Generator().manual_seed(3)))
    history = collate([[1, 61, 2], [63], [5, 6, 7, 62]], 20)
    with torch.inference_mode():
        found = network_of(model).guide(history, added.numpy())
        np.testing.assert_allclose(found, model.guide(history, added), atol=1e-5)


@cache
def stirred_model(**config: Any) -> DimeRec:
    """A model none of whose parameters is left where it starts."""
    model = make_model(60, **{"guidance_vectors": 3, "heads": 2, **config})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
        model.items.table.weight[0] = 0
    return model


def test_seeds_of_histories_follow_from_what_is_read_alone() -> None:
    one, padded, other = (collate(rows, 20) for rows in ([[1, 2]], [[1, 2], [3] * 20], [[2, 1]]))
    assert history_seeds(one, 7) == history_seeds(padded, 7)[:1]
    assert history_seeds(one, 7) != history_seeds(other, 7)
    assert history_seeds(one, 7) != history_seeds(one, 8)
