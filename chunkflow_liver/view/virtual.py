"""Images that are made as they are looked at: labels with edits applied, objects coloured by a column."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.kernels.labels.relabel import relabel
from chunkflow_liver.ops.edit.lists import whole_number
from chunkflow_liver.store.volume import Volume

SIDE = 64
"""Voxels along the side of a chunk: 1 MiB of float32, some milliseconds to make."""
Values = np.ndarray[Any, Any]
Made = Callable[[Values, Box, Volume], Values]
"""What becomes of the labels of a box of a level."""


@dataclass(frozen=True)
class Virtual:
    """An OME-Zarr image that is not stored: every chunk is computed from one box of the labels.

    Attributes
    ----------
    levels : tuple of Volume
        Of the labels.
    dtype : str
    made : callable
        (labels of a box, the box, the level) -> values.
    """

    levels: tuple[Volume, ...]
    dtype: str
    made: Made

    def get(self, key: str) -> bytes | None:
        """What stands under a key; None where there is nothing.

        Raises
        ------
        ChunkError
            If the labels cannot be read.
        """
        if key == "zarr.json":
            return json.dumps(self._group()).encode()
        first, _, rest = key.partition("/")
        number = whole_number(first)
        if number is None or number >= len(self.levels):
            return None
        level = self.levels[number]
        if rest == "zarr.json":
            return json.dumps(self._array(level)).encode()
        begin, *parts = rest.split("/")
        at = [whole_number(p) for p in parts]
        match at:
            case [int(z), int(y), int(x)] if begin == "c":
                return self._chunk(level, (z, y, x))
        return None

    def read(self, number: int, box: Box) -> Values:
        """Values of a box of one of the levels."""
        level = self.levels[number]
        return self.made(level.read(box), box, level).astype(self.dtype, copy=False)

    def at(self, number: int) -> Seen:
        """One of the levels, to be read like a stored one."""
        return Seen(self, number)

    def _group(self) -> dict[str, Any]:
        datasets = [
            {
                "path": str(i),
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(v.voxel_nm)},
                    {"type": "translation", "translation": list(v.origin_nm)},
                ],
            }
            for i, v in enumerate(self.levels)
        ]
        axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
        ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    def _array(self, level: Volume) -> dict[str, Any]:
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(level.shape),
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [SIDE] * 3}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "dimension_names": ["z", "y", "x"],
            "attributes": {},
        }

    def _chunk(self, level: Volume, at: Zyx) -> bytes | None:
        start = cast(Zyx, tuple(i * SIDE for i in at))
        whole = Box(start, cast(Zyx, tuple(i + SIDE for i in start)))
        seen = whole.clip(level.box)
        if not math.prod(seen.shape) or any(a >= n for a, n in zip(start, level.shape, strict=True)):
            return None
        values = self.made(level.read(seen), seen, level)
        out = np.zeros(whole.shape, self.dtype)
        out[seen.relative_to(whole).slices] = values
        return out.astype(out.dtype.newbyteorder("<"), copy=False).tobytes()


@dataclass(frozen=True)
class Seen:
    """A level of an image that is not stored, as far as who reads it needs a volume."""

    of: Virtual
    number: int

    @property
    def stored(self) -> Volume:
        return self.of.levels[self.number]

    @property
    def url(self) -> str:
        return self.stored.url

    @property
    def shape(self) -> Zyx:
        return self.stored.shape

    @property
    def voxel_nm(self) -> Nm:
        return self.stored.voxel_nm

    @property
    def origin_nm(self) -> Nm:
        return self.stored.origin_nm

    @property
    def dtype(self) -> str:
        return self.of.dtype

    def read(self, box: Box) -> Values:
        return self.of.read(self.number, box)


@dataclass(frozen=True)
class Ids:
    """Ids of the rows of a table, ready to be looked up; shared by all of its columns.

    Attributes
    ----------
    ids : ndarray of shape (N,), uint64
        Ascending.
    order : ndarray of shape (N,), integer, optional
        The row of each; None where the rows are in this order already.
    """

    ids: Values
    order: Values | None

    @classmethod
    def of(cls, labels: Values) -> Ids:
        ids = labels.astype(np.uint64, copy=False)
        if (ids[1:] >= ids[:-1]).all():
            return cls(ids, None)
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], order)


def coloured(
    levels: tuple[Volume, ...],
    rows: Ids,
    values: Values,
    edited: Virtual | None = None,
    rows_for: Mapping[int, int] | None = None,
) -> Virtual:
    """Every voxel with the value of its object in a column; NaN where there is none.

    Parameters
    ----------
    levels : tuple of Volume
        Of the instances.
    rows : Ids
        Of the table.
    values : ndarray of shape (N,)
        The column.
    edited : Virtual, optional
        The instances with edits that wait: an object has the value of the id that it has now.
    rows_for : mapping of int, optional
        Of ids that no row has, those whose value they take.
    """
    ids, of = rows.ids, values.astype(np.float32)
    of = of if rows.order is None else of[rows.order]
    if not len(ids):
        raise InputError("the table has no rows to colour objects by")
    fresh = np.array(sorted(rows_for or {}), np.uint64)
    known = np.array([(rows_for or {})[int(i)] for i in fresh], np.uint64)

    def made(found: Values, box: Box, level: Volume) -> Values:
        now = found if edited is None else edited.made(found, box, level)
        here, inverse = np.unique(now, return_inverse=True)
        here = relabel(here.astype(np.uint64), fresh, known, keep=True)
        at = np.minimum(np.searchsorted(ids, here), len(ids) - 1)
        told = np.where((ids[at] == here) & (here > 0), of[at], np.float32(np.nan))
        return told.astype(np.float32)[inverse.reshape(found.shape)]

    return Virtual(levels, "float32", made)
