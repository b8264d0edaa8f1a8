"""What the report takes from tables: few columns of all rows, all columns of few rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import InputError
from chunkflow_liver.reports.words import cell, counted, heading, number
from chunkflow_liver.reports.work import is_pending
from chunkflow_liver.store.table import Table, made_anew

MOST_ROWS = 200
BUFFER, READ_AT_ONCE = 1 << 20, 1 << 14
"""Bytes of a file, and rows of a table, that are held at once where a whole column is read."""
EXTREMES = 5
ENDS = (
    ("The largest", "volume_um3", False),
    ("The smallest", "volume_um3", True),
    ("The longest", "axis_major_nm", False),
)
"""Which objects are shown as extreme: what they are called, by which column, whether its smallest values."""
WHOLE, EVERY = "whole", "every"
"""Objects that the border of the volume does not cut, and all of them: a switch of the page shows either."""


@dataclass(frozen=True)
class Shown:
    """Rows of a table as text: per column (name, unit, whether numbers), per cell (text, sort key).

    `pictures` are (id of a thumbnail in the page, '' for none, and its plane), one per row; empty if no
    row has one. `scope` is the group of objects that the rows are chosen from, `WHOLE`, `EVERY` or ''.
    `of` is the table that they are of, where `name` is a title.
    """

    name: str
    columns: tuple[tuple[str, str, bool], ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    total: int
    pictures: tuple[tuple[str, str], ...] = ()
    scope: str = ""
    of: str = ""


def in_short(name: str, rows: Sequence[tuple[str, str, str]]) -> Shown:
    """A table of what a text tells of a whole table: rows of what, value and unit."""
    heads = tuple((head, "", False) for head in ("what", "value", "unit"))
    cells = tuple(tuple((text, text) for text in row) for row in rows)
    return Shown(f"{name}: in short", heads, cells, len(cells))


def beside(name: str, rows: Sequence[tuple[str, str, str, str]]) -> Shown:
    """A table of what is published beside what was measured: rows of measure, published, here, source."""
    heads = tuple((head, "", False) for head in ("measure", "published", "here", "source"))
    cells = tuple(tuple((text, text) for text in row) for row in rows)
    return Shown(f"{name}: beside published ranges", heads, cells, len(cells))


@dataclass(frozen=True)
class Stored:
    """A table of the run, open for reading."""

    product: Product
    path: str

    @property
    def about(self) -> dict[str, Any]:
        return dict(self.product.about)

    @contextmanager
    def opened(self, **options: Any) -> Iterator[pq.ParquetFile]:
        """The file, to read from while it is open; pages are read against their checksums.

        Raises
        ------
        InputError
            If it is not there any more or is damaged, also where that is seen only as it is read.
        """
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True, **options) as file:
                yield file
        except FileNotFoundError as err:
            raise InputError(f"table {self.product.name!r}: {made_anew(self.path)}") from err
        except (OSError, pa.ArrowException) as err:
            what = f"is damaged ({' '.join(str(err).split())})"
            raise InputError(f"table {self.product.name!r}: {made_anew(self.path, what)}") from err

    @property
    def schema(self) -> pa.Schema:
        with self.opened() as file:
            return file.schema_arrow

    @property
    def names(self) -> list[str]:
        return list(self.schema.names)

    @property
    def rows(self) -> int:
        with self.opened() as file:
            return int(file.metadata.num_rows)

    def column(self, name: str) -> np.ndarray[Any, Any] | None:
        """All values of a column; None if there is no such column."""
        with self.opened(buffer_size=BUFFER) as file:
            if name not in file.schema_arrow.names:
                return None
            kind = file.schema_arrow.field(name).type
            if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
                return _numbers(file, name)
            found: np.ndarray[Any, Any] = file.read(columns=[name]).column(0).to_numpy(zero_copy_only=False)
            return found

    def values(self, name: str) -> np.ndarray[Any, Any]:
        """All values of a column that it must have.

        Raises
        ------
        InputError
            If there is no such column.
        """
        found = self.column(name)
        if found is None:
            raise InputError(f"table {self.product.name!r} has no column {name!r}; run its plan again")
        return found

    def scopes(self) -> dict[str, np.ndarray[Any, Any]]:
        """Which rows stand for `WHOLE` and `EVERY` object; one scope '' where there is nothing to choose."""
        cut = self.column("touches_border")
        every = np.ones(self.rows, bool)
        if cut is None or not cut.any() or cut.all():
            return {"": every}
        return {WHOLE: ~cut.astype(bool), EVERY: every}

    def by_class(self) -> dict[str, np.ndarray[Any, Any]]:
        """Rows of each class as a mask, largest class first; one class '' where there are none."""
        if "class" not in self.names:
            return {"": np.ones(self.rows, bool)}
        with self.opened(read_dictionary=["class"]) as file:
            coded = file.read(columns=["class"])
        chunk = coded.column(0).combine_chunks()
        index = np.asarray(chunk.indices.to_numpy(zero_copy_only=False))
        names = [str(n) for n in chunk.dictionary.to_pylist()]
        masks = {n: index == i for i, n in enumerate(names)}
        return dict(sorted(masks.items(), key=lambda item: -int(item[1].sum())))


def as_arrow(values: np.ndarray[Any, Any]) -> pa.Array:
    """Numbers as Arrow has them; `pa.array` asks pandas what it was given, which takes 40 MiB."""
    there = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(there.dtype), len(there), [None, pa.py_buffer(there)])


def as_numpy(part: pa.Array) -> np.ndarray[Any, Any]:
    """Numbers as NumPy has them, truth as bool; without pandas where none is missing."""
    if part.null_count:
        missing: np.ndarray[Any, Any] = part.to_numpy(zero_copy_only=False)
        return missing
    if pa.types.is_boolean(part.type):
        return np.from_dlpack(pc.cast(part, pa.uint8())).view(bool)
    return np.from_dlpack(part)


def _numbers(file: pq.ParquetFile, name: str) -> np.ndarray[Any, Any]:
    """A column of numbers, read part by part: read at once it would be in memory two or three times."""
    out = np.empty(file.metadata.num_rows, file.schema_arrow.field(name).type.to_pandas_dtype())
    begin = 0
    for batch in file.iter_batches(READ_AT_ONCE, columns=[name], use_threads=False):
        part = as_numpy(batch.column(0))
        wide = np.result_type(out, part)
        if wide != out.dtype:
            # Where values are missing Arrow makes numbers with NaN of whole ones, objects of truth.
            out, known = np.empty(len(out), wide), out[:begin]
            out[:begin] = known
        out[begin : begin + len(part)] = part
        begin += len(part)
    return out


def cut_text(table: Stored) -> str:
    """How many objects the border of the volume cuts, as a sentence; '' where none is, or it is not known."""
    cut = table.column("touches_border")
    if cut is None or not cut.any():
        return ""
    if cut.all():
        return f"None of {counted(len(cut), 'object')} is whole: all go on outside the volume."
    return (
        f"{number(int((~cut).sum()))} of {counted(len(cut), 'object')} are whole; "
        f"{counted(int(cut.sum()), 'goes', 'go')} on outside the volume."
    )


def stored(product: Product) -> Stored:
    """The table of a product.

    Raises
    ------
    InputError
        If it is not there or cannot be read.
    """
    if not isinstance(product.handle, Table):
        raise InputError(f"{product.kind} {product.name!r} is no table")
    path = product.handle.path
    if is_pending(product) or not Path(path).exists():
        raise InputError(f"table {product.name!r} is not written yet")
    try:
        pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as err:
        raise InputError(f"table {product.name!r} cannot be read: {err}; run its plan again") from err
    return Stored(product, path)


def first_rows(table: Stored, most: int = MOST_ROWS, *, first: Sequence[str] = ()) -> Shown:
    """The first rows of a table, all columns; those named `first` stand before the others."""
    with table.opened() as file:
        batch = next(file.iter_batches(batch_size=most), None)
        found = pa.Table.from_batches([batch] if batch is not None else [], file.schema_arrow)
    early = [c for c in first if c in found.column_names]
    found = found.select([*early, *(c for c in found.column_names if c not in early)])
    return _shown(table.product.name, found.slice(0, most), table.rows)


def extreme_rows(
    table: Stored, by: str, *, among: np.ndarray[Any, Any] | None = None, smallest: bool = False
) -> list[int]:
    """Where a column is largest (or smallest), of the rows in a mask; none without that column."""
    values = table.column(by)
    if values is None:
        return []
    rows = np.arange(len(values)) if among is None else np.flatnonzero(among)
    known = values[rows]
    order: list[int] = rows[np.argsort(known if smallest else -known, kind="stable")[:EXTREMES]].tolist()
    return order


def extremes(table: Stored, order: Sequence[int], columns: Sequence[str], *, title: str) -> Shown | None:
    """Some rows of a table in that order, as of `extreme_rows`; None if there are none."""
    if not order:
        return None
    present = [c for c in columns if c in table.names]
    with table.opened() as file:
        picked = file.read(columns=present).take(pa.array(order))
    return replace(_shown(title, picked, table.rows), of=table.product.name)


def _shown(name: str, table: pa.Table, total: int) -> Shown:
    units = [(f.metadata or {}).get(b"unit", b"").decode() for f in table.schema]
    columns = tuple(
        (*heading(f.name, unit), _is_number(f.type)) for f, unit in zip(table.schema, units, strict=True)
    )
    values = [table.column(i).to_pylist() for i in range(table.num_columns)]
    names = table.column_names
    rows = tuple(
        tuple((cell(v, name), _key(v)) for name, v in zip(names, row, strict=True))
        for row in zip(*values, strict=True)
    )
    return Shown(name, columns, rows, total)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _key(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None or value != value else str(value)
