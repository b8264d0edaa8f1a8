"""Several masks as one volume of class numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.sources.source import Source, fingerprint

SAME_VOXEL = 0.01
"""Voxel sizes that differ by a larger share are not those of one volume."""
SAME_PLACE = 0.5
"""Nor are places that differ by more voxels."""
_AS_STORED = "take the voxels of all masks as stored, with axes= (--axes zyx), if they were made of one image"


@dataclass(frozen=True)
class Masks:
    """Class numbers 1, 2, ... where the first, second, ... mask is not 0.

    Attributes
    ----------
    names : tuple of str
        Classes, in the order of their numbers.
    sources : tuple of Source
        Their masks, on the same voxels.
    first_wins : bool
        What becomes of a voxel in several masks: it gets the class named first, or is an error.
    """

    names: tuple[str, ...]
    sources: tuple[Source, ...]
    first_wins: bool = False

    @property
    def shape(self) -> Zyx:
        return self.sources[0].shape

    @property
    def dtype(self) -> str:
        return np.min_scalar_type(len(self.names)).name

    @property
    def voxel_nm(self) -> Nm | None:
        return next((s.voxel_nm for s in self.sources if s.voxel_nm is not None), None)

    @property
    def origin(self) -> Nm:
        return self._placed.origin

    @property
    def frame(self) -> str | None:
        return self._placed.frame

    @property
    def turned(self) -> bool:
        return self._placed.turned

    @property
    def _placed(self) -> Source:
        return next((s for s in self.sources if s.frame is not None), self.sources[0])

    @property
    def chunks(self) -> Zyx:
        z, y, x = (max(sides) for sides in zip(*(s.chunks for s in self.sources), strict=True))
        return z, y, x

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Class numbers in `box`, 0 where no mask is.

        Raises
        ------
        InputError
            If two masks meet in a voxel, unless `first_wins`.
        """
        return self.numbers([source.read(box) for source in self.sources], box)

    def numbers(self, masks: Sequence[np.ndarray[Any, Any]], box: Box) -> np.ndarray[Any, Any]:
        """Class numbers in `box`, of the voxels that every mask has there; raises as `read` does."""
        found = np.zeros(box.shape, self.dtype)
        for number, voxels in enumerate(masks, 1):
            mask = voxels != 0
            taken = mask & (found > 0)
            if taken.any() and not self.first_wins:
                at = np.argwhere(taken)[0]
                place = tuple(int(i) + s for i, s in zip(at, box.start, strict=True))
                other = self.names[int(found[tuple(at)]) - 1]
                raise InputError(
                    f"the masks of {other!r} and {self.names[number - 1]!r} overlap, first at (z, y, x) = "
                    f"{place}; mend one of them, or begin anew with --allow-overlaps: then such voxels get "
                    "the class named first"
                )
            found[mask & ~taken] = number
        return found

    def identity(self) -> str:
        """Fingerprint of classes, rule and all masks."""
        return fingerprint(self.names, self.first_wins, *(s.identity() for s in self.sources))


def combined(masks: Mapping[str, Source], *, first_wins: bool) -> Masks:
    """Masks by class as one volume.

    Raises
    ------
    InputError
        If they do not lie on the same voxels.
    """
    (first_name, first), *others = masks.items()
    for name, mask in others:
        if mask.shape != first.shape:
            raise InputError(
                f"masks differ in shape (z, y, x): {first_name!r} has {first.shape}, {name!r} {mask.shape}"
            )
    sized = {name: m.voxel_nm for name, m in masks.items() if m.voxel_nm is not None}
    for name, size in sized.items():
        known, wanted = next(iter(sized.items()))
        if any(abs(a - b) > SAME_VOXEL * b for a, b in zip(size, wanted, strict=True)):
            raise InputError(
                f"masks differ in voxel size: {known!r} has {wanted} nm, {name!r} {size} nm; "
                "mend the one that is wrong"
            )
    _check_directions(masks)
    placed = {name: m.origin for name, m in masks.items() if m.frame is not None}
    for name, place in placed.items():
        known, start = next(iter(placed.items()))
        if any(abs(a - b) > SAME_PLACE for a, b in zip(place, start, strict=True)):
            raise InputError(
                f"masks differ in place: {known!r} begins at {start} voxels (z, y, x), {name!r} at "
                f"{place}; cut both out of the same box, or {_AS_STORED}"
            )
    return Masks(tuple(masks), tuple(masks.values()), first_wins)


def _check_directions(masks: Mapping[str, Source]) -> None:
    """Refuse masks of which one may lie turned against another: nothing tells how they fit together."""
    named = {name: m.frame for name, m in masks.items() if m.frame}
    for name, frame in named.items():
        known, other = next(iter(named.items()))
        if frame != other:
            raise InputError(
                f"masks differ in the directions of their space: that of {known!r} is {other}, that of "
                f"{name!r} {frame} (ITK turns x and y where it writes NIfTI); save both in one format, or "
                f"{_AS_STORED}"
            )
    turned = next((name for name, m in masks.items() if m.turned), None)
    for name, mask in masks.items():
        if turned is not None and mask.frame != masks[turned].frame:
            raise InputError(
                f"the file of {turned!r} says that its voxels lie turned in space, and that of {name!r} does "
                f"not say how its own lie; save both in one format, or {_AS_STORED}"
            )
