"""Segment properties for neuroglancer: names of classes, and columns of the table to sort and filter by."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chunkflow_liver.errors import InputError
from chunkflow_liver.reports.tables import BUFFER, READ_AT_ONCE, Stored, as_arrow, as_numpy
from chunkflow_liver.store.exports.tables import number_type, segment_properties
from chunkflow_liver.view.contents import CORNERS, Contents, Image
from chunkflow_liver.view.rows import columns_of_numbers, own_rows
from chunkflow_liver.view.virtual import Ids

FEW_ROWS = 50_000
"""Up to so many objects all columns go along: more would keep the browser busy."""
FIRST = ("class", "volume_um3", "touches_border", "contact_fraction")
"""The columns of more objects."""


@dataclass(frozen=True)
class Beside:
    """A column of another table with a row per object, to stand beside those of the table of instances."""

    table: Stored
    column: str
    called: str

    def values(self) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
        """What gives the values of some objects as float32, NaN of those that the table lacks."""
        own = own_rows(self.table)
        rows = Ids.of(self.table.values("label")[own])
        values = self.table.values(self.column)[own].astype(np.float32)
        values = np.append(values if rows.order is None else values[rows.order], np.float32(np.nan))

        def of(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            absent = len(rows.ids)
            at = np.searchsorted(rows.ids, labels)
            here = np.minimum(at, absent - 1)
            there = rows.ids[here] == labels if absent else np.zeros(len(labels), bool)
            found: np.ndarray[Any, Any] = values[np.where(there, here, absent)]
            return found

        return of


def properties(contents: Contents, image: Image, tables: Sequence[Stored]) -> bytes | Iterator[bytes] | None:
    """The document `info`, of many objects part by part; None where nothing is known of the segments.

    `tables` are those with a row for each object of the image.
    """
    classes = [(name, number) for name, number in image.finest.classes if number]
    if classes:
        return json.dumps(
            {
                "@type": "neuroglancer_segment_properties",
                "inline": {
                    "ids": [str(number) for _, number in classes],
                    "properties": [{"id": "label", "type": "label", "values": [name for name, _ in classes]}],
                },
            }
        ).encode()
    table = contents.measured(image.name)
    if table is None:
        return None
    others = list(_beside(table, tables))
    if table.rows <= FEW_ROWS:
        names = [n for n in table.names if n not in CORNERS]
        with table.opened() as file:
            found = file.read(columns=names)
        labels = table.values("label").astype(np.uint64, copy=False)
        for other in others:
            if np.isfinite(values := other.values()(labels)).all():
                field = other.table.schema.field(other.column)
                found = found.append_column(
                    pa.field(other.called, pa.float32(), metadata=field.metadata), as_arrow(values)
                )
        return json.dumps(segment_properties(found), allow_nan=False).encode()
    return _large(table, [n for n in FIRST if n in table.names], [o for o in others if o.column in FIRST])


def _beside(table: Stored, tables: Sequence[Stored]) -> Iterator[Beside]:
    """Columns of numbers of other tables, by names that are used once and can be typed in a query."""
    taken = set(table.names)
    others = [other for other in tables if other.product.name != table.product.name and _is_whole(other)]
    for name, columns in columns_of_numbers(others).items():
        other = next(t for t in others if t.product.name == name)
        for column in columns:
            called = column if column not in taken else re.sub(r"\W", "_", f"{name}_{column}")
            if called not in taken:
                taken.add(called)
                yield Beside(other, column, called)


def _is_whole(table: Stored) -> bool:
    """Whether a table can be read; of one that is damaged it is said where its rows are asked for."""
    with contextlib.suppress(InputError):
        table.values("label")
        return True
    return False


def _large(table: Stored, columns: list[str], others: Sequence[Beside]) -> Iterator[bytes]:
    """Few columns of many objects; neither a column nor the text is held as a whole."""
    with table.opened(read_dictionary=columns, buffer_size=BUFFER) as file:
        yield from _told(file, columns, others)


def _told(file: pq.ParquetFile, columns: list[str], others: Sequence[Beside]) -> Iterator[bytes]:
    yield b'{"@type":"neuroglancer_segment_properties","inline":{"ids":['
    yield from _texts(_parts(file, "label"), b'"', b'"')
    yield b'],"properties":['
    between = b""
    for name in columns:
        about = _about(file, name)
        if about is None:
            continue
        yield between + json.dumps(about)[:-1].encode() + b',"values":['
        if about["type"] == "tags":
            at = {text: i for i, text in enumerate(about["tags"])}
            yield from _texts((_coded(part, at) for part in _parts(file, name)), b"[", b"]")
        else:
            kind = about["data_type"]
            numbers = (as_numpy(part).astype(kind) for part in _parts(file, name))
            yield from _texts(map(as_arrow, numbers), b"", b"")
        yield b"]}"
        between = b","
    for other in others:
        of = other.values()
        if all(np.isfinite(of(as_numpy(part))).all() for part in _parts(file, "label")):
            about = {"id": other.called, "type": "number", "data_type": "float32"}
            yield between + json.dumps(about)[:-1].encode() + b',"values":['
            yield from _texts((as_arrow(of(as_numpy(part))) for part in _parts(file, "label")), b"", b"")
            yield b"]}"
            between = b","
    yield b"]}}"


def _parts(file: pq.ParquetFile, name: str) -> Iterator[pa.Array]:
    """A column, some rows at a time."""
    for batch in file.iter_batches(batch_size=READ_AT_ONCE, columns=[name], use_threads=False):
        yield batch.column(0)


def _about(file: pq.ParquetFile, name: str) -> dict[str, Any] | None:
    """How a property is described; None of a column with missing values."""
    texts: set[str] = set()
    ends: list[Any] = []
    for part in _parts(file, name):
        if part.null_count:
            return None
        if pa.types.is_dictionary(part.type):
            texts |= set(part.unique().to_pylist())
        else:
            values = as_numpy(part)
            values = values.astype(np.uint8) if values.dtype == bool else values
            # Of a column with NaN both ends are NaN.
            ends += [values.min(), values.max()]
    if texts:
        return {"id": name, "type": "tags", "tags": sorted(texts)}
    kind = number_type(np.array(ends))
    return None if kind is None else {"id": name, "type": "number", "data_type": kind}


def _coded(part: pa.DictionaryArray, at: Mapping[str, int]) -> pa.Array:
    """Texts as their numbers among the tags."""
    known = np.array([at[text] for text in part.dictionary.to_pylist()], np.int32)
    return as_arrow(known[as_numpy(part.indices)])


def _texts(parts: Iterable[pa.Array], mark: bytes, end: bytes) -> Iterator[bytes]:
    """Numbers with commas between."""
    between = end + b"," + mark
    joint = pa.StringArray.from_buffers(1, _span(len(between)).buffers()[1], pa.py_buffer(between))
    for number, part in enumerate(parts):
        # One text at once: as objects of Python the texts would take several times the room.
        texts = pa.ListArray.from_arrays(_span(len(part)), pc.cast(part, pa.string()))
        yield (between if number else mark) + pc.binary_join(texts, joint)[0].as_py().encode()
    yield end


def _span(length: int) -> pa.Array:
    """Where the only list, or text, of an array begins and ends."""
    return as_arrow(np.array([0, length], np.int32))
