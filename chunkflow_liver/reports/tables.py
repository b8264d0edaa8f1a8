"""What the report takes from tables: few columns of all rows, all columns of few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import InputError
from chunkflow_liver.reports.words import cell, heading, number
from chunkflow_liver.reports.work import is_pending
from chunkflow_liver.store.table import Table

MOST_ROWS = 200
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
    """

    name: str
    columns: tuple[tuple[str, str, bool], ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    total: int
    pictures: tuple[tuple[str, str], ...] = ()
    scope: str = ""


@dataclass(frozen=True)
class Stored:
    """A table of the run, open for reading."""

    product: Product
    path: str

    @property
    def about(self) -> dict[str, Any]:
        return dict(self.product.about)

    @property
    def names(self) -> list[str]:
        return list(pq.read_schema(self.path).names)

    @property
    def rows(self) -> int:
        return int(pq.read_metadata(self.path).num_rows)

    def column(self, name: str) -> np.ndarray[Any, Any] | None:
        """All values of a column; None if there is no such column."""
        if name not in self.names:
            return None
        found: np.ndarray[Any, Any] = (
            pq.ParquetFile(self.path).read(columns=[name]).column(0).to_numpy(zero_copy_only=False)
        )
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
        coded = pq.ParquetFile(self.path, read_dictionary=["class"]).read(columns=["class"])
        chunk = coded.column(0).combine_chunks()
        index = np.asarray(chunk.indices.to_numpy(zero_copy_only=False))
        names = [str(n) for n in chunk.dictionary.to_pylist()]
        masks = {n: index == i for i, n in enumerate(names)}
        return dict(sorted(masks.items(), key=lambda item: -int(item[1].sum())))


def cut_text(table: Stored) -> str:
    """How many objects the border of the volume cuts, as a sentence; '' where none is, or it is not known."""
    cut = table.column("touches_border")
    if cut is None or not cut.any():
        return ""
    if cut.all():
        return f"All {number(len(cut))} objects go on outside the volume: none is whole."
    return (
        f"{number(int((~cut).sum()))} of {number(len(cut))} objects are whole; the other "
        f"{number(int(cut.sum()))} go on outside the volume."
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
    file = pq.ParquetFile(table.path)
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
    picked = pq.ParquetFile(table.path).read(columns=present).take(pa.array(order))
    return _shown(title, picked, table.rows)


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
