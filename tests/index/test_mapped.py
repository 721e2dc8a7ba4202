"""An index over mapped bytes is never changed: FAISS would end the process, with no error to catch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHANGING = {
    "add",
    "add_with_ids",
    "add_sa_codes",
    "remove_ids",
    "train",
    "reset",
    "merge_from",
    "update_vectors",
}


def faiss_modules() -> list[Path]:
    """The modules that have a FAISS object in hand: those that import it or ask for it."""
    rooms = ("index", "bundle", "engine", "training", "service", "cli")
    return [
        path
        for room in rooms
        for path in sorted((ROOT / room).rglob("*.py"))
        if "require_faiss()" in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("path", faiss_modules(), ids=lambda path: path.name)
def test_only_building_changes_an_index(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert path.name == "building.py" or not called & CHANGING


def test_faiss_objects_stay_in_the_package_of_the_index() -> None:
    reached = "_structure", "_searcher", "_vectors"
    for path in faiss_modules():
        if path.parent.name != "index":
            assert not any(f".{name}" in path.read_text(encoding="utf-8") for name in reached)
