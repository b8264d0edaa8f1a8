"""Small painted images in memory, as a training sees them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.training.losses import IGNORE
from chunkflow_liver.training.windows.drawing import Painted, painted_rows

VOXEL_NM = (40.0, 16.0, 16.0)


def blobs(shape=(12, 48, 48), seed=0):
    """Grey values (uint8) and classes 0, 1, 2: dark and bright blobs that noise does not hide."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), (1, 4, 4))
    field /= field.std()
    classes = np.where(field > 0.8, 1, np.where(field < -0.8, 2, 0)).astype(np.uint8)
    grey = 120 + 50.0 * (classes == 1) - 50.0 * (classes == 2) + rng.normal(0, 12, shape)
    return grey.clip(1, 255).astype(np.uint8), classes


class InMemory:
    """A source of arrays; `seen` is where its labels may be seen."""

    def __init__(self, grey, classes, seen=None):
        self.grey = ((grey - grey.mean()) / grey.std()).astype(np.float32)[None]
        known = np.ones(grey.shape, bool) if seen is None else seen
        self.known = np.where(known, classes.astype(np.int16), IGNORE)
        self.fail_at, self.reads = None, 0

    @property
    def shape(self):
        return self.known.shape

    def image(self, box):
        self.reads += 1
        if self.fail_at is not None and self.reads > self.fail_at:
            raise OSError("the disk is gone")
        return self.grey[(slice(None), *box.slices)].copy()

    def labels(self, box):
        return self.known[box.slices].copy()


def painted_of(sources, heads=3, side=16):
    """What of some sources is painted, in boxes of at most some side."""
    rows = []
    for i, source in enumerate(sources):
        for block in BlockGrid(Box.of(source.shape), (side,) * 3):
            found = painted_rows(source.labels(block.write), block.write.start, heads)
            rows += [(i, row) for row in found]
    return Painted.of(rows, heads)
