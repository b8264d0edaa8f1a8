"""Every feature's distribution and extreme objects, and a gallery of objects sorted by any feature."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.reports.samples import levels_of
from chunkflow_liver.reports.slices import Pictures, raw_levels, scale_bar_nm
from chunkflow_liver.reports.tables import ENDS, Stored, extreme_rows
from chunkflow_liver.reports.thumbnails import SIDE, bars, span, thumbnail, width_nm
from chunkflow_liver.reports.words import cell, heading, length, number
from chunkflow_liver.reports.work import Work
from chunkflow_liver.store.volume import Volume

MOST_OBJECTS = 96
"""Thumbnails of one table: about 0.4 MB."""
TYPICAL = 24
"""Of these, objects at even steps from the smallest to the largest."""
NOT_MEASURED = ("label", "bbox_", "centroid_", "major_", "parent", "neighbour_label")
BOX = tuple(f"bbox_{a}_{end}" for end in ("min", "max") for a in "zyx")


@dataclass(frozen=True)
class Feature:
    """One measured column; `path` draws its distribution from `span`[0] to `span`[1].

    Its ends are (row of `Gallery.cards` or None, label, value).
    """

    name: str
    title: str
    unit: str
    path: str
    span: tuple[str, str]
    median: str
    missing: int
    low: tuple[int | None, str, str]
    high: tuple[int | None, str, str]


@dataclass(frozen=True)
class Card:
    """One object: its picture with a scale bar (pixels, text), and all features as JSON numbers and texts."""

    id: str
    label: str
    picture: str
    bar: tuple[float, str]
    values: str
    texts: str
    first: str


@dataclass
class Gallery:
    """What the page shows of one instance table."""

    name: str
    total: int
    features: list[Feature] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    problem: str = ""

    def pictures_of(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Ids of the pictures of objects, '' for those that have none."""
        known = {card.label: card.id for card in self.cards if card.picture}
        return tuple(known.get(label, "") for label in labels)


def gallery(table: Stored, place: str, work: Work, drawn: Pictures) -> Gallery | None:
    """Features and gallery of an instance table; None where it has no rows or no numbers.

    Parameters
    ----------
    table : Stored
    place : str
        Begins the ids of pictures in the page.
    work : Work
    drawn : Pictures
        Says which grey values are black and white.

    Notes
    -----
    Reads one column at a time, and pictures of at most `MOST_OBJECTS` objects: the ends of every feature,
    and objects at even steps of volume.
    """
    fields = [f for f in pq.read_schema(table.path) if _measured(f)]
    if not table.rows or not fields:
        return None
    found = Gallery(table.product.name, table.rows)
    rows, ends = _chosen(table, [f.name for f in fields])
    labels = table.column("label")
    label = np.zeros(len(rows), np.uint64) if labels is None else labels[rows]
    pictures, scales = _pictures(table, rows, label, work, drawn, found)
    values = {f.name: _taken(table, f.name, rows) for f in fields}
    at = {row: i for i, row in enumerate(rows)}
    for f in fields:
        column = table.column(f.name)
        if column is None:
            continue
        known = column[np.isfinite(column.astype(np.float64))]
        low, high = ends[f.name]
        title, unit = heading(f.name, (f.metadata or {}).get(b"unit", b"").decode())
        found.features.append(
            Feature(
                f.name,
                title,
                unit,
                bars(column.astype(np.float64)),
                _span(known.astype(np.float64)),
                number(float(np.median(known))) if len(known) else "–",
                len(column) - len(known),
                _end(labels, low, at, column, f.name),
                _end(labels, high, at, column, f.name),
            )
        )
    # As many digits as a text shows are enough to sort by.
    numbers = np.array([values[f.name].astype(np.float64) for f in fields]).T
    for i, row in enumerate(numbers):
        texts = [cell(values[f.name][i].item(), f.name) for f in fields]
        plain = [float(f"{v:.6g}") if np.isfinite(v) else None for v in row]
        found.cards.append(
            Card(
                f"{place}-{i}",
                str(label[i]),
                pictures[i],
                scales[i],
                json.dumps(plain),
                json.dumps(texts),
                texts[0],
            )
        )
    return found


def _measured(f: pa.Field) -> bool:
    numeric = pa.types.is_integer(f.type) or pa.types.is_floating(f.type)
    return bool(numeric) and not f.name.startswith(NOT_MEASURED)


def _chosen(table: Stored, names: list[str]) -> tuple[list[int], dict[str, tuple[int | None, int | None]]]:
    """Rows to show, and the rows with the smallest and the largest value of every feature."""
    first = table.column("volume_um3" if "volume_um3" in names else names[0])
    order = np.argsort(np.zeros(0) if first is None else first, kind="stable")
    steps = np.unique(np.linspace(0, len(order) - 1, min(TYPICAL, len(order))).round().astype(int))
    rows = order[steps].tolist()
    rows += [row for _, by, smallest in ENDS for row in extreme_rows(table, by, smallest=smallest)]
    ends: dict[str, tuple[int | None, int | None]] = {}
    more: list[list[int]] = [[], [], []]
    for name in names:
        column = table.column(name)
        ends[name] = (None, None)
        if column is None:
            continue
        values = column.astype(np.float64)
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            continue
        # The first of equals at both ends.
        up, down = (
            known[np.argsort(v[known], kind="stable")[: len(more)]].tolist() for v in (values, -values)
        )
        ends[name] = (up[0], down[0])
        for depth, wanted in enumerate(more):
            wanted += up[depth : depth + 1] + down[depth : depth + 1]
    # The ends of all features before the next to them.
    everything = list(dict.fromkeys(rows + [row for wanted in more for row in wanted]))
    return everything[:MOST_OBJECTS], ends


def _taken(table: Stored, name: str, rows: list[int]) -> np.ndarray[Any, Any]:
    column = table.column(name)
    return np.zeros(len(rows)) if column is None else column[rows]


def _span(known: np.ndarray[Any, Any]) -> tuple[str, str]:
    """Where the bars of a distribution begin and end."""
    if not len(known):
        return "", ""
    low, high = span(known)
    return number(low), number(high)


def _end(
    labels: np.ndarray[Any, Any] | None,
    row: int | None,
    at: dict[int, int],
    column: np.ndarray[Any, Any],
    name: str,
) -> tuple[int | None, str, str]:
    """Card, label and value of the object at one end of a feature."""
    if row is None:
        return None, "", "–"
    return at.get(row), "" if labels is None else str(labels[row]), cell(column[row].item(), name)


def _pictures(
    table: Stored, rows: list[int], label: np.ndarray[Any, Any], work: Work, drawn: Pictures, found: Gallery
) -> tuple[list[str], list[tuple[float, str]]]:
    """A thumbnail of every row with its scale bar, '' where there can be none; `found.problem` says why."""
    nothing = [""] * len(rows), [(0.0, "")] * len(rows)
    name = str(table.about.get("instances", ""))
    handle = next((p.handle for p in work.products if p.name == name and isinstance(p.handle, Volume)), None)
    missing = [c for c in BOX if c not in table.names]
    if handle is None or missing:
        found.problem = f"the table has no columns {missing}" if missing else f"no image {name!r} in this run"
        return nothing
    places = np.stack([_taken(table, c, rows) for c in BOX], axis=1).tolist()
    boxes = [Box(zyx(b[:3]), zyx(b[3:])) for b in places]
    try:
        levels, raw = levels_of(handle), raw_levels(work, [])
        shown = [
            thumbnail(levels, raw, int(n), box, grey=(drawn.black, drawn.white))
            for n, box in zip(label.tolist(), boxes, strict=True)
        ]
        widths = [width_nm(levels[0], box) for box in boxes]
        # At most half of the width: a quarter of so small a picture is hard to see.
        bars_nm = [scale_bar_nm(2 * w) for w in widths]
        return shown, [(SIDE * nm / w, length(nm)) for nm, w in zip(bars_nm, widths, strict=True)]
    except (ChunkflowLiverError, OSError) as err:
        found.problem = str(err)
        return nothing
