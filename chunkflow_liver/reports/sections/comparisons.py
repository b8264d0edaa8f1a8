"""How well do results agree with a truth? Several of them side by side: scores, slices, the worst windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.pictures.errors import KEYS, Place, Result, error_places
from chunkflow_liver.reports.pictures.figures import INK, bare, inline, sketch
from chunkflow_liver.reports.tables import Shown, Stored, stored
from chunkflow_liver.reports.words import number, one
from chunkflow_liver.reports.work import Work, exists

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#5c5c5c")
SHARES = (
    ("dice", "Dice"),
    ("iou", "IoU"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("boundary_f1", "boundary F1"),
)
"""Scores of classes that are 1 where a result is right; the heat map has these."""
CLASS_COLUMNS = (
    *SHARES,
    ("under_segmentation", "under-segmentation"),
    ("over_segmentation", "over-segmentation"),
    ("surface_mean_nm", "surface distance, mean"),
    ("surface_p95_nm", "surface distance, 95 %"),
    ("slice_dice", "Dice, mean of slices"),
    ("voxels_found", "voxels found"),
    ("voxels_truth", "voxels true"),
)
OBJECT_SHARES = (
    ("f1", "F1"),
    ("pq", "PQ"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("mean_iou", "mean IoU of matches"),
    ("ari", "ARI"),
)
OBJECT_COLUMNS = (
    *OBJECT_SHARES,
    ("vi_split", "VI split (bits)"),
    ("vi_merge", "VI merge (bits)"),
    ("false_merges", "false merges"),
    ("false_splits", "false splits"),
    ("matched", "matched"),
    ("found", "found"),
    ("truth", "true"),
)
COUNTED = ("voxels_found", "voxels_truth", "false_merges", "false_splits", "matched", "found", "truth")
"""Scores that are whole numbers."""
KEYS_OF = {False: "class", True: "iou_threshold"}
"""What tells the rows of a table of classes, or of objects, apart."""
BESIDE = {
    "-slices": "slice evaluation",
    "-worst": "worst windows",
    "-objects": "object evaluation",
    "-surfaces": "surface evaluation",
}
"""Further tables of a comparison: ends of their names, and kinds."""
MEAN_CLASS, MEAN_TRUTH = "mean of classes", "mean of volumes"
Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Row:
    """Scores of one result against one truth, for one class or one threshold of IoU."""

    result: str
    truth: str
    what: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Bar:
    """One score of every result for one class: (result, colour, share of the width, text)."""

    what: str
    bars: list[tuple[str, str, float, str]]


@dataclass
class Comparison:
    """What the page shows of classes, or of objects."""

    title: str
    table: Shown
    score: str
    bars: list[Bar]
    heads: list[str]
    heat: list[tuple[str, list[tuple[str, float]]]]
    legend: list[tuple[str, str]]
    slices: list[tuple[str, str]] = field(default_factory=list)
    places: list[tuple[str, list[Place]]] = field(default_factory=list)
    marks: tuple[tuple[str, str], ...] = KEYS


def comparisons(work: Work, missing: list[str]) -> list[Comparison]:
    """Every comparison with a truth of a run, classes first; what cannot be read is said in `missing`."""
    found = []
    every = [stored(p) for p in work.of("evaluation") if exists(p)]
    for objects in (False, True):
        tables = [t for t in every if KEYS_OF[objects] in t.names]
        if tables:
            found.append(_comparison(work, tables, objects, missing))
    return found


def _comparison(work: Work, tables: Sequence[Stored], objects: bool, missing: list[str]) -> Comparison:
    rows = [row for table in tables for row in _rows(work, table, objects)]
    if not objects:
        rows = _with_means(rows)
    every = OBJECT_COLUMNS if objects else CLASS_COLUMNS
    columns = [c for c in every if any(c[0] in row.scores for row in rows)]
    results = list(dict.fromkeys(row.result for row in rows))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(results)}
    several = len({row.truth for row in rows}) > 1
    shares = [c for c in (OBJECT_SHARES if objects else SHARES) if c in columns]
    made = Comparison(
        "Objects" if objects else "Classes",
        _shown(rows, columns, "objects" if objects else "classes", "match" if objects else "class"),
        shares[0][1],
        _bars(rows, shares[0][0], colour, several),
        [text for _, text in shares],
        [
            (
                _called(row, several),
                [(number(row.scores.get(k, np.nan)), row.scores.get(k, np.nan)) for k, _ in shares],
            )
            for row in _grouped(rows)
        ],
        [(name, colour[name]) for name in results],
    )
    by_truth: dict[str, list[Result]] = {}
    for table in tables:
        about = table.about
        parts = {end: _beside(work, table, end) for end in BESIDE}
        if parts["-worst"] is not None and "images" in about:
            mine = Result(
                str(about["found"]),
                str(about["truth"]),
                about["images"],
                about,
                parts["-worst"],
                parts["-objects"],
            )
            by_truth.setdefault(mine.truth, []).append(mine)
    for truth, mine_all in by_truth.items():
        try:
            made.places.append((truth, error_places(mine_all)))
        except ChunkflowLiverError as err:
            missing.append(f"No pictures of errors against {truth}: {err}")
    made.slices = _slices(work, tables, colour, objects, several)
    return made


def _grouped(rows: Sequence[Row]) -> list[Row]:
    """All results of a truth and class beside each other."""
    groups = list(dict.fromkeys((r.truth, r.what) for r in rows))
    return sorted(rows, key=lambda r: groups.index((r.truth, r.what)))


def _beside(work: Work, table: Stored, end: str) -> Stored | None:
    """A further table of the same comparison."""
    name = f"{table.product.name}{end}"
    product = next((p for p in work.of(BESIDE[end]) if p.name == name and exists(p)), None)
    return None if product is None else stored(product)


def _rows(work: Work, table: Stored, objects: bool) -> list[Row]:
    columns = {name: table.values(name) for name in table.names}
    key = KEYS_OF[objects]
    surfaces, slices = (None if objects else _beside(work, table, end) for end in ("-surfaces", "-slices"))
    found = []
    for i in range(table.rows):
        scores = {k: float(v[i]) for k, v in columns.items() if k != key}
        name = f"from IoU {columns[key][i]:g}" if objects else str(columns[key][i])
        if surfaces is not None:
            scores |= _of_class(surfaces, name)
        if slices is not None:
            dices = slices.values("dice")[slices.values("class") == name]
            known = dices[np.isfinite(dices)]
            scores["slice_dice"] = float(known.mean()) if len(known) else float("nan")
        found.append(Row(str(table.about["found"]), str(table.about["truth"]), name, scores))
    return found


def _of_class(surfaces: Stored, name: str) -> dict[str, float]:
    where = np.flatnonzero(surfaces.values("class") == name)
    keys = ("surface_mean_nm", "surface_p95_nm", "boundary_f1")
    return {k: float(surfaces.values(k)[where[0]]) for k in keys} if len(where) else {}


def _with_means(rows: Sequence[Row]) -> list[Row]:
    """The rows, then means over the classes of a truth, and over truths; counts have none."""
    found = list(rows)
    for result, truth in dict.fromkeys((r.result, r.truth) for r in rows):
        mine = [r for r in rows if (r.result, r.truth) == (result, truth) and r.scores.get("voxels_truth", 1)]
        if len(mine) > 1:
            found.append(Row(result, truth, MEAN_CLASS, _mean(mine)))
    if len({r.truth for r in rows}) > 1:
        for result, what in dict.fromkeys((r.result, r.what) for r in found):
            mine = [r for r in found if (r.result, r.what) == (result, what)]
            found.append(Row(result, MEAN_TRUTH, what, _mean(mine)))
    return found


def _mean(rows: Sequence[Row]) -> dict[str, float]:
    keys = dict.fromkeys(k for r in rows for k in r.scores if not k.startswith("voxels_"))
    known = {k: [r.scores[k] for r in rows if np.isfinite(r.scores.get(k, np.nan))] for k in keys}
    return {k: float(np.mean(v)) if v else float("nan") for k, v in known.items()}


def _called(row: Row, several: bool) -> str:
    return " · ".join([one(row.what), row.result, *([row.truth] if several else [])])


def _shown(rows: Sequence[Row], columns: Sequence[tuple[str, str]], name: str, what: str) -> Shown:
    heads = [("result", "", False), ("truth", "", False), (what, "", False)]
    heads += [(text, "nm" if key.endswith("_nm") else "", True) for key, text in columns]
    cells = []
    for row in rows:
        texts = [(row.result, row.result), (row.truth, row.truth), (one(row.what), row.what)]
        for key, _ in columns:
            value = row.scores.get(key, float("nan"))
            whole = value == value and key in COUNTED
            texts.append((number(int(value) if whole else value), "" if value != value else f"{value:.6g}"))
        cells.append(tuple(texts))
    return Shown(f"comparison-{name}", tuple(heads), tuple(cells), len(cells))


def _bars(rows: Sequence[Row], key: str, colour: Mapping[str, str], several: bool) -> list[Bar]:
    found = []
    for truth, what in dict.fromkeys((r.truth, r.what) for r in rows):
        mine = [r for r in rows if (r.truth, r.what) == (truth, what)]
        bars = [
            (
                r.result,
                colour[r.result],
                float(np.nan_to_num(r.scores.get(key, 0.0))),
                number(r.scores.get(key, np.nan)),
            )
            for r in mine
        ]
        found.append(Bar(one(what) + (f" · {truth}" if several else ""), bars))
    return found


def _slices(
    work: Work, tables: Sequence[Stored], colour: Mapping[str, str], objects: bool, several: bool
) -> list[tuple[str, str]]:
    """Titles and figures of the scores along z."""
    key, group = ("f1", "iou_threshold") if objects else ("dice", "class")
    lines: dict[str, list[tuple[str, Values, Values]]] = {}
    for table in tables:
        slices = _beside(work, table, "-slices")
        if slices is None:
            continue
        z, kinds, values = (slices.values(k) for k in ("z", group, key))
        for kind in dict.fromkeys(kinds.tolist()):
            where = (kinds == kind) & np.isfinite(values)
            name = f"from IoU {kind:g}" if objects else one(str(kind))
            title = name + (f" · {table.about['truth']}" if several else "")
            if where.any():
                lines.setdefault(title, []).append((str(table.about["found"]), z[where], values[where]))
    figures = []
    for i, (title, mine) in enumerate(lines.items()):

        def draw(figure: Any, mine: list[tuple[str, Values, Values]] = mine) -> None:
            axes = figure.add_subplot()
            for name, z, values in mine:
                marker = "." if len(z) < 60 else ""
                axes.plot(z, values, color=colour[name], linewidth=1.6, marker=marker)
            axes.set_ylim(0, 1.02)
            axes.set_xlabel("z slice", color=INK)
            axes.set_ylabel("F1" if objects else "Dice", color=INK)
            bare(axes)

        figures.append((title, inline(sketch(draw, name=f"slices-{objects}-{i}", height_inches=2.2))))
    return figures
