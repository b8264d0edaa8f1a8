"""Extreme objects, every feature's distribution and ends, and a gallery sorted by any feature."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import Pictures, raw_levels, scale_bar_nm
from chunkflow_liver.reports.pictures.thumbnails import SIDE, bars, span, thumbnail
from chunkflow_liver.reports.tables import (
    ENDS,
    EVERY,
    WHOLE,
    Shown,
    Stored,
    cut_text,
    extreme_rows,
    extremes,
)
from chunkflow_liver.reports.words import cell, heading, length, number
from chunkflow_liver.reports.work import Work
from chunkflow_liver.store.volume import Volume

MOST_OBJECTS = 96
"""Thumbnails of one table: about 0.4 MB."""
TYPICAL = 24
"""Of these, objects at even steps from the smallest to the largest."""
EXTREME_COLUMNS = (
    "label",
    "class",
    "volume_um3",
    "axis_major_nm",
    "axis_minor_nm",
    "centroid_z_nm",
    "centroid_y_nm",
    "centroid_x_nm",
    "touches_border",
)
TITLES = {
    "shape": "Shape",
    "firstorder": "Grey values, first order",
    "glcm": "Texture: co-occurrence (GLCM)",
    "gldm": "Texture: dependence (GLDM)",
    "ngtdm": "Texture: neighbourhood (NGTDM)",
    "glrlm": "Texture: runs (GLRLM)",
    "glszm": "Texture: zones (GLSZM)",
}
"""What groups of features are called, by the prefix of PyRadiomics' names; another prefix stands as it is."""
BASICS = ("voxels", "volume", "axis", "intensity")
"""How the columns of 'basic' begin."""
NOT_MEASURED = ("label", "bbox_", "centroid_", "major_", "parent", "neighbour_label")
BOX = tuple(f"bbox_{a}_{end}" for end in ("min", "max") for a in "zyx")


End = tuple[int | None, str, str]


@dataclass(frozen=True)
class Feature:
    """One measured column; `path` draws its distribution from `span`[0] to `span`[1].

    `ends` holds, for each choice of objects, its scope and the smallest and largest of them as (row of
    `Gallery.cards` or None, label, value).
    """

    name: str
    group: str
    title: str
    unit: str
    path: str
    span: tuple[str, str]
    median: str
    missing: int
    ends: tuple[tuple[str, End, End], ...]


@dataclass(frozen=True)
class Card:
    """One object: picture, plane and scale bar (pixels, text), and features as JSON numbers and texts.

    `cut` says whether the border of the volume cuts it, where others are whole.
    """

    id: str
    label: str
    cut: bool
    picture: str
    plane: str
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
    cut: str = ""

    @property
    def choice(self) -> bool:
        """Whether some objects are whole and some are not."""
        return any(scope for f in self.features for scope, *_ in f.ends)

    @property
    def middle_of(self) -> str:
        """The objects that the medians are of."""
        return "the whole objects" if self.choice else "all objects"

    @property
    def groups(self) -> list[tuple[str, list[tuple[int, Feature]]]]:
        """Title and (place, feature) of every group, in the order of their first features."""
        found: dict[str, list[tuple[int, Feature]]] = {}
        for i, feature in enumerate(self.features):
            found.setdefault(feature.group, []).append((i, feature))
        return list(found.items())

    def pictures_of(self, labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Ids and planes of the pictures of objects, '' for those that have none."""
        known = {card.label: (card.id, card.plane) for card in self.cards if card.picture}
        return tuple(known.get(label, ("", "")) for label in labels)


@dataclass
class Extremes:
    """The extreme objects of one instance table; `cut` says how many the border cuts."""

    name: str
    cut: str
    tables: list[Shown] = field(default_factory=list)

    @property
    def choice(self) -> bool:
        """Whether some objects are whole and some are not."""
        return any(shown.scope for shown in self.tables)


def extreme_objects(table: Stored, pictured: Gallery | None) -> Extremes:
    """The largest, smallest and longest objects: of those that are whole, and of all."""
    found = Extremes(table.product.name, cut_text(table))
    for scope, among in table.scopes().items():
        for title, by, smallest in ENDS:
            order = extreme_rows(table, by, among=among, smallest=smallest)
            rows = extremes(table, order, EXTREME_COLUMNS, title=f"{title} of {found.name}")
            if rows is not None:
                labels = [row[0][0] for row in rows.rows] if "label" in table.names else []
                pictures = pictured.pictures_of(labels) if pictured else ()
                found.tables.append(replace(rows, pictures=pictures, scope=scope))
    return found


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
    found = Gallery(table.product.name, table.rows, cut=cut_text(table))
    scopes = table.scopes()
    # Whole objects first: of those at the border a part is missing.
    first = next(iter(scopes.values()))
    rows, ends = _chosen(table, [f.name for f in fields], scopes)
    every = scopes.get(EVERY)
    cut = np.zeros(table.rows, bool) if every is None else every & ~scopes[WHOLE]
    labels = table.column("label")
    label = np.zeros(len(rows), np.uint64) if labels is None else labels[rows]
    pictures = _pictures(table, rows, label, work, drawn, found)
    values = {f.name: _taken(table, f.name, rows) for f in fields}
    at = {row: i for i, row in enumerate(rows)}
    for f in fields:
        column = table.column(f.name)
        if column is None:
            continue
        some = column[first & np.isfinite(column.astype(np.float64))]
        known = column[np.isfinite(column.astype(np.float64))]
        title, unit = heading(f.name, (f.metadata or {}).get(b"unit", b"").decode())
        found.features.append(
            Feature(
                f.name,
                group_of(f.name),
                title,
                unit,
                bars(column.astype(np.float64)),
                _span(known.astype(np.float64)),
                number(float(np.median(some))) if len(some) else "–",
                len(column) - len(known),
                tuple(
                    (
                        scope,
                        _end(labels, low, at, column, f.name),
                        _end(labels, high, at, column, f.name),
                    )
                    for scope, (low, high) in ends[f.name].items()
                ),
            )
        )
    # As many digits as a text shows are enough to sort by.
    numbers = np.array([values[f.name].astype(np.float64) for f in fields]).T
    for i, values_here in enumerate(numbers):
        texts = [cell(values[f.name][i].item(), f.name) for f in fields]
        plain = [float(f"{v:.6g}") if np.isfinite(v) else None for v in values_here]
        found.cards.append(
            Card(
                f"{place}-{i}",
                str(label[i]),
                bool(cut[rows[i]]),
                *pictures[i],
                json.dumps(plain),
                json.dumps(texts),
                texts[0],
            )
        )
    return found


def _measured(f: pa.Field) -> bool:
    numeric = pa.types.is_integer(f.type) or pa.types.is_floating(f.type)
    return bool(numeric) and not f.name.startswith(NOT_MEASURED)


def group_of(name: str) -> str:
    """The title of the group that a column belongs to; PyRadiomics' names are `group_Name`."""
    named = re.fullmatch(r"(.+)_[A-Z0-9][A-Za-z0-9]*", name)
    if named:
        return TITLES.get(named[1], named[1])
    return "Basics" if name.startswith(BASICS) else "Form and surroundings"


Ends = dict[str, dict[str, tuple[int | None, int | None]]]


def _chosen(
    table: Stored, names: list[str], scopes: dict[str, np.ndarray[Any, Any]]
) -> tuple[list[int], Ends]:
    """Rows to show, and the rows with the smallest and the largest value of every feature in every scope."""
    first = table.column("volume_um3" if "volume_um3" in names else names[0])
    order = np.argsort(np.zeros(table.rows) if first is None else first, kind="stable")
    rows: list[int] = []
    for among in scopes.values():
        here = order[among[order]]
        steps = np.unique(np.linspace(0, len(here) - 1, min(TYPICAL, len(here))).round().astype(int))
        rows += here[steps].tolist()
        for _, by, smallest in ENDS:
            rows += extreme_rows(table, by, among=among, smallest=smallest)
    ends: Ends = {}
    more: list[list[int]] = [[], [], []]
    for name in names:
        column = table.column(name)
        values = np.full(table.rows, np.nan) if column is None else column.astype(np.float64)
        ends[name] = {}
        for scope, among in scopes.items():
            known = np.flatnonzero(np.isfinite(values) & among)
            # The first of equals at both ends.
            up, down = (
                known[np.argsort(v[known], kind="stable")[: len(more)]].tolist() for v in (values, -values)
            )
            ends[name][scope] = (up[0], down[0]) if up else (None, None)
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
) -> list[tuple[str, str, tuple[float, str]]]:
    """Thumbnail, plane and scale bar of every row, '' where there can be none; `found.problem` says why."""
    nothing = [("", "", (0.0, ""))] * len(rows)
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
    except (ChunkflowLiverError, OSError) as err:
        found.problem = str(err)
        return nothing
    # At most half of the width: a quarter of so small a picture is hard to see.
    bars_nm = [scale_bar_nm(2 * t.side_nm) for t in shown]
    return [
        (t.picture, t.plane, (SIDE * nm / t.side_nm, length(nm)))
        for t, nm in zip(shown, bars_nm, strict=True)
    ]
