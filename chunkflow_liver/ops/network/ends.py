"""Where what was looked at of a network ends: with a box, and with the edge of a mask."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.geometry import Box, Zyx, zyx
from chunkflow_liver.kernels.network.net import Ends
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array

CELL = 64
"""Voxels along the sides of what is read of a mask at once."""
KEPT_CELLS = 512
"""So many are kept: 128 MiB."""


class EndsOfMask:
    """The ends of a box, and the edges of the masks in it.

    Parameters
    ----------
    known : Known
    box : Ends
        Of its box.

    Notes
    -----
    Distances are to the boxes of voxels, so that a mask which is a box ends as a box does.
    """

    def __init__(self, known: Known, box: Ends) -> None:
        self.known, self.box = known, box
        self.size = np.array(known.voxel_nm)
        self.cells: dict[Zyx, Array | None] = {}

    def reached(self, places_nm: Array, radii_nm: Array) -> Array:
        """Which balls, with centres of shape (n, 3), reach what was not looked at; bool."""
        found = self.box.reached(places_nm, radii_nm)
        for i in np.flatnonzero(~found).tolist() if self.known.masks else ():
            box = self._around(places_nm[i], float(radii_nm[i]))
            nearest = self._nearest(places_nm[i], self._hidden(box), box)
            found[i] = (np.linalg.norm(nearest - places_nm[i], axis=1) < radii_nm[i]).any()
        return found

    def back(self, tips_nm: Array, place_nm: Array, way: Array, reach_nm: float) -> float:
        """How far from a place along a way what was looked at ends, if it does beside one of `tips_nm`."""
        found = self.box.back(tips_nm, place_nm, way, reach_nm)
        crossed: list[tuple[float, int, int]] = []
        for axis, side in enumerate(self.size.tolist() if self.known.masks else ()):
            ends = sorted(
                ((place_nm[axis]) / side, (place_nm[axis] + min(reach_nm, found) * way[axis]) / side)
            )
            for plane in range(math.ceil(ends[0]), math.floor(ends[1]) + 1):
                crossed.append(((plane * side - place_nm[axis]) / way[axis], axis, plane))
        for far, axis, plane in sorted(crossed):
            voxel = np.floor((place_nm + far * way) / self.size).astype(int)
            voxel[axis] = plane if way[axis] > 0 else plane - 1
            box = Box(zyx(voxel.tolist()), zyx((voxel + 1).tolist())).clip(self.known.box)
            if not box.size or self._hidden(box).any():
                near = np.abs(tips_nm[:, axis] - plane * self.size[axis]) < self.size[axis]
                return far if box.size and near.any() else found
        return found

    def inside(self, place_nm: Array) -> Array:
        """The nearest place that was looked at."""
        place, reach = self.box.inside(place_nm), 0.0
        while self.known.masks:
            box = self._around(place, reach)
            nearest = self._nearest(place, ~self._hidden(box), box)
            apart = np.linalg.norm(nearest - place, axis=1)
            if apart.min(initial=np.inf) <= reach:
                return np.asarray(nearest[apart.argmin()])
            reach = max(2 * reach, float(self.size.max()))
        return place

    def _around(self, place: Array, reach: float) -> Box:
        """All voxels that a ball touches."""
        low, high = np.ceil((place - reach) / self.size) - 1, np.floor((place + reach) / self.size) + 1
        return Box(zyx(low.astype(int).tolist()), zyx(high.astype(int).tolist())).clip(self.known.box)

    def _nearest(self, place: Array, voxels: Array, box: Box) -> Array:
        """The nearest place in each of some voxels of a box."""
        low = (np.argwhere(voxels) + np.array(box.start)) * self.size
        return np.clip(place, low, low + self.size)

    def _hidden(self, box: Box) -> Array:
        """Voxels of a box that a mask leaves out, from cells."""
        found = np.zeros(box.shape, bool)
        first = [a // CELL for a in box.start]
        for step in np.ndindex(*(-(-b // CELL) - a for a, b in zip(first, box.stop, strict=True))):
            at = zyx([a + n for a, n in zip(first, step, strict=True)])
            cell = Box(zyx([n * CELL for n in at]), zyx([(n + 1) * CELL for n in at])).clip(self.known.box)
            if at not in self.cells:
                if len(self.cells) >= KEPT_CELLS:
                    del self.cells[next(iter(self.cells))]
                self.cells[at] = self.known.hidden(cell)
            if (hidden := self.cells[at]) is not None:
                part = cell.clip(box)
                found[part.relative_to(box).slices] = hidden[part.relative_to(cell).slices]
        return found
