"""Supervoxels beside a run: an image that is none of its results is shown, and objects are cleft along it."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from strategies import command, write
from view_runs import object_at

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.view.answers import Run
from chunkflow_liver.view.in_napari.layers import read_run

NM = (40.0, 16.0, 16.0)
ENDS = [(5, 12, 12), (5, 12, 30)]
POINTS = [float((i + 0.5) * n) for at in ENDS for i, n in zip(at, NM, strict=True)]


def supervoxels(folder, name="supervoxels", voxel_nm=NM):
    """Slabs of ten voxels along x, each a piece."""
    numbers = np.broadcast_to(np.arange(64, dtype=np.uint32) // 10 + 1, (12, 48, 64))
    return write(folder, np.ascontiguousarray(numbers), name, voxel_nm=voxel_nm)


def test_an_object_is_cleft_along_pieces_that_are_no_result_of_the_run(work, tmp_path):
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    joined = object_at(labels, ENDS[0])
    pieces = supervoxels(tmp_path)
    run = Run(work, "ada", pieces=str(pieces.url))
    layers = {layer["name"]: layer for layer in run.asked("run", {})["state"]["layers"]}
    assert (layers["supervoxels"]["type"], layers["supervoxels"]["visible"]) == ("segmentation", True)
    assert "supervoxels" not in run.asked("run", {})["instances"]
    assert run.asked("edits", {})["mitos"]["pieces"] == ["supervoxels"]
    asked = {"image": "mitos", "action": "cleave", "label": joined, "points": POINTS}
    with pytest.raises(InputError, match=r"choose one of .'supervoxels'., .* takes others by --pieces"):
        run.told("edit", asked | {"pieces": "others"})
    run.told("edit", asked | {"pieces": "supervoxels"})
    # Another process, later, that was not told of them.
    later = Run(work, "grace")
    told = later.asked("edits", {})["mitos"]
    kind = json.loads(later.computed("edited", told["revision"], "mitos/0/zarr.json"))["data_type"]
    chunk = later.computed("edited", told["revision"], "mitos/0/c/0/0/0")
    shown = np.frombuffer(chunk, np.dtype(kind)).reshape(64, 64, 64)[:12, :48, :64]
    near, far = (object_at(shown, at) for at in ENDS)
    assert near == joined != far
    # Every piece is whole: the object changes its id where one ends, and nowhere else.
    cut = [set(np.unique(shown[(labels == joined) & (pieces.read() == i)])) for i in range(1, 8)]
    assert all(len(ids) <= 1 for ids in cut)
    assert set().union(*cut) == {near, far}
    assert command(*shlex.split(told["command"])[1:])[0] == 0
    edited = cf.open_volume(work / "results.ome.zarr/labels/mitos-edited").read()
    np.testing.assert_array_equal(edited, shown)


def test_pieces_of_the_run_itself_come_first_and_are_no_second_layer(work, tmp_path):
    volume = cf.open_volume(work / "results.ome.zarr/labels/mitos")
    joined = object_at(volume.read(), ENDS[0])
    for name in ("first", "second"):
        plan = cf.edit(
            volume,
            [("cut", joined, 9, *POINTS)],
            table=work / "tables/mito-table.parquet",
            name=name,
            work=work,
        )
        cf.run(plan, progress=False)
    run = Run(work, "ada", pieces=str(work / "results.ome.zarr/labels/second"))
    assert run.asked("edits", {})["mitos"]["pieces"] == ["second", "first"]
    names = [layer["name"] for layer in run.asked("run", {})["state"]["layers"]]
    assert len(names) == len(set(names))
    assert Run(work, "ada").asked("edits", {})["mitos"]["pieces"] == ["first", "second"]


def test_pieces_with_the_name_of_an_image_of_the_run_get_another(work, tmp_path):
    run = Run(work, "ada", pieces=str(supervoxels(tmp_path, "mitos").url))
    assert run.asked("edits", {})["mitos"]["pieces"] == ["mitos-pieces"]
    np.testing.assert_array_equal(run.now().image("mitos-pieces").finest.read()[0, 0, ::10], range(1, 8))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda folder: supervoxels(folder, voxel_nm=(40.0, 8.0, 8.0)), "pieces need the voxels of"),
        (
            lambda folder: write(folder, np.zeros((12, 48, 64), np.float32), "grey", voxel_nm=NM),
            "pieces must be integers",
        ),
    ],
    ids=["voxel size", "no labels"],
)
def test_pieces_that_nothing_can_be_cleft_along_are_refused_at_the_start(work, tmp_path, made, says):
    url = str(made(tmp_path).url)
    with pytest.raises(InputError, match=says):
        Run(work, "ada", pieces=url)
    status, _, told = command("view", str(work), "--no-browser", "--pieces", url)
    assert status != 0
    assert says in " ".join(told.split())


def test_pieces_are_a_layer_in_napari(work, tmp_path):
    found = {
        about["name"]: (kind, about) for _, about, kind in read_run(work, str(supervoxels(tmp_path).url))
    }
    kind, about = found["supervoxels"]
    assert (kind, about["visible"]) == ("labels", True)
