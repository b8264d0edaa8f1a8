"""Rows of a table for the page: filtered, sorted, a page at a time; few columns in memory."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.edit.lists import whole_number
from chunkflow_liver.reports.tables import BUFFER, READ_AT_ONCE, Stored, as_arrow, as_numpy
from chunkflow_liver.reports.words import UNIT_SIGNS
from chunkflow_liver.view.contents import CORNERS, PLACED, WORST, Contents, place_columns

AT_ONCE = 100
JUMPS = 20
"""Rows that are worth a look, of each table."""
OF = {"label": "", "label_a": "", "label_b": "", "block_a": "block ", "block_b": "block "}
"""Columns that say whose a row is, and what is written before."""
CONDITION = re.compile(r"\s*([\w.]+)\s*(>=|<=|!=|=|>|<)\s*(.+?)\s*")
COMPARED = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "!=": np.not_equal,
    "=": np.equal,
    ">": np.greater,
    "<": np.less,
}


def picked(table: Stored, conditions: str, sort: str | None, down: bool) -> np.ndarray[Any, Any]:
    """Indices of the rows that meet all conditions, in the order of a column.

    Parameters
    ----------
    table : Stored
    conditions : str
        Like 'volume_um3 > 0.1, class = mitochondrion'; empty for all rows.
    sort : str, optional
        Column to sort by; rows without a value come last.
    down : bool
        Largest first.

    Raises
    ------
    InputError
        If a condition cannot be understood, or names a column that there is not.
    """
    rows = np.arange(table.rows, dtype=np.int32 if table.rows < 1 << 31 else np.int64)
    for part in filter(str.strip, re.split(r",|\band\b", conditions)):
        match = CONDITION.fullmatch(part)
        if match is None:
            raise InputError(f"cannot read the condition {part.strip()!r}; write one like 'volume_um3 > 0.1'")
        column, sign, wanted = match.groups()
        values = _column(table, column)[rows]
        rows = rows[COMPARED[sign](values, _like(values, wanted, column))]
    if sort:
        values = _column(table, sort)
        # All rows are in their order, and a copy of a long column costs.
        values = values if len(rows) == len(values) else values[rows]
        if values.dtype.kind in "fiub":
            key = values.astype(np.float64 if values.dtype.kind == "f" else np.int64, copy=False)
            order = np.argsort(-key if down else key, kind="stable")
        else:
            order = np.argsort(values.astype(str), kind="stable")
            order = order[::-1] if down else order
        rows = rows[order]
    return rows


def page(
    contents: Contents,
    name: str,
    *,
    conditions: str = "",
    sort: str | None = None,
    down: bool = False,
    begin: int = 0,
) -> dict[str, Any]:
    """A page of rows: columns, units, values, places in the frame of the images, and how many there are."""
    table = contents.table(name)
    rows = picked(table, conditions, sort, down)
    shown = rows[begin : begin + AT_ONCE]
    schema = table.schema
    found = _taken(table, shown)
    columns = [c for c in schema.names if c not in CORNERS]
    units = [(schema.field(c).metadata or {}).get(b"unit", b"").decode() for c in columns]
    units = [UNIT_SIGNS.get(unit, unit) for unit in units]
    return {
        "name": name,
        "columns": columns,
        "units": units,
        "rows": [
            [_plain(v) for v in values]
            for values in zip(*(found[c].to_pylist() for c in columns), strict=True)
        ],
        "index": shown.tolist(),
        "places": places(contents, table, found),
        "total": len(rows),
        "image": image.name if (image := contents.labels_of(table)) else None,
    }


def places(contents: Contents, table: Stored, rows: pa.Table) -> list[list[float] | None]:
    """(x, y, z) in nm of each row, in the frame of the images; None where a row has no place."""
    columns = place_columns(rows.column_names)
    if columns is None:
        return [None] * len(rows)
    z, y, x = contents.corner_of(table)
    at = zip(*(rows[c].to_pylist() for c in reversed(columns)), strict=True)
    return [None if None in p else [a + b for a, b in zip(p, (x, y, z), strict=True)] for p in at]


def _taken(table: Stored, rows: np.ndarray[Any, Any]) -> pa.Table:
    """Some rows, in this order; read in small parts, as a large table may be one group of rows."""
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    parts, begin = [], 0
    with table.opened(buffer_size=BUFFER) as file:
        for batch in file.iter_batches(batch_size=READ_AT_ONCE, use_threads=False):
            low, high = np.searchsorted(ascending, (begin, begin + len(batch)))
            if high > low:
                parts.append(batch.take(as_arrow(ascending[low:high] - begin)))
            begin += len(batch)
            if high == len(ascending):
                break
        found = pa.Table.from_batches(parts, file.schema_arrow)
    pa.default_memory_pool().release_unused()
    return found.take(as_arrow(np.argsort(order, kind="stable")))


def _column(table: Stored, name: str) -> np.ndarray[Any, Any]:
    found = table.column(name)
    if found is None:
        raise InputError(f"table {table.product.name!r} has no column {name!r}; it has {table.names}")
    return found


def _like(values: np.ndarray[Any, Any], text: str, column: str) -> Any:
    """`text` as what a column holds."""
    if values.dtype.kind not in "fiub":
        return text.strip("'\"")
    if values.dtype.kind == "b" and text.lower() in ("true", "false", "yes", "no"):
        return text.lower() in ("true", "yes")
    try:
        number = whole_number(text)
        return float(text) if number is None else number
    except ValueError as err:
        raise InputError(f"column {column!r} holds numbers, got {text!r}") from err


def _plain(value: Any) -> Any:
    """A value as JSON takes it; whole numbers that JavaScript would round, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value


def columns_of_numbers(tables: Sequence[Stored]) -> dict[str, list[str]]:
    """Of each table with a row per object the columns that objects can be coloured by."""
    found = {}
    for table in tables:
        schema = table.schema
        numbers = [
            f.name
            for f in schema
            if (pa.types.is_floating(f.type) or pa.types.is_integer(f.type) or pa.types.is_boolean(f.type))
            and f.name not in (*CORNERS, "label")
        ]
        if "label" in schema.names and numbers:
            found[table.product.name] = numbers
    return found


def own_rows(table: Stored) -> Any:
    """Rows of objects of the image that a table is about: of contacts those of side a."""
    if "side" not in table.names:
        return slice(None)
    with table.opened(buffer_size=BUFFER, read_dictionary=["side"]) as file:
        batches = file.iter_batches(READ_AT_ONCE, columns=["side"], use_threads=False)
        return np.concatenate([np.zeros(0, bool), *(_is_side_a(batch["side"]) for batch in batches)])


def _is_side_a(coded: pa.DictionaryArray) -> np.ndarray[Any, Any]:
    # As texts of Python a column would take a hundred bytes per row.
    side = coded.dictionary.to_pylist()
    found: np.ndarray[Any, Any] = as_numpy(coded.indices) == (side.index("a") if "a" in side else -1)
    return found


def is_one_row_each(table: Stored) -> bool:
    """Whether no object has two rows, so that a row tells the colour of an object."""
    sided = "side" in table.names
    last, ascending, parts = np.zeros(1, np.uint64), True, []
    with table.opened(buffer_size=BUFFER, read_dictionary=["side"] if sided else None) as file:
        wanted = ["label", "side"] if sided else ["label"]
        for batch in file.iter_batches(READ_AT_ONCE, columns=wanted, use_threads=False):
            labels = as_numpy(batch["label"]).astype(np.uint64, copy=False)
            if sided:
                labels = labels[_is_side_a(batch["side"])]
            seen = np.concatenate([last, labels])
            # Rows of one object mostly follow each other: a long table need not be read to its end.
            if (seen[1:] == seen[:-1]).any():
                return False
            ascending &= bool((seen[1:] > seen[:-1]).all())
            parts.append(labels)
            last = seen[-1:]
    labels = np.concatenate(parts) if parts and not ascending else last
    return ascending or len(np.unique(labels)) == len(labels)


def jumps(contents: Contents) -> list[dict[str, Any]]:
    """The rows that are most worth a look: the worst seams, the thinnest necks, the largest contacts."""
    found = []
    for name, table in contents.tables.items():
        by, down = WORST.get(table.product.kind, (None, False))
        if by is None:
            continue
        listed: dict[str, Any] = {"table": name, "what": PLACED[table.product.kind], "by": by}
        try:
            if by in table.names and place_columns(table.names):
                rows = page(contents, name, sort=by, down=down)
                other = str(table.about.get("b", ""))
                partner = "" if other in contents.images else other
                if other and other == table.about.get("a"):
                    rows = _once(rows)
                found.append(listed | _worst(rows, by, down, partner))
        except InputError as err:
            # One that is damaged keeps no other away.
            found.append(listed | {"rows": [], "wrong": str(err)})
    return found


def _once(rows: dict[str, Any]) -> dict[str, Any]:
    """Of contacts of objects with each other each pair from the side of the smaller id."""
    a, b = (rows["columns"].index(name) for name in ("label_a", "label_b"))
    kept = [i for i, row in enumerate(rows["rows"]) if int(row[a]) < int(row[b])]
    return rows | {name: [rows[name][i] for i in kept] for name in ("rows", "places")}


def _worst(rows: dict[str, Any], by: str, down: bool, partner: str) -> dict[str, Any]:
    """Of a page of rows the first ones: whose they are, their value, where they lie.

    `partner` is the class that objects touch; '' of other objects.
    """
    at = {name: i for i, name in enumerate(rows["columns"])}
    # Of contacts with a class the other side may have no id; blocks count from 0.
    called = [n for n in OF if n in at and (OF[n] or any(row[at[n]] for row in rows["rows"]))]
    own = next((at[name] for name in ("label", "label_a") if name in at), None)
    return {
        "unit": rows["units"][at[by]],
        "first": "largest" if down else "smallest",
        "image": rows["image"],
        "rows": [
            {
                "of": " and ".join(
                    partner if partner and name == "label_b" else f"{OF[name]}{row[at[name]]}"
                    for name in called
                ),
                "label": None if own is None or not row[own] else str(row[own]),
                "value": row[at[by]],
                "place": place,
            }
            for row, place in zip(rows["rows"][:JUMPS], rows["places"][:JUMPS], strict=True)
        ],
    }
