"""One row per object from all tables of a run, and labels exported in the smallest type."""

from __future__ import annotations

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
import tifffile
from strategies import command, done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.convert import export
from chunkflow_liver.ops.joined import joined, write_joined
from chunkflow_liver.store.table import Table, read_table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined")
    own = np.zeros((4, 8, 24), np.uint16)
    own[1:3, 1:3, 1:3], own[1:3, 5:7, 10:13], own[1, 1, 20] = 3, 7, 300
    er = np.zeros(own.shape, np.uint8)
    er[1, 1, 5] = 1
    a, b = write(folder, own, "own", kind="label"), write(folder, er)
    at = {"work": folder / "work"}
    plan = cf.measure(a, name="table", **at)
    plan += cf.contacts(a, b, to="er", gap_nm=40, name="near", **at)
    plan += cf.profiles(a, b, to="er", cap_nm=60, name="profile", **at)
    done(plan)
    return folder, own


def test_every_object_has_one_row_with_all_that_is_known(run):
    folder, _ = run
    found = joined(folder / "work").to_pydict()
    assert found["label"] == [3, 7, 300]
    assert found["voxels"] == [8, 12, 1]
    assert found["near-objects.nearest_nm"] == [32.0, np.inf, np.inf]
    assert found["near-objects.partners"] == [1, 0, 0]
    assert found["profile.distance_min_nm"][0] == 32.0
    units = {f.name: (f.metadata or {}).get(b"unit") for f in joined(folder / "work").schema}
    assert units["near-objects.contact_um2"] == b"micrometer^2"


def test_the_command_writes_a_work_folder_as_one_table(run, tmp_path):
    folder, _ = run
    code, said, told = command("export", folder / "work", tmp_path / "all.csv")
    assert code == 0, told
    assert said.strip().endswith("all.csv")
    rows = pcsv.read_csv(tmp_path / "all.csv").to_pydict()
    assert rows["label"] == [3, 7, 300]
    assert "near-objects.nearest_nm" in rows
    assert command("export", folder / "work", tmp_path / "all2.csv", "--of", "cells")[0] != 0


def test_ids_stay_whole_where_an_object_has_none(tmp_path):
    """NumPy would make 2^60 + 1 a double, as one of the rows has no number."""
    labels = np.zeros((4, 8, 16), np.uint64)
    labels[1, 1:3, 1:3], labels[1, 5:7, 10:12] = 2**60 + 1, 2**60 + 3
    objects = write(tmp_path, labels, "own", kind="label")
    plan = cf.measure(objects, features=["basic"], name="table", work=tmp_path / "work")
    done(plan)
    found = read_table(tmp_path / "work/tables/table.parquet")
    ids = pa.array([None, 2**60 + 3], pa.uint64())
    pq.write_table(found.append_column("parent", ids), tmp_path / "work/tables/table.parquet")
    made = write_joined(tmp_path / "work", Table(str(tmp_path / "all.parquet")))
    assert read_table(made)["parent"].to_pylist() == [None, 2**60 + 3]
    rows = pcsv.read_csv(export(made, tmp_path / "all.csv"))
    assert rows["parent"].to_pylist() == [None, 2**60 + 3]


def test_what_cannot_be_joined_is_refused(run, tmp_path):
    folder, _ = run
    with pytest.raises(InputError, match="no work folder"):
        joined(tmp_path)
    with pytest.raises(InputError, match=r"is of 'cells'; there are \['own'\]"):
        joined(folder / "work", "cells")
    (tmp_path / "products.json").write_text("[]")
    with pytest.raises(InputError, match="no table of objects"):
        joined(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "most", "stored"),
    [("uint64", 200, "uint8"), ("uint32", 300, "uint16"), ("int64", 70_000, "uint32")],
)
def test_labels_are_exported_in_the_smallest_type(tmp_path, dtype, most, stored):
    labels = np.zeros((5, 6, 7), dtype)
    labels[2, 3, 4] = most
    volume = write(tmp_path, labels, "own", kind="label", chunks=(2, 4, 4))
    read = tifffile.imread(export(volume, tmp_path / "l.tif"))
    assert read.dtype == stored
    np.testing.assert_array_equal(read, labels)
    nifti = nibabel.load(export(volume, tmp_path / "l.nii"))
    assert nifti.get_data_dtype() == stored
    np.testing.assert_array_equal(np.asarray(nifti.dataobj).T, labels)


def test_images_keep_their_type(tmp_path):
    grey = np.zeros((3, 4, 5), np.uint16)
    volume = write(tmp_path, grey, "raw")
    assert tifffile.imread(export(volume, tmp_path / "r.tif")).dtype == "uint16"
