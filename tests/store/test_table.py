"""Tables and artefacts: columns keep type and unit, and a write is all or nothing."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunkflow_liver.errors import ChunkError, InputError, OutputError
from chunkflow_liver.store.table import Arrays, Table, read_table, write_csv

COLUMNS = {
    "label": np.array([1, 2, 2**63 + 1], np.uint64),
    "class": np.array(["er", "mito", ""]),
    "volume_um3": np.array([0.5, np.nan, np.inf]),
    "area_um2": np.array([1.0, 2.0, 3.0]),
    "length_um": np.array([1.0, 2.0, 3.0]),
    "centroid_z_nm": np.array([1.5, 2.5, 3.5], np.float32),
    "touches_border": np.array([True, False, True]),
}


def test_a_table_comes_back_with_its_types(tmp_path):
    table = Table(str(tmp_path / "tables/mitos.parquet"))
    assert not table.exists()
    table.write(COLUMNS)
    assert table.exists()
    found = read_table(table)
    assert found.column_names == list(COLUMNS)
    for name, values in COLUMNS.items():
        np.testing.assert_array_equal(found[name].to_numpy(), values)
    assert str(found.schema.field("label").type) == "uint64"
    assert read_table(Path(table.path))["class"].equals(read_table(table.path)["class"])


def test_every_column_states_its_unit(tmp_path):
    table = Table(str(tmp_path / "a.parquet"))
    table.write(COLUMNS, {"operation": "measure", "voxel_nm": (4, 8, 16)})
    schema = pq.read_schema(table.path)
    units = {n: (schema.field(n).metadata or {}).get(b"unit", b"").decode() for n in COLUMNS}
    assert units == {
        "label": "",
        "class": "",
        "volume_um3": "micrometer^3",
        "area_um2": "micrometer^2",
        "length_um": "micrometer",
        "centroid_z_nm": "nanometer",
        "touches_border": "",
    }
    assert json.loads(schema.metadata[b"chunkflow_liver"]) == {"operation": "measure", "voxel_nm": [4, 8, 16]}


def test_an_empty_table_keeps_its_columns(tmp_path):
    table = Table(str(tmp_path / "a.parquet"))
    table.write({name: values[:0] for name, values in COLUMNS.items()})
    found = read_table(table)
    assert found.num_rows == 0
    assert found.column_names == list(COLUMNS)
    assert str(found.schema.field("class").type) in {"string", "large_string"}


def test_text_columns_of_objects_are_written(tmp_path):
    table = Table(str(tmp_path / "a.parquet"))
    table.write({"class": np.array(["er", None], object)})
    assert read_table(table)["class"].to_pylist() == ["er", None]


@pytest.mark.parametrize("first", [np.array([], object), np.array([None], object)], ids=["none", "absent"])
def test_texts_that_come_with_a_later_part_only_fit(first, tmp_path):
    """Arrow gives objects none of which is there a type of their own, "null" (pyarrow 26)."""
    table = Table(str(tmp_path / "a.parquet"))
    table.write({"why": part} for part in (first, np.array(["cut"], object)))
    assert read_table(table)["why"].to_pylist() == [*first.tolist(), "cut"]


@pytest.mark.parametrize(
    "values",
    [
        *(
            np.array([0, 1, 100], kind)
            for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
        ),
        np.array([1.5, np.nan, -np.inf]),
        np.arange(12.0)[::4],
        np.arange(3).astype(">i4"),
        np.arange(11) % 3 == 0,
        np.array(["", "mitochondrion", "ä \u2713"]),
        np.array([], "U3"),
        np.array([], "f8"),
    ],
    ids=lambda v: f"{v.dtype.str}-{len(v)}",
)
def test_columns_are_what_arrow_makes_of_them(values, tmp_path):
    table = Table(str(tmp_path / "t.parquet"))
    native = values.astype(values.dtype.newbyteorder("="))
    table.write({"a": native})
    found = read_table(table).column("a").combine_chunks()
    assert found.type == pa.array(native).type
    np.testing.assert_array_equal(found.to_numpy(zero_copy_only=False), native)


def test_pandas_is_not_imported_for_numbers_and_texts(tmp_path):
    code = (
        "import sys; import numpy as np; from chunkflow_liver.store.table import Table;"
        f"Table({str(tmp_path / 't.parquet')!r}).write(dict(a=np.arange(2), b=np.array(['x', 'y'])));"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_second_write_replaces_the_first_and_leaves_nothing_else(tmp_path, listing):
    table = Table(str(tmp_path / "a.parquet"))
    table.write({"a": np.arange(3)})
    table.write({"b": np.arange(2)})
    assert read_table(table).column_names == ["b"]
    assert listing() == ["a.parquet"]


def test_a_table_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no table at .*a.parquet: run its plan first"):
        read_table(tmp_path / "a.parquet")


def test_arrays_come_back_memory_mapped(tmp_path):
    arrays = Arrays(str(tmp_path / "artefacts/mitos.instances"))
    assert not arrays.exists()
    columns = {"final": np.arange(9, dtype=np.uint32), "names": np.array(["er"]), "matrix": np.eye(3)}
    arrays.write(columns)
    assert arrays.names() == sorted(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(arrays[name], values)
    assert isinstance(arrays["final"], np.memmap)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(arrays))["final"], columns["final"])


def test_empty_arrays_come_back(tmp_path):
    arrays = Arrays(str(tmp_path / "a"))
    arrays.write({"final": np.zeros(0, np.uint32), "none": np.array([], str)})
    assert arrays["final"].shape == (0,)
    assert arrays["none"].tolist() == []


def test_a_second_write_of_arrays_keeps_nothing_of_the_first(tmp_path, listing):
    arrays = Arrays(str(tmp_path / "a"))
    arrays.write({"old": np.arange(3)})
    # A run that was stopped while it wrote.
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial/torn.npy").write_bytes(b"x")
    arrays.write({"new": np.arange(2)})
    assert arrays.names() == ["new"]
    assert listing() == ["a", "a/checksums.json", "a/new.npy"]


def test_csv_holds_the_same_numbers_and_no_formulas(tmp_path):
    table = Table(str(tmp_path / "t.parquet"))
    table.write({"label": np.array([1, 2**60], np.uint64), "class": np.array(["=1+1", "mito"])}, {})
    path = write_csv(table, tmp_path / "t.csv")
    assert path.read_text().splitlines() == ['"label","class"', '1,"\'=1+1"', '1152921504606846976,"mito"']
    with pytest.raises(OutputError, match="exists already"):
        write_csv(table, path)
    with pytest.raises(InputError, match="run its plan first"):
        write_csv(tmp_path / "none.parquet", tmp_path / "u.csv")


@pytest.mark.parametrize("what", ["flip", "cut", "gone", "other", "sums cut", "sums gone"])
def test_arrays_that_are_not_as_they_were_written_are_refused(tmp_path, what):
    arrays = Arrays(str(tmp_path / "a"))
    arrays.write({"final": np.arange(1000), "other": np.arange(1000) + 1})
    assert arrays["final"][999] == 999
    path = tmp_path / "a/final.npy"
    whole = path.read_bytes()
    sums = tmp_path / "a/checksums.json"
    match what:
        case "flip":
            path.write_bytes(whole[:4000] + bytes([whole[4000] ^ 4]) + whole[4001:])
        case "cut":
            path.write_bytes(whole[:-8])
        case "gone":
            path.unlink()
        case "other":
            path.write_bytes((tmp_path / "a/other.npy").read_bytes())
        case "sums cut":
            sums.write_text(sums.read_text()[:-9])
        case "sums gone":
            sums.unlink()
    named = "checksums.json" if "sums" in what else "final.npy"
    with pytest.raises(ChunkError, match=rf"{named} .*; run again, and .*a is made anew from the records"):
        arrays.check()
    with pytest.raises(ChunkError, match=named):
        arrays["final"]
    arrays.write({"final": np.arange(1000)})
    arrays.check()


def test_a_table_that_was_damaged_is_refused(tmp_path):
    table = Table(str(tmp_path / "t.parquet"))
    table.write({"volume_um3": np.random.default_rng(0).random(5000)})
    whole = Path(table.path).read_bytes()
    for at in range(100, len(whole) - 2000, 5000):
        Path(table.path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match=r"t.parquet is damaged: .*remove it and run again"):
            read_table(table)
