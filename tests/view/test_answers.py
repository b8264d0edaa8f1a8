"""What the viewer answers about a run, without the network."""

from __future__ import annotations

import json
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
from strategies import command
from view_runs import applied, object_at

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, OutputError
from chunkflow_liver.view.annotations import AT_ONCE, Annotations, _cells, _levels
from chunkflow_liver.view.answers import Run


def test_every_image_and_table_of_a_run_is_a_layer_or_a_list(work):
    found = Run(work, "ada").asked("run", {})
    layers = {layer["name"]: layer for layer in found["state"]["layers"]}
    assert {"mitos", "er-distance", "contact sites: mito-er-sites"} <= set(layers)
    assert layers["mitos"]["type"] == "segmentation"
    assert layers["contact sites: mito-er-sites"]["linkedSegmentationLayer"] == {"object": "mitos"}
    assert found["bars"]["er-distance"] | {"colours": 0} == {
        "low": 0,
        "high": 200.0,
        "text": "nm to 2",
        "colours": 0,
    }
    assert {t["name"] for t in found["tables"]} >= {"mito-table", "mito-er-sites", "mito-er-objects"}
    colours = Run(work, "ada").asked("colours", {})
    assert colours["mitos"]["mito-table"][:2] == ["voxels", "volume_um3"]
    assert found["pending"] is False
    # No address of this machine, and no token, gets into a state that is kept.
    assert "127.0.0.1" not in json.dumps(found["state"])


def test_rows_are_filtered_and_sorted_and_have_a_place(work):
    run = Run(work, "ada")
    table = cf.read_table(work / "tables/mito-table.parquet").to_pandas()
    asked = {
        "name": "mito-table",
        "where": "voxels > 600, class = mitochondrion",
        "sort": "voxels",
        "down": "1",
    }
    found = run.asked("table", asked | {"where": "voxels > 600"})
    wanted = table[table.voxels > 600].sort_values("voxels", ascending=False, kind="stable")
    at = found["columns"].index("label")
    assert [row[at] for row in found["rows"]] == wanted.label.tolist()
    assert found["total"] == len(wanted)
    corner = [-8.0, -8.0, -20.0]
    place = wanted[["centroid_x_nm", "centroid_y_nm", "centroid_z_nm"]].to_numpy() + corner
    np.testing.assert_allclose(found["places"], place)
    for where, says in [("nonsense", "cannot read the condition"), ("width > 3", "no column 'width'")]:
        with pytest.raises(InputError, match=says):
            run.asked("table", {"name": "mito-table", "where": where})
    with pytest.raises(InputError, match="no table 'other'"):
        run.asked("table", {"name": "other"})


def test_a_link_leads_to_an_object_or_a_place(work):
    run = Run(work, "ada")
    there = run.asked("go", {"object": "1", "in": "mito-table", "run": "lobule"})
    row = cf.read_table(work / "tables/mito-table.parquet").to_pylist()[0]
    np.testing.assert_allclose(there["position"][2] + 20, row["centroid_z_nm"])
    assert (there["image"], there["label"]) == ("mitos", "1")
    assert run.asked("go", {"at": "100,200,300"})["position"] == [292.0, 192.0, 80.0]
    for given, says in [
        ({"object": "1", "run": "other"}, "shows the run 'lobule', and the link leads to 'other'"),
        ({"object": "99"}, "has no object 99"),
        (
            {"object": "1", "in": "mitoz"},
            r"nothing named 'mitoz' .* instances are \['mitos'\], the tables \[",
        ),
        ({"at": "1,2"}, "a place is z,y,x"),
    ]:
        with pytest.raises(InputError, match=says):
            run.asked("go", given)


def test_objects_are_coloured_by_a_column_at_every_level(work):
    run = Run(work, "ada")
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    table = cf.read_table(work / "tables/mito-table.parquet").to_pandas().set_index("label")
    chunk = run.computed("values", "done", "mitos/mito-table/volume_um3/0/c/0/0/0")
    found = np.frombuffer(chunk, "<f4").reshape(64, 64, 64)[:12, :48, :64]
    wanted = np.where(
        labels > 0, table.volume_um3.reindex(labels.ravel()).to_numpy().reshape(labels.shape), np.nan
    )
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    shape = json.loads(run.computed("values", "done", "mitos/mito-table/volume_um3/0/zarr.json"))["shape"]
    assert shape == list(labels.shape)
    assert run.computed("values", "done", "mitos/mito-table/volume_um3/0/c/1/0/0") is None
    layer = run.asked("values", {"image": "mitos", "table": "mito-table", "column": "volume_um3"})
    assert layer["bar"]["low"] == pytest.approx(table.volume_um3.min())


def test_of_contacts_with_a_class_the_other_side_colours_nothing(work):
    """The class 2 is row (b, 2) of the table of objects, and mitochondrion 2 is another row."""
    run = Run(work, "ada")
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    table = cf.read_table(work / "tables/mito-er-objects.parquet").to_pandas()
    own = table[table.side == "a"].set_index("label")
    assert (table[table.side == "b"].label == 2).any()
    chunk = run.computed("values", "done", "mitos/mito-er-objects/surface_um2/0/c/0/0/0")
    found = np.frombuffer(chunk, "<f4").reshape(64, 64, 64)[:12, :48, :64]
    for label, surface in own.surface_um2.items():
        assert np.unique(found[labels == label]) == np.float32(surface)
    layer = run.asked("values", {"image": "mitos", "table": "mito-er-objects", "column": "surface_um2"})
    assert layer["bar"]["high"] == pytest.approx(own.surface_um2.max())


def test_places_are_told_as_neuroglancer_reads_them(work):
    run = Run(work, "ada")
    sites = cf.read_table(work / "tables/mito-er-sites.parquet").to_pandas()
    info = json.loads(run.computed("places", "done", "mito-er-sites/info"))
    assert info["relationships"] == [{"id": "object", "key": "of"}]
    data = run.computed("places", "done", "mito-er-sites/level0/0_0_0")
    (count,) = struct.unpack_from("<Q", data)
    assert count == len(sites)
    width = 3 + len(info["properties"])
    rows = np.frombuffer(data, "<f4", count * width, 8).reshape(count, width)
    wanted = sites[["x_nm", "y_nm", "z_nm"]].to_numpy() - [8, 8, 20]
    np.testing.assert_allclose(rows[:, :3], wanted, rtol=1e-6)
    ids = np.frombuffer(data, "<u8", count, 8 + 4 * count * width)
    assert sorted(ids.tolist()) == list(range(count))
    of = run.computed("places", "done", f"mito-er-sites/of/{sites.label_a[0]}")
    assert struct.unpack_from("<Q", of)[0] == (sites.label_a == sites.label_a[0]).sum()


def test_an_object_is_cleft_along_the_pieces_that_are_chosen(work):
    """Pieces are the same instances after a cut: along them the object falls apart as it was cut."""
    volume = cf.open_volume(work / "results.ome.zarr/labels/mitos")
    table, labels = work / "tables/mito-table.parquet", volume.read()
    joined = object_at(labels, (5, 10, 10))
    new, nm = int(labels.max()) + 1, np.array([40, 16, 16])
    points = [float(p) for at in ((5, 12, 12), (5, 12, 30)) for p in (np.array(at) + 0.5) * nm]
    cut = cf.edit(volume, [("cut", joined, new, *points)], table=table, name="fragments", work=work)
    cf.run(cut, progress=False)
    run = Run(work, "ada")
    asked = run.asked("edits", {})["mitos"]
    assert asked["pieces"] == ["fragments"]
    given = {"image": "mitos", "action": "cleave", "label": joined, "points": points}
    for wrong, says in [
        ({"pieces": "er-distance"}, "is no image of pieces of 'mitos': choose one of .'fragments'."),
        (
            {"pieces": "fragments", "points": points[:3] + [p + 1 for p in points[:3]]},
            "are in its piece 1, and",
        ),
    ]:
        with pytest.raises(InputError, match=says):
            run.told("edit", given | wrong)
    assert not (work / "proofreading/mitos.csv").exists()
    told = run.told("edit", given | {"pieces": "fragments"})["mitos"]
    assert (told["rows"][0]["action"], told["rows"][0]["other"]) == ("cleave", str(new))
    # Another process, later.
    found = Run(work, "grace").computed("edited", told["revision"], "mitos/0/c/0/0/0")
    shown = np.frombuffer(found, volume.dtype).reshape(64, 64, 64)[:12, :48, :64]
    np.testing.assert_array_equal(shown, cut.output.read())
    order = shlex.split(told["command"])[1:]
    assert order[order.index("--pieces") + 1] == cut.output.url
    assert command(*order)[0] == 0
    edited = cf.open_volume(work / "results.ome.zarr/labels/mitos-edited")
    np.testing.assert_array_equal(edited.read(), shown)
    assert run.told("undo", {"image": "mitos"})["mitos"]["revision"] is None


def test_every_point_is_told_once_over_all_levels():
    rng = np.random.default_rng(1)
    points = rng.random((20_000, 3)).astype(np.float32) ** 3 * 1000
    low, high = np.zeros(3), np.full(3, 1001.0)
    level = _levels(points, np.arange(len(points)), low, high)
    made = Annotations(points, {}, None, level, low, high)
    told = []
    for one in range(made.levels):
        # All others are empty, and there are millions of them.
        for cell in np.unique(_cells(points[level == one], low, high, one), axis=0).tolist():
            data = made.cell(one, tuple(cell))
            (count,) = struct.unpack_from("<Q", data)
            assert count <= AT_ONCE
            told += np.frombuffer(data, "<u8", count, 8 + 12 * count).tolist()
    assert sorted(told) == list(range(len(points)))


def test_properties_of_many_objects_are_few_and_the_same(work, monkeypatch):
    run = Run(work, "ada")
    all_of = json.loads(run.computed("properties", "done", "mitos/info"))["inline"]
    monkeypatch.setattr("chunkflow_liver.view.properties.FEW_ROWS", 2)
    monkeypatch.setattr("chunkflow_liver.view.properties.READ_AT_ONCE", 2)
    few = json.loads(b"".join(run.computed("properties", "done", "mitos/info")))["inline"]
    assert few["ids"] == all_of["ids"]
    known = {p["id"]: p for p in all_of["properties"]}
    found = {p["id"]: p for p in few["properties"]}
    assert set(found) == {"class", "volume_um3", "touches_border", "contact_fraction"}
    # Of another table: the share of the surface that is in contact.
    table = cf.read_table(work / "tables/mito-er-objects.parquet").to_pandas()
    share = table[table.side == "a"].set_index("label").contact_fraction
    for which in (known, found):
        wanted = [share[int(i)] for i in few["ids"]]
        np.testing.assert_allclose(which["contact_fraction"]["values"], wanted, rtol=1e-6)
    tags = found["class"]["tags"]
    named = next(p for p in all_of["properties"] if p["id"] == "class")
    assert [tags[i] for (i,) in found["class"]["values"]] == named["values"]
    np.testing.assert_allclose(found["volume_um3"]["values"], known["volume_um3"]["values"])


def test_a_mesh_is_where_its_object_is(work):
    run = Run(work, "ada")
    assert json.loads(run.computed("meshes", "done", "mitos/2:0")) == {"fragments": ["2"]}
    data = run.computed("meshes", "done", "mitos/2")
    (count,) = struct.unpack_from("<I", data)
    vertices = np.frombuffer(data, "<f4", 3 * count, 4).reshape(count, 3)
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    z, y, x = (np.array([i.min() - 0.5, i.max() + 0.5]) for i in np.nonzero(labels == 2))
    np.testing.assert_allclose(vertices.min(axis=0), [x[0] * 16, y[0] * 16, z[0] * 40])
    np.testing.assert_allclose(vertices.max(axis=0), [x[1] * 16, y[1] * 16, z[1] * 40])
    with pytest.raises(InputError, match="has no object 99"):
        run.computed("meshes", "done", "mitos/99")
    for none in ("²", str(1 << 70), "9" * 5000, "1.9", "-1"):
        assert run.computed("meshes", "done", f"mitos/{none}") is None
        assert run.computed("places", "done", f"mito-er-sites/of/{none}") is None
        assert run.computed("places", "done", f"mito-er-sites/level0/{none}_0_0") is None
        with pytest.raises(InputError, match="whole number below"):
            run.asked("go", {"object": none, "in": "mitos"})


def test_edits_are_shown_kept_undone_and_applied_for_good(work):
    """What the viewer shows is, voxel by voxel, what `edit` makes of the list."""
    run = Run(work, "ada")
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    joined, lone, other = (object_at(labels, at) for at in ((5, 10, 10), (5, 34, 10), (5, 34, 35)))
    nm = np.array([40, 16, 16])
    points = [float(p) for at in ((5, 12, 12), (5, 12, 30)) for p in (np.array(at) + 0.5) * nm]
    run.told("edit", {"image": "mitos", "action": "merge", "label": lone, "other": other, "why": "one body"})
    told = run.told("edit", {"image": "mitos", "action": "cut", "label": joined, "points": points})
    assert [r["action"] for r in told["mitos"]["rows"]] == ["merge", "cut"]
    # As text: JavaScript would round an id above 2^53.
    assert told["mitos"]["rows"][0]["label"] == str(lone)
    assert told["mitos"]["rows"][0]["said"][0] == "ada"
    assert told["mitos"]["rows"][0]["said"][2] == "one body"
    told = run.told("edit", {"image": "mitos", "action": "class", "label": joined, "named": "er"})
    assert (told["mitos"]["rows"][-1]["action"], told["mitos"]["rows"][-1]["other"]) == ("class", "er")
    run.told("undo", {"image": "mitos"})
    run.told("edit", {"image": "mitos", "action": "delete", "label": lone})
    told = run.told("undo", {"image": "mitos"})
    assert len(told["mitos"]["rows"]) == 2
    # Another process, later.
    run = Run(work, "grace")
    revision = run.asked("edits", {})["mitos"]["revision"]
    kind = json.loads(run.computed("edited", revision, "mitos/0/zarr.json"))["data_type"]
    chunk = run.computed("edited", revision, "mitos/0/c/0/0/0")
    shown = np.frombuffer(chunk, np.dtype(kind)).reshape(64, 64, 64)[:12, :48, :64]
    np.testing.assert_array_equal(applied(work), shown)
    assert len(np.unique(shown)) == len(np.unique(labels))
    log = cf.read_table(work / "tables/mitos-edited-edits.parquet").to_pydict()
    assert log["who"] == ["ada", "ada"]
    assert log["why"] == ["one body", ""]
    run.told("undo", {"image": "mitos"})
    run.told("undo", {"image": "mitos"})
    assert run.asked("edits", {})["mitos"]["revision"] is None
    with pytest.raises(InputError, match="nothing to undo"):
        run.told("undo", {"image": "mitos"})


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"action": "merge"}, ConfigError, "needs image, action, label"),
        ({"image": "mitos", "action": "delete", "label": 1.9}, ConfigError, "whole numbers below"),
        ({"image": "mitos", "action": "delete", "label": "²"}, ConfigError, "whole numbers below"),
        ({"image": "mitos", "action": "delete", "label": True}, ConfigError, "whole numbers below"),
        ({"image": "mitos", "action": "delete", "label": 1 << 64}, ConfigError, "whole numbers below"),
        (
            {"image": "mitos", "action": "merge", "label": 1, "other": "2.0"},
            ConfigError,
            "whole numbers below",
        ),
        ({"image": "mitos", "action": "divide", "label": 1}, ConfigError, "no edit 'divide'"),
        ({"image": "mitos", "action": "class", "label": 1}, ConfigError, "class,ID,NAME"),
        ({"image": "mitos", "action": "delete", "label": 99}, InputError, r"has no objects \[99\]"),
        ({"image": "mitos", "action": "merge", "label": 1, "other": 1}, ConfigError, "one object already"),
        ({"image": "semantic", "action": "delete", "label": 1}, InputError, "no image 'semantic'"),
        (
            {"image": "er-distance", "action": "delete", "label": 1},
            InputError,
            "no finished image of instances",
        ),
    ],
)
def test_edits_that_cannot_be_carried_out_are_not_written(work, given, error, says):
    with pytest.raises(error, match=says):
        Run(work, "ada").told("edit", given)
    assert not (work / "proofreading").exists()


def test_the_folder_of_edits_is_made_and_one_that_cannot_be_is_told(finished, tmp_path):
    folder = tmp_path / "a" / "b"
    edit = {"image": "mitos", "action": "delete", "label": "1"}
    Run(finished, "ada", folder).told("edit", edit)
    assert (folder / "mitos.csv").exists()
    (tmp_path / "file").touch()
    run = Run(finished, "ada", tmp_path / "file" / "edits")
    for what, given in (("edit", edit), ("mark", {}), ("view", {"name": "a", "state": {}})):
        with pytest.raises(OutputError, match=r"cannot write into .*Not a directory.*--edits"):
            run.told(what, given)


def test_the_command_of_the_page_runs_as_it_is_and_again_after_more_edits(work, tmp_path, monkeypatch):
    moved = tmp_path / "my lists"
    monkeypatch.chdir(tmp_path)
    run = Run(work, "ada", Path("my lists"))
    for label in ("1", "2"):
        run.told("edit", {"image": "mitos", "action": "delete", "label": label})
        run._looked = -10.0
        line = run.asked("edits", {})["mitos"]["command"]
        assert f"'{moved}/mitos.csv'" in line
        assert ("--redo" in line) == (label == "2")
        code, _, told = command(*shlex.split(line)[1:])
        assert code == 0, told
        assert int(label) not in cf.open_volume(work / "results.ome.zarr/labels/mitos-edited").read()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--napari", "--object", 1], "--object: of the viewer in the browser"),
        (["--napari", "--host", "0.0.0.0", "--port", 0], "--port, --host: of the viewer"),
        (["--in", "mitos"], "give the id by --object"),
        (["--object", 1, "--at", "1,2,3"], "give one of them"),
        (["--object", 1, "--in", "mitoz"], "nothing named 'mitoz'"),
    ],
)
def test_options_of_view_that_do_not_go_together_are_refused(finished, options, says):
    code, _, told = command("view", finished, *options)
    assert (code, says in " ".join(told.split())) == (2, True), told


def test_marks_and_views_are_kept(work):
    run = Run(work, "ada")
    run.told("mark", {"table": "mito-table", "row": "3", "label": "4", "why": "two"})
    mark = run.asked("marks", {})[0]
    assert (mark["table"], mark["row"], mark["label"]) == ("mito-table", "3", "4")
    assert (mark["what"], mark["who"], mark["why"]) == ("wrong", "ada", "two")
    run.told("view", {"name": "a neck", "state": {"layout": "xy"}})
    assert Run(work, "ada").asked("run", {})["views"] == {"a neck": {"layout": "xy"}}


def test_the_list_of_what_is_worth_a_look_begins_with_the_largest_contact(work):
    (found,) = Run(work, "ada").asked("jumps", {})
    sites = cf.read_table(work / "tables/mito-er-sites.parquet").to_pandas()
    assert found["rows"][0]["value"] == sites.area_a_um2.max()


def test_a_run_that_goes_on_has_another_generation_and_more_to_show(work):
    run = Run(work, "ada")
    before = run.asked("changes", {})
    journal = work / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if "mito-er" not in line))
    run._looked = -10.0
    after = run.asked("changes", {})
    assert before["generation"] != after["generation"]
    assert (before["pending"], after["pending"]) == (False, True)
    assert "mito-er-sites" not in {t["name"] for t in run.asked("run", {})["tables"]}
