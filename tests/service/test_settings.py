"""Settings: from the environment and `.env`, checked, and never echoed."""

from pathlib import Path

import pytest

from service.errors import StartupError
from service.settings import Settings, read_settings

GOOD_KEY = "7f1c2a9e55d04b6d8a3e"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIMEREC_{name.upper()}", raising=False)


def test_environment_beats_dotenv_and_overrides_beat_both(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "DIMEREC_PORT=9001\nDIMEREC_HOST=0.0.0.0\nDIMEREC_MAX_BATCH=3\nSOMETHING_ELSE=1\n"
    )
    monkeypatch.setenv("DIMEREC_PORT", "9002")
    monkeypatch.setenv("DIMEREC_MAX_BATCH", "4")
    settings = read_settings(max_batch=5, host=None)
    assert (settings.host, settings.port, settings.max_batch) == ("0.0.0.0", 9002, 5)


def test_every_setting_is_described_and_has_a_default() -> None:
    assert all(field.description and not field.is_required() for field in Settings.model_fields.values())


@pytest.mark.parametrize("key", ["", None])
def test_no_admin_key_means_none(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    if key is not None:
        monkeypatch.setenv("DIMEREC_ADMIN_KEY", key)
    assert read_settings().admin_key is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("tiny!", "shorter than 16"),
        ("               ", "shorter than 16"),
        ("change-me-change-me-now", "placeholder"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "placeholder"),
        ("ключключключключключ", "ASCII"),
    ],
)
def test_a_weak_admin_key_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, key: str, reason: str
) -> None:
    monkeypatch.setenv("DIMEREC_ADMIN_KEY", key)
    with pytest.raises(StartupError) as refused:
        read_settings()
    message = str(refused.value)
    assert "DIMEREC_ADMIN_KEY" in message
    assert reason in message
    assert "\n" not in message
    assert key.strip() == "" or key not in message


def test_secrets_do_not_show_in_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMEREC_ADMIN_KEY", GOOD_KEY)
    monkeypatch.setenv("DIMEREC_REDIS_URL", "redis://:hunter2@cache:6379/0")
    settings = read_settings()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == GOOD_KEY
    assert GOOD_KEY not in repr(settings)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("MAX_BATCH", "0"),
        ("MAX_QUEUE", "-1"),
        ("HISTORY_TIMEOUT_S", "nan"),
        ("HISTORY_TIMEOUT_S", "inf"),
        ("DEVICE", "tpu; rm"),
        ("LOG_LEVEL", "loud"),
        ("MAX_BODY_BYTES", "10"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"DIMEREC_{variable}", value)
    with pytest.raises(StartupError, match=f"^settings: DIMEREC_{variable} [^\n]+$"):
        read_settings()
