"""Segment properties for neuroglancer: names of classes, and columns of the table to sort and filter by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chunkflow_liver.reports.tables import BUFFER, READ_AT_ONCE, Stored, as_arrow, as_numpy
from chunkflow_liver.store.exports.tables import number_type, segment_properties
from chunkflow_liver.view.contents import CORNERS, Contents, Image

FEW_ROWS = 50_000
"""Up to so many objects all columns go along: more would keep the browser busy."""
FIRST = ("class", "volume_um3", "touches_border", "contact_fraction")
"""The columns of more objects."""


def properties(contents: Contents, image: Image) -> bytes | Iterator[bytes] | None:
    """The document `info`, of many objects part by part; None where nothing is known of the segments."""
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
    if table.rows <= FEW_ROWS:
        names = [n for n in table.names if n not in CORNERS]
        with table.opened() as file:
            found = segment_properties(file.read(columns=names))
        return json.dumps(found, allow_nan=False).encode()
    return _large(table, [n for n in FIRST if n in table.names])


def _large(table: Stored, columns: list[str]) -> Iterator[bytes]:
    """Few columns of many objects; neither a column nor the text is held as a whole."""
    with table.opened(read_dictionary=columns, buffer_size=BUFFER) as file:
        yield from _told(file, columns)


def _told(file: pq.ParquetFile, columns: list[str]) -> Iterator[bytes]:
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
