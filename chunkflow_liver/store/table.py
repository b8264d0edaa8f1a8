"""Tables (Parquet, units in the columns' metadata) and arrays (.npy, memory-mapped) of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from chunkflow_liver.errors import InputError, OutputError

Columns = Mapping[str, np.ndarray[Any, Any]]
UNITS = {
    "_per_um3": "micrometer^-3",
    "_per_um": "micrometer^-1",
    "_deg": "degree",
    "_nm": "nanometer",
    "_um": "micrometer",
    "_um2": "micrometer^2",
    "_um3": "micrometer^3",
}
PLACES = tuple(f"{of}{axis}_nm" for of in ("", "centroid_") for axis in "zyx")
FRAME = "the volume's first corner; the origin of its image is not added"
"""Where places are measured from, the same in all tables; a voxel's is (index + 0.5) times its size."""


@dataclass(frozen=True)
class Table:
    """A handle to a Parquet file, which may not exist yet."""

    path: str

    def exists(self) -> bool:
        return os.path.exists(self.path)

    def write(
        self, columns: Columns | Iterable[Columns], provenance: Mapping[str, Any] | None = None
    ) -> None:
        """Write `columns` (arrays of one length) under a temporary name and rename it into place.

        Columns may come part by part, one part or more. The unit of a column is what
        `provenance["units"]` says, or follows from the end of its name; a column of places also states where
        they are measured from. `provenance` is stored as JSON.
        """
        parts = iter([columns] if isinstance(columns, Mapping) else columns)
        first = _rows(next(parts), provenance)
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        partial = f"{self.path}.partial"
        with pq.ParquetWriter(partial, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for part in parts:
                writer.write_table(_rows(part, provenance))
        os.replace(partial, self.path)


def _rows(columns: Columns, provenance: Mapping[str, Any] | None) -> pa.Table:
    """Columns with their units, and how the table was made."""
    units = (provenance or {}).get("units", {})
    arrays = [pa.array(np.asarray(values)) for values in columns.values()]
    fields = []
    for name, array in zip(columns, arrays, strict=True):
        unit = units.get(name) or next((u for end, u in UNITS.items() if name.endswith(end)), "")
        about_column = ({"unit": unit} if unit else {}) | ({"from": FRAME} if name in PLACES else {})
        fields.append(pa.field(name, array.type, metadata=about_column or None))
    about = {"chunkflow_liver": json.dumps(provenance or {}, sort_keys=True, default=str)}
    return pa.table(arrays, schema=pa.schema(fields, metadata=about))


@dataclass(frozen=True)
class Arrays:
    """A handle to a folder of named .npy arrays, which may not exist yet; reads are memory-mapped."""

    path: str

    def exists(self) -> bool:
        return os.path.isdir(self.path)

    def write(self, columns: Columns, provenance: Mapping[str, Any] | None = None) -> None:
        """Write every array into a new folder and rename it into place."""
        partial = Path(f"{self.path}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        for old in partial.iterdir():
            # What an earlier run left when it was stopped here.
            old.unlink()
        for name, values in columns.items():
            np.save(partial / f"{name}.npy", np.asarray(values), allow_pickle=False)
        if os.path.isdir(self.path):
            for old in Path(self.path).iterdir():
                old.unlink()
            os.rmdir(self.path)
        os.replace(partial, self.path)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = np.load(
            os.path.join(self.path, f"{name}.npy"), mmap_mode="r", allow_pickle=False
        )
        return found

    def names(self) -> list[str]:
        return sorted(p.stem for p in Path(self.path).glob("*.npy"))


def write_csv(table: Table | str | os.PathLike[str], to: str | os.PathLike[str]) -> Path:
    """Write a table as CSV, a million rows at a time.

    A text that begins with =, +, - or @ gets an apostrophe, because spreadsheets run it as a formula.

    Raises
    ------
    InputError
        If the table does not exist.
    OutputError
        If `to` exists.
    """
    path = table.path if isinstance(table, Table) else os.fspath(table)
    if not os.path.exists(path):
        raise InputError(f"no table at {path}: run its plan first")
    target = Path(to)
    if target.exists():
        raise OutputError(f"{target} exists already; choose another name or remove it")
    partial = target.with_name(f"{target.name}.partial")
    with pq.ParquetFile(path) as file, pcsv.CSVWriter(partial, file.schema_arrow) as writer:
        for batch in file.iter_batches(batch_size=1 << 20):
            columns = [_harmless(batch.column(i)) for i in range(batch.num_columns)]
            writer.write_batch(pa.record_batch(columns, schema=file.schema_arrow))
    os.replace(partial, target)
    return target


def _harmless(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return column
    return pc.replace_substring_regex(column, pattern=r"^([=+\-@])", replacement=r"'\1")


def read_table(table: Table | str | os.PathLike[str]) -> pa.Table:
    """The table as a `pyarrow.Table`; `.to_pandas()` makes a data frame of it.

    Raises
    ------
    InputError
        If the file does not exist.
    """
    path = table.path if isinstance(table, Table) else os.fspath(table)
    if not os.path.exists(path):
        raise InputError(f"no table at {path}: run its plan first")
    return pq.read_table(path)
