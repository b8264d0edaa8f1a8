"""Edits that wait, in all that is looked at: colours by a column, meshes, the command that applies them."""

from __future__ import annotations

import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from strategies import command, write
from view_runs import NM, applied, object_at, tissue

import chunkflow_liver as cf
from chunkflow_liver.engine.watch.lines import read_entries
from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.meshes import surface
from chunkflow_liver.view.answers import Run
from chunkflow_liver.view.in_napari.layers import read_run

SHAPE = (12, 48, 64)
LEFT, RIGHT, LONE, OTHER = (5, 12, 12), (5, 12, 30), (5, 34, 12), (5, 34, 36)
COLUMN = {"image": "mitos", "table": "mito-table", "column": "volume_um3"}


@pytest.fixture
def edited(work):
    """A run with a merge, a deletion and a cut that wait, its labels, and ids: merged, gone, cut, new."""
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    joined, lone, other = (object_at(labels, at) for at in (LEFT, LONE, OTHER))
    points = [float((i + 0.5) * n) for at in (LEFT, RIGHT) for i, n in zip(at, NM, strict=True)]
    run = Run(work, "ada")
    run.told("edit", {"image": "mitos", "action": "cut", "label": joined, "points": points})
    new = int(run.asked("edits", {})["mitos"]["rows"][-1]["other"])
    run.told("edit", {"image": "mitos", "action": "merge", "label": lone, "other": other})
    return run, labels, (joined, new, min(lone, other), max(lone, other))


def values_of(run, revision):
    key = f"mitos/{COLUMN['table']}/{COLUMN['column']}/0/c/0/0/0"
    chunk = np.frombuffer(run.computed("values", revision, key), "<f4").reshape(64, 64, 64)
    return chunk[: SHAPE[0], : SHAPE[1], : SHAPE[2]]


def test_colours_are_those_of_the_objects_as_edited(edited):
    """A merged body has the value of the id that it keeps; a part that is cut off that of the whole."""
    run, labels, (joined, new, kept, _) = edited
    table = cf.read_table(run.work / "tables/mito-table.parquet")
    volume = dict(zip(table["label"].to_pylist(), table["volume_um3"].to_pylist(), strict=True))
    revision = run.asked("edits", {})["mitos"]["revision"]
    layer = run.asked("values", COLUMN)
    assert f"/values/{revision}/mitos/mito-table/volume_um3/" in layer["source"]
    found = values_of(run, revision)
    for at, row in ((LEFT, joined), (RIGHT, joined), (LONE, kept), (OTHER, kept)):
        assert found[at] == np.float32(volume[row])
    assert np.isnan(found[0, 0, 0])
    run.told("edit", {"image": "mitos", "action": "delete", "label": new})
    after = values_of(run, "any")
    assert np.isnan(after[RIGHT])
    assert after[LEFT] == np.float32(volume[joined])
    for _ in range(3):
        run.told("undo", {"image": "mitos"})
    before = values_of(run, "done")
    assert before[OTHER] == np.float32(volume[object_at(labels, OTHER)]) != before[LONE]
    assert "/values/done/" in run.asked("values", COLUMN)["source"]


def corners(document):
    """First and last corner of a mesh, (x, y, z) in nm, and the number of its triangles."""
    count = int(np.frombuffer(document[:4], "<u4")[0])
    places = np.frombuffer(document, "<f4", 3 * count, 4).reshape(count, 3)
    return places.min(axis=0).tolist(), places.max(axis=0).tolist(), (len(document) - 4 - 12 * count) // 12


def test_meshes_are_those_of_the_objects_as_edited(edited):
    run, _, (joined, new, kept, gone) = edited
    told = run.asked("edits", {})["mitos"]
    assert told["ends"] == {str(gone): str(kept)}
    (layer,) = (i for i in run.asked("run", {})["state"]["layers"] if i["name"] == "mitos")
    assert layer["source"][-1].endswith(f"/meshes/{told['revision']}/mitos")
    meshes = {i: run.computed("meshes", told["revision"], f"mitos/{i}") for i in (joined, new, kept)}
    final = applied(run.work)
    image = cf.open_volume(run.work / "results.ome.zarr/labels/mitos-edited")
    for label, document in meshes.items():
        places, faces = surface(image, label, image.box)
        low, high, count = corners(document)
        assert (final == label).any()
        assert count == len(faces)
        np.testing.assert_allclose((low, high), (places.min(axis=0), places.max(axis=0)), atol=0.01)
    with pytest.raises(InputError, match=f"there is no object {gone} in 'mitos' any more"):
        run.computed("meshes", told["revision"], f"mitos/{gone}")
    run.told("edit", {"image": "mitos", "action": "delete", "label": kept})
    with pytest.raises(InputError, match="by the edits that wait there is no object"):
        run.computed("meshes", "any", f"mitos/{kept}")


def test_columns_of_tables_with_several_rows_per_object_are_no_colours(work):
    """Of contacts with a class those of side a: one row per object, as in the table of objects."""
    run = Run(work, "ada")
    assert set(run.asked("colours", {})["mitos"]) == {"mito-table", "mito-er-objects"}
    path = work / "tables/mito-table.parquet"
    table = pq.read_table(path)
    for rows, good in (([2, 1, 0], True), ([0, 1, 1], False), ([0, 1, 0], False)):
        pq.write_table(table.take(pa.array(rows)), path, write_page_checksum=True)
        found = Run(work, "ada")
        assert ("mito-table" in found.asked("colours", {})["mitos"]) is good
        if not good:
            with pytest.raises(InputError, match="has no row for each object, or several"):
                found.asked("values", COLUMN)


@pytest.mark.parametrize("block", ["", "block: [4, 24, 32]\n", "block: [64, 16, 512]\n"])
def test_the_command_makes_what_an_entry_of_the_run_file_would(tmp_path, block):
    """With blocks of its own the run would be refused, or the image made twice."""
    classes = write(tmp_path, tissue(), "semantic", voxel_nm=NM)
    places, work = tmp_path / "run.yaml", tmp_path / "lobule"
    text = f"""work: {work}
{block}semantic: {{path: {classes.url}}}
report: false
label: [{{name: mitos, classes: [er]}}]
measure: [{{name: mito-table, instances: mitos, features: [basic]}}]
"""
    places.write_text(text)
    assert command("run", places)[0] == 0
    run = Run(work, "ada")
    run.told("edit", {"image": "mitos", "action": "delete", "label": 2})
    said = shlex.split(run.asked("edits", {})["mitos"]["command"])
    assert command(*said[1:])[0] == 0
    before = list(read_entries(work))
    list_of_edits = work / "proofreading/mitos.csv"
    places.write_text(f"{text}edit: [{{name: mitos-edited, instances: mitos, edits: {list_of_edits}}}]\n")
    assert command("run", places)[0] == 0
    after = list(read_entries(work))[len(before) :]
    assert [e for e in after if e.get("blocks")] == []


def test_a_place_outside_the_volume_is_refused_before_anything_is_served(work):
    """12 x 48 x 64 voxels of 40 x 16 x 16 nm."""
    for at in ("481,10,10", "10,-1,10", "10,10,1025"):
        with pytest.raises(InputError, match="outside the volume, which is 480,768,1024 nm large"):
            Run(work, "ada").asked("go", {"at": at})
        code, _, told = command("view", work, "--at", at, "--no-browser", "--port", "0")
        assert (code, "lies outside the volume" in told) == (2, True)
    assert Run(work, "ada").asked("go", {"at": "480,768,1024"})["position"]


def test_the_newest_instances_are_on_after_edits_were_applied(edited):
    run, *_ = edited
    before = {i["name"]: i["visible"] for i in run.asked("run", {})["state"]["layers"]}
    applied(run.work)
    after = {i["name"]: i["visible"] for i in Run(run.work, "ada").asked("run", {})["state"]["layers"]}
    assert (before["mitos"], after["mitos"], after["mitos-edited"]) == (True, False, True)
    assert {about["name"]: about["visible"] for _, about, kind in read_run(run.work) if kind == "labels"} == {
        "mitos": False,
        "mitos-edited": True,
    }


def test_what_is_worth_a_look_says_whose_it_is(work):
    (sites,) = Run(work, "ada").asked("jumps", {})
    assert (sites["what"], sites["first"], sites["unit"]) == ("contact sites", "largest", "µm²")
    table = cf.read_table(work / "tables/mito-er-sites.parquet").to_pydict()
    order = np.argsort(-np.array(table["area_a_um2"]), kind="stable")[:20]
    assert [row["label"] for row in sites["rows"]] == [str(table["label_a"][i]) for i in order]
    assert all(row["of"] == f"{row['label']} and 2" for row in sites["rows"])


def test_a_contact_of_two_objects_of_one_image_is_listed_once(tmp_path):
    """Its sites lie on either surface, and are rows of the table each."""
    classes = write(tmp_path, tissue(), "semantic", voxel_nm=NM)
    mitos = cf.label(classes, classes=1, name="mitos", work=tmp_path / "run")
    sites = cf.contacts(mitos.output, mitos.output, gap_nm=400, name="mito-mito", work=tmp_path / "run")
    cf.run(mitos + sites, progress=False)
    table = cf.read_table(tmp_path / "run/tables/mito-mito-sites.parquet").to_pydict()
    pairs = list(zip(table["label_a"], table["label_b"], strict=True))
    assert {(b, a) for a, b in pairs} == set(pairs)
    (listed,) = Run(tmp_path / "run", "ada").asked("jumps", {})
    assert sorted(row["of"] for row in listed["rows"]) == sorted(f"{a} and {b}" for a, b in pairs if a < b)
