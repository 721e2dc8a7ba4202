"""The first screen is short, and what it shows is what the code and the results give."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from benchmarks.documents.__main__ import (
    ANSWER,
    DEMO,
    EXPERIMENTS,
    FAULTS,
    METRICS,
    NOVELTY,
    PICTURE,
    QUALITY,
    README,
    RELIABILITY,
    REST,
    ROOT,
    made_faults,
    made_novelty,
    made_table,
    shown_request,
)
from benchmarks.documents.blocks import BlockError, read_block, with_block
from benchmarks.documents.demo_answer import demo_answer, masked, model_digest
from benchmarks.documents.metrics_table import metrics_table
from benchmarks.documents.package_picture import arrows, draw, levels
from bundle.write import publish
from cli.main import COMMANDS, application
from service.history.in_process import InProcessHistory
from service.history.protocol import Event
from service.requests import RecommendRequest
from tests.factories import make_index, make_model, make_serving
from tests.service.serving import running, settings_for
from tests.test_rooms import MAY_IMPORT
from training.data.dataset import read_dataset
from training.data.prepare import prepare

TEXT = README.read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"])
REMEDY = "run `make documents`"


def test_it_has_at_most_900_words_and_one_table() -> None:
    prose = re.sub(r"```.*?```|<!--.*?-->|^\|.*?$|!\[.*?\]\(.*?\)", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    words = re.findall(r"\w[\w'’-]*", re.sub(r"\]\([^)]*\)", "]", prose))
    assert len(words) <= 900
    assert len(re.findall(r"^\|(?: ?:?-+:? ?\|)+$", TEXT, re.MULTILINE)) == 1


def test_its_table_is_that_of_the_results() -> None:
    assert read_block(TEXT, QUALITY) == made_table(), REMEDY


def test_the_table_of_faults_is_that_of_the_results() -> None:
    assert read_block(RELIABILITY.read_text(encoding="utf-8"), FAULTS) == made_faults(), REMEDY


def test_the_table_of_novelty_is_that_of_the_results() -> None:
    assert read_block(EXPERIMENTS.read_text(encoding="utf-8"), NOVELTY) == made_novelty(), REMEDY


def test_the_picture_of_the_packages_is_that_of_the_code() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw(ROOT), REMEDY


def test_the_table_of_metrics_is_that_of_the_service() -> None:
    assert read_block(REST.read_text(encoding="utf-8"), METRICS) == metrics_table(), REMEDY


def test_the_picture_puts_every_package_above_what_it_imports() -> None:
    heights = {package: -level for level, packages in enumerate(levels(MAY_IMPORT)) for package in packages}
    assert set(heights) == set(MAY_IMPORT)
    for package, others in MAY_IMPORT.items():
        assert all(heights[package] > heights[other] for other in others)
    shown = arrows(MAY_IMPORT)
    assert ("engine", "bundle") in shown
    assert ("engine", "files") not in shown


def test_a_block_is_replaced_and_nothing_else_is() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert with_block(text, "x", "new \\1\nlines\n") == "a\n<!-- x -->\nnew \\1\nlines\n<!-- /x -->\nb\n"
    with pytest.raises(BlockError, match="no block"):
        with_block(text, "y", "new")


def shown_answer() -> dict[str, Any]:
    found = re.search(r"```json\n(.*)\n```", read_block(TEXT, ANSWER), re.DOTALL)
    assert found
    answer: dict[str, Any] = json.loads(found[1])
    return answer


def test_the_answer_it_shows_is_that_of_the_demo() -> None:
    """Where `make demo` was run and trained these very weights, as the same machine and threads do again."""
    digest = model_digest(DEMO)
    if digest is None or f"<!-- by the model {digest} -->" not in TEXT:
        pytest.skip(
            "README's answer is of another model than .demo, or there is none: run `make demo`, and where the"
            " machine trains other weights (its processor, its number of threads), `make documents`"
        )
    shown, given = shown_answer(), demo_answer(DEMO, shown_request(TEXT))
    for items in ("items", "interests"):
        assert [without_numbers(one) for one in given[items]] == [
            without_numbers(one) for one in shown[items]
        ]
    assert [one["score"] for one in given["items"]] == pytest.approx(
        [one["score"] for one in shown["items"]], abs=1e-3
    )
    assert [one["weight"] for one in given["interests"]] == pytest.approx(
        [one["weight"] for one in shown["interests"]], abs=1e-2
    )
    assert {**given, "items": 0, "interests": 0} == {**shown, "items": 0, "interests": 0}


def test_the_answer_it_shows_fits_its_request_and_the_demo_s_catalogue(
    movielens_100k: tuple[Path, Path], tmp_path: Path
) -> None:
    """With an untrained model: every field is there, every title, category and watched film is true."""
    root, request = tmp_path / "bundles", shown_request(TEXT)
    prepare(*movielens_100k, tmp_path / "data")
    dataset = read_dataset(tmp_path / "data")
    model = make_model(len(dataset.catalogue))
    publish(
        root,
        model,
        dataset.catalogue,
        make_index(model),
        serving=make_serving(),
        metrics={},
        data_fingerprint=dataset.fingerprint,
    )
    user_id, catalogue = request["user_id"], dataset.catalogue
    assert set(request) <= set(RecommendRequest.model_fields)
    watched = [catalogue.item_id(int(row)) for row in dataset.history(dataset.user_ids.index(user_id))]
    history = InProcessHistory(max_events=1_000, max_users=1)
    history.load((user_id, Event(item_id, rank)) for rank, item_id in enumerate(watched, 1))
    with running(settings_for(root), history) as server:
        engine = server.service.engines.engine
        given = masked(server.answer(**request))
        described = {one["item_id"]: engine.describe(one["item_id"]) for one in every_item()}
    shown = shown_answer()
    assert skeleton(shown) == skeleton(given)
    assert {**shown, "items": 0, "interests": 0} == {**given, "items": 0, "interests": 0}
    for item in every_item():
        known = described[item["item_id"]]
        assert known is not None
        assert item["title"] == known.title
        assert item.get("categories", list(known.categories)) == list(known.categories)
    read = [one["item_id"] for item in shown["items"] for one in item["because"]]
    assert set(read) <= set(watched[-50:])
    assert not {item["item_id"] for item in shown["items"]} & set(watched)


def every_item() -> list[dict[str, Any]]:
    return [one for item in shown_answer()["items"] for one in (item, *item["because"])]


def without_numbers(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name not in ("score", "weight")}


def skeleton(value: Any) -> Any:
    """Names, in order, and types; of a list its first element's."""
    if isinstance(value, dict):
        return [(name, skeleton(inner)) for name, inner in value.items()]
    return [skeleton(value[0])] if isinstance(value, list) and value else type(value).__name__


def test_every_command_it_names_exists_with_its_options() -> None:
    commands = re.findall(r"^dimerec (.+?)(?:\s+#.*)?$|`dimerec ([^`]+)`", TEXT, re.MULTILINE)
    assert len(commands) > 6
    for one, other in commands:
        name, *rest = shlex.split(one or other)
        assert name in COMMANDS
        parameters = typer.main.get_group(application([name])).commands[name].params
        assert {word for word in rest if word.startswith("--")} <= {
            option for parameter in parameters for option in parameter.opts
        }


def test_every_make_target_of_the_documents_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for path in set(DOCUMENTS) - {ROOT / "CHANGELOG.md"}:
        named = re.findall(r"(?:`|^ {4})make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= set(targets), path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link, _, anchor in re.findall(r"\]\(([^)#:]*)(#?)([^)#:]*)\)", path.read_text(encoding="utf-8")):
        target = path.parent / link if link else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), f"{link}#{anchor}"


def anchors(path: Path) -> list[str]:
    """Of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md", "docs/method.md", "CONTRIBUTING.md"])
def test_every_file_of_the_code_that_it_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    packages = "|".join([*MAY_IMPORT, "tests", "docs", "docker"])
    for path in re.findall(rf"`((?:{packages})/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_the_files_beside_a_package_s_name_are_in_it() -> None:
    for package, rest in re.findall(r"^- `(\w+/)`:(.*(?:\n {2}.*)*)", TEXT, re.MULTILINE):
        for path in re.findall(r"`([\w/]+(?:\.py|/))`", rest):
            assert (ROOT / package / path).exists() or (ROOT / path).exists(), path
