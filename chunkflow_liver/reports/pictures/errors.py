"""Windows of single slices where results are wrong: what is right, found only, and true only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.labels.overlap import fits, is_of
from chunkflow_liver.ops.evaluate.tables import OBJECTS, UNNAMED, WINDOW
from chunkflow_liver.reports.pictures.closeups import CloseUp
from chunkflow_liver.reports.pictures.slices import css
from chunkflow_liver.reports.pictures.thumbnails import jpeg
from chunkflow_liver.reports.tables import Stored
from chunkflow_liver.reports.words import number, one
from chunkflow_liver.store.volume import Volume

Pixels = np.ndarray[Any, Any]
RIGHT, FOUND_ONLY, TRUTH_ONLY, UNKNOWN = (0, 158, 115), (213, 94, 0), (0, 114, 178), (120, 120, 120)
"""Colours that people who see no red or green tell apart, too (Okabe and Ito)."""
KEYS = (
    ("right", css(RIGHT)),
    ("found, not true", css(FOUND_ONLY)),
    ("true, not found", css(TRUTH_ONLY)),
    ("not compared", css(UNKNOWN)),
)
MOST_PLACES = 6


@dataclass(frozen=True)
class Result:
    """One result against one truth, as its tables say."""

    name: str
    truth: str
    images: Mapping[str, Volume]
    about: Mapping[str, Any]
    worst: Stored
    objects: Stored | None


@dataclass(frozen=True)
class Place:
    """A window, and what every result made of it."""

    title: str
    pictures: list[CloseUp]


def grey(values: Pixels, like: Pixels | None = None) -> Pixels:
    """Values as an image (Y, X, 3) of 0 to 255, with the extremes of these, or of others, cut."""
    low, high = np.percentile(values if like is None else like, [0.5, 99.5])
    base = ((values.astype(np.float64) - low) / max(high - low, 1e-6) * 255).clip(0, 255)
    return np.repeat(base[..., None], 3, -1)


def overlay(base: Pixels, found: Pixels, true: Pixels, right: Pixels, known: Pixels) -> Pixels:
    """An image (Y, X, 3) with right and wrong pixels in their colours; all masks (Y, X), bool."""
    made = base.copy()
    masks = (
        (known & true & ~right, TRUTH_ONLY),
        (known & found & ~right, FOUND_ONLY),
        (known & right, RIGHT),
        (~known, UNKNOWN),
    )
    for mask, colour in masks:
        made[mask] = 0.45 * base[mask] + 0.55 * np.array(colour, float)
    return made


def error_places(results: Sequence[Result]) -> list[Place]:
    """The worst windows of some results against one truth, each with all results side by side.

    Raises
    ------
    InputError, ChunkError
        If voxels cannot be read.
    """
    return [_place(results, kind, corner) for kind, corner in _chosen(results)]


def _chosen(results: Sequence[Result]) -> list[tuple[str, tuple[int, int, int]]]:
    """Windows with most wrong voxels: of every class the worst, then of every class the next."""
    rows: dict[str, dict[tuple[int, int, int], int]] = {}
    for result in results:
        columns = [result.worst.values(k) for k in ("class", "z", "y", "x", "found_only", "truth_only")]
        for kind, z, y, x, more, less in zip(*columns, strict=True):
            mine, corner = rows.setdefault(str(kind), {}), (int(z), int(y), int(x))
            mine[corner] = max(mine.get(corner, 0), int(more) + int(less))
    queues = {kind: sorted(found, key=lambda c: (-found[c], c)) for kind, found in rows.items()}
    every = [
        (rank, -rows[kind][corner], kind, corner)
        for kind, found in queues.items()
        for rank, corner in enumerate(found)
    ]
    return [(kind, corner) for _, _, kind, corner in sorted(every)[:MOST_PLACES]]


def _place(results: Sequence[Result], kind: str, corner: tuple[int, int, int]) -> Place:
    z, y, x = corner
    images = results[0].images
    truth = images["truth"]
    box = Box(corner, (z + 1, y + WINDOW, x + WINDOW)).clip(truth.box)
    true = truth.read(box)[0]
    base = np.full((*true.shape, 3), 128.0) if "raw" not in images else grey(images["raw"].read(box)[0])
    pictures = [CloseUp("image", jpeg(base), "")] if "raw" in images else []
    for result in results:
        found = result.images["found"].read(box)[0]
        known = _known(result.about, true, z)
        is_found, is_true, right = _masks(result, kind, found, true)
        counts = [int((mask & known).sum()) for mask in (right, is_found & ~right, is_true & ~right)]
        caption = (
            f"{number(counts[0])} pixels right, {number(counts[1])} found and not true, {number(counts[2])} "
            f"true and not found: Dice {number(_dice(*counts))}"
        )
        pictures.append(CloseUp(result.name, jpeg(overlay(base, is_found, is_true, right, known)), caption))
    size = truth.voxel_nm
    wide = box.shape[2] * size[2] / 1000
    title = f"{one(kind)}: slice {z}, from y {box.start[1]}, x {box.start[2]}; {number(wide)} µm wide"
    return Place(title, pictures)


def _dice(right: int, more: int, less: int) -> float:
    whole = 2 * right + more + less
    return 2 * right / whole if whole else float("nan")


def _known(about: Mapping[str, Any], true: Pixels, z: int) -> Pixels:
    """Pixels that were compared."""
    if about.get("slices") is not None and z not in about["slices"]:
        return np.zeros(true.shape, bool)
    return np.ones(true.shape, bool) if about.get("ignore") is None else true != about["ignore"]


def _masks(result: Result, kind: str, found: Pixels, true: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """Pixels that were found, are true, and both in agreement."""
    if kind == OBJECTS and result.objects is not None:
        here, there = found > 0, true > 0
        pairs = _in_pairs(result.objects, float(result.about["iou"]), found, true)
        return here, there, here & there & pairs
    classes = [(name, a, b) for name, a, b in result.about["classes"]]
    sides = []
    for pixels, which in ((found, 1), (true, 2)):
        named = [c[which] for c in classes if c[which] is not None]
        if kind == UNNAMED:
            sides.append(~is_of(pixels, [0, *named]))
        else:
            sides.append(is_of(pixels, [c[which] for c in classes if c[0] == kind and c[which] is not None]))
    return sides[0], sides[1], sides[0] & sides[1]


def _in_pairs(objects: Stored, threshold: float, found: Pixels, true: Pixels) -> Pixels:
    """Pixels of a found and a true object that match."""
    side, label, partner, iou = (objects.values(k) for k in ("side", "label", "partner", "iou"))
    rows = (side == "found") & fits(iou, threshold) & np.isin(label, np.unique(found))
    ids, others = label[rows], partner[rows]
    if not len(ids):
        return np.zeros(found.shape, bool)
    order = np.argsort(ids)
    at = np.searchsorted(ids[order], found).clip(0, len(ids) - 1)
    same: Pixels = (ids[order][at] == found) & (others[order][at] == true)
    return same
