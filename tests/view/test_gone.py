"""Results that were there and are gone, or damaged: named with what to do, and all others are shown."""

from __future__ import annotations

import json

import pytest
from view_runs import served

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.view.answers import Run

pytest.importorskip("neuroglancer", reason="needs the extra 'view'")

TABLE = "tables/mito-table.parquet"
ADVICE = "'chunkflow-liver repair RUN_FILE' makes it anew"


def later(run):
    """What the run is taken to be is looked up again."""
    run._looked = -10.0
    return run


def spoil(path):
    """Bytes of the rows, not of what the end of the file says of them."""
    whole = bytearray(path.read_bytes())
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    whole[4:end] = bytes(end - 4)
    path.write_bytes(whole)


@pytest.mark.parametrize("how", ["gone", "cut off"])
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_table_that_is_gone_is_named_and_the_others_are_there(work, how, opened):
    run = Run(work, "ada") if opened == "before" else None
    path = work / TABLE
    whole = path.read_bytes()
    path.unlink()
    if how == "cut off":
        path.write_bytes(whole[:-9])
    run = later(run or Run(work, "ada"))
    found = run.asked("run", {})
    (wrong,) = found["wrong"]
    assert "table 'mito-table': " in wrong
    assert ("is missing" if how == "gone" else "is damaged") in wrong
    assert ADVICE in wrong
    assert "mito-table" not in {t["name"] for t in found["tables"]}
    assert {"mito-er-sites", "mito-er-objects"} <= {t["name"] for t in found["tables"]}
    assert found["instances"] == ["mitos"]
    with pytest.raises(InputError, match="repair RUN_FILE"):
        run.asked("table", {"name": "mito-table"})
    assert run.asked("jumps", {})[0]["rows"]
    path.write_bytes(whole)
    found = later(run).asked("run", {})
    assert found["wrong"] == []
    assert "mito-table" in {t["name"] for t in found["tables"]}


def test_rows_that_cannot_be_read_are_told_where_they_are_asked_for(work):
    spoil(work / TABLE)
    spoil(work / "tables/mito-er-sites.parquet")
    run = Run(work, "ada")
    assert "mito-table" in {t["name"] for t in run.asked("run", {})["tables"]}
    for asked in (
        lambda: run.asked("table", {"name": "mito-table"}),
        lambda: run.asked("values", {"image": "mitos", "table": "mito-table", "column": "voxels"}),
        lambda: run.computed("properties", "done", "mitos/info"),
        lambda: run.computed("places", "done", "mito-er-sites/info"),
    ):
        with pytest.raises(InputError, match=r"is damaged .*repair RUN_FILE"):
            asked()
    (jump,) = run.asked("jumps", {})
    assert (jump["rows"], ADVICE in jump["wrong"]) == ([], True)
    assert run.asked("table", {"name": "mito-er-objects"})["total"]


def test_an_image_that_is_gone_is_named(work):
    (work / "results.ome.zarr/labels/mitos/0/zarr.json").unlink()
    found = Run(work, "ada").asked("run", {})
    (wrong,) = found["wrong"]
    assert "image 'mitos': " in wrong
    assert ADVICE in wrong
    assert "er-distance" in {layer["name"] for layer in found["state"]["layers"]}


@pytest.mark.network
def test_the_server_says_it_without_a_traceback(work, caplog):
    import urllib.error
    import urllib.request

    with served(Run(work, "ada")) as address:
        (work / TABLE).unlink()
        base, _, token = address.partition("/?")
        with urllib.request.urlopen(f"{base}/api/run?{token}") as answer:
            assert json.load(answer)["tables"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{base}/api/table?name=mito-table&{token}")
        with refused.value as told:
            assert (told.code, ADVICE in told.read().decode()) == (404, True)
    assert "Traceback" not in caplog.text


def test_contact_sites_are_no_instances_to_edit(finished, tmp_path):
    classes = cf.open_volume(finished.parent / "semantic.ome.zarr")
    at = {"work": tmp_path / "sites", "block": (12, 24, 32)}
    mitos = cf.label(classes, classes=1, name="mitos", **at)
    sites = cf.contacts(mitos.output, classes, to=2, gap_nm=100, sites=True, name="touching", **at)
    cf.run(mitos + sites, progress=False)
    run = Run(tmp_path / "sites", "ada")
    found = run.asked("run", {})
    assert "touching" in {layer["name"] for layer in found["state"]["layers"]}
    assert found["instances"] == ["mitos"]
    assert set(found["edits"]) == {"mitos"}
    assert "touching" not in found["edits"]["mitos"]["pieces"]
    with pytest.raises(InputError, match="no finished image of instances"):
        run.told("edit", {"image": "touching", "action": "delete", "label": 1})
