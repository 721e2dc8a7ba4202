"""The rooms of the house: who may import whom, and how large a module may grow."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("files", "model", "index", "bundle", "engine", "training", "service", "cli", "benchmarks")
MAY_IMPORT: dict[str, set[str]] = {
    "files": set(),
    "model": {"files"},
    "index": {"files"},
    "bundle": {"files", "model", "index"},
    "engine": {"files", "model", "index", "bundle"},
    "training": {"files", "model", "index", "bundle", "engine"},
    "service": {"files", "model", "index", "bundle", "engine"},
    "cli": {"files", "model", "index", "bundle", "engine", "training", "service"},
    "benchmarks": {"files", "model", "index", "bundle", "engine", "training", "service"},
}
PURE: dict[str, set[str]] = {
    "files": set(),
    "model": {"torch", "safetensors", "pydantic", "numpy", "onnx", "onnxruntime"},
    "index": {"numpy", "faiss", "pyarrow"},
}
MAX_MODULE_LINES = 340


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_runs_back_up(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    for path in modules(room):
        assert imported(path) & set(ROOMS) <= allowed, path


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_depend_on_little(room: str) -> None:
    for path in modules(room):
        outside = imported(path) - {room, "files"} - sys.stdlib_module_names
        assert outside <= PURE[room], path


@pytest.mark.parametrize("room", ROOMS)
def test_modules_within_a_room_have_no_circles(room: str) -> None:
    graph = {path: local_imports(path) for path in modules(room)}

    def reaches(start: Path, target: Path, seen: set[Path]) -> bool:
        for following in graph.get(start, set()) - seen:
            seen.add(following)
            if following == target or reaches(following, target, seen):
                return True
        return False

    for path in graph:
        assert not reaches(path, path, set()), f"{path} imports itself in a circle"


def local_imports(path: Path) -> set[Path]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
            base = ROOT / Path(*node.module.split("."))
            submodules = {base / f"{alias.name}.py" for alias in node.names}
            found |= {candidate for candidate in submodules | {base.with_suffix(".py")} if candidate.exists()}
    return found - {path}


@pytest.mark.parametrize("room", ROOMS)
def test_a_module_fits_in_one_s_head(room: str) -> None:
    for path in modules(room):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MAX_MODULE_LINES, f"{path} has {lines} lines"
