"""Where a source was painted, and what of it was held out: its box from the side and from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chunkflow_liver.reports.pictures.planes import PLANES
from chunkflow_liver.reports.words import length

SIDE = 420.0
"""Pixels of the longer side of a drawing."""
THINNEST = 1.6
"""Pixels of what would be too thin to see, such as a single slice."""
COLOURS = {"painted": "#4d4d4d", "near": "#b9bfc6", "held": "#e69f00"}
PARTS = {
    "painted": "painted, trained on",
    "near": "too near to what was held out: not trained on",
    "held": "held out",
}


@dataclass(frozen=True)
class Rectangle:
    """A filled part, in pixels."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Side:
    """One projection: its plane, its size in pixels and in words, and what lies in it, the lowest first."""

    plane: str
    width: float
    height: float
    size: tuple[str, str]
    parts: list[Rectangle]


@dataclass(frozen=True)
class Drawing:
    """A source of one fold, seen along y and along z."""

    title: str
    sides: list[Side]


def drawing(
    title: str, source: Mapping[str, Any], held: Sequence[Mapping[str, Any]], gaps_nm: Sequence[float | None]
) -> Drawing:
    """What is painted, held out, and too near to that.

    Parameters
    ----------
    title : str
    source : mapping
        As training.json has it: `shape`, `voxel_nm`, `slices`, `boxes_nm`.
    held : sequence of mapping
        Boxes (`start`, `stop`) in voxels.
    gaps_nm : sequence of float or None
        Gap along (z, y, x); None is one voxel.
    """
    shape, size = source["shape"], source["voxel_nm"]
    whole = [n * v for n, v in zip(shape, size, strict=True)]
    boxes: list[tuple[list[float], list[float], str]] = []
    if source["slices"] is not None:
        boxes += [([z * size[0], 0, 0], [(z + 1) * size[0], *whole[1:]], "painted") for z in source["slices"]]
    if source["boxes_nm"] is not None:
        boxes += [(list(low), list(high), "painted") for low, high in source["boxes_nm"]]
    if source["slices"] is None and source["boxes_nm"] is None:
        boxes.append(([0, 0, 0], whole, "painted"))
    gaps = [v if gap is None else gap for gap, v in zip(gaps_nm, size, strict=True)]
    out = []
    for box in held:
        low = [a * v for a, v in zip(box["start"], size, strict=True)]
        high = [b * v for b, v in zip(box["stop"], size, strict=True)]
        near = [max(0, a - g) for a, g in zip(low, gaps, strict=True)]
        boxes.append((near, [min(w, b + g) for b, g, w in zip(high, gaps, whole, strict=True)], "near"))
        out.append((low, high, "held"))
    sides = [_side(plane, whole, [*boxes, *out]) for plane in ("xz", "xy")]
    # From above, what was held out of all slices of a slab hides everything.
    return Drawing(title, [s for s in sides if not _hidden(s)] or sides[:1])


def _hidden(side: Side) -> bool:
    return any(
        p.colour == COLOURS["held"] and p.width > 0.999 * side.width and p.height > 0.999 * side.height
        for p in side.parts
    )


def _side(plane: str, whole: Sequence[float], boxes: Sequence[tuple[list[float], list[float], str]]) -> Side:
    down, right = PLANES[plane]
    scale = SIDE / max(whole[down], whole[right])
    height, width = max(whole[down] * scale, 6.0), max(whole[right] * scale, 6.0)
    parts = []
    for low, high, kind in boxes:
        x, y = low[right] / whole[right] * width, low[down] / whole[down] * height
        wide = max((high[right] - low[right]) / whole[right] * width, THINNEST)
        tall = max((high[down] - low[down]) / whole[down] * height, THINNEST)
        parts.append(Rectangle(x, y, wide, tall, COLOURS[kind]))
    return Side(plane, width, height, (length(round(whole[right])), length(round(whole[down]))), parts)
