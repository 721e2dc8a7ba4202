"""What is installed: every package pinned, every file of ours packed."""

import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
NOT_PACKED = {"benchmarks", "docker", "docs", "tests"}


def pins() -> dict[str, Requirement]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pinned}


def wanted() -> list[Requirement]:
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    return [
        Requirement(text)
        for text in (*project["dependencies"], *(text for extra in extras.values() for text in extra))
    ]


def applies(marker: Marker | None, extras: set[str]) -> bool:
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})


def installed_closure() -> dict[str, str]:
    """Versions of all that the extras cpu, bench and dev bring in, found by following what is installed."""
    waiting = [requirement for requirement in wanted() if requirement.name != "faiss-gpu"]
    found: dict[str, str] = {}
    followed: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        step = (name, frozenset(requirement.extras))
        if step in followed or not applies(requirement.marker, set()):
            continue
        followed.add(step)
        package = distribution(name)
        found[name] = package.version
        needs = map(Requirement, package.requires or [])
        waiting += [
            Requirement(f"{need.name}[{','.join(need.extras)}]")
            for need in needs
            if applies(need.marker, requirement.extras)
        ]
    return found


def test_every_package_that_is_needed_is_pinned_at_the_version_installed_here() -> None:
    pinned = pins()
    for name, version in installed_closure().items():
        assert name in pinned, f"constraints.txt lacks {name}=={version}"
        assert pinned[name].specifier.contains(version), f"constraints.txt: {pinned[name]}, here {version}"


def test_nothing_is_pinned_that_nobody_needs() -> None:
    here = installed_closure()
    needs = [Requirement(text) for name in here for text in distribution(name).requires or []]
    elsewhere = {
        canonicalize_name(need.name) for need in needs if need.marker and "extra" not in str(need.marker)
    }
    assert set(pins()) - set(here) - elsewhere == {"faiss-gpu"}


def test_every_pin_names_one_release_for_every_build_of_it() -> None:
    for pin in pins().values():
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert "*" not in specifier.version
        assert "+" not in specifier.version


def test_the_pins_are_what_the_project_asks_for() -> None:
    pinned = pins()
    for requirement in wanted():
        (specifier,) = pinned[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(specifier.version), requirement


def test_both_kinds_of_faiss_are_pinned_at_the_same_version() -> None:
    pinned = pins()
    assert pinned["faiss-cpu"].specifier == pinned["faiss-gpu"].specifier


def packed_folders() -> list[Path]:
    return [REPOSITORY / package.replace(".", "/") for package in SETUPTOOLS["packages"]]


def test_every_package_is_packed() -> None:
    rooms = {path.parent for path in REPOSITORY.glob("*/__init__.py")} - {
        REPOSITORY / name for name in NOT_PACKED
    }
    ours = {path.parent for room in rooms for path in room.rglob("__init__.py")}
    assert ours == set(packed_folders())


@pytest.mark.parametrize("package", SETUPTOOLS["packages"])
def test_every_file_of_a_package_is_packed(package: str) -> None:
    folder = REPOSITORY / package.replace(".", "/")
    patterns = ["*.py", *SETUPTOOLS["package-data"].get(package, [])]
    packed = {path for pattern in patterns for path in folder.glob(pattern)}
    assert {path for path in folder.iterdir() if path.is_file()} == packed


@pytest.mark.parametrize("package", SETUPTOOLS["package-data"])
def test_no_pattern_of_package_data_is_left_over(package: str) -> None:
    folder = REPOSITORY / package.replace(".", "/")
    for pattern in SETUPTOOLS["package-data"][package]:
        assert list(folder.glob(pattern)), f"{package}: nothing matches {pattern}"


def test_no_other_distribution_ships_a_package_of_our_names() -> None:
    shipped = packages_distributions()
    for package in {name.split(".")[0] for name in SETUPTOOLS["packages"]}:
        assert set(shipped.get(package, [])) <= {PYPROJECT["project"]["name"]}, package


def test_it_cannot_be_uploaded_by_mistake() -> None:
    assert "Private :: Do Not Upload" in PYPROJECT["project"]["classifiers"]
