"""The rooms of the package say what they hold, and are as small as the rules say."""

from __future__ import annotations

import importlib
import re

import pytest
from places import ROOT

PACKAGE = ROOT / "chunkflow_liver"
FOLDERS = sorted(p.parent for p in PACKAGE.rglob("__init__.py"))
WINGS = sorted(p.name for p in (PACKAGE / "kernels").iterdir() if (p / "__init__.py").is_file())


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_asks_a_question_and_names_what_to_begin_with(wing):
    module = importlib.import_module(f"chunkflow_liver.kernels.{wing}")
    first, _, rest = (module.__doc__ or "").partition("\n")
    assert first.endswith("?")
    named = re.findall(r"`(\w+)(?:\.(\w+))?`", rest)
    assert 2 <= len(named) <= 5
    for file, name in named:
        found = importlib.import_module(f"chunkflow_liver.kernels.{wing}.{file}")
        assert not name or hasattr(found, name), (file, name)


def test_no_folder_has_more_than_15_files_and_no_module_more_than_400_lines():
    crowded = {
        str(folder.relative_to(PACKAGE)): count
        for folder in FOLDERS
        if (count := len([p for p in folder.iterdir() if p.is_file() and p.suffix != ".pyc"])) > 15
    }
    assert not crowded
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    long = {p.name: n for p in sources if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long
