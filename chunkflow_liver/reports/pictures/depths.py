"""At which depths planes are shown: in each third of the volume where most is to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.store.volume import Volume

SHARES = (0.25, 0.5, 0.75)
"""Depths where nothing says that others show more."""
Scored = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Depths and what each scores."""
MOST_VOXELS = 1 << 25
"""Voxels of a level that are looked at."""


def fullest(pyramids: Sequence[Sequence[Volume]]) -> dict[int, list[float]]:
    """Three depths along each axis, as shares of it.

    Parameters
    ----------
    pyramids : sequence of sequence of Volume
        Levels of label images, finest first; the finest that is small enough to be looked at counts.

    Returns
    -------
    dict of int to list of float
        The middle of the plane that scores most in each third: the share of its voxels that are labelled
        and of all labels that it cuts, added over the images, each relative to the best plane. Of equal ones
        the one nearest to `SHARES`.
    """
    scores: dict[int, list[Scored]] = {}
    for levels in pyramids:
        volume = next((v for v in levels if v.box.size <= MOST_VOXELS), None)
        if volume is None:
            continue
        try:
            labels = volume.read(volume.known)
        except (ChunkflowLiverError, OSError):
            continue
        for axis in range(3):
            planes = [np.take(labels, i, axis) for i in range(labels.shape[axis])]
            filled = np.array([np.count_nonzero(p) for p in planes], float)
            kinds = np.array([len(np.unique(p[p != 0])) for p in planes], float)
            score = filled / max(filled.max(initial=0), 1) + kinds / max(kinds.max(initial=0), 1)
            at = (volume.known.start[axis] + np.arange(len(planes)) + 0.5) / volume.shape[axis]
            scores.setdefault(axis, []).append((at, score))
    return {axis: [_best(scores.get(axis, []), i) for i in range(len(SHARES))] for axis in range(3)}


def _best(scores: list[Scored], third: int) -> float:
    """The depth of a third that scores most."""
    places = np.unique(np.concatenate([at for at, _ in scores])) if scores else np.zeros(0)
    places = places[(places >= third / 3) & (places < (third + 1) / 3)]
    if not len(places):
        return SHARES[third]
    total = np.sum([np.interp(places, at, score) for at, score in scores], axis=0)
    best = np.flatnonzero(total >= total.max() - 1e-9)
    if len(best) == len(places):
        return SHARES[third]
    return float(places[best[np.abs(places[best] - SHARES[third]).argmin()]])
