"""Objects that were carried through slices against the true ones, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkflow_liver.kernels.labels.overlap import overlap
from chunkflow_liver.xp import Array

KEYS = ("z", "a", "b")


def slice_overlaps(found: Array, truth: Array, first: int) -> dict[str, np.ndarray[Any, Any]]:
    """Voxels shared by every pair of labels that meet, on every slice.

    Parameters
    ----------
    found, truth : ndarray of shape (Z, Y, X), integer
        Two labellings of the same voxels; 0 counts as a label.
    first : int
        Number of the first slice.

    Returns
    -------
    dict of ndarray of shape (P,)
        `z` (int64), `a`, `b` (uint64) and `voxels` (int64), sorted by slice, a, then b.
    """
    parts = [overlap(a[None], b[None]) for a, b in zip(found, truth, strict=True)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in ("a", "b", "voxels")}
    counts = [len(part["a"]) for part in parts]
    return {"z": np.repeat(np.arange(first, first + len(parts)), counts), **joined}


def track_scores(
    met: Mapping[str, Array], labels: Sequence[int], prompted: Sequence[Sequence[int]]
) -> dict[str, np.ndarray[Any, Any]]:
    """How well every object lies on the true one that it was begun in.

    Parameters
    ----------
    met : mapping of ndarray of shape (P,)
        What `slice_overlaps` found, each pair of a slice once.
    labels : sequence of int
        Of every object in `a`; 0 if nothing of it was found.
    prompted : sequence of sequence of int
        Slices that every object was prompted on.

    Returns
    -------
    dict of ndarray of shape (N,)
        `object`, counted from 0, `z`, `truth` (the true label that most of the object is in on its prompted
        slices), `from_prompt` (slices to the nearest prompted one), `found` and `true` (voxels), `dice`,
        `coverage` (share of the true object's voxels that were found), `leak` (share of the found voxels
        that are not the true object's), `switched` (whether more of it lies in another true object than in
        its own). A row per slice that the object or its true one is on; coverage and leak are NaN where
        there is nothing to share. An object without a label, or outside all true ones where it was
        prompted, has no row.
    """
    rows: list[dict[str, Array]] = []
    z, a, b = (np.asarray(met[name]).astype(np.int64) for name in KEYS)
    voxels = np.asarray(met["voxels"])
    slices = int(z.max()) + 1 if len(z) else 0
    for number, (label, anchors) in enumerate(zip(labels, prompted, strict=True)):
        own = a == label
        begun = own & np.isin(z, anchors) & (b > 0)
        if not label or not begun.any():
            continue
        truth = int(np.bincount(b[begun], voxels[begun]).argmax())
        found, true, both = (
            np.bincount(z[where], voxels[where], slices) for where in (own, b == truth, own & (b == truth))
        )
        other = np.zeros(slices)
        elsewhere = own & (b > 0) & (b != truth)
        np.maximum.at(other, z[elsewhere], voxels[elsewhere])
        there = np.flatnonzero(found + true)
        found, true, both = found[there], true[there], both[there]
        with np.errstate(invalid="ignore"):
            coverage, leak = both / true, 1 - both / found
        rows.append(
            {
                "object": np.full(len(there), number),
                "z": there,
                "truth": np.full(len(there), truth),
                "from_prompt": np.abs(there[:, None] - np.asarray(anchors)).min(1),
                "found": found.astype(np.int64),
                "true": true.astype(np.int64),
                "dice": 2 * both / (found + true),
                "coverage": coverage,
                "leak": leak,
                "switched": other[there] > both,
            }
        )
    whole = dict.fromkeys(("object", "z", "truth", "from_prompt", "found", "true"), np.zeros(0, np.int64))
    none = whole | dict.fromkeys(("dice", "coverage", "leak"), np.zeros(0)) | {"switched": np.zeros(0, bool)}
    return {name: np.concatenate([r[name] for r in rows]) for name in rows[0]} if rows else none
