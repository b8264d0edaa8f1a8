"""What a function uses is followed through its package or folder, and no further."""

from __future__ import annotations

import importlib
import sys
import zipfile

import pytest

from chunkflow_liver.engine.code.modules import Home, home_of
from chunkflow_liver.engine.code.reach import digests

FILES = {
    "__init__": "",
    "entry": """
        from .steps import near, NAMES
        from kit_of_tests import tables
        import json

        def run(values):
            from kit_of_tests.late import finish
            return finish(near(values), tables.rows(values), json.dumps(NAMES))

        def unused(values):
            from kit_of_tests.unused import never
            return never(values)
        """,
    "steps": """
        NAMES = ["kit_of_tests.named:Named"]

        def near(values):
            return inner(values) * 2

        def inner(values):
            return values + 1

        def aside(values):
            return values
        """,
    "tables": """
        from kit_of_tests.stars import *

        def rows(values):
            return starred(values)

        def columns(values):
            return None
        """,
    "stars": "def starred(values):\n    return values\n",
    "late": "def finish(*values):\n    return values\n",
    "named": "class Named:\n    size = 1\n\n\nclass Other:\n    size = 2\n",
    "unused": "def never(values):\n    return values\n",
}
ROOT = frozenset({("kit_of_tests.entry", "run")})


def text_of(name: str) -> str:
    lines = FILES[name].splitlines()
    return "\n".join(
        line.removeprefix("        ") if FILES[name].startswith("\n") else line for line in lines
    )


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of several modules; what a change of one of them does to the digests of `run`."""
    folder = tmp_path / "kit_of_tests"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name in FILES:
        (folder / f"{name}.py").write_text(text_of(name) + "\n")

    def differ(name: str, old: str, new: str) -> list[str]:
        file = folder / f"{name}.py"
        before, text = digests(ROOT, Home("kit_of_tests")), file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        after = digests(ROOT, Home("kit_of_tests"))
        file.write_text(text)
        return sorted(m for m in before.keys() | after.keys() if before.get(m) != after.get(m))

    return differ


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("entry", "near(values)", "near(values * 2)"),
        ("steps", "values + 1", "values + 10"),
        ("steps", "* 2", "* 20"),
        ("tables", "starred(values)", "starred(-values)"),
        ("stars", "return values", "return values * 10"),
        ("late", "return values", "return values[:1]"),
        ("named", "size = 1", "size = 10"),
    ],
)
def test_a_change_in_what_it_uses_is_seen_and_named(package, name, old, new):
    assert package(name, old, new) == [f"kit_of_tests.{name}"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("entry", "return never(values)", "return -never(values)"),
        ("steps", "def aside(values):\n    return values", "def aside(values):\n    return -values"),
        ("tables", "return None", "return 1"),
        ("named", "size = 2", "size = 20"),
        ("unused", "return values", "return -values"),
        ("late", "def finish", "# It ends.\ndef finish"),
    ],
)
def test_a_change_in_what_it_does_not_use_is_not(package, name, old, new):
    assert package(name, old, new) == []


def test_a_module_that_becomes_needed_is_named(package):
    assert package("late", "return values", "from .unused import never; return never(values)") == [
        "kit_of_tests.late",
        "kit_of_tests.unused",
    ]


def test_nothing_is_imported(package):
    digests(ROOT, Home("kit_of_tests"))
    assert not [name for name in sys.modules if name.startswith("kit_of_tests")]


def test_a_zipped_package_has_the_same_digests(package, tmp_path, monkeypatch):
    wanted = digests(ROOT, Home("kit_of_tests"))
    archive = tmp_path / "zipped" / "kit.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for name in FILES:
            file.write(tmp_path / "kit_of_tests" / f"{name}.py", f"kit_of_tests/{name}.py")
    monkeypatch.setattr(sys, "path", [str(archive)])
    importlib.invalidate_caches()
    assert digests(ROOT | {("kit_of_tests.entry", "run")}, Home("kit_of_tests", "")) == wanted
    for name in FILES:
        (tmp_path / "kit_of_tests" / f"{name}.py").unlink()
    assert digests(ROOT, Home("kit_of_tests")) == wanted


def test_modules_beside_a_file_count_and_those_of_others_do_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "alone_of_tests.py").write_text(
        "import json\nimport numpy as np\nimport beside_of_tests as b\n"
        "from deep_of_tests.inner import steps\n\n\ndef run(v):\n"
        "    return b.twice(np.sort(v)), json.dumps(steps.one(v))\n"
    )
    (tmp_path / "deep_of_tests/inner").mkdir(parents=True)
    (tmp_path / "deep_of_tests/inner/steps.py").write_text("def one(v):\n    return v\n")
    (tmp_path / "beside_of_tests.py").write_text("def twice(v):\n    return v * 2\n")
    home = home_of("alone_of_tests", str(tmp_path / "alone_of_tests.py"))
    found = digests(frozenset({("alone_of_tests", "run")}), home)
    assert sorted(found) == ["alone_of_tests", "beside_of_tests", "deep_of_tests.inner.steps"]


def test_our_own_package_is_followed_from_a_users_function(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "user_of_tests.py").write_text(
        "import chunkflow_liver as cf\n\n\ndef run(v):\n    return cf.Box, cf.kernels.relabel(v)\n"
    )
    home = home_of("user_of_tests", str(tmp_path / "user_of_tests.py"))
    found = digests(frozenset({("user_of_tests", "run")}), home)
    assert {"user_of_tests", "chunkflow_liver.geometry", "chunkflow_liver.kernels.labels.relabel"} <= set(
        found
    )
    assert "chunkflow_liver.engine.run" not in found
