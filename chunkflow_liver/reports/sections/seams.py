"""How well blocks agreed on the objects between them: counts, IoU, and pictures of the worst seams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.pictures.figures import Bars, histogram
from chunkflow_liver.reports.pictures.planes import PLANES, View, corner_nm, read_plane
from chunkflow_liver.reports.pictures.slices import instance_colours, label_colours
from chunkflow_liver.reports.sections.findings import Figure
from chunkflow_liver.reports.tables import stored
from chunkflow_liver.reports.words import length, number
from chunkflow_liver.reports.work import Work
from chunkflow_liver.reports.writing import png
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

WORST = 4
SIDE = 240
"""Pixels of a picture."""


@dataclass(frozen=True)
class Seam:
    """One seam as the page shows it: a picture (data URI) and where and what it is."""

    picture: str
    title: str
    caption: str
    place: str
    """z,y,x in nm, as the viewer takes it."""


@dataclass
class Joined:
    """The seams of one label image."""

    name: str
    text: str
    facts: list[tuple[str, str]]
    figure: Figure | None = None
    worst: list[Seam] = field(default_factory=list)


def seams(work: Work, missing: list[str]) -> list[Joined]:
    """Every table of seams of a run; what cannot be shown is added to `missing`."""
    found = []
    for product in work.of("seam table"):
        try:
            found.append(_joined(product, work))
        except ChunkflowLiverError as err:
            missing.append(f"Seams {product.name!r}: {err}.")
    return found


def _joined(product: Product, work: Work) -> Joined:
    table = pq.read_table(stored(product).path)
    columns = {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}
    total = {k: int(columns[k].sum()) for k in ("matched", "unmatched", "ambiguous", "vetoed")}
    scores = columns["score"][np.isfinite(columns["score"])]
    text = (
        f"Objects cross {number(len(scores))} of {number(table.num_rows)} seams between neighbouring blocks. "
        "An object that crosses a seam is unmatched if it was joined with nothing there, because the other "
        "block drew it elsewhere or not at all; a pair is ambiguous if a better one was there, and vetoed if "
        "it would have joined what must stay apart. Pictures show the final objects, with a ring where the "
        "worst object of the seam is and the seam as black lines. The score of a seam is twice the voxels "
        "that matched objects share by all voxels of these and of the unmatched."
    )
    facts = [(number(n), what) for what, n in total.items()]
    if len(scores):
        facts.append((f"{float(np.median(scores)):.3f}", "median score of a seam"))
    made = Joined(product.name, text, facts)
    heights = np.array([columns[f"iou_{i}"].sum() for i in range(10)])
    bars = Bars(np.linspace(0, 1, 11), heights, "#2f7fb8")
    svg = histogram([bars], x="IoU in the shared box", y="matched pairs", name=f"seams-{product.name}")
    made.figure = Figure("How well matched objects fit", svg, "One pair per object and seam.")
    labels = dict(product.about).get("instances")
    volume = next(
        (p.handle for p in work.products if p.name == labels and isinstance(p.handle, Volume)), None
    )
    if volume is not None and volume.exists():
        made.worst = [_seam(volume, row) for row in _worst(table)]
    return made


def _worst(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of the lowest scores."""
    score = table.column("score").to_numpy(zero_copy_only=False)
    order = np.argsort(np.where(np.isfinite(score), score, np.inf), kind="stable")[:WORST]
    rows: list[dict[str, Any]] = table.take(order).to_pylist()
    return [row for row in rows if np.isfinite(row["score"])]


def _seam(volume: Volume, row: dict[str, Any]) -> Seam:
    """The final objects around the worst place of a seam, which is ringed; black lines are the seam."""
    axis = "zyx".index(row["axis"][0])
    plane = {"z": "xz", "zx": "xz", "zy": "yz", "zyx": "xz"}.get(row["axis"], "xy")
    axes = PLANES[plane]
    size = [(row[f"{a}_stop"] - row[f"{a}_start"]) * v for a, v in zip("zyx", volume.voxel_nm, strict=True)]
    side = max(3 * size[axis], 24 * max(volume.voxel_nm[a] for a in axes))
    middle = [corner_nm(volume, a) + (row["zyx"[a]] + 0.5) * volume.voxel_nm[a] for a in range(3)]
    low = (middle[axes[0]] - side / 2, middle[axes[1]] - side / 2)
    across = next(a for a in range(3) if a not in axes)
    view = View(plane, middle[across], low, (side, side), side / SIDE)
    ids, inside = read_plane([open_volume(volume.url)], view)
    ids = np.where(inside, ids, 0)
    rgba = label_colours(ids, instance_colours(np.unique(ids))).astype(np.float64)
    strength = rgba[..., 3:] / 255
    picture = rgba[..., :3] * strength + 255 * (1 - strength)
    for across_seam in (a for a in range(3) if "zyx"[a] in row["axis"] and a in axes):
        name, first = "zyx"[across_seam], axes.index(across_seam)
        seam = (row[f"{name}_start"] + row[f"{name}_stop"]) / 2 * volume.voxel_nm[across_seam]
        line = int((corner_nm(volume, across_seam) + seam - low[first]) / view.pixel_nm)
        if 0 <= line < SIDE:
            picture[(line, slice(None)) if first == 0 else (slice(None), line)] = 0
    picture[_ring()] = 0
    place = ", ".join(f"{a} {row[a]}" for a in "zyx")
    nm = ", ".join(f"{a} {row[f'{a}_nm']:g}" for a in "zyx")
    return Seam(
        png(picture),
        f"Blocks {row['block_a']} and {row['block_b']}, along {row['axis']}: score {row['score']:.3f}",
        f"{plane} plane of {length(round(side))} around voxel {place} ({nm} nm); {row['matched']} matched, "
        f"{row['unmatched']} unmatched, {row['ambiguous']} ambiguous, {row['vetoed']} vetoed.",
        ",".join(f"{row[f'{a}_nm']:.0f}" for a in "zyx"),
    )


def _ring() -> Array:
    """Pixels of a ring in the middle of a picture."""
    y, x = np.ogrid[:SIDE, :SIDE]
    away = np.hypot(y - SIDE / 2 + 0.5, x - SIDE / 2 + 0.5)
    return (away >= 8) & (away < 10)
