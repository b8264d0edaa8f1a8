"""Whatever is wrong with an input is told in words, with status 2, and nothing on disk is made or changed."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from damages import (
    ARRAY,
    DEEP,
    IMAGE,
    OME,
    RUN,
    SCALE,
    SCALES,
    Bad,
    Edit,
    axes,
    chunk,
    complex_voxels,
    float_labels,
    gone,
    huge_chunk,
    in_run_file,
    instead,
    malicious,
    many_times,
    run_file,
    scale,
    text,
    truncated,
    with_model,
    with_nan,
)
from strategies import command, write

from chunkflow_liver.engine.journal import Journal

CASES = {
    # what lies at the path
    "no such path": Bad(gone(IMAGE), "no such file or folder: .*raw.ome.zarr"),
    "an empty folder": Bad(instead(Path.mkdir), "is not a zarr group: it has neither zarr.json nor .zgroup"),
    "a file": Bad(instead(Path.touch), "is a file, not an OME-Zarr folder; run 'chunkflow-liver convert'"),
    "a bare array": Bad(
        instead(lambda p: zarr.create_array(p, shape=(4, 4, 4), dtype="u1")),
        "bare zarr array without OME metadata; run 'chunkflow-liver convert'",
    ),
    "invalid JSON": Bad(text("{"), "zarr.json is not valid JSON: "),
    "JSON that is a list": Bad(text("[1]"), "zarr.json holds list, expected a JSON object"),
    "deep JSON": Bad(text(DEEP), "zarr.json is nested too deeply to be metadata"),
    "metadata without end": Bad(text(" " * (5 << 20)), "zarr.json has 5242880 bytes; metadata above"),
    # the metadata of the image
    "no multiscales": Bad(Edit({}, OME), "not an OME-Zarr image: it has no 'multiscales'"),
    "multiscales of text": Bad(Edit("x", (*OME, "multiscales")), "it has no 'multiscales'"),
    "another version": Bad(Edit("9.9", (*OME, "version")), "OME-Zarr version '9.9'.* supported"),
    "no levels": Bad(Edit([], (*SCALES, "datasets")), "'datasets' is empty"),
    "a level that is absent": Bad(
        gone(f"{IMAGE}/1"), "'1' is listed as a level but .*/1 holds no zarr array"
    ),
    "a level outside": Bad(
        Edit("../x", (*SCALES, "datasets", 0, "path")), "points outside the image: path '../x'"
    ),
    "no scale": Bad(
        Edit(None, SCALE[:-2], missing=True), r"level 0 \('0'\) states no scale, so its voxel size is unknown"
    ),
    "scale 0": Bad(scale(0, 8, 8), "scale for axis z is 0.0; it must be above 0"),
    "a negative scale": Bad(scale(8, -8, 8), "scale for axis y is -8.0; it must be above 0"),
    "a scale of NaN": Bad(scale(8, 8, math.nan), "scale for axis x is nan; it must be above 0"),
    "an infinite scale": Bad(scale(8, 8, math.inf), "scale for axis x is inf; it must be above 0"),
    "a scale of text": Bad(scale("8", 8, 8), r"scale must be 3 numbers, got \['8', 8, 8\]"),
    "a scale of true": Bad(scale(True, 8, 8), "scale must be 3 numbers"),
    "a scale of two": Bad(scale(8, 8), r"scale must be 3 numbers, got \[8, 8\]"),
    "a rotation": Bad(
        Edit([{"type": "affine", "affine": []}], SCALE[:-2]), "transformation 'affine' is not supported"
    ),
    "four axes for three": Bad(axes("c", "z", "y", "x"), "the array has 3 axes, the metadata 4"),
    "an axis twice": Bad(axes("z", "y", "y"), r"axis names repeat: \['z', 'y', 'y'\]"),
    "no axes": Bad(Edit([], (*SCALES, "axes")), r"'axes' must list 2 to 5 axes, got \[\]"),
    "an unknown axis": Bad(axes("z", "y", "phase"), "axis 2 is named 'phase'; known are t, c, z, y, x"),
    "axes against dimension names": Bad(axes("x", "y", "z"), r"dimension_names \['z', 'y', 'x'\] differ"),
    "many times": Bad(many_times, "axis t has 2 entries; choose one with 'timepoint'"),
    "no unit": Bad(axes("z", "y", "x", unit=None), "axis z has no unit; state one"),
    "an unknown unit": Bad(axes("z", "y", "x", unit="foo"), "axis z has unit 'foo'; known are"),
    "a voxel of 8 metres": Bad(
        axes("z", "y", "x", unit="meter"), "a voxel of 8e.09 nm along z is not credible; check scale and unit"
    ),
    "levels from coarse to fine": Bad(
        Edit(lambda d: d[::-1], (*SCALES, "datasets")), "levels are not ordered from fine to coarse"
    ),
    # the metadata of an array
    "levels of two dtypes": Bad(
        Edit("uint16", ("data_type",), "1/zarr.json"), r"levels have different dtypes: \['uint8', 'uint16'\]"
    ),
    "complex voxels": Bad(complex_voxels, "level 0 holds complex64 voxels; an image must be one of"),
    "labels that are floats": Bad(float_labels, "level 0 holds float32 voxels; labels must be one of"),
    "an empty axis": Bad(Edit([4, 0, 8], ("shape",), ARRAY), "an axis has length 0"),
    "an absurd shape": Bad(Edit([4, 10**18, 8], ("shape",), ARRAY), "an axis has length 1000000000000000000"),
    "more voxels than there can be": Bad(
        Edit([2**30] * 3, ("shape",), ARRAY), "are more voxels than the limit"
    ),
    "a shape of text": Bad(Edit("big", ("shape",), ARRAY), "shape must be a list of integers, got 'big'"),
    "a chunk of 0": Bad(
        Edit([0, 64, 8], ("chunk_grid", "configuration", "chunk_shape"), ARRAY),
        r"0: shard shape must be integers from 1, got \[0, 64, 8\]",
    ),
    "a chunk of an exabyte": Bad(
        huge_chunk, r"one chunk of \[1, 1000000000, 1000000000\] is at least 931322574 GiB"
    ),
    "an unknown codec": Bad(
        Edit([{"name": "zip9"}], ("codecs",), ARRAY), "level 0 .'0'. cannot be opened: .*zip9"
    ),
    "an array of broken JSON": Bad(text("{", ARRAY), "0/zarr.json is not valid JSON"),
    # the voxels
    "a chunk that is missing": Bad(
        lambda f: chunk(f).unlink(),
        "level 0: 1 of .* chunks are missing, the first is .*missing_chunks: fill",
        ("validate",),
    ),
    "a truncated chunk": Bad(
        truncated, "cannot read chunk 'c/0/0/0' of .*raw.ome.zarr/0", ("validate",), ("--deep",)
    ),
    "a voxel that is NaN": Bad(
        with_nan,
        r"level 0: 1 voxels are NaN or infinite, the first at .z, y, x. = \(2, 7, 5\)",
        ("validate",),
        ("--deep",),
    ),
    # the run file
    "no run file": Bad(
        lambda f: (f / "run.yaml").unlink(), "no run file at .*run.yaml", ("run file", "plan")
    ),
    "an unknown key": Bad(
        run_file(distanse=[]), "distanse: unknown key, did you mean 'distance'", ("run file", "plan")
    ),
    "a key twice": Bad(
        in_run_file("work: work", "work: a\nwork: b"), "the key 'work' appears twice", ("run file", "plan")
    ),
    "an alias": Bad(
        in_run_file("work: work", "work: &w work\nreport: *w"),
        "anchors and aliases are not allowed",
        ("run file", "plan"),
    ),
    "a python tag": Bad(
        in_run_file("work: work", "work: !!python/object/apply:os.system [ls]"),
        "run.yaml is not a usable run file: could not determine a constructor",
        ("run file", "plan"),
    ),
    "a block that is none": Bad(run_file(block=[4, -96, 8]), "block.1: .*greater than", ("run file", "plan")),
    "a block that no chunk divides": Bad(
        run_file(block=[4, 269, 8]), "a block of .* use a multiple of 16", ("run file", "plan")
    ),
    "a negative gap": Bad(
        in_run_file("gap_nm: 10", "gap_nm: -10"), "contacts.0.gap_nm: .*greater", ("run file", "plan")
    ),
    "unknown instances": Bad(
        in_run_file("instances: mitos", "instances: nuclei"),
        "refers to instances 'nuclei'",
        ("run file", "plan"),
    ),
    "an unknown class": Bad(
        in_run_file("to: er", "to: golgi"), "no class 'golgi'; it has", ("run file", "plan")
    ),
    "a name that leads out": Bad(
        in_run_file("name: mito-er", "name: ../x"), "contacts.0.name: .*pattern", ("run file", "plan")
    ),
    "classes of another shape": Bad(
        lambda f: (
            write(f, np.ones((4, 200, 8), np.uint8), "small", kind="label", voxel_nm=(8, 8, 8))
            and run_file(semantic={"path": "small.ome.zarr"})(f)
        ),
        r"small.ome.zarr level 0 has \(4, 200, 8\) voxels",
        ("run file", "plan"),
    ),
    "too little memory": Bad(
        lambda f: None, "stage 'mitos/.*' needs .* GiB per task", ("plan",), ("--memory-gib", "0.1")
    ),
    "a work folder that is a file": Bad(
        lambda f: (f / "work").write_text("mine"),
        "cannot write to .*work, where the work folder",
        ("run file", "plan"),
    ),
    # the model
    "no model": Bad(
        run_file(segment={"model": "model"}, semantic=None), "model/plans.json", ("run file", "plan")
    ),
    "a model of two channels": Bad(
        with_model(channels=2), "trained on 2 channel.s. .*, got 1", ("run file", "plan")
    ),
    "a model of other voxels": Bad(
        with_model(spacing=(40.0, 6.0, 6.0)),
        r"voxels of \(16, 16, 16\) nm, the nearest of 2 .* trained on",
        ("run file", "plan"),
    ),
    "a malicious model": Bad(malicious, "plans.json.*os.system", ("run file", "plan")),
    "a GPU that is not there": Bad(
        with_model(device="cuda"), "stage 'semantic/segment' needs a CUDA device", ("run file", "plan")
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A project without a fault, to copy."""
    folder = tmp_path_factory.mktemp("good")
    array = np.random.default_rng(0).integers(0, 3, (4, 300, 8), dtype=np.uint8)
    write(folder, array, "raw", voxel_nm=(8, 8, 8))
    write(folder, array, voxel_nm=(8, 8, 8))
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    return folder


@pytest.fixture
def project(good, tmp_path):
    return Path(shutil.copytree(good, tmp_path / "project"))


def state(folder: Path) -> dict[str, Any]:
    """Every file with its bytes, and every folder."""
    found = sorted(folder.rglob("*"))
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) if p.is_file() else None for p in found}


def told(verb: str, project: Path, *options: str) -> tuple[int, str, str]:
    if verb == "validate":
        return command("validate", project / IMAGE, *options)
    if verb == "run file":
        return command("validate", project / "run.yaml", *options)
    return command(verb, project / "run.yaml", *options)


def test_the_project_without_a_fault_is_fine(project):
    assert [told(verb, project)[0] for verb in ("validate", "run file", "plan")] == [0, 0, 0]


@pytest.mark.parametrize("case", CASES)
def test_a_bad_input_is_refused_and_nothing_changes(case, project, tmp_path):
    bad = CASES[case]
    if case == "a GPU that is not there":
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA device")
    bad.damage(project)
    before = state(tmp_path)
    for verb in bad.verbs:
        code, _, message = told(verb, project, *bad.options)
        assert code == 2, message
        assert message.startswith(("error: ", "problem: ")), message
        assert re.search(bad.says, message), message
    assert state(tmp_path) == before


def test_too_little_disk_is_refused(project, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    before = state(tmp_path)
    for verb in ("run file", "plan", "run"):
        code, _, message = told(verb, project)
        assert code == 2
        assert "GiB free; choose another work folder or fewer outputs" in message
    assert state(tmp_path) == before


def test_a_work_folder_in_use_is_refused(project, tmp_path):
    with Journal(project / "work"):
        before = state(tmp_path)
        code, _, message = told("run", project)
        assert code == 2
        assert "work is in use by process" in message
        assert state(tmp_path) == before


def test_a_work_folder_of_another_run_is_refused(project, tmp_path):
    assert told("run", project)[0] == 0
    in_run_file("gap_nm: 10", "gap_nm: 20")(project)
    before = state(tmp_path)
    code, _, message = told("run", project)
    assert code == 2
    assert "work was written by a different plan: stage 'mito-er/contacts' has params.gap_nm" in message
    assert state(tmp_path) == before


def test_an_image_that_is_not_ours_is_not_written_over(project, tmp_path):
    place = project / "work/results.ome.zarr/labels/mitos"
    place.mkdir(parents=True)
    (place / "precious.txt").write_text("mine")
    code, _, message = told("run", project)
    assert code == 2
    assert "mitos exists and was not written by chunkflow_liver; choose another name" in message
    assert (place / "precious.txt").read_text() == "mine"
    assert [p.name for p in place.iterdir()] == ["precious.txt"]
