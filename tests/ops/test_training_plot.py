"""The plot of a training run."""

from pathlib import Path

import pytest
import typer

from benchmarks.quality.training_plot import draw, main
from training.run import EpochRecord


def records() -> list[EpochRecord]:
    metrics = {"hr@10": 0.2, "ndcg@10": 0.1, "hr@20": 0.3, "ndcg@20": 0.12}
    return [
        EpochRecord(
            epoch=epoch,
            losses={"guidance": 3.0 / epoch, "total": 5.0 / epoch},
            validation=metrics,
            examples_per_s=1234.0,
            seconds=60.0 * epoch,
        )
        for epoch in (1, 2, 3)
    ]


def test_a_run_is_drawn_with_every_loss_and_metric_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw(records(), tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    for text in ("guidance", "total", "ndcg@10", "3 epochs in 3.0 minutes, 1,234 examples/s"):
        assert f"<!-- {text} -->" in drawn


def test_a_directory_without_a_run_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        main(tmp_path, tmp_path / "run.svg")
    assert "holds no training run" in capsys.readouterr().err
    assert not (tmp_path / "run.svg").exists()
