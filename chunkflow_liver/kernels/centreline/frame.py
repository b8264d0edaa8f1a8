"""One frame for an object, whatever array it lies in: its box, turned alike from any flip or order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.geometry import Nm
from chunkflow_liver.xp import Array


@dataclass(frozen=True)
class Frame:
    """How an array was turned: axis i of the turned one is axis `order[i]`, backwards where `flipped[i]`.

    Attributes
    ----------
    low, shape : tuple of int
        First voxel and size of the part of the array that was turned, in the array's axes.
    """

    low: tuple[int, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]
    flipped: tuple[bool, ...]

    def turned(self, mask: Array) -> Array:
        """The part of `mask`, turned; contiguous."""
        part = mask[tuple(slice(a, a + n) for a, n in zip(self.low, self.shape, strict=True))]
        return np.ascontiguousarray(_flip(part.transpose(self.order), self.flipped))

    def points(self, turned_nm: Array, voxel_nm: Nm) -> Array:
        """Points (n, 3) in nm from the corner of the turned part as points from the corner of the array."""
        found = np.empty_like(turned_nm)
        for i, (axis, back) in enumerate(zip(self.order, self.flipped, strict=True)):
            size = voxel_nm[axis]
            along = self.shape[axis] * size - turned_nm[:, i] if back else turned_nm[:, i]
            found[:, axis] = along + self.low[axis] * size
        return found

    def vectors(self, turned: Array) -> Array:
        """Directions (n, 3) in the turned frame as directions in that of the array."""
        found = np.empty_like(turned)
        for i, (axis, back) in enumerate(zip(self.order, self.flipped, strict=True)):
            found[:, axis] = -turned[:, i] if back else turned[:, i]
        return found


def frame_of(mask: Array, voxel_nm: Nm) -> Frame:
    """The frame of the object in `mask`: equal objects lie alike in it, however the array is cut or turned.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        Not empty.
    voxel_nm : tuple of float
        Axes are ordered by it, the longest voxel side first.

    Notes
    -----
    Of all ways to turn the object's box those are kept whose numbers of voxels per plane come first in
    alphabetical order, and of several of these the one whose voxels do. An object that is its own mirror
    image lies alike either way.
    """
    low, high = [], []
    for axis in range(3):
        some = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low.append(int(some[0]))
        high.append(int(some[-1]) + 1)
    shape = tuple(b - a for a, b in zip(low, high, strict=True))
    part = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    planes = [part.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    least, best = None, list[tuple[tuple[int, ...], tuple[bool, ...]]]()
    for order in _orders(voxel_nm):
        sides = [_ways(planes[axis].tolist()) for axis in order]
        key = [(shape[axis], first) for axis, (first, _) in zip(order, sides, strict=True)]
        if least is None or key < least:
            least, best = key, []
        if key == least:
            best += [(order, flips) for flips in itertools.product(*(ways for _, ways in sides))]
    order, flipped = best[0]
    if len(best) > 1:
        turned = _flip(part.transpose(order), flipped)
        for other in best[1:]:
            candidate = _flip(part.transpose(other[0]), other[1])
            if _before(candidate, turned):
                (order, flipped), turned = other, candidate
    return Frame(tuple(low), shape, order, flipped)


def _orders(voxel_nm: Nm) -> Iterator[tuple[int, ...]]:
    """Orders of the axes in which voxel sides do not ascend."""
    for order in itertools.permutations(range(3)):
        sizes = [voxel_nm[a] for a in order]
        if sizes == sorted(sizes, reverse=True):
            yield order


def _ways(planes: list[int]) -> tuple[list[int], tuple[bool, ...]]:
    """Voxels per plane in the direction that comes first, and whether that is backwards; both if equal."""
    back = planes[::-1]
    if planes == back:
        return planes, (False, True)
    return (planes, (False,)) if planes < back else (back, (True,))


def _flip(array: Array, flipped: tuple[bool, ...]) -> Array:
    return array[tuple(slice(None, None, -1) if back else slice(None) for back in flipped)]


def _before(first: Array, second: Array) -> bool:
    """Whether the voxels of one array come before those of another of its shape."""
    for a, b in zip(first, second, strict=True):
        differ = a != b
        if differ.any():
            return bool(b[np.unravel_index(int(differ.argmax()), differ.shape)])
    return False
