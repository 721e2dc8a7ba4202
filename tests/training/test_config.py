"""The training configuration: TOML, overrides, and errors that name the key."""

from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from model.config import ModelConfig
from training.baselines.dreamrec import DreamRecConfig
from training.baselines.sasrec import SASRecConfig
from training.config import Optimisation, TrainingConfig, override, read_config, resolve
from training.errors import ConfigError
from training.log_recipe import LogSize, typical_dropout


def test_overrides_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('epochs = 7\n[model]\ndim = 32\nguidance = "sasrec"\n')
    config = read_config(path, ["model.dim=48", "learning_rate=2e-3", "monitor=hr@20", "minutes=1.5"])
    assert (config.epochs, config.model.dim, config.model.guidance) == (7, 48, "sasrec")
    assert (config.learning_rate, config.monitor, config.minutes) == (2e-3, "hr@20", 1.5)
    assert config.seed == read_config(None).seed


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("", ["model.dims=3"], r"model\.dims.*--show-config"),
        ("", ["epochs=0"], "epochs"),
        ("", ["epochs=many"], "epochs"),
        ("", ["model.temperature=nan"], r"model\.temperature"),
        ("", ["epochs"], "KEY=VALUE"),
        ("", ["epochs.more=1", "epochs=2", "epochs.less=1"], "no section"),
        ("", ["serving.steps=400"], r"serving\.steps"),
        ("", ["device=gpu"], "device"),
        ("epochs = ", [], "TOML"),
        ("surprise = 1", [], "surprise"),
    ],
)
def test_an_unusable_key_is_named(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path, overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml does not exist"):
        read_config(tmp_path / "absent.toml")


def test_a_byte_order_mark_is_read_over_and_another_encoding_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("epochs = 3\r\n", encoding="utf-8-sig")
    assert read_config(path).epochs == 3
    path.write_text("epochs = 3\r\n", encoding="utf-16")
    with pytest.raises(ConfigError, match=r"config\.toml is no UTF-8 text: save it as UTF-8"):
        read_config(path)


def test_a_log_with_more_events_per_item_gets_less_dropout() -> None:
    assert [typical_dropout(12 * 3**power) for power in range(-2, 5)] == [0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.2]


SMALL = {
    "model.dim": 64,
    "model.guidance": "recency_attentive",
    "model.guidance_vectors": 4,
    "model.denoiser": "mlp",
    "model.first_cosine": 0.2,
    "model.temperature": 0.1,
    "serving.draws": 8,
    "serving.guidance_weight": 0.33,
    "serving.temperature": 0.1,
}
"""What suited MovieLens-100K when its configuration was chosen by hand, but for the dropout."""
LARGE = {
    "model.dim": 128,
    "model.guidance": "contextual",
    "model.guidance_vectors": 2,
    "model.denoiser": "posterior",
    "model.first_cosine": 0.8 / 128**0.5,
    "model.temperature": 0.05,
    "serving.draws": 4,
    "serving.guidance_weight": 0.5,
    "serving.temperature": 0.05,
}


def fitted(events: int, *overrides: str, users: int = 943) -> TrainingConfig:
    return resolve(read_config(None, overrides), LogSize(users, events, 1682))


def values(config: TrainingConfig, keys: Iterable[str]) -> dict[str, Any]:
    return {key: attrgetter(key)(config) for key in keys}


@pytest.mark.parametrize(
    ("events", "recipe", "expected"),
    [(5_000, "small", SMALL), (124_999, "small", SMALL), (125_000, "large", LARGE), (10**7, "large", LARGE)],
)
def test_the_size_of_the_log_chooses_the_recipe(events: int, recipe: str, expected: dict[str, Any]) -> None:
    config = fitted(events)
    assert (config.recipe, values(config, expected)) == (recipe, expected)


def test_movielens_100k_has_the_dropout_that_was_chosen_for_it_and_smaller_logs_have_more() -> None:
    sizes = (98_114, 60_000, 30_000, 20_000, 5_000)
    dropouts = [fitted(events).model.dropout for events in sizes]
    assert dropouts[0] == 0.2
    assert dropouts[-2:] == [0.5, 0.5]
    assert dropouts == sorted(dropouts)


def test_fewer_users_get_smaller_steps_by_the_recipe_of_small_logs() -> None:
    rates = [fitted(20_000, users=users).learning_rate for users in (25, 100, 400, 900, 5_000)]
    assert rates == pytest.approx([1.7e-4, 3.3e-4, 6.7e-4, 1e-3, 1e-3], abs=5e-6)
    assert fitted(20_000, "learning_rate=0.001", users=25).learning_rate == 1e-3
    assert fitted(20_000, "recipe=large", users=25).learning_rate == 1e-3


@pytest.mark.parametrize(("key", "value"), [("model.guidance", "contextual"), ("serving.draws", 3)])
def test_a_key_that_is_set_wins_over_the_size_of_the_log(key: str, value: object) -> None:
    for events, expected in ((5_000, SMALL), (10**6, LARGE)):
        assert values(fitted(events, f"{key}={value}"), SMALL) == expected | {key: value}


def test_a_key_that_is_set_to_its_default_is_set() -> None:
    assert fitted(5_000, "model.dim=128", "serving.guidance_weight=0.5").model.dim == 128


def test_a_recipe_that_is_set_wins_over_the_size_of_the_log() -> None:
    of_large = {**LARGE, "model.temperature": 0.1, "serving.temperature": 0.1}
    assert values(fitted(5_000, "recipe=large"), LARGE) == of_large
    assert fitted(10**6, "recipe=small").model.guidance == "recency_attentive"


def test_what_is_fitted_stays_as_it_is() -> None:
    config = fitted(5_000)
    read, larger = TrainingConfig.model_validate_json(config.model_dump_json()), LogSize(10**4, 10**6, 1682)
    assert resolve(config, larger) == resolve(read, larger) == config


def test_a_dense_log_gets_a_deeper_encoder_where_nobody_chose_its_depth() -> None:
    def blocks(events_per_item: int, *overrides: str) -> int:
        log = LogSize(50, 100 * events_per_item, 100)
        config = resolve(read_config(None, ["recipe=large", *overrides]), log)
        return config.learner(100).network.config.blocks

    assert [blocks(10), blocks(29), blocks(30), blocks(300)] == [2, 2, 4, 4]
    assert blocks(300, "model.blocks=1") == 1


def test_a_small_log_gets_a_softer_softmax_where_nobody_chose_one() -> None:
    def temperatures(events: int, *overrides: str) -> tuple[float, float]:
        config = resolve(override(read_config(None), overrides), LogSize(50, events, 100))
        return config.learner(100).network.config.temperature, config.serving.temperature

    assert [temperatures(300), temperatures(124_999)] == [(0.1, 0.1)] * 2
    assert [temperatures(125_000), temperatures(10**7)] == [(0.05, 0.05)] * 2
    assert temperatures(300, "model.temperature=0.2") == (0.2, 0.2)
    assert temperatures(300, "serving.temperature=0.05") == (0.1, 0.05)
    assert temperatures(300, "model.temperature=0.2", "serving.draws=2") == (0.2, 0.2)
    assert temperatures(300, "recipe=large") == (0.1, 0.1)


def test_a_temperature_that_serving_could_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.temperature: .* 0\.001"):
        read_config(None, ["model.temperature=0.0005"])


def test_a_warm_start_goes_on_as_the_older_model_was() -> None:
    older, log = ModelConfig(items=100, temperature=0.06), LogSize(50, 30_000, 100)
    config = resolve(read_config(None), log, older)
    warm = config.learner(100).network.config
    assert warm.model_dump(exclude={"dropout"}) == older.model_dump(exclude={"dropout"})
    assert (warm.dropout, config.serving.temperature) == (typical_dropout(300), 0.06)
    assert (config.serving.draws, config.serving.guidance_weight) == (4, 0.5)
    chosen = resolve(read_config(None, ["model.blocks=3", "model.temperature=0.07"]), log, older)
    assert (chosen.model.blocks, chosen.model.temperature) == (3, 0.07)


def test_a_warm_start_on_a_log_that_grew_keeps_the_recipe_of_small_logs() -> None:
    older = ModelConfig(items=100, **fitted(100_000).model.model_dump())
    config = resolve(read_config(None), LogSize(50, 500_000, 2_000), older)
    assert (config.recipe, values(config, SMALL)) == ("small", SMALL)


@pytest.mark.parametrize(
    "config", [read_config(None, ["recipe=large"]), SASRecConfig()], ids=["dimerec", "sasrec"]
)
def test_dropout_follows_from_the_log_where_nobody_chose_it(config: Optimisation) -> None:
    def of(chosen: Optimisation) -> float:
        return chosen.model.dropout if isinstance(chosen, TrainingConfig) else chosen.dropout  # type: ignore[attr-defined]

    assert of(resolve(config, LogSize(50, 3600, 100))) == 0.4
    key = "model.dropout" if isinstance(config, TrainingConfig) else "dropout"
    assert of(resolve(override(config, [f"{key}=0.1"]), LogSize(50, 3600, 100))) == 0.1


def test_dreamrec_keeps_the_dropout_with_which_it_learns_from_a_sparse_log() -> None:
    assert resolve(DreamRecConfig(), LogSize(50, 1300, 100)).dropout == 0.3
