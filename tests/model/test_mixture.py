"""Several interests for the next item under one likelihood, and what the denoiser makes of them."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from bundle.read import read_bundle
from engine.contract import EngineRequest
from engine.engine import Engine
from model.batch import PrefixBatch, collate
from model.config import ModelConfig
from model.denoiser import PosteriorDenoiser
from model.dimerec import DimeRec
from model.sampler import by_level, generate
from model.schedule import mean_cosines
from model.sphere import uniform
from tests.factories import make_model
from tests.training.logs import cyclic_dataset
from tests.training.test_trainer import Watcher
from training.config import read_config
from training.publishing import publish_run
from training.trainer import train

MIXED = {"next_vectors": 3}
ADDED = ("guidance.gate.logits", "guidance.turns.1", "guidance.turns.2")
"""What a mixture of three adds to a model with an interest for later items."""
DIM, LEVELS, FIRST = 64, 40, 0.95
SHARES = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05], dtype=torch.float64)


def test_the_loss_is_that_of_the_mixture_as_the_gate_weighs_it() -> None:
    model = make_model(30, guidance_vectors=2, next_vectors=3, negatives=30, temperature=0.2).double()
    with torch.no_grad():
        for weight in model.guidance.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        interests = model.guide(collate([[1, 2]], 20))
        shares = shares_of(model, interests)[0].tolist()
        items = model.item_vectors().numpy()
    assert max(shares) - min(shares) > 0.01
    for target in (3, 8, 20):
        found = model.loss(one_example(target), torch.Generator().manual_seed(0)).guidance.item()
        stated = 0.0
        for share, interest in zip(shares, interests[0, 1:].numpy(), strict=True):
            weights = [math.exp(interest @ vector / 0.2) for vector in items]
            stated += share * weights[target - 1] / sum(weights)
        assert found == pytest.approx(-math.log(stated), rel=1e-6)


def shares_of(model: DimeRec, guidance: Tensor) -> Tensor:
    log_shares = model.guidance.log_shares(guidance)
    assert log_shares is not None
    return log_shares.exp()


def one_example(target: int) -> PrefixBatch:
    rows = (torch.tensor([row]) for row in (1, target, target + 1))
    return PrefixBatch(collate([[1, 2]], 20), *rows)


def test_without_a_mixture_the_model_is_the_one_that_it_was() -> None:
    """Neither a weight nor a random number more; the loss and the denoiser by hand are in the other tests."""
    assert ModelConfig(items=30).next_vectors == 1
    one, mixed = (make_model(30, guidance="contextual", guidance_vectors=2, **more) for more in ({}, MIXED))
    assert one.guidance.gate is None
    assert one.guidance.log_shares(one.guide(collate([[1, 2]], 20))) is None
    assert {name: part.shape for name, part in one.state_dict().items()} == {
        name: part.shape for name, part in mixed.state_dict().items() if not name.startswith(ADDED)
    }
    for name, part in one.guidance.named_parameters():
        assert torch.equal(part, mixed.guidance.get_parameter(name))


def test_interests_that_are_mixed_start_apart_and_learn_with_their_gate() -> None:
    model = make_model(30, guidance="contextual", guidance_vectors=2, **MIXED)
    guidance = model.guide(collate([[1, 2, 3]], 20))[0, 1:]
    assert (guidance @ guidance.T).fill_diagonal_(0).max().item() < 0.97
    model.loss(one_example(3), torch.Generator().manual_seed(0)).total.backward()
    learning = {name for name, part in model.named_parameters() if part.grad is not None and part.grad.any()}
    assert {f"{start}.weight" for start in ADDED} <= learning
    gradient = model.denoiser.get_parameter("affinity.weight").grad
    assert gradient is not None
    assert gradient[model.config.timesteps].item() == 0


@pytest.mark.parametrize(
    "fields", [{"guidance": "recency_attentive"}, {"guidance": "contextual", "denoiser": "mlp"}], ids=str
)
def test_a_mixture_without_what_it_needs_is_refused_with_the_remedy(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"next_vectors \(3\) needs guidance contextual.*set it to 1"):
        ModelConfig(items=5, **MIXED, **fields)


def test_a_trained_mixture_is_published_and_served_with_its_weights(tmp_path: Path) -> None:
    dataset, run, root = cyclic_dataset(), tmp_path / "run", tmp_path / "bundles"
    tiny = ["epochs=1", "recipe=large", "model.dim=16", "model.timesteps=4", "model.next_vectors=3"]
    train(dataset, read_config(None, tiny), run, Watcher())
    publish_run(run, dataset, root, force=True, counts=False)
    bundle = read_bundle(root)
    ids = dataset.catalogue.item_ids
    seen = [ids[3], ids[7]]
    request = EngineRequest(history=seen, excluded=seen, k=5, interest_mode="guidance", diversity=0.0)
    (answer,) = Engine(bundle, max_steps=4).recommend([request])
    model = bundle.model
    with torch.inference_mode():
        guidance = model.guide(collate([[4, 8]], model.config.max_length))
        shares = shares_of(model, guidance)
        weights = torch.cat([torch.ones(1, 1), shares], dim=1)[0] / 2
        logits = guidance[0] @ model.item_vectors().T / bundle.manifest.serving.temperature
        scores = (weights @ logits.softmax(-1)).index_fill(0, torch.tensor([3, 7]), 0)
    assert [item.item_id for item in answer.items] == [ids[row] for row in scores.topk(5).indices.tolist()]


def five() -> tuple[PosteriorDenoiser, Tensor]:
    """A denoiser whose five interests are five items, each sure of its own."""
    config = ModelConfig(
        items=5, dim=DIM, guidance_vectors=1, next_vectors=5, timesteps=LEVELS, first_cosine=FIRST
    )
    denoiser = PosteriorDenoiser(config).double()
    with torch.no_grad():
        denoiser.trust.weight.zero_()
    return denoiser, uniform(5, DIM, torch.Generator().manual_seed(5)).double()


@pytest.mark.parametrize("t", [1, 10, 39, 40])
def test_five_sure_interests_are_weighed_by_bayes_rule(t: int) -> None:
    denoiser, items = five()
    cosine = float(mean_cosines(LEVELS, FIRST)[t])
    x_t = uniform(6, DIM, torch.Generator().manual_seed(2)).double() * 0.5 + 0.3 * items[[0, 1, 2, 3, 4, 0]]
    noise = torch.distributions.Normal(0.0, math.sqrt((1 - cosine**2) / DIM))
    log_posterior = SHARES.log() + noise.log_prob(x_t[:, None] - cosine * items).sum(-1)
    expected = log_posterior.softmax(-1) @ items
    found = denoiser(x_t, torch.full((6,), t), items.expand(6, 5, DIM), SHARES.log().expand(6, 5))
    assert torch.allclose(found, expected, atol=1e-6)
    if t == LEVELS:
        assert torch.allclose(found, (SHARES @ items).expand(6, DIM), atol=1e-6)


def test_each_draw_commits_to_one_of_them_and_all_follow_the_gate() -> None:
    denoiser, items = five()
    start = uniform(3000, DIM, torch.Generator().manual_seed(7)).double()

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        found: Tensor = denoiser(x_t, t, items.expand(len(x_t), 5, DIM), SHARES.log().expand(len(x_t), 5))
        return found

    cosines = mean_cosines(LEVELS, FIRST).tolist()
    with torch.no_grad():
        draws = generate(by_level(denoise), start, cosines, 20)
    nearness = draws @ items.T
    assert nearness.amax(1).min().item() > 0.9
    counts = nearness.argmax(1).bincount(minlength=5)
    assert stats.chisquare(counts.numpy(), (SHARES * 3000).numpy()).pvalue > 0.01
