"""docs/architecture.md and CONTRIBUTING.md name what there is: rooms, files, names, lines of code."""

from __future__ import annotations

import ast
import re
import tomllib
from itertools import pairwise

import pytest
from code_blocks import blocks
from places import ROOT

PACKAGE = ROOT / "chunkflow_liver"
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")


def section(title):
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def names_in(path):
    """Functions, classes and values at the top of a module."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)}
    return found


def test_every_room_is_in_the_table_and_every_wing():
    rooms = section("Rooms")
    there = {f"{p.name}/" for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    there |= {p.name for p in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert [room for room in sorted(there) if f"`{room}`" not in rooms] == []
    kernels = PACKAGE / "kernels"
    wings = {p.name for p in kernels.iterdir() if (p / "__init__.py").is_file()}
    assert [wing for wing in sorted(wings) if f"| `{wing}` |" not in rooms] == []


def test_rooms_and_wings_stand_in_the_order_that_the_linter_holds():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    by_name = {
        contract["name"]: contract["layers"] for contract in rules["contracts"] if "layers" in contract
    }
    rooms = section("Rooms")
    for name in ("imports point downwards", "the wings of kernels import one way"):
        at = []
        for layer in by_name[name]:
            parts = [part.rpartition(".")[2] for part in re.split(r" [|:] ", layer)]
            found = [rooms.find(f"\n| `{part}") for part in parts]
            at.append([place for place in found if place >= 0])
        at = [places for places in at if places]
        assert len(at) >= 4
        assert all(max(above) < min(below) for above, below in pairwise(at)), (name, at)


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_path_and_every_name_exists(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    seen = 0
    for path, name in re.findall(r"`([\w./-]+\.\w+|[\w/-]+/)(?:: (\w+))?`", text):
        places = [ROOT / path, PACKAGE / path]
        if not path.startswith(("runs/", "dist/", "site/")) and ("/" in path or path.endswith(".py")):
            assert any(place.exists() for place in places), path
            seen += 1
        if name:
            assert name in names_in(PACKAGE / path), (path, name)
    assert seen > 10


def test_lines_that_are_quoted_stand_in_the_code_in_that_order():
    quoted = [b for b in blocks(PAGE) if b.language == "python"]
    assert len(quoted) >= 5
    for block in quoted:
        first, *lines = block.text.splitlines()
        source = (ROOT / first.removeprefix("# ")).read_text(encoding="utf-8").splitlines()
        at = 0
        for line in lines:
            if line.strip() in ("", "..."):
                continue
            assert line in source[at:], (first, line)
            at += source[at:].index(line) + 1
