"""Integer boxes and block grids in (z, y, x) order, and the one place where nm become voxels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from chunkflow_liver.errors import ConfigError, GridError

Zyx = tuple[int, int, int]
Nm = tuple[float, float, float]

NM_PER_UM = 1000.0


def zyx(values: tuple[int, ...] | list[int]) -> Zyx:
    """`values` as three Python ints in (z, y, x) order; anything else is a GridError."""
    if len(values) != 3 or any(int(v) != v for v in values):
        raise GridError(f"expected three integers in z, y, x order, got {values!r}")
    return cast(Zyx, tuple(int(v) for v in values))


def voxels(length_nm: float, voxel_nm: Nm) -> Zyx:
    """Smallest whole number of voxels along each axis that reaches `length_nm` (nm)."""
    if not (math.isfinite(length_nm) and length_nm >= 0):
        raise ConfigError(f"a length must be finite and not negative, got {length_nm} nm")
    return cast(Zyx, tuple(math.ceil(round(length_nm / v, 9)) for v in voxel_nm))


@dataclass(frozen=True, order=True)
class Box:
    """A half-open box of voxels, [start, stop) along (z, y, x)."""

    start: Zyx
    stop: Zyx

    @classmethod
    def of(cls, shape: Zyx) -> Box:
        """The box of a whole volume of `shape` voxels."""
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> Zyx:
        return cast(Zyx, tuple(b - a for a, b in zip(self.start, self.stop, strict=True)))

    @property
    def size(self) -> int:
        """Number of voxels (0 for an empty box)."""
        (az, ay, ax), (ez, ey, ex) = self.start, self.stop
        return max(0, ez - az) * max(0, ey - ay) * max(0, ex - ax)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def grow(self, low: Zyx, high: Zyx | None = None) -> Box:
        """The box with `low` voxels more before and `high` (default: `low`) after it."""
        high = low if high is None else high
        return Box(
            cast(Zyx, tuple(a - n for a, n in zip(self.start, low, strict=True))),
            cast(Zyx, tuple(b + n for b, n in zip(self.stop, high, strict=True))),
        )

    def clip(self, other: Box) -> Box:
        """The part of this box inside `other`; empty (shape 0) where they do not meet."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(max(a, min(b, c)) for a, b, c in zip(start, self.stop, other.stop, strict=True))
        return Box(cast(Zyx, start), cast(Zyx, stop))

    def hull(self, other: Box) -> Box:
        """The smallest box that holds both."""
        start = zyx([min(a, b) for a, b in zip(self.start, other.start, strict=True)])
        return Box(start, zyx([max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]))

    def shift(self, by: Zyx) -> Box:
        """The box moved by `by` voxels."""
        return Box(
            cast(Zyx, tuple(a + n for a, n in zip(self.start, by, strict=True))),
            cast(Zyx, tuple(b + n for b, n in zip(self.stop, by, strict=True))),
        )

    def coarser(self, factor: Zyx) -> Box:
        """The box in voxels that are `factor` of these large; all that it meets."""
        return Box(
            cast(Zyx, tuple(a // f for a, f in zip(self.start, factor, strict=True))),
            cast(Zyx, tuple(-(-b // f) for b, f in zip(self.stop, factor, strict=True))),
        )

    def relative_to(self, outer: Box) -> Box:
        """This box in the coordinates of `outer`'s first voxel."""
        z, y, x = outer.start
        return self.shift((-z, -y, -x))

    def contains(self, other: Box) -> bool:
        """Whether `other` lies wholly inside this box."""
        return other.clip(self) == other

    def __str__(self) -> str:
        return ", ".join(f"{axis} {a}:{b}" for axis, a, b in zip("zyx", self.start, self.stop, strict=True))


@dataclass(frozen=True)
class Block:
    """One unit of work: the box it writes, and the larger box it reads.

    Attributes
    ----------
    index : int
        Position in the grid, z slowest.
    at : Zyx
        Position in the grid along (z, y, x).
    write : Box
        Voxels this block owns; every voxel of the grid's box is owned by one block.
    read : Box
        `write` with the halo, clipped to the volume.
    volume : Box
        The whole volume, to tell a cut at its border from a cut between blocks.
    """

    index: int
    at: Zyx
    write: Box
    read: Box
    volume: Box

    @property
    def trim(self) -> tuple[slice, slice, slice]:
        """Slices that cut the write box out of an array of the read box."""
        return self.write.relative_to(self.read).slices

    def within(self, known: Box) -> Block:
        """The block as if the volume ended where `known` does; its boxes are empty outside of that."""
        return Block(self.index, self.at, self.write.clip(known), self.read.clip(known), known)


@dataclass(frozen=True)
class BlockGrid:
    """The blocks that tile a box; lazy, so that a grid of 1e9 blocks is a few integers.

    Parameters
    ----------
    box : Box
        What the write boxes tile.
    block : Zyx
        Write box of one block, in voxels; smaller at the far end; clipped to `box`.
    low, high : Zyx
        Halo before and after the write box, in voxels, clipped to `volume`.
    volume : Box, optional
        What may be read; `box` by default.

    Raises
    ------
    GridError
        If a block side is below 1, a halo is negative, or the box is empty.
    """

    box: Box
    block: Zyx
    low: Zyx = (0, 0, 0)
    high: Zyx = (0, 0, 0)
    volume: Box | None = None

    def __post_init__(self) -> None:
        if min(self.block) < 1:
            raise GridError(f"a block needs at least one voxel per axis, got {self.block}")
        if min(self.low) < 0 or min(self.high) < 0:
            raise GridError(f"a halo cannot be negative, got {self.low} and {self.high}")
        if self.box.size == 0:
            raise GridError(f"nothing to do: the box {self.box} has no voxels")
        # One cut has one description, however much too large its block was given.
        clipped = tuple(min(b, n) for b, n in zip(self.block, self.box.shape, strict=True))
        object.__setattr__(self, "block", clipped)

    @cached_property
    def counts(self) -> Zyx:
        """Number of blocks along (z, y, x)."""
        return cast(Zyx, tuple(-(-n // b) for n, b in zip(self.box.shape, self.block, strict=True)))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __getitem__(self, index: int) -> Block:
        if not 0 <= index < len(self):
            raise IndexError(index)
        _, ny, nx = self.counts
        row, x = divmod(index, nx)
        z, y = divmod(row, ny)
        volume = self.volume or self.box
        # Axis by axis, without loops: a million blocks are made in seconds.
        (az, ay, ax), (ez, ey, ex), (bz, by, bx) = self.box.start, self.box.stop, self.block
        az, ay, ax = az + z * bz, ay + y * by, ax + x * bx
        ez, ey, ex = min(az + bz, ez), min(ay + by, ey), min(ax + bx, ex)
        (lz, ly, lx), (hz, hy, hx) = self.low, self.high
        (fz, fy, fx), (tz, ty, tx) = volume.start, volume.stop
        first = (max(az - lz, fz), max(ay - ly, fy), max(ax - lx, fx))
        last = (min(ez + hz, tz), min(ey + hy, ty), min(ex + hx, tx))
        read = Box(first, (max(first[0], last[0]), max(first[1], last[1]), max(first[2], last[2])))
        return Block(index, (z, y, x), Box((az, ay, ax), (ez, ey, ex)), read, volume)

    @cached_property
    def read_voxels(self) -> int:
        """Voxels that all blocks together read, halo included: a product of sums along the axes."""
        steps, found = (self.counts[1] * self.counts[2], self.counts[2], 1), 1
        for axis, (count, step) in enumerate(zip(self.counts, steps, strict=True)):
            whole = self.low[axis] + self.block[axis] + self.high[axis]
            # Farther from both ends no halo is cut.
            few = max(self.low[axis], self.high[axis]) // self.block[axis] + 2
            near = range(count) if count <= 2 * few else [*range(few), *range(count - few, count)]
            found *= sum(self[i * step].read.shape[axis] for i in near) + (count - len(near)) * whole
        return found

    def __iter__(self) -> Iterator[Block]:
        return (self[i] for i in range(len(self)))

    def meeting(self, box: Box) -> Iterator[Block]:
        """The blocks whose write boxes share voxels with a box, in order."""
        part = box.clip(self.box)
        if not part.size:
            return
        _, ny, nx = self.counts
        sides = zip(part.start, part.stop, self.box.start, self.block, strict=True)
        ranges = [range((a - first) // b, -(-(e - first) // b)) for a, e, first, b in sides]
        for z, y, x in itertools.product(*ranges):
            yield self[(z * ny + y) * nx + x]

    def neighbours(self, axis: int) -> Iterator[tuple[int, int]]:
        """Indices of every two blocks that share a face across `axis`, in order."""
        nz, ny, nx = self.counts
        step = (ny * nx, nx, 1)[axis]
        ranges = [range(n - (a == axis)) for a, n in enumerate((nz, ny, nx))]
        for z, y, x in itertools.product(*ranges):
            first = (z * ny + y) * nx + x
            yield first, first + step
