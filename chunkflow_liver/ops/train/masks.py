"""One mask per class, as one image of labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.ops.steps.place import same_voxels
from chunkflow_liver.store.foreign import Image
from chunkflow_liver.store.sources.source import fingerprint
from chunkflow_liver.training.regions import MOST_REGIONS, bit


@dataclass(frozen=True)
class Masks:
    """Labels of masks: the number of the class whose mask is not 0, or of all of them together.

    Attributes
    ----------
    names : tuple of str
        Classes, in the order of their numbers, which begin with 1.
    images : tuple of Image
        A mask per class, on the same voxels.
    regions : bool
        Whether classes may overlap: the number of a voxel then has a bit per class. An overlap is an error
        otherwise.
    """

    names: tuple[str, ...]
    images: tuple[Image, ...]
    regions: bool = False

    level = 0

    @property
    def classes(self) -> tuple[tuple[str, int], ...]:
        """Every class with the number of voxels that are in its mask alone."""
        return tuple((name, self._number(i)) for i, name in enumerate(self.names, 1))

    @property
    def numbers(self) -> tuple[int, ...]:
        """Every number that a voxel may have."""
        return tuple(range(1, 2 ** len(self.names))) if self.regions else tuple(n for _, n in self.classes)

    @property
    def url(self) -> str:
        return self.images[0].url

    @property
    def shape(self) -> Zyx:
        return self.images[0].shape

    @property
    def voxel_nm(self) -> Nm:
        return self.images[0].voxel_nm

    @property
    def origin_nm(self) -> Nm:
        return self.images[0].origin_nm

    @property
    def chunks(self) -> Zyx:
        return self.images[0].chunks

    @property
    def dtype(self) -> str:
        return "uint16"

    @property
    def itemsize(self) -> int:
        return sum(image.itemsize for image in self.images)

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Numbers in `box`, 0 where no mask is.

        Raises
        ------
        InputError
            If two masks meet in a voxel, where classes may not overlap.
        """
        found = np.zeros(box.shape, np.uint16)
        for i, image in enumerate(self.images, 1):
            mask = image.read(box) != 0
            if not self.regions and (found[mask] > 0).any():
                at = np.argwhere(mask & (found > 0))[0]
                place = tuple(int(n) + s for n, s in zip(at, box.start, strict=True))
                other = self.names[int(found[tuple(at)]) - 1]
                raise InputError(
                    f"the masks of {other!r} and {self.names[i - 1]!r} overlap, first at (z, y, x) = "
                    f"{place}; mend one of them, or say 'regions: true' if a voxel may be of several classes"
                )
            found[mask] += self._number(i)
        return found

    def identity(self) -> str:
        """Fingerprint of classes, rule and all masks."""
        return fingerprint(self.names, self.regions, *(image.identity() for image in self.images))

    def _number(self, of: int) -> int:
        return bit(of) if self.regions else of


def masks_of(images: Mapping[str, Image], names: tuple[str, ...], regions: bool, i: int) -> Masks:
    """The masks of source `i`, in the order of the classes.

    Raises
    ------
    InputError
        If classes and masks are not the same, or masks lie on other voxels.
    """
    missing, foreign = [n for n in names if n not in images], [n for n in images if n not in names]
    if missing:
        raise InputError(
            f"source {i} has masks of {list(images)} and none of {missing}: what has no mask would count as "
            "background; give one per class, or leave the class out"
        )
    if foreign:
        raise InputError(
            f"source {i} has a mask of {foreign[0]!r}, which is not among the classes {list(names)}"
        )
    for (one, a), (other, b) in itertools.pairwise(images.items()):
        same_voxels(a, b, f"masks of source {i} ({one!r} and {other!r}) must lie on the same voxels")
    if regions and len(names) > MOST_REGIONS:
        raise InputError(f"masks of {len(names)} classes that overlap; there may be {MOST_REGIONS} at most")
    return Masks(names, tuple(images[name] for name in names), regions)
