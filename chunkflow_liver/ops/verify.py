"""Proof by example: a region of a run, segmented anew as one block, against what the blocks gave."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.stage import Fold, Map
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.kernels.instances.components import label_block
from chunkflow_liver.kernels.labels.overlap import instance_scores, overlap, variation_of_information
from chunkflow_liver.ops.steps.levels import Repeated
from chunkflow_liver.ops.steps.stored_blocks import as_stored
from chunkflow_liver.ops.steps.whole_box import check_fits
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

MOST = 40.0
"""Bytes per voxel that comparing needs at most."""


def verify(plan: Plan, box: Box, *, name: str) -> dict[str, Any]:
    """How well the instances of a run agree, in a box, with those found there without blocks.

    Parameters
    ----------
    plan : Plan
        A plan that was run, with `label`, `split` or `stitch`.
    box : Box
        Voxels to compare; they and the halo of the operation must fit in memory.
    name : str
        Name of the instances.

    Returns
    -------
    dict
        `voxels`; `objects_blocks, objects_unblocked` in the box; `f1` (IoU above 0.5); `vi_split, vi_merge`
        (bits); `agreement`: share of the voxels of either that lie in objects which are the other's best
        partner; `identical`: whether the same voxels belong together, and if not `differs_at`: the first
        voxel (z, y, x) of the largest part that does not. Objects that the end of what was
        read cuts are left out on both sides: one block cannot know where they go on.

    Raises
    ------
    ConfigError
        If the plan does not make such instances, the box is empty or not inside the volume, or all of its
        objects go on beyond what is read.
    MemoryBudgetError
        If the region does not fit in memory.
    """
    stages = {s.name: s for s in plan.maps}
    stage = _finder(stages, name)
    output = next((p.handle for p in plan.products if p.name == name and p.kind == "instances"), None)
    if stage is None or not isinstance(output, Volume):
        known = sorted(p.name for p in plan.products if p.kind == "instances" and _finder(stages, p.name))
        raise ConfigError(f"the plan has no instances {name!r} of label, split or stitch; it has {known}")
    if "function" in stage.params and stage.params["function"] in (None, as_stored):
        raise ConfigError(
            f"the blocks of {name!r} were labelled elsewhere: nothing here finds its objects "
            "without blocks; verify instances of label, of split, or of stitch with a function"
        )
    if box.size <= 0 or not output.box.contains(box):
        raise ConfigError(f"the box {box} is not inside {output.url}, which has {output.shape} voxels")
    region = _read(stage, box, output.box)
    check_fits(stage, region, max(stage.working, MOST), what="the box with its halo,")
    blocks, whole = output.read(region), _unblocked(stage, region)
    small = _fewest_voxels(plan, name)
    if small > 1:
        whole = np.where(np.bincount(whole.ravel())[whole] >= small, whole, 0)
    cut = _cut(blocks, whole, region, output.box)
    inner = box.relative_to(region).slices
    if (blocks[inner] > 0).any() and cut[inner][blocks[inner] > 0].all():
        raise ConfigError(
            f"every object in the box {box} goes on beyond what was read, {region}: nothing is left to "
            "compare; choose a larger box"
        )
    blocks, whole = (np.where(cut, 0, labels)[inner] for labels in (blocks, whole))
    met = overlap(blocks, whole)
    scores = instance_scores(met, 0.5)
    split, merged = variation_of_information(met)
    pairs = (met["a"] > 0) | (met["b"] > 0)
    both = (met["a"] > 0) & (met["b"] > 0)
    total = int(met["voxels"][pairs].sum())
    best = _best(met, both)
    return {
        "box": str(box),
        "voxels": box.size,
        "objects_blocks": int(scores["found"][0]),
        "objects_unblocked": int(scores["truth"][0]),
        "f1": float(scores["f1"][0]),
        "vi_split": split,
        "vi_merge": merged,
        "agreement": int(met["voxels"][best].sum()) / total if total else 1.0,
        "identical": bool(best.sum() == pairs.sum()),
        **_largest_difference(met, pairs & ~best, (blocks, whole), box),
    }


def _finder(stages: dict[str, Map], name: str) -> Map | None:
    """The stage that finds the objects `name` in blocks, which cleaner or edited instances do not have."""
    return stages.get(f"{name}/blocks") or stages.get(f"{name}/components")


def _largest_difference(
    met: dict[str, Any], wrong: Array, labels: tuple[Array, Array], box: Box
) -> dict[str, str]:
    """The first voxel of the largest part on which the two do not agree."""
    if not wrong.any():
        return {}
    largest = np.flatnonzero(wrong)[np.argmax(met["voxels"][wrong])]
    there = (labels[0] == met["a"][largest]) & (labels[1] == met["b"][largest])
    at = np.unravel_index(int(np.argmax(there)), there.shape)
    place = (f"{a} {int(i) + o}" for a, i, o in zip("zyx", at, box.start, strict=True))
    return {"differs_at": ", ".join(place)}


def _read(stage: Map, box: Box, volume: Box) -> Box:
    """The box with the halo of the operation, in whole voxels of the coarsest level that it reads."""
    region = box.grow(stage.grid.low, stage.grid.high)
    for source in stage.inputs:
        factor = source.factor if isinstance(source, Repeated) else (1, 1, 1)
        low = zyx([a // f * f for a, f in zip(region.start, factor, strict=True)])
        high = zyx([-(-b // f) * f for b, f in zip(region.stop, factor, strict=True)])
        region = Box(low, high)
    return region.clip(volume)


def _unblocked(stage: Map, region: Box) -> Array:
    """Objects 1..n of a region as one block."""
    arrays = [source.read(region) for source in stage.inputs]
    if "function" in stage.params:
        found = stage.params["function"](*arrays, **stage.params["params"])
    else:
        asked = {k: stage.params[k] for k in ("classes", "connectivity")}
        found, _ = label_block(arrays[0], **asked)
    return np.unique(found, return_inverse=True)[1].reshape(found.shape) if found.any() else found


def _fewest_voxels(plan: Plan, name: str) -> int:
    """Voxels below which the operation leaves an object out."""
    folds = (s for s in plan.stages if isinstance(s, Fold) and s.name.startswith(f"{name}/"))
    return max((int(s.params.get("min_voxels", 0)) for s in folds), default=0)


def _cut(blocks: Array, whole: Array, region: Box, volume: Box) -> Array:
    """Voxels of objects of either that reach a face of the region inside the volume, and what they meet."""
    out = np.zeros(region.shape, bool)
    for labels in (blocks, whole):
        ends: list[Array] = []
        for axis in range(3):
            if region.start[axis] > volume.start[axis]:
                ends.append(np.unique(np.take(labels, 0, axis)))
            if region.stop[axis] < volume.stop[axis]:
                ends.append(np.unique(np.take(labels, -1, axis)))
        known = np.unique(np.concatenate(ends)) if ends else np.zeros(0, labels.dtype)
        out |= np.isin(labels, known[known > 0])
    return out


def _best(met: dict[str, Any], both: Array) -> Array:
    """Pairs of which each is the one that shares most voxels with the other."""
    found = both.copy()
    for side in ("a", "b"):
        order = np.lexsort((-met["voxels"], met[side]))
        order = order[both[order]]
        labels = met[side][order]
        head = np.ones(len(order), bool)
        head[1:] = labels[1:] != labels[:-1]
        first = np.zeros(len(both), bool)
        first[order[head]] = True
        found &= first
    return found
