"""What one block of contacts records, and the final ids of its sites."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Result
from chunkflow_liver.geometry import Block, Nm
from chunkflow_liver.kernels.contacts.gaps import Near, near_surface
from chunkflow_liver.kernels.contacts.sites import find_sites
from chunkflow_liver.kernels.contacts.tallies import (
    NEAREST,
    OBJECT,
    PAIR,
    nearest_partner,
    nearest_rows,
    no_nearest,
    no_objects,
    no_pairs,
    object_rows,
    pair_rows,
)
from chunkflow_liver.kernels.distance.squares import Trim, whole_unit
from chunkflow_liver.kernels.rows import Rows, merged
from chunkflow_liver.ops.steps.rows import named
from chunkflow_liver.ops.steps.shared_planes import seam_record
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array


def contact_block(  # noqa: PLR0913
    block: Block,
    own: Array,
    other: Array | None = None,
    *,
    voxel_nm: Nm,
    gap_nm: float,
    reach_nm: float,
    centres: bool,
    numbers: tuple[int | None, int | None],
    same: bool,
    sites: bool,
    known: Known,
) -> Result:
    """Sums of one block over pairs, objects and parts of sites, and, on request, the parts' image.

    Record
    ------
    `pairs_a_*`, `pairs_b_*` (see `pair_rows`; `own` is A's label in both), `objects_a_*`, `objects_b_*`
    (see `object_rows`), `nearest_a_*`, `nearest_b_*` (see `nearest_rows`),
    `centre_pairs_a_*` and so on (between the centres of voxels), `parts_*` (see `find_sites`), and the
    planes that blocks share. Pairs and nearest gaps reach to `reach_nm`, all else to the gap.
    """
    read = own if other is None else other
    whole, block = block, block.within(known.box)
    hidden = known.hidden(block.read)
    canvas = whole.write.grow((0, 0, 0), (1, 1, 1)).clip(whole.volume)
    if not block.write.size:
        return Result((np.zeros(whole.write.shape, np.uint32),) if sites else ())
    inner = block.read.relative_to(whole.read).slices
    own = _objects(own[inner], numbers[0])
    other = own if same else _objects(read[inner], numbers[1])
    box = block.write.grow((0, 0, 0), (1, 1, 1)).clip(known.box)
    at: dict[str, Any] = {"voxel_nm": voxel_nm, "gap_nm": reach_nm, "hidden": hidden}
    limit = whole_unit(voxel_nm).squares(gap_nm)
    side, found = _Side(limit, each=True), []
    trim = box.relative_to(block.read).slices
    size = np.array(block.write.shape)[:, None]
    for near in near_surface(own, other, trim=trim, same=same, **at):
        counted = np.all(near.at < size, axis=0)
        side.add(near, counted)
        near = near.within(limit)
        voxel, partner, square = nearest_partner(near)
        found.append(
            (near.at[:, voxel], near.label[voxel], partner, square, near.area[voxel], counted[voxel])
        )
    ways = [("", side, at)]
    if centres:
        at = {"voxel_nm": voxel_nm, "gap_nm": gap_nm, "centres": True, "hidden": hidden}
        ways.append(("centre_", _Side(limit).all(own, other, block.trim, at, same=same), at))
    record: dict[str, Any] = {}
    for prefix, one, way in ways:
        record |= one.record(prefix, "a")
        if same:
            # Both ends of a pair look at the same volume, so side B is side A with the roles swapped.
            record |= named(f"{prefix}pairs_b", one.swapped())
        else:
            record |= _Side(limit, one.each).all(other, own, block.trim, way).record(prefix, "b")
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


class _Side:
    """Sums over the surface of one side, planes by planes; `each` keeps the nearest gaps of every object."""

    def __init__(self, limit: int, each: bool = False) -> None:
        self.limit, self.each = limit, each
        self.pairs, self.objects, self.nearest = [no_pairs()], [no_objects()], [no_nearest()]

    def add(self, near: Near, counted: Array) -> None:
        self.pairs.append(pair_rows(near, counted))
        self.objects.append(object_rows(near.within(self.limit), counted))
        if self.each:
            self.nearest.append(nearest_rows(near, counted))

    def all(self, own: Array, other: Array, trim: Trim, at: Any, *, same: bool = False) -> _Side:
        """The same with all surface of `own` in `trim`."""
        for near in near_surface(own, other, trim=trim, same=same, **at):
            self.add(near, np.ones(len(near.label), bool))
        return self

    def swapped(self) -> Rows:
        rows = merged(self.pairs, PAIR, no_pairs())
        return rows | {"own": rows["other"], "other": rows["own"]}

    def record(self, prefix: str, side: str) -> dict[str, Any]:
        pairs = merged(self.pairs, PAIR, no_pairs()) if side == "a" else self.swapped()
        record = named(f"{prefix}pairs_{side}", pairs)
        record |= named(f"{prefix}objects_{side}", merged(self.objects, OBJECT, no_objects()))
        return record | named(f"{prefix}nearest_{side}", merged(self.nearest, NEAREST, no_nearest()))


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
