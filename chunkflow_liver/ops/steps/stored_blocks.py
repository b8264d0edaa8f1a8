"""Labels of blocks with their halo, an image for each, read as one volume of overlapping blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, GridError, InputError
from chunkflow_liver.geometry import BlockGrid, Box, Zyx, zyx
from chunkflow_liver.ops.steps.place import checked_labels
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume


@dataclass(frozen=True)
class StoredBlocks:
    """The images of all blocks of a grid; what can be read are the boxes of these.

    Attributes
    ----------
    shape, block, halo : Zyx
        Voxels of the whole, of a block without its halo, and of the halo.
    urls : tuple of str
        Images, in the order of the grid.
    itemsize : int
    """

    shape: Zyx
    block: Zyx
    halo: Zyx
    urls: tuple[str, ...]
    itemsize: int

    @property
    def grid(self) -> BlockGrid:
        return BlockGrid(Box.of(self.shape), self.block, self.halo, self.halo)

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """The labels of the block that reads `box`."""
        _, ny, nx = self.grid.counts
        # Halos are shorter than blocks, so the end of the halo before a block tells which one it is.
        z, y, x = (-(-a // b) if a else 0 for a, b in zip(box.start, self.block, strict=True))
        return open_volume(self.urls[(z * ny + y) * nx + x]).read()

    def identity(self) -> str:
        marks = "\n".join(open_volume(url).identity() for url in self.urls)
        return f"blocks of {self.block} with {self.halo}: {hashlib.sha256(marks.encode()).hexdigest()}"


def as_stored(labels: np.ndarray[Any, Any], *, voxel_nm: Any) -> np.ndarray[Any, Any]:
    """The objects of a block that were found before."""
    return labels


def stored_blocks(images: Mapping[Zyx, Volume], block: Zyx) -> tuple[StoredBlocks, Volume]:
    """Check that images are the blocks of a grid, all with the same halo.

    Parameters
    ----------
    images : mapping of Zyx to Volume
        For the first voxel (z, y, x) of each image in the whole, halo included, the image.
    block : Zyx
        Voxels of a block without its halo.

    Returns
    -------
    blocks : StoredBlocks
    whole : Volume
        A handle like that of the first image, with the shape of the whole; not to be read.

    Raises
    ------
    ConfigError, GridError, InputError
        If there is no halo, or an image is missing, in the wrong place, or unlike the others.
    """
    first = min(images)
    if first != (0, 0, 0):
        raise GridError(f"the first image begins at {first}, wanted is (0, 0, 0): count from the first voxel")
    shape = zyx([max(o[a] + v.shape[a] for o, v in images.items()) for a in range(3)])
    halo = []
    for a, name in enumerate("zyx"):
        second = min((o[a] for o in images if o[a] > 0), default=block[a])
        if not 0 <= block[a] - second < block[a]:
            raise GridError(
                f"along {name} the second block begins at {second}, halo included, and blocks have "
                f"{block[a]} voxels: the halo is shorter than a block, and not below 0; is the block right?"
            )
        halo.append(block[a] - second)
    found = StoredBlocks(shape, block, zyx(halo), (), np.dtype(images[first].dtype).itemsize)
    expected = {b.read.start: b.read for b in found.grid}
    for origin, image in images.items():
        checked_labels(image, "labels of blocks")
        box = expected.get(origin)
        if box is None or image.shape != box.shape:
            raise GridError(
                f"{image.url}, {image.shape} voxels at {origin}, is no block: blocks of {block} with a halo "
                f"of {found.halo} begin at {sorted(expected)[:4]} ..."
                + ("" if box is None else f", and this one has {box.shape} voxels")
            )
        if (image.dtype, image.voxel_nm) != (images[first].dtype, images[first].voxel_nm):
            raise InputError(
                f"{image.url} holds {image.dtype} voxels of {image.voxel_nm} nm, {images[first].url} "
                f"{images[first].dtype} of {images[first].voxel_nm} nm: blocks of one volume are alike"
            )
    if max(halo) == 0 and len(found.grid) > 1:
        raise ConfigError(
            "the images share no voxels: put them into one volume, and stitch that where faces touch"
        )
    missing = sorted(set(expected) - set(images))
    if missing:
        raise GridError(f"{len(missing)} of {len(expected)} blocks have no image: {missing[:4]}")
    urls = tuple(images[start].url for start in expected)
    whole = replace(images[first], shape=shape, source=None, level=0, levels=1)
    return replace(found, urls=urls), whole
