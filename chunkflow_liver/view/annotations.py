"""Rows of a table as points for neuroglancer: its precomputed annotations, from columns in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.edit.lists import whole_number
from chunkflow_liver.view.contents import WORST, Contents, place_columns

AT_ONCE = 500
"""Points of a cell that the browser gets: more in one place cannot be told apart."""
MOST_LEVELS = 8
MOST_PROPERTIES = 8
NM_PER_M = 1e9


@dataclass(frozen=True)
class Annotations:
    """Points of one table, each in one cell of one level of a spatial index.

    Attributes
    ----------
    points : ndarray of shape (N, 3), float32
        Places along (x, y, z) in nm, in the frame of the images.
    properties : mapping of ndarray of shape (N,), float32
        Columns that are told with a point.
    labels : ndarray of shape (N,), uint64, optional
        The object of each row.
    level : ndarray of shape (N,), uint8
        Level of the index that a point is told in: where a cell is full, the rest goes to the next one.
    low, high : ndarray of shape (3,)
        Bounds along (x, y, z), in nm.

    References
    ----------
    github.com/google/neuroglancer, src/datasource/precomputed/annotations.md
    """

    points: np.ndarray[Any, Any]
    properties: Mapping[str, np.ndarray[Any, Any]]
    labels: np.ndarray[Any, Any] | None
    level: np.ndarray[Any, Any]
    low: np.ndarray[Any, Any]
    high: np.ndarray[Any, Any]

    @property
    def levels(self) -> int:
        return int(self.level.max(initial=0)) + 1

    def info(self) -> dict[str, Any]:
        """The document `info`."""
        size = self.high - self.low
        return {
            "@type": "neuroglancer_annotations_v1",
            "dimensions": {axis: [1 / NM_PER_M, "m"] for axis in "xyz"},
            "lower_bound": self.low.tolist(),
            "upper_bound": self.high.tolist(),
            "annotation_type": "POINT",
            "properties": [{"id": name, "type": "float32"} for name in self.properties],
            "relationships": [{"id": "object", "key": "of"}] if self.labels is not None else [],
            "by_id": {"key": "by_id"},
            "spatial": [
                {
                    "key": f"level{level}",
                    "grid_shape": [1 << level] * 3,
                    "chunk_size": (size / (1 << level)).tolist(),
                    "limit": AT_ONCE,
                }
                for level in range(self.levels)
            ],
        }

    def cell(self, level: int, at: tuple[int, int, int]) -> bytes:
        """The points of a cell, as the browser reads them."""
        mine = (self.level == level) & (_cells(self.points, self.low, self.high, level) == at).all(axis=1)
        return self._several(np.flatnonzero(mine))

    def of(self, label: int) -> bytes:
        """The points of an object."""
        if self.labels is None:
            return self._several(np.zeros(0, np.int64))
        return self._several(np.flatnonzero(self.labels == np.uint64(label)))

    def row(self, row: int) -> bytes:
        """One point, with the object that it belongs to."""
        related = np.zeros(0, "<u4")
        if self.labels is not None:
            related = np.concatenate(
                [np.array([1], "<u4"), self.labels[row : row + 1].astype("<u8").view("<u4")]
            )
        return self._encoded(np.array([row])) + related.tobytes()

    def _several(self, rows: np.ndarray[Any, Any]) -> bytes:
        return np.uint64(len(rows)).tobytes() + self._encoded(rows) + rows.astype("<u8").tobytes()

    def _encoded(self, rows: np.ndarray[Any, Any]) -> bytes:
        columns = [self.points[rows], *(v[rows, None] for v in self.properties.values())]
        return np.ascontiguousarray(np.concatenate(columns, axis=1), "<f4").tobytes()


def annotated(contents: Contents, name: str) -> Annotations:
    """The rows of a table that have a place, those most worth a look first.

    Raises
    ------
    InputError
        If there is no such table, or its rows have no place.
    """
    table = contents.table(name)
    columns = place_columns(table.names)
    corner = np.array(contents.corner_of(table))
    if columns is None:
        raise InputError(f"the rows of table {name!r} have no place: it has no columns x_nm, y_nm and z_nm")
    zyx = np.stack([table.values(c).astype(np.float64) for c in columns], axis=1) + corner
    ids = next((c for c in ("label", "label_a") if c in table.names), None)
    labels = None if ids is None else table.values(ids).astype(np.uint64)
    by, largest = WORST.get(table.product.kind, (None, False))
    key = table.column(by) if by else None
    order = np.arange(len(zyx)) if key is None else np.argsort(-key if largest else key, kind="stable")
    # What makes a row worth a look is told, however far to the right it stands.
    numbers = sorted((c for c in table.names if c not in columns and c != ids), key=lambda c: c != by)
    kept: dict[str, np.ndarray[Any, Any]] = {}
    for column in numbers:
        values = table.values(column)
        if len(kept) < MOST_PROPERTIES and values.dtype.kind in "fiu":
            kept[column] = np.nan_to_num(values.astype(np.float32))
    points = zyx[:, ::-1].astype(np.float32)
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.ones(3))
    low, high = np.floor(low).astype(np.float64), np.ceil(high).astype(np.float64) + 1
    return Annotations(points, kept, labels, _levels(points, order, low, high), low, high)


def _cells(points: Any, low: Any, high: Any, level: int) -> np.ndarray[Any, Any]:
    share = (points - low) / (high - low)
    found: np.ndarray[Any, Any] = np.clip((share * (1 << level)).astype(np.int64), 0, (1 << level) - 1)
    return found


def _levels(points: Any, order: Any, low: Any, high: Any) -> np.ndarray[Any, Any]:
    """The level of each point: the first one at which its cell has room, in this order."""
    level = np.full(len(points), MOST_LEVELS, np.uint8)
    left = order
    for step in range(MOST_LEVELS):
        if not len(left):
            break
        cells = _cells(points[left], low, high, step)
        flat = np.ravel_multi_index(tuple(cells.T), (1 << step,) * 3)
        by_cell = np.argsort(flat, kind="stable")
        starts = np.searchsorted(flat[by_cell], flat[by_cell])
        rank = np.empty(len(flat), np.int64)
        rank[by_cell] = np.arange(len(flat)) - starts
        fits = rank < AT_ONCE if step < MOST_LEVELS - 1 else np.ones(len(left), bool)
        level[left[fits]] = step
        left = left[~fits]
    return level


def cell_of(text: str) -> tuple[int, int, int] | None:
    """The cell that a key names, like '0_1_0'; None if it names none."""
    at = [whole_number(p) for p in text.split("_")]
    match at:
        case [int(x), int(y), int(z)] if max(x, y, z) < 1 << MOST_LEVELS:
            return x, y, z
    return None
