"""What one block of contacts records, and the final ids of its sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Result
from chunkflow_liver.geometry import Block, Nm, Zyx, zyx
from chunkflow_liver.kernels.contacts.gaps import Near, near_surface
from chunkflow_liver.kernels.contacts.sites import find_sites
from chunkflow_liver.kernels.contacts.tallies import (
    NEAREST,
    OBJECT,
    PAIR,
    error_pairs,
    nearest_partner,
    nearest_rows,
    no_nearest,
    no_objects,
    no_pairs,
    object_rows,
    pair_rows,
)
from chunkflow_liver.kernels.distance.local_errors import Stack, error_rows, local_errors, no_errors, sampled
from chunkflow_liver.kernels.distance.squares import Trim, whole_unit
from chunkflow_liver.kernels.rows import Rows, merged
from chunkflow_liver.ops.contacts.sides import PAIR as ERRORS
from chunkflow_liver.ops.steps.rows import named
from chunkflow_liver.ops.steps.scored import Scored
from chunkflow_liver.ops.steps.shared_planes import seam_record
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array


def contact_block(  # noqa: PLR0913
    block: Block,
    own: Array,
    *more: Array,
    voxel_nm: Nm,
    gap_nm: float,
    reach_nm: float,
    centres: bool,
    numbers: tuple[int | None, int | None],
    same: bool,
    sites: bool,
    known: Known,
    scores: tuple[Scored, Scored],
    most_nm: float,
) -> Result:
    """Sums of one block over pairs, objects and parts of sites, and, on request, the parts' image.

    Record
    ------
    `pairs_a_*`, `pairs_b_*` (see `pair_rows`; `own` is A's label in both), `objects_a_*`, `objects_b_*`
    (see `object_rows`), `nearest_a_*`, `nearest_b_*` (see `nearest_rows`),
    `centre_pairs_a_*` and so on (between the centres of voxels), `parts_*` (see `find_sites`), and the
    planes that blocks share. Pairs and nearest gaps reach to `reach_nm`, all else to the gap. With scores
    `sure_a_*` and `sure_b_*` (see `error_rows`; pairs like `pairs_a`), and `sure_objects_a_*`, ..: of all of
    an object's surface within `reach_nm` of others.
    """
    two = len(more) > sum(len(side.names) for side in scores)
    read = more[0] if two else own
    whole, block = block, block.within(known.box)
    hidden = known.hidden(block.read)
    canvas = whole.write.grow((0, 0, 0), (1, 1, 1)).clip(whole.volume)
    if not block.write.size:
        return Result((np.zeros(whole.write.shape, np.uint32),) if sites else ())
    inner = block.read.relative_to(whole.read).slices
    own = _objects(own[inner], numbers[0])
    other = own if same else _objects(read[inner], numbers[1])
    images, start = [a[inner] for a in more[two:]], block.read.start
    sure = (
        _Sure.of(scores[0], images[: len(scores[0].names)], own, hidden, start, voxel_nm, most_nm),
        _Sure.of(scores[1], images[len(scores[0].names) :], other, hidden, start, voxel_nm, most_nm),
    )
    box = block.write.grow((0, 0, 0), (1, 1, 1)).clip(known.box)
    at: dict[str, Any] = {"voxel_nm": voxel_nm, "gap_nm": reach_nm, "hidden": hidden}
    limit = whole_unit(voxel_nm).squares(gap_nm)
    side, found = _Side(limit, each=True, sure=sure[0]), []
    trim = box.relative_to(block.read).slices
    size = np.array(block.write.shape)[:, None]
    for near in near_surface(own, other, trim=trim, same=same, **at):
        counted = np.all(near.at < size, axis=0)
        near = side.add(near, counted, trim)
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
            record |= one.record_of_pairs(prefix, "b")
        else:
            there = _Side(limit, one.each, sure[1] if one.each else None)
            record |= there.all(other, own, block.trim, way).record(prefix, "b")
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


@dataclass(frozen=True, eq=False)
class _Sure:
    """What says how sure the boundaries of one side of a block are."""

    images: Stack
    labels: Array
    start: Zyx
    voxel_nm: Nm
    most_nm: float

    @classmethod
    def of(
        cls,
        scores: Scored,
        arrays: list[Array],
        own: Array,
        hidden: Array | None,
        start: Zyx,
        voxel_nm: Nm,
        most_nm: float,
    ) -> _Sure | None:
        if not arrays:
            return None
        labels = np.ascontiguousarray(own)
        if hidden is not None:
            # What is not known is neither background nor of an object.
            labels = np.where(hidden, np.uint64(2**64 - 1), labels.astype(np.uint64))
        return cls(Stack.of(scores.images(arrays)), labels, start, voxel_nm, most_nm)


class _Side:
    """Sums over the surface of one side, planes by planes; `each` keeps the nearest gaps of every object."""

    def __init__(self, limit: int, each: bool = False, sure: _Sure | None = None) -> None:
        self.limit, self.each, self.sure = limit, each, sure
        self.pairs, self.objects, self.nearest = [no_pairs()], [no_objects()], [no_nearest()]
        self.sure_pairs, self.sure_objects = [no_errors("own", "other")], [no_errors("label")]

    def add(self, near: Near, counted: Array, trim: Trim) -> Near:
        """Count some planes; returns them with what is within the gap alone."""
        within = near.within(self.limit)
        self.pairs.append(pair_rows(near, counted))
        self.objects.append(object_rows(within, counted))
        if self.each:
            self.nearest.append(nearest_rows(near, counted))
        if self.sure is not None:
            self._add_errors(self.sure, near, counted, trim)
        return within

    def _add_errors(self, sure: _Sure, near: Near, counted: Array, trim: Trim) -> None:
        first = zyx([side.start or 0 for side in trim])
        start = zyx([a + b for a, b in zip(sure.start, first, strict=True)])
        near_others = np.zeros(len(near.label), bool)
        near_others[near.voxel] = True
        some = sampled(near.at, start) & counted & near_others
        at = near.at[:, some] + np.array(first)[:, None]
        sums = local_errors(sure.labels, at, sure.images, sure.voxel_nm, sure.most_nm)
        self.sure_objects.append(error_rows({"label": near.label[some].astype(np.uint64)}, sums))
        self.sure_pairs.append(error_pairs(near, some, sums))

    def all(self, own: Array, other: Array, trim: Trim, at: Any, *, same: bool = False) -> _Side:
        """The same with all surface of `own` in `trim`."""
        for near in near_surface(own, other, trim=trim, same=same, **at):
            self.add(near, np.ones(len(near.label), bool), trim)
        return self

    def record_of_pairs(self, prefix: str, side: str) -> dict[str, Any]:
        """Pairs, as seen from `side`; of B the roles are swapped, so that `own` is A's label."""
        rows, sure = merged(self.pairs, PAIR, no_pairs()), merged(self.sure_pairs, ERRORS, no_errors(*ERRORS))
        if side == "b":
            rows, sure = (part | {"own": part["other"], "other": part["own"]} for part in (rows, sure))
        record = named(f"{prefix}pairs_{side}", rows) | named(f"{prefix}sure_{side}", sure)
        objects = merged(self.sure_objects, OBJECT, no_errors(*OBJECT))
        return record | named(f"{prefix}sure_objects_{side}", objects)

    def record(self, prefix: str, side: str) -> dict[str, Any]:
        record = self.record_of_pairs(prefix, side)
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
