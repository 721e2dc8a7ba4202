"""Print the test files that are worth running after a change: `make quick`.

Those that were changed themselves, and those that import a changed module; of the uncommitted change
or, where there is none, of the last commit.
"""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def changed() -> set[Path]:
    """The Python files of the change that are still there."""
    uncommitted = _git("diff", "--name-only", "HEAD") + _git("ls-files", "--others", "--exclude-standard")
    names = uncommitted or _git("diff", "--name-only", "HEAD~1", "HEAD")
    return {ROOT / name for name in names if name.endswith(".py") and (ROOT / name).exists()}


def affected(files: set[Path]) -> list[Path]:
    """The test files among `files`, and the others that import one of them."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    return [path for path in tests if path in files or modules & _imported(path)]


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    print(*(path.relative_to(ROOT) for path in affected(changed())), sep="\n")
