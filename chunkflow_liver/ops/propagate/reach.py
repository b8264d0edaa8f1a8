"""How far from their prompts objects were found, and how well, where there is a truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records, Result
from chunkflow_liver.geometry import Block, Nm
from chunkflow_liver.kernels.labels.tracks import KEYS, slice_overlaps, track_scores
from chunkflow_liver.kernels.rows import grouped
from chunkflow_liver.ops.propagate.subjects import Named, Subject
from chunkflow_liver.store.table import Columns
from chunkflow_liver.xp import Array


def reach(records: Records, *, tracks: Sequence[Subject], voxel_nm: Nm) -> Columns:
    """A row per distance from the prompt: of how many objects that could be there, how many were."""
    there = [np.stack([r["object"], r["z"]], 1) for _, r in records if len(r["z"])]
    found = np.unique(np.concatenate(there).astype(np.int64), axis=0) if there else np.zeros((0, 2), int)
    allowed: list[Array] = []
    seen: list[Array] = []
    for number in sorted({t.object for t in tracks}):
        own = [t for t in tracks if t.object == number]
        slices = np.unique(np.concatenate([_slices(t) for t in own]))
        allowed.append(_apart(slices, own))
        seen.append(_apart(np.intersect1d(slices, found[found[:, 0] == number, 1]), own))
    most = max(int(a.max()) for a in allowed) + 1
    counts = [np.bincount(np.concatenate(parts), minlength=most) for parts in (allowed, seen)]
    return {"from_prompt_nm": np.arange(most) * voxel_nm[0], "objects": counts[0], "found": counts[1]}


def _slices(track: Subject) -> Array:
    """Slices that a track may reach."""
    first = track.z if track.direction == "forward" else min(track.start, track.z)
    last = track.z if track.direction == "backward" else max(track.end, track.z)
    return np.arange(first, last + 1)


def _apart(slices: Array, tracks: Sequence[Subject]) -> Array:
    """Slices to the nearest prompt."""
    anchors = np.array([t.z for t in tracks])
    found: Array = np.abs(slices[:, None] - anchors).min(1).astype(np.int64)
    return found


def meet(block: Block, found: Array, truth: Array) -> Result:
    """What found and true objects share in a block."""
    return Result(record=dict(slice_overlaps(found, truth, block.write.start[0])))


def against_truth(
    records: Records, *, named: Sequence[Named], tracks: Sequence[Subject], voxel_nm: Nm, numbers: Any
) -> Columns:
    """A row per object and slice that it or its true object is on."""
    parts = [r for _, r in records]
    met = grouped({name: np.concatenate([p[name] for p in parts]) for name in (*KEYS, "voxels")}, KEYS)
    ids = np.asarray(numbers["object_id"])[1:].tolist()
    prompted = [sorted({t.z for t in tracks if t.object == n}) for n in range(1, len(named) + 1)]
    scores = track_scores(met, ids, prompted)
    return {
        "object": np.array([named[n].name for n in scores["object"].tolist()], str),
        "truth_label": scores["truth"],
        "slice": scores["z"],
        "from_prompt_nm": scores["from_prompt"] * voxel_nm[0],
        **{name: scores[name] for name in ("dice", "coverage", "leak", "switched")},
    }
