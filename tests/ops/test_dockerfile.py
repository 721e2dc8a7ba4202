"""The image: built in stages from files that exist, without root, and probed by a command that works."""

import json
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from service.settings import Settings

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    with DOCKERFILE.open("rb") as file:
        parser = DockerfileParser(fileobj=file)
        return [
            (step["instruction"], step["value"])
            for step in parser.structure
            if step["instruction"] != "COMMENT"
        ]


def values(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


def final_stage() -> dict[str, str]:
    """The last of each instruction after the last FROM."""
    steps = instructions()
    last = max(place for place, (name, _) in enumerate(steps) if name == "FROM")
    return dict(steps[last + 1 :])


def context() -> set[str]:
    """The files that .dockerignore lets into the build, relative to the repository."""
    lines = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert lines[0] == "*"
    allowed = [REPOSITORY / line[1:] for line in lines if line.startswith("!")]
    files = [file for path in allowed for file in (path.rglob("*") if path.is_dir() else [path])]
    return {
        str(file.relative_to(REPOSITORY))
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_it_is_built_in_two_stages_of_one_base() -> None:
    assert [value.removesuffix(" AS build") for value in values("FROM")] == ["${BASE}", "${BASE}"]
    assert values("ARG")[0].startswith("BASE=python:3.11-slim")


def test_cpu_is_the_default_and_the_rest_is_by_argument() -> None:
    arguments = dict(value.partition("=")[::2] for value in values("ARG"))
    assert arguments["EXTRA"] == "cpu"
    assert arguments["TORCH_INDEX"] == ""


def test_it_ends_as_a_user_with_no_rights() -> None:
    user = final_stage()["USER"].split(":")
    assert all(int(part) > 0 for part in user)


def test_it_answers_a_stop_and_a_probe() -> None:
    stage = final_stage()
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert "/opt/dimerec/ready.py" in stage["HEALTHCHECK"]
    assert json.loads(stage["ENTRYPOINT"]) == ["dimerec"]
    assert json.loads(stage["CMD"]) == ["serve"]


def test_nothing_is_fetched_but_by_pip() -> None:
    assert values("ADD") == []
    runs = " ".join(values("RUN"))
    assert "curl" not in runs
    assert "wget" not in runs


def test_it_installs_with_the_script_that_make_installs_with() -> None:
    (install,) = [run for run in values("RUN") if "install.sh" in run]
    assert 'docker/install.sh /opt/dimerec ".[${EXTRA}]"' in install
    assert "docker/install.sh .venv" in (REPOSITORY / "Makefile").read_text()
    assert "&& docker/trim.sh /opt/dimerec" in install
    assert install.endswith("dimerec demo --help > /dev/null")  # imports what is left


def test_trimming_removes_tests_and_headers_and_nothing_that_runs(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    (packages,) = tmp_path.glob("lib/python3*/site-packages")
    kept = ["torch/testing/x.py", "torch/bin/torch_shm_manager", "jinja2/tests.py", "pyarrow/lib.so"]
    kept += ["onnx/helper.py", "pip/x.py", "onnxruntime/capi/onnxruntime_pybind11_state.so"]
    gone = ["torch/test/x", "torch/include/x.h", "torch/bin/test_api", "scipy/stats/tests/x.py"]
    gone += [
        "onnx/defs/x.cc",
        "onnxruntime/capi/libonnxruntime.so.1",
        "pyarrow/libarrow_s3.so",
        "networkx/x.py",
    ]
    for name in [*kept, *gone]:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    subprocess.run(["sh", "docker/trim.sh", str(tmp_path)], cwd=REPOSITORY, check=True)
    left = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert left == set(kept)


def test_what_is_copied_exists() -> None:
    for value in values("COPY"):
        *sources, _ = value.split()
        if sources[0].startswith("--from="):
            assert sources == ["--from=build", "/opt/dimerec"]
            continue
        for source in sources:
            assert (REPOSITORY / source).exists(), source


def test_what_pip_reads_is_in_the_build() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packed = {
        f"{package.replace('.', '/')}/__init__.py" for package in project["tool"]["setuptools"]["packages"]
    }
    read = {
        "pyproject.toml",
        project["project"]["readme"],
        "constraints.txt",
        "docker/install.sh",
        "docker/ready.py",
        "docker/trim.sh",
    }
    assert packed | read <= context()


@pytest.mark.parametrize("private", [".env", ".git*", ".demo*", "tests*", "*.pem", "*.key", "shared*"])
def test_nothing_private_is_in_the_build(private: str) -> None:
    assert [file for file in context() if fnmatch(file, private)] == []


def test_its_variables_are_settings() -> None:
    variables = dict(pair.split("=") for value in values("ENV") for pair in value.replace("\\", " ").split())
    ours = {name for name in variables if name.startswith("DIMEREC_")}
    assert ours <= {f"DIMEREC_{field.upper()}" for field in Settings.model_fields}
    assert variables["DIMEREC_PORT"] == values("EXPOSE")[0]
    assert variables["DIMEREC_BUNDLES"] in " ".join(values("RUN"))  # made there, owned by the user


@pytest.mark.parametrize("script", ["docker/install.sh", "docker/trim.sh", "tests/provide.sh", ".ci/run"])
def test_scripts_are_shell(script: str) -> None:
    path = REPOSITORY / script
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    checked = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_install_refuses_what_is_no_suitable_python(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    tried = subprocess.run(
        ["sh", "docker/install.sh", str(tmp_path / "venv"), "."],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 1
    assert "not a Python 3.11 or newer" in tried.stderr
    assert not (tmp_path / "venv").exists()
