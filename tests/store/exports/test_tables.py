"""Tables arrive in other programs with every bit of their ids, their units and their origin."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from strategies import command, done, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, OutputError
from chunkflow_liver.store.properties import write_properties
from chunkflow_liver.store.table import Table

LARGE = 2**63 + 1
COLUMNS = {
    "label": np.array([3, 2**53 + 1, LARGE], np.uint64),
    "class": np.array(["er", "mito", "er"]),
    "voxels": np.array([5, 7, 2**40]),
    "volume_um3": np.array([0.5, 1.5, 2.5]),
    **{f"centroid_{a}_nm": np.array([1.0, 2.0, 3.0]) * n for n, a in enumerate("zyx", 1)},
    "bbox_z_min": np.array([0, 3, 6]),
    "tilt_deg": np.array([0.25, np.nan, 90.0]),
    "euler_number": np.array([1, -2, 1]),
    "touches_border": np.array([True, False, True]),
}
MEASURED = ["voxels", "volume_um3", "tilt_deg", "euler_number"]


@pytest.fixture
def table(tmp_path):
    made = Table(str(tmp_path / "mitos.parquet"))
    made.write(COLUMNS, {"operation": "measure"})
    return made


def package(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as err:
            pytest.skip(f"{name} cannot be imported: {err}")


def test_pandas_and_pyarrow_read_the_ids_whole(table):
    import pandas as pd

    assert pd.read_parquet(table.path)["label"].tolist() == COLUMNS["label"].tolist()
    assert pq.read_table(table.path)["label"].to_pylist() == COLUMNS["label"].tolist()


def test_polars_reads_the_ids_whole(table):
    polars = package("polars")
    assert polars.read_parquet(table.path)["label"].to_list() == COLUMNS["label"].tolist()


def check_anndata(found):
    assert found.obs["label"].tolist() == COLUMNS["label"].tolist()
    assert list(found.obs_names) == ["3", str(2**53 + 1), str(LARGE)]
    assert found.obs["class"].tolist() == COLUMNS["class"].tolist()
    assert list(found.var_names) == MEASURED
    np.testing.assert_array_equal(found.X, np.stack([COLUMNS[c] for c in MEASURED], 1).astype(float))
    np.testing.assert_array_equal(found.obsm["spatial"][0], [3.0, 2.0, 1.0])
    assert found.var["unit"].tolist() == ["", "micrometer^3", "degree", ""]
    assert json.loads(found.uns["chunkflow_liver"]) == {"operation": "measure"}


def test_anndata_reads_what_was_exported(table, tmp_path):
    anndata = package("anndata")
    cf.export(table, tmp_path / "mitos.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = anndata.read_h5ad(tmp_path / "mitos.h5ad")
    check_anndata(found)
    assert set(COLUMNS) <= set(found.obs)


def test_spatialdata_reads_what_was_exported(table, tmp_path):
    spatialdata = package("spatialdata")
    assert command("export", table.path, tmp_path / "mitos.spatialdata.zarr")[0] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spatialdata.read_zarr(tmp_path / "mitos.spatialdata.zarr")
        check_anndata(found.tables["mitos"])
        circles = found.shapes["instances"]
    assert circles.index.tolist() == COLUMNS["label"].tolist()
    np.testing.assert_allclose(4 / 3 * np.pi * circles["radius"] ** 3, COLUMNS["volume_um3"] * 1e9)
    assert [(p.x, p.y) for p in circles.geometry][1] == (6.0, 4.0)
    places = found.points["centroids"].compute()
    assert places["label"].tolist() == places.index.tolist() == COLUMNS["label"].tolist()
    for axis in "xyz":
        np.testing.assert_array_equal(places[axis], COLUMNS[f"centroid_{axis}_nm"])
    np.testing.assert_array_equal(places["radius"], circles["radius"])


def test_neuroglancer_gets_texts_of_ids_and_no_missing_numbers(table, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        cf.export(table, tmp_path / "mitos.segment_properties")
    assert "leave out columns with missing values: tilt_deg" in caplog.text
    info = json.loads((tmp_path / "mitos.segment_properties/info").read_text())
    assert info["@type"] == "neuroglancer_segment_properties"
    assert info["inline"]["ids"] == ["3", str(2**53 + 1), str(LARGE)]
    found = {p["id"]: p for p in info["inline"]["properties"]}
    assert found["class"] == {"id": "class", "type": "label", "values": ["er", "mito", "er"]}
    assert found["volume_um3"]["description"] == "micrometer^3"
    kinds = {name: p.get("data_type") for name, p in found.items()}
    assert kinds["euler_number"] == "int8"
    assert kinds["touches_border"] == "uint8"
    assert kinds["voxels"] == kinds["volume_um3"] == "float32"
    assert found["touches_border"]["values"] == [1, 0, 1]


def test_segment_properties_are_what_the_format_asks_for(tmp_path):
    """Its page in neuroglancer's sources: unique names, texts or numbers of a stated type, one per id."""
    table = Table(str(tmp_path / "t.parquet"))
    table.write(
        {
            "label": np.array([7, 2**63 + 5], np.uint64),
            "class": np.array(["er", "er"]),
            "refused": pa.array([None, "too small"]),
            "voxels": np.array([70_000, 3], np.int64),
            "volume_um3": np.array([0.1, 1e-7]),
            "touches_border": np.array([True, False]),
        }
    )
    cf.export(table, tmp_path / "t.segment_properties")
    info = json.loads((tmp_path / "t.segment_properties/info").read_text())
    assert set(info) == {"@type", "inline"}
    ids, properties = info["inline"]["ids"], info["inline"]["properties"]
    assert ids == ["7", str(2**63 + 5)]
    assert len({p["id"] for p in properties}) == len(properties) == 5
    assert [p["type"] for p in properties].count("label") == 1
    for p in properties:
        assert set(p) <= {"id", "type", "description", "data_type", "values"}
        assert len(p["values"]) == len(ids)
        if p["type"] == "number":
            assert np.array(p["values"], p["data_type"]).tolist() == pytest.approx(p["values"], rel=1e-6)
        else:
            assert "data_type" not in p
            assert all(isinstance(v, str) for v in p["values"])


def test_ids_of_other_objects_arrive_whole(tmp_path):
    """float32 ends at 2^24 and float64 at 2^53: a rounded id is that of another object, or of none."""
    table = Table(str(tmp_path / "t.parquet"))
    ids = {
        "parent": np.array([2**40 + 1, 2**24 + 1, 0], np.uint64),
        "neighbour_label": pa.array([2**53 + 1, None, 7], pa.uint64()),
        "cell": np.array([2**32 - 1, 2**24 + 1, 0], np.uint64),
    }
    table.write(COLUMNS | ids)
    cf.export(table, tmp_path / "t.segment_properties")
    info = json.loads((tmp_path / "t.segment_properties/info").read_text())
    found = {p["id"]: p for p in info["inline"]["properties"]}
    assert found["parent"] == {
        "id": "parent",
        "type": "string",
        "values": [str(2**40 + 1), str(2**24 + 1), "0"],
    }
    assert found["neighbour_label"]["values"] == [str(2**53 + 1), "", "7"]
    assert (found["cell"]["data_type"], found["cell"]["values"]) == ("uint32", [2**32 - 1, 2**24 + 1, 0])
    anndata = package("anndata")
    cf.export(table, tmp_path / "t.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.read_h5ad(tmp_path / "t.h5ad")
    assert list(data.var_names) == MEASURED
    assert data.obs["parent"].tolist() == ids["parent"].tolist()
    assert data.obs["neighbour_label"].isna().tolist() == [False, True, False]
    assert int(data.obs["neighbour_label"].iloc[0]) == 2**53 + 1


@pytest.mark.parametrize("name", ["a.h5ad", "a.spatialdata.zarr", "a.segment_properties", "a.csv"])
def test_what_exists_is_not_replaced_and_nothing_half_written_stays(name, table, tmp_path, listing):
    (tmp_path / name).write_text("mine")
    before = listing()
    with pytest.raises(OutputError, match=r"exists"):
        cf.export(table, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"
    assert listing() == before


def test_what_cannot_be_exported_is_refused(table, tmp_path, listing, monkeypatch):
    bare = Table(str(tmp_path / "bare.parquet"))
    bare.write({"label_a": COLUMNS["label"]})
    before = listing()
    with pytest.raises(
        InputError, match=r"the name must end in one of \['.csv', '.xlsx', '.h5ad', '.spatialdata.zarr'"
    ):
        cf.export(table, tmp_path / "a.ods")
    package("anndata")
    with pytest.raises(
        InputError, match=r"no columns \['label', 'volume_um3'.* measure with the features 'basic'"
    ):
        cf.export(bare, tmp_path / "a.h5ad")
    with pytest.raises(InputError, match="no column 'label', so its rows belong to no segments"):
        cf.export(bare, tmp_path / "a.segment_properties")
    with pytest.raises(InputError, match="run its plan first"):
        cf.export(Table(str(tmp_path / "none.parquet")), tmp_path / "a.h5ad")
    with pytest.raises(OutputError, match="does not exist; create it"):
        cf.export(table, tmp_path / "nowhere/a.h5ad")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(ConfigError, match=r"pip install 'chunkflow-liver\[tables\]'"):
        cf.export(table, tmp_path / "a.h5ad")
    assert listing() == before


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_viewers_find_the_numbers_in_the_label_image(version, table, tmp_path):
    labels = write(tmp_path, COLUMNS["label"].reshape(1, 1, 3), "mitos", kind="label", ome_version=version)
    columns = ["class", "volume_um3", "tilt_deg"]
    write_properties(table, labels, columns=columns)
    found = cf.open_volume(labels.url)
    assert found.classes == ()
    assert cf.validate(labels.url, deep=True) == []
    np.testing.assert_array_equal(found.read(), labels.read())
    name = "zarr.json" if version == "0.5" else ".zattrs"
    stored = json.loads((tmp_path / "mitos.ome.zarr" / name).read_text())
    ome = stored["attributes"]["ome"] if version == "0.5" else stored
    assert ome["image-label"]["properties"] == [
        {"label-value": 3, "class_name": "er", "volume_um3": 0.5, "tilt_deg": 0.25},
        {"label-value": 2**53 + 1, "class_name": "mito", "volume_um3": 1.5},
        {"label-value": LARGE, "class_name": "er", "volume_um3": 2.5, "tilt_deg": 90.0},
    ]
    # napari hides every id that a list of colours leaves out.
    assert "colors" not in ome["image-label"]


def test_the_reader_of_napari_finds_the_properties(tmp_path):
    """napari-ome-zarr shows what ome-zarr reads of a label image inside its image."""
    package("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    raw = write(tmp_path, np.arange(6, dtype=np.uint8).reshape(1, 2, 3), "raw")
    at = {"work": tmp_path / "work", "into": raw.url}
    mitos = cf.label(write(tmp_path, semantic((1, 2, 3), 3)), name="mitos", **at)
    table = cf.measure(mitos.output, name="t", work=tmp_path / "work")
    done(mitos + table)
    write_properties(table.output, mitos.output, columns=["voxels"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = list(Reader(parse_url(raw.url))())
    found = [node.metadata["properties"] for node in nodes if "properties" in node.metadata]
    wanted = cf.read_table(table.output).to_pydict()
    assert {k: v["voxels"] for k, v in found[0].items()} == dict(
        zip(wanted["label"], wanted["voxels"], strict=True)
    )


def test_properties_of_a_run_leave_it_finished(tmp_path):
    at = {"work": tmp_path / "work"}
    mitos = cf.label(write(tmp_path, semantic((6, 7, 8), 3)), name="mitos", **at)
    plan = mitos + cf.measure(mitos.output, name="t", **at)
    done(plan)
    code, said, told = command("properties", plan.output.path, mitos.output.url, "--column", "volume_um3")
    assert (code, said.strip()) == (0, mitos.output.url), told
    stored = json.loads((tmp_path / "work/results.ome.zarr/labels/mitos/zarr.json").read_text())
    assert stored["attributes"]["chunkflow_liver"]["status"] != "in-progress"
    before = (tmp_path / "work/journal.jsonl").read_bytes()
    done(plan)
    assert (tmp_path / "work/journal.jsonl").read_bytes() == before


def test_properties_of_another_image_are_refused(tmp_path):
    at = {"work": tmp_path / "work"}
    classes = write(tmp_path, semantic((6, 7, 8), 3))
    both = cf.label(classes, name="all", **at)
    one = cf.label(classes, classes=["er"], name="er", **at)
    table = cf.measure(both.output, name="t", **at)
    done(both + one + table)
    smaller = write(tmp_path, one.output.read()[:3], "smaller", kind="label")
    for other in (one.output, smaller):
        with pytest.raises(
            InputError, match=r"voxels of instance \d+ at .* take the table that was measured on"
        ):
            write_properties(table.output, other)
        assert cf.validate(other.url) == []
    write_properties(table.output, both.output)
    code, _, told = command("properties", table.output.path, one.output.url)
    assert (code, "measured on this image" in told) == (2, True)


def test_properties_that_no_reader_would_load_are_refused(table, tmp_path):
    classes = write(tmp_path, semantic((3, 4, 5), 1))
    mitos = write(tmp_path, COLUMNS["label"].reshape(1, 1, 3), "mitos", kind="label")
    with pytest.raises(InputError, match=r"no columns \['volume_um'\]; did you mean \['volume_um3'"):
        write_properties(table, mitos, columns=["volume_um"])
    with pytest.raises(InputError, match=r"no columns \['width'\]; it has \['label', 'class'"):
        write_properties(table, mitos, columns=["width"])
    with pytest.raises(
        InputError, match=r"is no image of instances: it has kind 'label' and classes \{'er': 1"
    ):
        write_properties(table, classes)
    many = Table(str(tmp_path / "many.parquet"))
    many.write(
        {"label": np.arange(1, 40_001, dtype=np.uint64)} | {f"n{i}": np.full(40_000, 0.1) for i in range(9)}
    )
    before = (tmp_path / "mitos.ome.zarr/zarr.json").read_bytes()
    with pytest.raises(
        ConfigError, match=r"9 columns of 40000 objects are \d+ bytes .* take about 7 columns, or"
    ):
        write_properties(many, mitos)
    assert (tmp_path / "mitos.ome.zarr/zarr.json").read_bytes() == before
