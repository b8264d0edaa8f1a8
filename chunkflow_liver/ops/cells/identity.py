"""Cells that were not painted: followed through slices, and matched with painted ones by overlap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Piece, Records, Result
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Block, Box
from chunkflow_liver.kernels.instances.slice_links import slice_objects, slice_overlaps
from chunkflow_liver.kernels.rows import joined
from chunkflow_liver.kernels.tissue.chains import attach
from chunkflow_liver.kernels.tissue.planes import plane_cells
from chunkflow_liver.ops.cells.setup import Setup, Stack, painted_slices
from chunkflow_liver.store.planes.whole import Planes
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

STEPS = (1, 2, 3)
"""So many slices on, cells of a slice are looked for: two in a row may be lost."""
OBJECTS = ("z", "label", "voxels", "first")
OVERLAPS = ("z", "step", "a", "b", "voxels")


def cut(block: Block, *volumes: Volume, known: Arrays, blanks: Arrays, setup: Setup) -> Iterator[Piece]:
    """The cells of every slice of a block: painted ones by number, others numbered slice by slice beyond."""
    used, blank = set(painted_slices(known)), {int(z) for z in blanks["blank"]}
    stack = Stack(volumes, setup, known["ids"])
    fresh = len(stack.ids) + 1
    for z in range(block.write.start[0], block.write.stop[0]):
        if z in used:
            cells = stack.painted(z)
        elif z in blank:
            cells = setup.files.read(z)
        else:
            cells, _ = plane_cells(
                setup.files.read(z),
                stack.inside(z),
                stack.wall(z),
                setup.cutting,
                pixel_nm=setup.pixel_nm,
                fresh=fresh,
            )
        yield Piece(Box((z, 0, 0), (z + 1, *stack.shape[1:])), (cells[None].astype(np.uint32),))


def meet(block: Block, parts: Volume, *, known: Arrays) -> Iterator[Result]:
    """Objects of slices with a cell that was not painted, and what they share with the slices after them."""
    planes, count = Planes(parts), len(known["ids"])
    objects: list[Columns] = []
    overlaps: list[Columns] = []
    held: dict[int, Array] = {}

    def plane(z: int) -> Array:
        if z not in held:
            for old in [k for k in held if k < z - max(STEPS)]:
                del held[old]
            held[z] = planes(z).copy()
        return held[z]

    for z in range(block.write.start[0], block.write.stop[0]):
        objects.append(slice_objects(plane(z)[None], (z, 0, 0), parts.shape))
        for step in STEPS:
            if z + step >= parts.shape[0]:
                continue
            both = np.stack([plane(z), plane(z + step)])
            if max(int(p.max(initial=0)) for p in both) <= count:
                continue
            met = slice_overlaps(both, z, gap=0)
            new = (met["a"] > count) | (met["b"] > count)
            overlaps.append({**{k: v[new] for k, v in met.items()}, "step": np.full(int(new.sum()), step)})
    found = {f"object_{k}": v for k, v in joined(objects).items() if k in OBJECTS}
    if overlaps:
        found |= {f"overlap_{k}": v for k, v in joined(overlaps).items()}
    yield Result(record=found)


def identify(records: Records, *, known: Arrays, min_iou: float, dtype: str) -> Columns:
    """Final ids of the numbers of every slice that were not painted, with what they were matched by.

    Of a cell that is new, the id is the next free one, in the raster order of first voxels.
    """
    objects, overlaps = _gathered(records)
    ids = np.asarray(known["ids"])
    count = len(ids)
    is_new = objects["label"] > count
    new = {k: v[is_new] for k, v in objects.items()}
    # A node for each new object of a slice, in the order of (z, label), and one for each painted cell.
    nodes = len(new["z"])
    cell = np.concatenate([np.zeros(nodes, np.int64), 1 + np.arange(count)])
    size_a, node_a = _nodes(objects, new, overlaps["z"], overlaps["a"], count)
    size_b, node_b = _nodes(objects, new, overlaps["z"] + overlaps["step"], overlaps["b"], count)
    iou = overlaps["voxels"] / (size_a + size_b - overlaps["voxels"])
    # Over lost slices only where no slice between has a link that is as good.
    strength = iou / overlaps["step"]
    good = iou >= min_iou
    pairs = np.stack([node_a, node_b], 1)
    found = attach(pairs[good], strength[good], cell)
    owner, group = found.cell[:nodes], found.group[:nodes]
    roots = np.unique(group[owner == 0])
    most = int(ids.max(initial=0)) if count else 0
    if most + len(roots) > np.iinfo(dtype).max:
        raise InputError(
            f"{len(roots)} new cells above the painted id {most} do not fit {dtype}; paint with smaller ids, "
            "or store what is painted as uint64"
        )
    final = np.zeros(nodes, dtype)
    painted = owner > 0
    final[painted] = ids[owner[painted] - 1].astype(dtype)
    final[~painted] = (np.searchsorted(roots, group[~painted]) + 1 + most).astype(dtype)
    best = np.zeros(nodes)
    both = np.zeros(nodes, np.int64)
    for side in (node_a, node_b):
        own = side < nodes
        np.maximum.at(best, side[own], iou[own])
        np.maximum.at(both, side[own], overlaps["voxels"][own])
    return {
        "slice": new["z"],
        "number": new["label"].astype(np.int64),
        "final": final,
        "painted": painted,
        "voxels": new["voxels"],
        "shared": both,
        "iou": best,
        "strength": found.strength[:nodes],
    }


def _gathered(records: Records) -> tuple[dict[str, Any], dict[str, Any]]:
    kinds: dict[str, Any] = {
        "z": np.int64,
        "step": np.int64,
        "a": np.uint64,
        "b": np.uint64,
        "voxels": np.int64,
    }
    none = {n: np.zeros(0, kinds[n]) for n in OVERLAPS}
    objects, overlaps = [], [none]
    for _, record in records:
        objects.append({k: record[f"object_{k}"] for k in OBJECTS})
        if "overlap_a" in record:
            overlaps.append({k: record[f"overlap_{k}"] for k in OVERLAPS})
    return joined(objects), joined(overlaps)


def _nodes(objects: Columns, new: Columns, z: Array, label: Array, count: int) -> tuple[Array, Array]:
    """Voxels of objects of slices, and their nodes."""
    wide = int(objects["label"].max(initial=0)) + 1

    def key(table: Columns) -> Array:
        return table["z"] * wide + table["label"].astype(np.int64)

    wanted = z * wide + label.astype(np.int64)
    size = objects["voxels"][np.searchsorted(key(objects), wanted)] if len(wanted) else np.zeros(0)
    fresh = np.searchsorted(key(new), wanted)
    return size, np.where(label > count, fresh, len(new["z"]) + label.astype(np.int64) - 1)


def table(records: Records, *, identity: Arrays, area_um2: float) -> Columns:
    """A row for every object of a slice that was not carried there from a painted slice."""
    painted, shared = np.asarray(identity["painted"]), np.asarray(identity["shared"])
    return {
        "slice": np.asarray(identity["slice"]),
        "piece": np.asarray(identity["number"]),
        "label": np.asarray(identity["final"]),
        "area_um2": np.asarray(identity["voxels"]) * area_um2,
        "shared_um2": shared * area_um2,
        "iou": np.asarray(identity["iou"]),
        "reason": np.where(
            painted, "matched with a painted cell", np.where(shared > 0, "new, followed", "new")
        ),
    }


def apply(block: Block, parts: Array, *, known: Arrays, identity: Arrays) -> Result:
    """Final ids of a block."""
    final, slices, number = (np.asarray(identity[n]) for n in ("final", "slice", "number"))
    ids = np.concatenate([np.zeros(1, final.dtype), np.asarray(known["ids"]).astype(final.dtype)])
    out = np.zeros(parts.shape, final.dtype)
    for i, z in enumerate(range(block.write.start[0], block.write.stop[0])):
        begin, end = np.searchsorted(slices, [z, z + 1])
        lookup = np.zeros(max(len(ids), int(number[begin:end].max(initial=0)) + 1), final.dtype)
        lookup[: len(ids)] = ids
        lookup[number[begin:end]] = final[begin:end]
        out[i] = lookup[parts[i]]
    return Result((out,))
