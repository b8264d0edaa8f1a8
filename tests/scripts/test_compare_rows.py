"""Two measurements side by side: what became slower is found, per unit of work; small cases fail."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from places import ROOT

SCRIPTS = ROOT / "scripts"
BENCH = [sys.executable, str(SCRIPTS / "bench.py"), "compare"]


@pytest.fixture(scope="module")
def rows():
    spec = importlib.util.spec_from_file_location("compare_rows", SCRIPTS / "compare_rows.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_rows"] = module
    spec.loader.exec_module(module)
    return module


def row(**more):
    return {
        "name": "n",
        "tool": "chunkflow_liver",
        "case": "64^3",
        "voxels": 64**3,
        "cpu_seconds": 1.0,
    } | more


def written(path, *found):
    machine = {"name": "n", "tool": "machine", "case": "x86_64", "ok": True}
    path.write_text("".join(json.dumps(r) + "\n" for r in (machine, *found)))
    return str(path)


@pytest.mark.parametrize(
    ("before", "now", "ratio"),
    [
        ({"cpu_seconds": 2.0}, {"cpu_seconds": 3.0}, 1.5),
        # Twice the voxels in twice the time are the same per voxel.
        ({"cpu_seconds": 2.0}, {"cpu_seconds": 4.0, "voxels": 2 * 64**3}, 1.0),
        # A rate that is stated goes before seconds that hold imports, too.
        ({"value": 50.0, "unit": "Mvoxel/CPU-s"}, {"value": 40.0, "unit": "Mvoxel/CPU-s"}, 1.25),
        ({"value": 9.0, "unit": "objects/cpu-s"}, {"value": 3.0, "unit": "objects/cpu-s"}, 3.0),
        ({"value": 9.0, "unit": "instances/CPU s"}, {"value": 18.0, "unit": "instances/CPU s"}, 0.5),
        ({"value": 0.9, "unit": "F1"}, {"value": 0.1, "unit": "F1"}, 1.0),
        ({"voxels": None, "cpu_seconds": 2.0}, {"voxels": None, "cpu_seconds": 1.0}, 0.5),
    ],
)
def test_cpu_per_unit_of_work_is_compared(rows, before, now, ratio):
    (change,) = rows.compared([row(**before)], [row(**now)])
    assert change.ratio == pytest.approx(ratio)
    assert change.fails == (ratio > 1.3)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"voxels": 512**3}, ""),
        ({"voxels": None, "cpu_seconds": 100.0}, ""),
        ({"tool": "cc3d"}, "not ours"),
        ({"cpu_seconds": 0.001}, "too short to tell"),
    ],
    ids=["large", "long", "of others", "short"],
)
def test_what_is_large_or_short_or_of_others_is_told_and_does_not_fail(rows, more, why):
    slow = row(**more) | {"cpu_seconds": 10 * row(**more)["cpu_seconds"]}
    (change,) = rows.compared([row(**more)], [slow])
    assert change.ratio == pytest.approx(10)
    assert not change.fails
    assert change.told_only == why


def test_rows_are_matched_by_name_tool_case_and_order(rows):
    before = [
        row(cpu_seconds=1.0),
        row(cpu_seconds=2.0),
        row(case="gone"),
        row(case="no time", cpu_seconds=None),
    ]
    now = [row(cpu_seconds=3.0), row(cpu_seconds=4.0), row(case="new"), row(case="no time")]
    assert [c.ratio for c in rows.compared(before, now)] == pytest.approx([3.0, 2.0])


@pytest.mark.parametrize(("cpu", "status"), [(1.29, 0), (1.31, 1)])
def test_the_status_says_whether_something_became_slower(tmp_path, cpu, status):
    before, now = (
        written(tmp_path / "a", row()),
        written(tmp_path / "b", row(cpu_seconds=cpu), row(case="new")),
    )
    found = subprocess.run([*BENCH, before, now], capture_output=True, text=True, check=False)
    assert found.returncode == status, found.stderr
    assert ("SLOWER" in found.stdout) == bool(status)
    assert (
        f"1 cases in both, 1 rows in one only or without CPU time; {status} small cases take" in found.stdout
    )


def test_measurements_of_a_commit_are_compared_with_those_of_the_tree():
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("this is no repository")
    file = "scripts/measured/instances.json"
    for sources in (("HEAD:" + file, "HEAD:" + file), ("HEAD", "HEAD")):
        found = subprocess.run([*BENCH, *sources], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        assert "0 small cases" in found.stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "line 1: no row of measurements"), ("[1]\n", "line 1: no row of"), ("", "have no case in common")],
)
def test_what_is_no_measurement_is_refused(tmp_path, text, says):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    found = subprocess.run([*BENCH, bad, bad], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert says in found.stderr


def test_what_is_neither_file_nor_commit_is_refused():
    found = subprocess.run([*BENCH, "no-such", "no-such"], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "no file or folder, and git ls-tree" in found.stderr
