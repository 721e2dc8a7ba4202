"""The picture of the packages, drawn from the imports in the code: `docs/images/packages.svg`.

A package stands above those that it imports, as high as those that import it allow. An arrow that follows
from others is left out: where A imports B and B imports C, there is none from A to C.
"""

import ast
from collections.abc import Mapping, Set
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

PACKAGES = ("benchmarks", "cli", "training", "service", "engine", "bundle", "model", "index", "files")
"""Those of one level stand in this order."""

Imports = Mapping[str, Set[str]]
"""Package → the packages that it imports."""

_COLOURS = {
    "training": ("#eef2ff", "#818cf8"),
    "service": ("#ecfdf5", "#34d399"),
    **dict.fromkeys(("engine", "model", "index"), ("#fff7ed", "#fb923c")),
}
"""Fill and border: what learns, what serves, what computes."""
_PLAIN = ("#f8fafc", "#cbd5e1")
_WIDTH, _BOX_WIDTH = 880, 380
_LINE, _GAP, _PADDING = 18, 34, 14
"""Heights of a line of text and between two levels; around the picture."""
_CHARACTERS = 54
"""Of a line of text, at most."""


class _Box(NamedTuple):
    """The position of a package in the picture."""

    left: int
    top: int
    height: int


def read_imports(root: Path) -> dict[str, set[str]]:
    """The packages that each package imports, from the code under `root`."""
    return {
        package: {name for path in (root / package).rglob("*.py") for name in _imported(path)} - {package}
        for package in PACKAGES
    }


def levels(imports: Imports) -> list[list[str]]:
    """Packages in levels, the top first: each one just below the lowest of those that import it."""
    depth: dict[str, int] = {}

    def descend(package: str) -> int:
        if package not in depth:
            above = [other for other, others in imports.items() if package in others]
            depth[package] = 1 + max(map(descend, above), default=-1)
        return depth[package]

    for package in imports:
        descend(package)
    return [
        [package for package in imports if depth[package] == level]
        for level in range(1 + max(depth.values()))
    ]


def arrows(imports: Imports) -> list[tuple[str, str]]:
    """The imports that do not follow from others."""
    return [
        (package, other)
        for package, others in imports.items()
        for other in sorted(others)
        if not any(other in reachable(imports, between) for between in others - {other})
    ]


def reachable(imports: Imports, package: str) -> set[str]:
    """All that a package imports, and what these import."""
    return set(imports[package]).union(*(reachable(imports, other) for other in imports[package]))


def draw(root: Path) -> str:
    """The picture as SVG; the same code gives the same bytes."""
    imports = read_imports(root)
    boxes: dict[str, _Box] = {}
    texts: dict[str, list[str]] = {}
    depth: dict[str, int] = {}
    top = _PADDING
    for level, packages in enumerate(levels(imports)):
        texts |= {package: _description(root, package) for package in packages}
        height = 38 + _LINE * max(len(texts[package]) for package in packages)
        gap = (_WIDTH - _BOX_WIDTH * len(packages)) // (len(packages) + 1)
        for index, package in enumerate(packages):
            boxes[package] = _Box(gap + index * (_BOX_WIDTH + gap), top, height)
            depth[package] = level
        top += height + _GAP
    drawn = [
        _arrow(boxes[upper], boxes[lower], next_level=depth[lower] == depth[upper] + 1)
        for upper, lower in arrows(imports)
    ]
    drawn += [_package(package, texts[package], box) for package, box in boxes.items()]
    return "\n".join([_head(top - _GAP + _PADDING), *drawn, "</svg>", ""])


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names & set(PACKAGES)


def _description(root: Path, package: str) -> list[str]:
    """The first sentences of its `__init__.py`, in lines, and then its subpackages."""
    said = ast.get_docstring(ast.parse((root / package / "__init__.py").read_text(encoding="utf-8"))) or ""
    lines = wrap(said.partition("\n\n")[0].replace("`", ""), _CHARACTERS)
    inner = sorted(path.parent.name for path in (root / package).glob("*/__init__.py"))
    return [*lines, *wrap(" · ".join(f"{name}/" for name in inner), _CHARACTERS)]


def _head(height: int) -> str:
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" \
font-family="ui-sans-serif, system-ui, 'Segoe UI', Roboto, sans-serif" role="img" \
aria-label="The packages and which imports which: each stands above those that it imports.">
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L8 4L0 8z" fill="#64748b"/></marker>
<style>
.name{{font-size:16px;font-weight:650;fill:#0f172a}}.text{{font-size:12.5px;fill:#475569}}
.flow{{stroke:#64748b;stroke-width:1.6;fill:none;marker-end:url(#tip)}}
</style>
</defs>
<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>"""


def _package(package: str, lines: list[str], box: _Box) -> str:
    fill, border = _COLOURS.get(package, _PLAIN)
    x = box.left + 16
    rows = [
        f'<text class="text" x="{x}" y="{box.top + 28 + _LINE * (index + 1)}">{escape(line)}</text>'
        for index, line in enumerate(lines)
    ]
    return (
        f'<g><rect x="{box.left}" y="{box.top}" width="{_BOX_WIDTH}" height="{box.height}" rx="10"'
        f' fill="{fill}" stroke="{border}" stroke-width="1.5"/>'
        f'<text class="name" x="{x}" y="{box.top + 26}">{package}/</text>{"".join(rows)}</g>'
    )


def _arrow(upper: _Box, lower: _Box, *, next_level: bool) -> str:
    """Straight down to the next level; to one further down outside of what stands between, into its side."""
    bottom, middle = upper.top + upper.height, _BOX_WIDTH // 2
    if next_level:
        lean = max(40 - middle, min(middle - 40, (lower.left - upper.left) // 2))
        path = f"M{upper.left + middle + lean} {bottom}L{lower.left + middle - lean} {lower.top - 3}"
    elif upper.left < lower.left:
        path = f"M{upper.left + 60} {bottom}V{lower.top + lower.height // 2}H{lower.left - 3}"
    else:
        right = upper.left + _BOX_WIDTH - 60
        path = f"M{right} {bottom}V{lower.top + lower.height // 2}H{lower.left + _BOX_WIDTH + 3}"
    return f'<path class="flow" d="{path}"/>'
