"""The composed model: its objective, its draws, its file."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from model.batch import PrefixBatch, collate
from model.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from model.config import DenoiserKind, ModelConfig, ProcessKind
from model.dimerec import DimeRec
from model.sampler import starting_noise
from tests.factories import make_model

CYCLE = 12


def cycle_batch() -> PrefixBatch:
    """Every start of the cycle 1 → 2 → … → 12 → 1, three items long, with the two that follow."""
    histories = [[(start + i) % CYCLE + 1 for i in range(3)] for start in range(CYCLE)]
    positions = torch.arange(CYCLE) * 3 + 2
    targets = torch.tensor([history[-1] % CYCLE + 1 for history in histories])
    return PrefixBatch(collate(histories, 20), positions, targets, targets % CYCLE + 1)


def one_example(target: int, later: int) -> PrefixBatch:
    return PrefixBatch(collate([[1, 2]], 20), *(torch.tensor([row]) for row in (1, target, later)))


@pytest.fixture(scope="module")
def trained() -> DimeRec:
    model = make_model(CYCLE, 16, dropout=0.0, hidden=64, seed=3).train()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(cycle_batch(), generator).total.backward()
        optimizer.step()
    return model.eval()


def test_a_trained_model_generates_what_comes_next(trained: DimeRec) -> None:
    batch = cycle_batch()
    guidance = trained.guide(batch.history)
    for steps in (1, 4, 8):
        interests = trained.generate(guidance, starting_noise(1, CYCLE, 16), steps)
        nearest = (interests @ trained.item_vectors().T).argmax(1) + 1
        assert (nearest == batch.targets).float().mean().item() >= 0.9


def test_the_answer_of_a_trained_model_depends_on_its_own_noise(trained: DimeRec) -> None:
    # A denoiser that ignores x_t would make every draw the same.
    guidance = trained.guide(cycle_batch().history)
    noise = starting_noise(1, CYCLE, 16)
    level = torch.full((CYCLE,), trained.config.timesteps // 2)
    straight, shuffled = (trained.denoiser(x, level, guidance) for x in (noise, noise.roll(1, 0)))
    assert (straight - shuffled).norm(dim=-1).min().item() > 1e-3
    draws = trained.generate(guidance, noise, 4)
    assert (draws - trained.generate(guidance, noise.roll(1, 0), 4)).norm(dim=-1).min().item() > 1e-3


def test_an_untrained_model_generates_about_what_its_guidance_is() -> None:
    model = make_model(40, guidance_vectors=1)
    guidance = model.guide(collate([[1, 2], [3], [4, 5, 6]], 20))
    for steps in (1, 4):
        interests = model.generate(guidance, starting_noise(9, 3, 16), steps)
        assert (interests * guidance[:, 0]).sum(-1).min().item() > 0.9


@pytest.mark.parametrize("denoiser", ["posterior", "mlp"])
def test_without_a_noise_process_start_and_steps_decide_nothing(denoiser: DenoiserKind) -> None:
    model = make_model(40, process="none", denoiser=denoiser)
    with torch.no_grad():
        for weight in model.denoiser.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(0))
    guidance = model.guide(collate([[1, 2], [3], [4, 5, 6]], 20))
    point = model.generate(guidance, starting_noise(9, 3, 16), 1)
    assert torch.equal(model.generate(guidance, starting_noise(8, 3, 16), 4), point)
    assert torch.allclose(point.norm(dim=-1), torch.ones(3), atol=1e-6)
    batch, full = one_example(target=3, later=0), torch.Generator()
    losses = [model.loss(batch, full.manual_seed(seed)).reconstruction.item() for seed in (1, 2)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("process", ["geodesic", "gaussian", "euclidean"])
def test_rows_are_independent_and_deterministic(process: ProcessKind) -> None:
    model = make_model(40, process=process)
    guidance = model.guide(collate([[1, 2], [3], [4, 5, 6]], 20))
    noise = starting_noise(9, 3, 16)
    together = model.generate(guidance, noise, 4)
    assert torch.equal(together, model.generate(guidance, noise, 4))
    assert torch.allclose(together.norm(dim=-1), torch.ones(3), atol=1e-6)
    for row in range(3):
        alone = model.generate(guidance[row : row + 1], noise[row : row + 1], 4)
        assert torch.allclose(alone[0], together[row], atol=1e-6)


def test_the_total_loss_is_the_weighted_sum_and_the_same_for_the_same_seed() -> None:
    model = make_model(30, later_weight=0.5, reconstruction_weight=0.25, softmax_weight=2.0, negatives=7)
    positions, targets, later = (torch.tensor(rows) for rows in ([1, 2, 5], [3, 9, 5], [9, 0, 8]))
    batch = PrefixBatch(collate([[1, 2, 3], [4]], 20), positions, targets, later)
    losses = model.loss(batch, torch.Generator().manual_seed(4))
    expected = losses.guidance + 0.5 * losses.later + 0.25 * losses.reconstruction + 2 * losses.softmax
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6)
    again = model.loss(batch, torch.Generator().manual_seed(4))
    assert again.total.item() == losses.total.item()
    other = model.loss(batch, torch.Generator().manual_seed(5))
    assert other.total.item() != losses.total.item()


def test_one_pass_prefix_training_equals_one_row_per_prefix() -> None:
    model = make_model(30)
    histories = [[1, 2, 3], [4, 5]]
    targets, later = torch.tensor([2, 3, 9, 5, 7]), torch.tensor([9, 9, 0, 7, 0])
    one_pass = PrefixBatch(collate(histories, 20), torch.tensor([0, 1, 2, 4, 5]), targets, later)
    prefixes = [[1], [1, 2], [1, 2, 3], [4], [4, 5]]
    rows = PrefixBatch(collate(prefixes, 20), torch.arange(5) * 3 + 2, targets, later)
    losses = [model.loss(batch, torch.Generator().manual_seed(4)) for batch in (one_pass, rows)]
    for left, right in zip(*losses, strict=True):
        assert left.item() == pytest.approx(right.item(), abs=1e-5)


@pytest.mark.parametrize(("guidance", "of_next"), [("contextual", [2]), ("self_attentive", [0, 1, 2])])
def test_which_interests_learn_the_next_item_and_which_a_later_one(guidance: str, of_next: list[int]) -> None:
    """Each time the one that matches best: of the newest state and of the others, or of all of them."""
    of_later = [0, 1] if guidance == "contextual" else [0, 1, 2]
    model = make_model(30, guidance=guidance, guidance_vectors=3, negatives=30, temperature=0.2).double()
    with torch.no_grad():
        for weight in model.guidance.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        interests = model.guide(collate([[1, 2]], 20))[0].numpy()
        items = model.item_vectors().numpy()
    for target, later in ((3, 7), (8, 4), (20, 30)):
        losses = model.loss(one_example(target, later), torch.Generator().manual_seed(0))
        for loss, item, chosen in ((losses.guidance, target, of_next), (losses.later, later, of_later)):
            best = max((interests[place] for place in chosen), key=lambda vector: vector @ items[item - 1])
            weights = [math.exp(best @ vector / 0.2) for vector in items]
            assert loss.item() == pytest.approx(-math.log(weights[item - 1] / sum(weights)), rel=1e-6)


def test_no_later_item_is_no_loss_and_no_number_is_lost_on_it() -> None:
    model = make_model(30).train()
    losses = model.loss(one_example(target=3, later=0), torch.Generator().manual_seed(0))
    assert losses.later.item() == 0
    losses.total.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


def test_sampled_negatives_stand_for_the_whole_catalogue() -> None:
    """exp(loss) is the softmax's sum in units of the target's part: its mean over samples is the full sum."""
    model, target, later = (
        make_model(60, guidance="contextual", guidance_vectors=2, negatives=30, temperature=0.5),
        3,
        7,
    )
    with torch.no_grad():
        guidance = model.guide(collate([[1, 2]], 20))[0].numpy()
        items = model.item_vectors().numpy()
    batch = one_example(target, later)
    losses = [model.loss(batch, torch.Generator().manual_seed(seed)) for seed in range(400)]
    for item, interest, found in (
        (target, guidance[1], np.exp([of_all.guidance.item() for of_all in losses])),
        (later, guidance[0], np.exp([of_all.later.item() for of_all in losses])),
    ):
        weights = [math.exp(interest @ vector / 0.5) for vector in items]
        expected, error = sum(weights) / weights[item - 1], found.std() / math.sqrt(len(found))
        assert error < 0.01 * expected
        assert found.mean() == pytest.approx(expected, abs=4 * error)


def test_a_detached_target_gets_no_gradient_from_reconstruction() -> None:
    batch = one_example(target=3, later=0)
    moved = {}
    for detach in (True, False):
        model = make_model(30, detach_target=detach)
        model.loss(batch, torch.Generator().manual_seed(0)).reconstruction.backward()
        gradient = model.items.table.weight.grad
        assert gradient is not None
        moved[detach] = gradient[3].norm().item() > 0
    assert moved == {True: False, False: True}


def test_a_checkpoint_brings_back_the_same_model(tmp_path: Path) -> None:
    model = make_model(30)
    write_checkpoint(tmp_path / "model.safetensors", model)
    restored = read_checkpoint(tmp_path / "model.safetensors")
    assert restored.config == model.config
    history, noise = collate([[1, 2, 3]], 20), starting_noise(0, 1, 16)
    assert torch.equal(
        restored.generate(restored.guide(history), noise, 3), model.generate(model.guide(history), noise, 3)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_checkpoint_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = make_model(30)
    write_checkpoint(path, model)
    whole, tensors = path.read_bytes(), load_file(path)
    metadata = {"format": "dimerec-model-3", "config": model.config.model_dump_json()}

    def message() -> str:
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    path.write_bytes(whole[:-10])
    assert "cannot read the model" in message()
    save_file(tensors, path)
    assert "is no dimerec-model-3 file" in message()
    save_file(tensors, path, metadata | {"config": "{}"})
    assert "items" in message()
    save_file({"items.table.weight": torch.zeros(3, 3)}, path, metadata)
    assert "does not fit its own config" in message()
    path.unlink()
    assert "cannot read the model" in message()


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"items": 0}, "items"),
        ({"items": 5, "dimension": 3}, "dimension"),
        ({"items": 5, "guidance": "gru"}, "guidance"),
        ({"items": 5, "guidance": "sasrec", "dim": 10, "heads": 4}, "heads"),
        ({"items": 5, "guidance": "contextual", "dim": 10, "heads": 4}, "heads"),
        ({"items": 5, "item_dropout": 1}, "item_dropout"),
        ({"items": 5, "temperature": float("nan")}, "temperature"),
    ],
)
def test_a_configuration_out_of_bounds_names_its_key(fields: dict[str, object], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        ModelConfig.model_validate(fields)
