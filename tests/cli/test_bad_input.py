"""72 bad inputs: each is told in words, with its exit status, and nothing on disk is made or changed.

The rows are those of the table that the project was begun with; `bad_images` and `bad_runs` hold one case for
each. Some inputs only look bad and are taken as what they are: exit status 0.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bad_images import IMAGES
from bad_runs import RUNS
from damages import IMAGE, PLAN, RUN, SCALE, Bad, Edit, axes, in_run_file, run_file
from strategies import command, write

ROWS = IMAGES | RUNS
LOOKS = ("validate", "run file", "plan", "check")
"""Commands that never write."""
MORE = {
    "a rotation": Bad(
        Edit([{"type": "affine", "affine": []}], SCALE[:-2]), "transformation 'affine' is not supported"
    ),
    "no axes": Bad(Edit([], (*SCALE[:-5], "axes")), r"'axes' must list 2 to 5 axes, got \[\]"),
    "an unknown axis": Bad(axes("z", "y", "phase"), "axis 2 is named 'phase'; known are t, c, z, y, x"),
    "unknown instances": Bad(
        in_run_file("instances: mitos", "instances: nuclei"), "refers to instances 'nuclei'", PLAN
    ),
    "an unknown class": Bad(in_run_file("to: er", "to: golgi"), "no class 'golgi'; it has", PLAN),
    "classes of another shape": Bad(
        lambda f: (
            write(f, np.ones((4, 200, 8), np.uint8), "small", kind="label", voxel_nm=(8, 8, 8))
            and run_file(semantic={"path": "small.ome.zarr"})(f)
        ),
        r"small.ome.zarr level 0 has \(4, 200, 8\) voxels",
        PLAN,
    ),
    "too little memory": Bad(
        Path, "stage 'mitos/.*' needs .* GiB per task", ("plan",), ("--memory-gib", "0.1")
    ),
}
"""What is refused like the rows, and stands in none."""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A project without a fault, to copy."""
    folder = tmp_path_factory.mktemp("good")
    array = np.random.default_rng(0).integers(0, 3, (4, 300, 8), dtype=np.uint8)
    write(folder, array, "raw", voxel_nm=(8, 8, 8))
    write(folder, array, voxel_nm=(8, 8, 8))
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    return folder


@pytest.fixture(scope="module")
def finished(good, tmp_path_factory):
    """The same, run, with a copy of what it made beside the work folder."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(good, folder)
    assert told("run", folder)[0] == 0
    shutil.copytree(folder / "work", folder / "kept")
    return folder


def state(folder: Path) -> dict[str, Any]:
    """Every file with its bytes, every folder, and where links lead."""
    found = sorted(folder.rglob("*"))
    return {
        str(p): p.readlink()
        if p.is_symlink()
        else (p.stat().st_mtime_ns, p.read_bytes())
        if p.is_file()
        else None
        for p in found
    }


def told(verb: str, project: Path, *options: str) -> tuple[int, str, str]:
    if verb == "validate":
        return command("validate", project / IMAGE, *options)
    if verb == "run file":
        return command("validate", project / "run.yaml", *options)
    return command(verb, project / "run.yaml", *options)


def is_told(bad: Bad, project: Path) -> None:
    """Damage a project, and assert what the commands say, how they end, and that nothing else changed."""
    bad.damage(project)
    with bad.during(project):
        before = state(project.parent)
        for verb in bad.verbs:
            code, said, message = told(verb, project, *bad.options)
            assert code == bad.status, message
            if bad.status:
                assert message.startswith(("error: ", "problem: ")), message
            assert "Traceback" not in message
            assert re.search(bad.says, message if bad.status else said), said + message
            if bad.status or verb in LOOKS:
                assert state(project.parent) == before
    bad.after(project)


def test_the_project_without_a_fault_is_fine(good):
    before = state(good)
    assert [told(verb, good)[0] for verb in ("validate", *PLAN)] == [0, 0, 0]
    assert state(good) == before


def test_each_of_72_rows_is_one_case():
    numbers = [int(re.match(r"row (\d+): ", name)[1]) for name in ROWS]
    assert numbers == list(range(1, 73))
    assert len(ROWS) == len(IMAGES) + len(RUNS)
    assert all(ROWS.values())


@pytest.mark.parametrize("row", ROWS)
def test_a_bad_input_is_told_and_nothing_changes(row, good, request, tmp_path):
    for i, bad in enumerate(ROWS[row]):
        from_ = request.getfixturevalue("finished") if bad.ran else good
        is_told(bad, Path(shutil.copytree(from_, tmp_path / str(i) / "project")))


@pytest.mark.parametrize("case", MORE)
def test_more_bad_inputs_are_told(case, good, tmp_path):
    is_told(MORE[case], Path(shutil.copytree(good, tmp_path / "project")))
