"""What one block of contacts records, and the final ids of its sites."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Result
from chunkflow_liver.geometry import Block, Box, Nm
from chunkflow_liver.kernels.contacts.gaps import near_surface
from chunkflow_liver.kernels.contacts.sites import find_sites
from chunkflow_liver.kernels.contacts.tallies import (
    OBJECT,
    PAIR,
    nearest_partner,
    no_objects,
    no_pairs,
    object_rows,
    pair_rows,
)
from chunkflow_liver.kernels.rows import Rows, merged
from chunkflow_liver.ops.steps.rows import named
from chunkflow_liver.ops.steps.shared_planes import seam_record
from chunkflow_liver.xp import Array


def contact_block(
    block: Block,
    own: Array,
    other: Array | None = None,
    *,
    voxel_nm: Nm,
    gap_nm: float,
    numbers: tuple[int | None, int | None],
    same: bool,
    sites: bool,
    known: Box,
) -> Result:
    """Sums of one block over pairs, objects and parts of sites, and, on request, the parts' image.

    Record
    ------
    `pairs_a_*`, `pairs_b_*` (see `pair_rows`; `own` is A's label in both), `objects_a_*`, `objects_b_*`
    (see `object_rows`), `parts_*` (see `find_sites`), and the planes that blocks share.
    """
    read = own if other is None else other
    whole, block = block, block.within(known)
    canvas = whole.write.grow((0, 0, 0), (1, 1, 1)).clip(whole.volume)
    if not block.write.size:
        return Result((np.zeros(whole.write.shape, np.uint32),) if sites else ())
    inner = block.read.relative_to(whole.read).slices
    own = _objects(own[inner], numbers[0])
    other = own if same else _objects(read[inner], numbers[1])
    box = block.write.grow((0, 0, 0), (1, 1, 1)).clip(known)
    at: dict[str, Any] = {"voxel_nm": voxel_nm, "gap_nm": gap_nm}
    pairs, objects, found = [no_pairs()], [no_objects()], []
    trim = box.relative_to(block.read).slices
    size = np.array(block.write.shape)[:, None]
    for near in near_surface(own, other, trim=trim, same=same, **at):
        counted = np.all(near.at < size, axis=0)
        pairs.append(pair_rows(near, counted))
        objects.append(object_rows(near, counted))
        voxel, partner, square = nearest_partner(near)
        found.append(
            (near.at[:, voxel], near.label[voxel], partner, square, near.area[voxel], counted[voxel])
        )
    record = named("pairs_a", merged(pairs, PAIR, no_pairs()))
    record |= named("objects_a", merged(objects, OBJECT, no_objects()))
    if same:
        # Both ends of a pair look at the same volume, so side B is side A with the roles swapped.
        swapped = merged(pairs, PAIR, no_pairs())
        swapped["own"], swapped["other"] = swapped["other"], swapped["own"]
        record |= named("pairs_b", swapped)
    else:
        pairs, objects = [no_pairs()], [no_objects()]
        for near in near_surface(other, own, trim=block.trim, **at):
            everywhere = np.ones(len(near.label), bool)
            swapped = pair_rows(near, everywhere)
            pairs.append(swapped | {"own": swapped["other"], "other": swapped["own"]})
            objects.append(object_rows(near, everywhere))
        record |= named("pairs_b", merged(pairs, PAIR, no_pairs()))
        record |= named("objects_b", merged(objects, OBJECT, no_objects()))
    labels = np.zeros(box.shape, np.uint32)
    rows: Rows = {}
    if found:
        place, label, partner, square, area, counted = (
            np.concatenate(column, axis=-1) for column in zip(*found, strict=True)
        )
        columns = {"own": label.astype(np.uint64), "other": partner, "square": square, "area": area}
        parts, rows = find_sites(place, columns, counted=counted, box=box, volume=block.volume)
        labels = parts.labels()
    if box != canvas:
        image = np.zeros(canvas.shape, np.uint32)
        image[box.relative_to(canvas).slices] = labels
        labels = image
    if rows:
        record |= named("parts", rows) | seam_record(whole, labels, canvas.stop)
    return Result((labels[whole.write.relative_to(canvas).slices],) if sites else (), record)


def _objects(labels: Array, number: int | None) -> Array:
    """Labels of objects: all of them, or one class."""
    if number is not None:
        kind = np.min_scalar_type(number).type
        return (labels == number) * kind(number)
    return labels.view(np.uint8) if labels.dtype == bool else labels


def site_ids(block: Block, parts: Array, *, joined: Any) -> Result:
    """Final ids of the parts of a block."""
    begin, end = joined["offsets"][block.index : block.index + 2]
    final = np.zeros(end - begin + 1, np.uint32)
    final[1:] = joined["site"][begin:end]
    return Result((np.take(final, parts),))
