"""`make quality`: which data sets, where results come together, what is drawn of them."""

import re
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.quality import plots, quality
from cli.main import application
from tests.training.logs import cyclic_dataset
from training.benchmark.comparisons import Comparison
from training.benchmark.diversity_curve import Point
from training.benchmark.probing import ProbeRow
from training.benchmark.registry import REGISTRY
from training.benchmark.rows import Row
from training.benchmark.store import DIVERSITY_FILE, PROBING_FILE, Store, read_kept, read_rows, write_rows
from training.evaluation.reranking import DELTAS

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "benchmark.md").read_text()


def row(**fields: object) -> Row:
    """A row of the test part, asked as served."""
    names = [f"{name}@{k}" for name, k in product(("hr", "ndcg"), (5, 10, 20, 50))]
    return Row.model_validate(
        {
            "data": "walks",
            "data_fingerprint": "f",
            "split": "leave-one-out",
            "model": "dimerec",
            "settings": "s",
            "minutes": None,
            "seed": 0,
            "run": "r",
            "commit": None,
            "hardware": {"cpu": "a processor", "cores": 2, "torch_threads": 1, "gpu": None},
            "variant": 0,
            "steps": 2,
            "draws": 4,
            "interest_mode": "draws",
            "merge": "mean",
            "temperature": 0.1,
            "part": "test",
            "exclude_seen": True,
            "targets": 9,
            **dict.fromkeys(names, 0.25),
            "categories@20": None,
            "ild@20": None,
            "coverage@20": 0.5,
            "train_s": 8.0,
            "ms_per_user": 0.5,
            "epochs": 3,
            "chosen": None,
            **fields,
        }
    )


def curve(of: Row, **fields: object) -> list[Point]:
    """A curve of the way that a row is of."""
    shared = of.model_dump(include={"data", "split", "model", "seed", "run", "variant"})
    metrics = dict.fromkeys(["hr@10", "hr@20", "ndcg@10", "ndcg@20", "coverage@20"], 0.25)
    listed = [{"delta": delta, "categories@20": 5 + delta, "ild@20": delta} for delta in DELTAS]
    return [Point.model_validate({**shared, **metrics, **one, **fields}) for one in listed]


def test_rows_replace_those_of_the_same_recommender_on_the_same_data(tmp_path: Path) -> None:
    path, store = tmp_path / "quality.json", Store(tmp_path / "work")
    older = [row(), row(model="mind"), row(split="window"), row(data="other")]
    assert sorted(quality.collect(older, path, store), key=lambda one: one.sort_key) == read_rows(path)
    newer = [row(settings="t", seed=seed) for seed in range(2)]
    quality.collect(newer, path, store)
    found = read_rows(path)
    assert {(one.data, one.split, one.model, one.settings) for one in found} == {
        ("walks", "leave-one-out", "dimerec", "t"),
        ("walks", "leave-one-out", "mind", "s"),
        ("walks", "window", "dimerec", "s"),
        ("other", "leave-one-out", "dimerec", "s"),
    }
    assert len(found) == 5


def test_curves_stay_as_long_as_the_rows_of_their_fit(tmp_path: Path) -> None:
    path, store = tmp_path / DIVERSITY_FILE, Store(tmp_path / "work")
    fits = [row(run=run) for run in "abc"]
    first = [point for fit in fits for point in curve(fit)]
    assert quality.collect_beside(fits, first, Point, path, store) == first == read_kept(path, Point)
    newer = curve(fits[1], **{"hr@20": 0.5}) + curve(row(run="d"))
    quality.collect_beside(fits[:2], newer, Point, path, store)
    assert read_kept(path, Point) == curve(fits[0]) + newer[: len(DELTAS)]


def difference(*runs: str, second: str = "mind", mean: float = 0.01) -> Comparison:
    """One that was told of the fits `runs`."""
    return Comparison(
        data="walks",
        split="leave-one-out",
        first="dimerec",
        second=second,
        metric="ndcg@10",
        exclude_seen=True,
        seeds=len(runs) // 2,
        runs=list(runs),
        mean=mean,
        low=mean - 0.005,
        high=mean + 0.005,
    )


def test_differences_stay_as_long_as_the_rows_of_their_fits(tmp_path: Path) -> None:
    path, store = tmp_path / quality.DIFFERENCES_FILE, Store(tmp_path / "work")
    fits = [row(run=run) for run in "abc"]
    first = [difference("a", "b", second="mind"), difference("a", "c", second="sasrec")]
    assert quality.collect_differences(fits, first, path, store) == first == read_kept(path, Comparison)
    assert quality.collect_differences(fits, [], path, store) == first
    assert quality.collect_differences(fits[:2], [], path, store) == first[:1]


def test_a_difference_of_fewer_seeds_does_not_replace_one_of_more(tmp_path: Path) -> None:
    path, store = tmp_path / quality.DIFFERENCES_FILE, Store(tmp_path / "work")
    fits = [row(run=run) for run in "abcd"]
    of_two = [difference("a", "b", "c", "d")]
    quality.collect_differences(fits, of_two, path, store)
    assert quality.collect_differences(fits, [difference("a", "c", mean=0.5)], path, store) == of_two
    again = [difference("a", "b", "c", "d", mean=0.2)]
    assert quality.collect_differences(fits, again, path, store) == again
    assert quality.collect_differences(fits[:3], [difference("a", "c")], path, store) == [
        difference("a", "c")
    ]


def test_a_data_set_is_measured_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, out = tmp_path / "shared", tmp_path / "out"
    dataset = cyclic_dataset()
    users = [user for user in dataset.user_ids for _ in range(12)]
    events = zip(users, dataset.items, dataset.timestamps, strict=True)
    shared.mkdir()
    lines = [f"{user},{item},{time}" for user, item, time in events]
    (shared / "walks.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]))
    items = [f"{item},{item % 3}" for item in range(1, 41)]
    (shared / "items.csv").write_text("\n".join(["item_id,category", *items]))
    monkeypatch.setitem(quality.SOURCES, "walks", quality.Source("walks", "walks.csv", "items.csv"))
    common = ["--shared", str(shared), "--work", str(tmp_path / "work"), "--out", str(out), "--seeds", "1"]
    done = run(*common, "--data", "walks", "--models", "popularity,itemknn")
    assert done == (0, "")
    assert {one.model for one in read_rows(out / "quality.json")} == {"popularity", "itemknn"}
    text = (out / "quality.md").read_text()
    assert "## walks, leave-one-out split" in text
    assert "Diversity at equal recall" in text
    assert {one.model for one in read_kept(out / DIVERSITY_FILE, Point)} == {"popularity", "itemknn"}
    assert read_kept(out / PROBING_FILE, ProbeRow) == []
    (tmp_path / "own.toml").write_text("epochs = 1\n")
    own = ["--models", "itemknn", "--config", f"own={tmp_path / 'own.toml'}", "--no-curves"]
    assert run(*common, "--data", "walks", *own) == (0, "")
    text = (out / "quality.md").read_text()
    for second in ("popularity", "itemknn", "own (guidance max)"):
        assert f"| own − {second} | NDCG@10 |" in text
    elsewhere = [*common, "--work", str(tmp_path / "fresh")]
    assert run(*elsewhere, "--data", "walks", "--models", "popularity") == (0, "")
    assert "| own − itemknn | NDCG@10 |" in (out / "quality.md").read_text()
    code, err = run(*common, "--data", "walks,amazon-beauty")
    assert code == 1
    assert "amazon-beauty.parquet is not there: lay it" in err
    assert "SHARED=" in err
    assert run(*common, "--data", "nothing")[1].startswith(
        "quality: DATA: 'nothing' is none of movielens-100k,"
    )
    twice = run(*common, "--data", "walks", "--config", f"rectools-sasrec={tmp_path / 'own.toml'}")
    assert "'rectools-sasrec' is taken" in twice[1]
    assert "'nobody' is not in the registry" in run(*common, "--data", "walks", "--models", "nobody")[1]


def test_the_same_results_give_the_same_plots(tmp_path: Path) -> None:
    models = ("dimerec", "mind", "popularity", "dimerec-k1")
    rows = [
        row(data=data, model=model, seed=seed, **{"ndcg@20": 0.1 + 0.01 * seed, "categories@20": 7.5})
        for data, model, seed in product(("walks", "jumps"), models, range(2))
    ]
    rows += [
        row(model="dimerec-steps", variant=variant, steps=steps, draws=draws)
        for variant, (steps, draws) in enumerate(product((1, 4), (1, 8)), start=1)
    ]
    write_rows(tmp_path / "results.json", rows)
    write_rows(tmp_path / DIVERSITY_FILE, [point for one in rows if one.variant == 0 for point in curve(one)])
    plots.main(tmp_path / "results.json", tmp_path / "first")
    plots.main(tmp_path / "results.json", tmp_path / "second")
    of_curves = {"quality-diversity", "quality-distance"}
    names = {"quality-ranking", "quality-steps", "quality-latency", "quality-training", *of_curves}
    assert {path.stem for path in (tmp_path / "first").iterdir()} == names
    for name in names:
        drawn = (tmp_path / "first" / f"{name}.svg").read_bytes()
        assert drawn == (tmp_path / "second" / f"{name}.svg").read_bytes()
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
        assert (b"NDCG@10" in drawn, b"HR@20" in drawn) == (name not in of_curves, name in of_curves)
        assert (b"dimerec-k1" in drawn, b"mind" in drawn) == (False, name != "quality-steps")


def test_what_there_is_nothing_of_is_not_drawn(tmp_path: Path) -> None:
    drawn = plots.draw([row(), row(model="mind")], curve(row(model="other", run="s")), tmp_path)
    assert [path.stem for path in drawn] == ["quality-ranking", "quality-latency", "quality-training"]


def test_the_ranking_has_the_best_recommender_on_top(tmp_path: Path) -> None:
    quality_of = {"mind": 0.05, "dimerec": 0.1234, "popularity": 0.02}
    plots.draw([row(model=model, **{"ndcg@10": value}) for model, value in quality_of.items()], [], tmp_path)
    drawn = (tmp_path / "quality-ranking.svg").read_text()
    heights = {
        text: float(re.findall(rf"<!-- {text} -->\n *<g [^>]*translate\([\d.]+ ([\d.]+)\)", drawn)[0])
        for text in (*quality_of, "0.1234", "0.0500", "0.0200")
    }
    assert heights["dimerec"] < heights["mind"] < heights["popularity"]
    assert heights["0.1234"] < heights["0.0500"] < heights["0.0200"]


def test_the_document_names_every_key_every_option_and_every_data_set() -> None:
    models = (Row, Point, ProbeRow, Comparison)
    for key in {field.alias or name for model in models for name, field in model.model_fields.items()}:
        shown = re.sub(r"^(hr|ndcg)@(10|20)$", r"\1@50", key)
        assert f"`{shown}`" in DOCUMENT, key
    commands = [
        typer.main.get_group(application([name])).commands[name]
        for name in set(re.findall(r"dimerec ([a-z]+)", DOCUMENT))
    ]
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z]+", DOCUMENT)) <= options
    makefile = (REPOSITORY / "Makefile").read_text()
    for arguments in re.findall(r"make quality (.+?)[`\n]", DOCUMENT):
        for variable, _, names in (word.partition("=") for word in arguments.partition("#")[0].split()):
            assert f"{variable} ?=" in makefile
            known = {"DATA": set(quality.SOURCES), "MODELS": set(REGISTRY)}.get(variable)
            assert known is None or set(names.split(",")) <= known, names


def run(*arguments: str) -> tuple[int, str]:
    """The script's exit code and what it says of trouble."""
    app = typer.Typer()
    app.command()(quality.main)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr if done.exit_code else ""
