"""How far objects were carried from their prompts, how well, and which masks a person should look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import NM_PER_UM
from chunkflow_liver.reports.pictures.closeups import SIDE, CloseUp
from chunkflow_liver.reports.pictures.figures import INK, Values, bare, inline, sketch
from chunkflow_liver.reports.pictures.planes import View, corner_nm
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import Pictures, raw_levels
from chunkflow_liver.reports.pictures.thumbnails import jpeg, outlined
from chunkflow_liver.reports.sections.findings import Figure
from chunkflow_liver.reports.tables import MOST_ROWS, Shown, stored
from chunkflow_liver.reports.words import counted, number, percent
from chunkflow_liver.reports.work import Work
from chunkflow_liver.store.volume import Volume

WORST = 6
"""Pictures of marked masks, each of another object as far as there are so many."""
MARGIN = 1.8
"""How much wider than a round object of its area a picture is."""
COVERED, LEAKED = "#2f7fb8", "#c8553d"
MEANING = {
    "jump": "moved by more than half of its diameter",
    "area": "grew or shrank more than twofold",
    "unsure": "scored below 0",
    "conflict": "lost more than a quarter to others",
}


@dataclass
class Carried:
    """One result of propagation, as the page shows it."""

    name: str
    text: str
    figure: Figure | None
    objects: Shown | None
    worst: list[CloseUp]


def carried(work: Work, drawn: Pictures, missing: list[str]) -> list[Carried]:
    """Every propagation of a run; what cannot be shown is added to `missing`."""
    found = []
    for product in work.of("propagation"):
        if dict(product.about).get("rows") != "slices":
            continue
        try:
            found.append(_carried(product, work, drawn))
        except ChunkflowLiverError as err:
            missing.append(f"Propagation {product.name!r}: {err}.")
    return found


def _carried(product: Product, work: Work, drawn: Pictures) -> Carried:
    name = str(dict(product.about)["instances"])
    tables = {
        str(dict(p.about)["rows"]): _columns(p)
        for p in work.of("propagation")
        if dict(p.about).get("instances") == name
    }
    slices, truth = tables["slices"], tables.get("truth")
    marked = np.flatnonzero(slices["marks"] != "")
    counts = {m: sum(m in marks.split() for marks in slices["marks"].tolist()) for m in MEANING}
    said = ", ".join(f"{number(n)} {MEANING[m]}" for m, n in counts.items() if n)
    text = (
        f"{counted(len(tables['objects']['object']), 'object was', 'objects were')} carried to "
        f"{counted(len(slices['slice']), 'mask')}. "
        f"{number(len(marked))} of them should be looked at{': ' + said if said else ''}."
    )
    if truth is not None and len(truth["dice"]):
        switched = np.unique(truth["object"][truth["switched"]])
        text += (
            f" Against the truth, the mean Dice over all slices is {float(truth['dice'].mean()):.3f}; "
            f"{counted(len(switched), 'object lies', 'objects lie')} in another one on some slice."
        )
    volume = next((p.handle for p in work.products if p.name == name and isinstance(p.handle, Volume)), None)
    worst = [] if volume is None or not volume.exists() else _worst(slices, marked, volume, work, drawn)
    figure = _figure(tables["reach"], truth, name)
    return Carried(name, text, figure, None if truth is None else _objects(truth, name), worst)


def _columns(product: Product) -> dict[str, Values]:
    table = pq.read_table(stored(product).path)
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}


def _figure(reach: dict[str, Values], truth: dict[str, Values] | None, name: str) -> Figure | None:
    """What of the objects is found at which distance from their prompts."""
    if len(reach["found"]) < 2:
        return None
    away = reach["from_prompt_nm"] / NM_PER_UM
    lines = [(away, 100 * reach["found"] / reach["objects"], "currentColor", "objects found")]
    if truth is not None and len(truth["dice"]):
        for column, colour in (("coverage", COVERED), ("leak", LEAKED)):
            known = np.isfinite(truth[column])
            at, index = np.unique(truth["from_prompt_nm"][known], return_inverse=True)
            mean = np.bincount(index, truth[column][known]) / np.bincount(index)
            lines.append((at / NM_PER_UM, 100 * mean, colour, column))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for at, share, colour, _ in lines:
            axes.plot(at, share, color=INK if colour == "currentColor" else colour, linewidth=1.8)
        axes.set_ylim(0, 102)
        axes.set_xlim(left=0)
        axes.set_xlabel("along z to the nearest prompt (µm)")
        axes.set_ylabel("%")
        bare(axes)

    caption = "Of the objects that could be so far from a prompt, the share that was found there."
    if len(lines) > 1:
        caption += (
            " Coverage is the share of a true object's voxels on a slice that were found, leak that of the "
            "found voxels that are not its own; means over objects."
        )
    legend = tuple((what, colour) for *_, colour, what in lines)
    return Figure("Away from the prompt", inline(sketch(draw, name=f"carried-{name}")), caption, legend)


def _objects(truth: dict[str, Values], name: str) -> Shown:
    """Dice, coverage and leak of every object, the worst first."""
    rows = []
    for who in np.unique(truth["object"]).tolist():
        own = truth["object"] == who
        with np.errstate(invalid="ignore"):
            means = [float(np.nanmean(truth[c][own])) for c in ("dice", "coverage", "leak")]
        rows.append((who, int(own.sum()), *means, int(truth["switched"][own].sum())))
    rows.sort(key=lambda row: (row[2], row[0]))
    columns = (
        ("object", "", False),
        ("slices", "", True),
        ("dice", "mean", True),
        ("coverage", "mean", True),
        ("leak", "mean", True),
        ("in another", "slices", True),
    )
    shown = tuple(
        ((who, who), *((number(v) if isinstance(v, int) else f"{v:.3f}", str(v)) for v in values))
        for who, *values in rows[:MOST_ROWS]
    )
    return Shown(f"{name} against the truth", columns, shown, len(rows))


def _worst(
    slices: dict[str, Values], marked: Values, volume: Volume, work: Work, drawn: Pictures
) -> list[CloseUp]:
    """The masks with most marks, then of the largest jump."""
    marks = np.array([len(m.split()) for m in slices["marks"][marked].tolist()], int)
    jump = np.nan_to_num(slices["jump_nm"][marked])
    order = marked[np.lexsort((marked, -jump, -marks))].tolist()
    first, seen = [], set()
    for row in order:
        if slices["object"][row] not in seen:
            seen.add(slices["object"][row])
            first.append(row)
    chosen = [*first, *(row for row in order if row not in first)][:WORST]
    raw, found = raw_levels(work, []), []
    levels = levels_of(volume)
    for row in chosen:
        place = [slices[f"centroid_{a}_nm"][row] for a in "yx"]
        if not all(map(math.isfinite, place)):
            # All of it went to others: there is nothing to draw a rim around.
            continue
        side = MARGIN * max(
            2 * math.sqrt(slices["area_um2"][row] / math.pi) * NM_PER_UM, 16 * volume.voxel_nm[1]
        )
        low = [corner_nm(volume, axis) + at - side / 2 for axis, at in zip((1, 2), place, strict=True)]
        at_nm = corner_nm(volume, 0) + slices["z_nm"][row]
        view = View("xy", at_nm, (low[0], low[1]), (side, side), side / SIDE)
        label = int(slices["label"][row])
        picture = outlined(levels, raw, label, view, grey=(drawn.black, drawn.white))
        why = " and ".join(MEANING[m] for m in slices["marks"][row].split())
        found.append(
            CloseUp(
                f"{slices['object'][row]} on slice {slices['slice'][row]}",
                jpeg(picture),
                f"It {why}. Score {slices['score'][row]:.2f}, {percent(float(slices['conflict'][row]))} lost "
                f"to others; label {label}.",
            )
        )
    return found
