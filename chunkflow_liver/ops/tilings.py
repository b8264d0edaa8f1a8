"""Whether instances depend on how a volume is cut into blocks: a box cut in several ways, and compared."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.stage import Map
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.kernels.labels.overlap import instance_scores, overlap, variation_of_information
from chunkflow_liver.ops.steps.blockwise import Instances, stitched
from chunkflow_liver.ops.steps.levels import Repeated
from chunkflow_liver.ops.steps.stored_blocks import as_stored
from chunkflow_liver.ops.steps.whole_box import check_fits
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.xp import Array

MOST = 60.0
"""Bytes per voxel of the box that labels of two tilings and their comparison need at most."""


def tilings(plan: Plan, box: Box, *, name: str, count: int = 3) -> dict[str, Any]:
    """Whether the instances that a plan finds in a box depend on the blocks that it is cut into.

    Parameters
    ----------
    plan : Plan
        A plan with `split` or with `stitch` and a function; it need not have run.
    box : Box
        Voxels that are cut, as if there were no others; they must fit in memory.
    name : str
        Name of the instances.
    count : int
        In how many ways, 2 or more: blocks as in the plan (or the box, where that is smaller), and blocks
        with `count - 1`, ... 1 parts in `count` of their sides.

    Returns
    -------
    dict
        `voxels`; `blocks_1`, `objects_1` and so on: size of the blocks of a tiling and what it finds; and of
        the second one on how it agrees with the first: `identical`, `f1` (IoU above 0.5), `vi_split`,
        `vi_merge` (bits). `count_depends`, `instances_depend`: whether any two tilings differ in number, or
        in any voxel.

    Raises
    ------
    ConfigError
        If the plan does not find such instances, or the box or the count cannot be used: also where the box
        is so small that two tilings would be the same.
    MemoryBudgetError
        If the box does not fit in memory.
    """
    stages = {s.name: s for s in plan.stages}
    stage = stages.get(f"{name}/blocks")
    function = stage.params["function"] if isinstance(stage, Map) else None
    if not isinstance(stage, Map) or function in (None, as_stored):
        raise ConfigError(
            f"the plan finds no instances {name!r} block by block with split, or with stitch and a function; "
            "those of label are connected components, which verify compares with one block"
        )
    if not 2 <= count <= 9:
        raise ConfigError(f"tilings are 2 to 9, got {count!r}")
    whole = stage.grid.box
    if box.size <= 0 or not whole.contains(box):
        raise ConfigError(f"the box {box} is not inside the {whole.shape} voxels of {name!r}")
    unit = _unit(stage)
    box = _whole_units(box, unit).clip(whole)
    blocks = [_blocks(stage.grid.block, box.shape, unit, Fraction(count - i, count)) for i in range(count)]
    if len(set(blocks)) < count:
        said = ", ".join("x".join(map(str, block)) for block in blocks)
        raise ConfigError(
            f"{count} tilings of the box {box} would have blocks of {said} voxels, of which two are the same "
            "and compare nothing; take a larger box or fewer tilings"
        )
    check_fits(stage, box, max(stage.working, MOST))
    found: dict[str, Any] = {"box": str(box), "voxels": box.size}
    depends = {"count": False, "instances": False}
    with tempfile.TemporaryDirectory(prefix="tilings-") as folder:
        sources = [
            write_volume(
                Path(folder) / f"{i}.ome.zarr", source.read(box), voxel_nm=stage.params["params"]["voxel_nm"]
            )
            for i, source in enumerate(stage.inputs)
        ]
        first: Array | None = None
        for i, block in enumerate(blocks):
            work = Path(folder) / f"tiling-{i}"
            labels = _found(stage, stages[f"{name}/join"].params, sources, block, work)
            found |= {
                f"blocks_{i + 1}": "x".join(map(str, block)),
                f"objects_{i + 1}": int(labels.max(initial=0)),
            }
            if first is None:
                first = labels
                continue
            same = _agreement(first, labels)
            found |= {f"{key}_{i + 1}": value for key, value in same.items()}
            depends["instances"] |= not same["identical"]
            depends["count"] |= found[f"objects_{i + 1}"] != found["objects_1"]
    return found | {f"{key}_depends" if key == "count" else f"{key}_depend": v for key, v in depends.items()}


def _unit(stage: Map) -> Zyx:
    """Voxels that blocks must not cut: those of the coarsest level that is read."""
    factors = [s.factor if isinstance(s, Repeated) else (1, 1, 1) for s in stage.inputs]
    return zyx([max(f) for f in zip(*factors, strict=True)])


def _blocks(planned: Zyx, box: Zyx, unit: Zyx, share: Fraction) -> Zyx:
    """Blocks with a share of the planned sides, or of the box where that is smaller, in whole units."""
    sides = [int(min(b, n) * share) for b, n in zip(planned, box, strict=True)]
    return zyx([max(f, s // f * f) for s, f in zip(sides, unit, strict=True)])


def _whole_units(box: Box, unit: Zyx) -> Box:
    start = zyx([a // f * f for a, f in zip(box.start, unit, strict=True)])
    stop = zyx([-(-b // f) * f for b, f in zip(box.stop, unit, strict=True)])
    return Box(start, stop)


def _found(stage: Map, join: Any, sources: list[Any], block: Zyx, work: Path) -> Array:
    """The instances of sources that are cut into blocks, joined as the plan joins them."""
    params = {k: v for k, v in stage.params["params"].items() if k != "voxel_nm"}
    how = Instances(
        stage.params["function"],
        params,
        tuple(join["names"]),
        stage.grid.low,
        stage.params["reach"],
        stage.working,
    )
    plan = stitched(
        sources, how, join["rules"], like=sources[0], name="found", work=work, block=block, into=None
    )
    return np.asarray(run(plan, progress=False).output.read())


def _agreement(first: Array, other: Array) -> dict[str, Any]:
    met = overlap(first, other)
    split, merged = variation_of_information(met)
    inside = (met["a"] > 0) | (met["b"] > 0)
    # One to one, and nothing of either on background of the other.
    pairs = int(inside.sum())
    identical = (
        pairs == len(np.unique(met["a"][inside])) == len(np.unique(met["b"][inside]))
        and not ((met["a"][inside] == 0) | (met["b"][inside] == 0)).any()
    )
    return {
        "identical": bool(identical),
        "f1": float(instance_scores(met, 0.5)["f1"][0]),
        "vi_split": split,
        "vi_merge": merged,
    }
