"""Tables (Parquet, units in the columns' metadata) and arrays (.npy, memory-mapped) of a run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import xxhash

from chunkflow_liver.errors import ChunkError, InputError, OutputError
from chunkflow_liver.store.scratch.noticed import save

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
SUMS = "checksums.json"
"""Beside arrays: the XXH3-128 of every file, by its name."""
HASHED_AT_ONCE = 1 << 24
_checked: dict[str, tuple[int, ...]] = {}
"""Files whose checksum was right, as they were then: a process reads each whole once."""
FORMULA = "=+-@"
"""Spreadsheets run a text that begins so as a formula."""


@dataclass(frozen=True)
class Table:
    """A handle to a Parquet file, which may not exist yet."""

    path: str

    def exists(self) -> bool:
        return os.path.exists(self.path)

    def check(self) -> None:
        """Read everything.

        Raises
        ------
        InputError
            If it does not exist, or something is not as it was written.
        """
        read_table(self)

    def identity(self) -> str:
        """What tells its content from any other: the XXH3-128 of the file.

        Raises
        ------
        InputError
            If it does not exist.
        """
        if not self.exists():
            raise _absent(self.path)
        return _checksum(self.path)

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
        checked = {"compression": "zstd", "write_page_checksum": True}
        with pq.ParquetWriter(partial, first.schema, **checked) as writer:
            writer.write_table(first)
            for part in parts:
                writer.write_table(_rows(part, provenance))
        os.replace(partial, self.path)


def _column(values: np.ndarray[Any, Any]) -> pa.Array:
    """`values` as Arrow holds them.

    Numbers and texts are given as bytes: `pyarrow.array` imports pandas, only to see that they are not of it,
    which takes a process a second. Objects none of which is there are texts: Arrow would call them of no
    type, and a later part of the same table, or the table of another run, would not fit.
    """
    if values.dtype == object and all(value is None for value in values):
        return pa.array(values, pa.string())
    if values.ndim != 1 or not values.dtype.isnative or values.dtype.kind not in "biufU":
        return pa.array(values)
    if values.dtype.kind != "U":
        kind = pa.from_numpy_dtype(values.dtype)
        held = np.packbits(values, bitorder="little") if kind == pa.bool_() else np.ascontiguousarray(values)
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(held)])
    texts = [text.encode() for text in values.tolist()]
    ends = np.cumsum([0, *map(len, texts)])
    if ends[-1] > np.iinfo(np.int32).max:
        return pa.array(values)
    offsets = pa.py_buffer(ends.astype(np.int32))
    return pa.Array.from_buffers(pa.string(), len(texts), [None, offsets, pa.py_buffer(b"".join(texts))])


def _rows(columns: Columns, provenance: Mapping[str, Any] | None) -> pa.Table:
    """Columns with their units, and how the table was made."""
    units = (provenance or {}).get("units", {})
    arrow = (pa.Array, pa.ChunkedArray)
    arrays = [v if isinstance(v, arrow) else _column(np.asarray(v)) for v in columns.values()]
    fields = []
    for name, array in zip(columns, arrays, strict=True):
        unit = units.get(name) or next((u for end, u in UNITS.items() if name.endswith(end)), "")
        about_column = ({"unit": unit} if unit else {}) | ({"from": FRAME} if name in PLACES else {})
        fields.append(pa.field(name, array.type, metadata=about_column or None))
    about = {"chunkflow_liver": json.dumps(provenance or {}, sort_keys=True, default=str)}
    return pa.table(arrays, schema=pa.schema(fields, metadata=about))


@dataclass(frozen=True)
class Arrays:
    """A handle to a folder of named .npy arrays, which may not exist yet; reads are memory-mapped.

    Every file has a checksum, and what was written otherwise, damaged or lost is refused where it is read.
    """

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
            save(partial / f"{name}.npy", np.asarray(values))
        sums = {name: _checksum(partial / f"{name}.npy") for name in columns}
        (partial / SUMS).write_text(json.dumps(sums, sort_keys=True))
        if os.path.isdir(self.path):
            for old in Path(self.path).iterdir():
                old.unlink()
            os.rmdir(self.path)
        os.replace(partial, self.path)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        self._check(name, self.sums())
        found: np.ndarray[Any, Any] = np.load(self._file(name), mmap_mode="r", allow_pickle=False)
        return found

    def names(self) -> list[str]:
        return sorted(self.sums())

    def check(self) -> None:
        """Read everything.

        Raises
        ------
        ChunkError
            If something is not as it was written.
        """
        sums = self.sums()
        for name in sums:
            self._check(name, sums)

    def sums(self) -> dict[str, str]:
        """The checksum of every array, as it was written.

        Raises
        ------
        ChunkError
            If they cannot be read.
        """
        path = os.path.join(self.path, SUMS)
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError) as err:
            raise self._damaged(f"{path} cannot be read: {err}") from err
        if not isinstance(found, dict):
            raise self._damaged(f"{path} holds a {type(found).__name__}")
        return found

    def _check(self, name: str, sums: Mapping[str, str]) -> None:
        path = self._file(name)
        try:
            seen = os.stat(path)
            state = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
            if _checked.get(path) == state:
                return
            found = _checksum(path)
        except OSError as err:
            raise self._damaged(f"{path} cannot be read: {err}") from err
        if name not in sums or found != sums[name]:
            wanted = sums.get(name, "none")
            raise self._damaged(f"{path} has the checksum {found}, and {wanted} was written")
        _checked[path] = state

    def _file(self, name: str) -> str:
        return os.path.join(self.path, f"{name}.npy")

    def _damaged(self, what: str) -> ChunkError:
        return ChunkError(f"{what}; run again, and {self.path} is made anew from the records of its blocks")


def _checksum(path: str | os.PathLike[str]) -> str:
    """XXH3-128 of a file."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while part := file.read(HASHED_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


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
        raise _absent(path)
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


def made_anew(path: str, what: str = "is missing") -> str:
    """What is said of a result that was there, and what to do."""
    return f"{path} {what}: 'chunkflow-liver repair RUN_FILE' makes it anew"


def _absent(path: str) -> InputError:
    return InputError(f"no table at {path}: run its plan first, or give the path of its file")


def _harmless(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return column
    return pc.replace_substring_regex(column, pattern=rf"^([{re.escape(FORMULA)}])", replacement=r"'\1")


def read_table(table: Table | str | os.PathLike[str]) -> pa.Table:
    """The table as a `pyarrow.Table`; `.to_pandas()` makes a data frame of it.

    Raises
    ------
    InputError
        If the file does not exist, or is damaged.
    """
    path = table.path if isinstance(table, Table) else os.fspath(table)
    if not os.path.exists(path):
        raise _absent(path)
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as err:
        raise InputError(
            f"{path} is damaged: {err}; remove it and run again, which makes it anew from the records"
        ) from err
