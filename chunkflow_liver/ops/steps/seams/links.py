"""Every seam of a volume: which objects are linked over it, and how well that went; on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, Zyx
from chunkflow_liver.kernels.instances.seam_matches import TENTHS, View, meet, seam_rows
from chunkflow_liver.ops.steps.seams.vetoes import refused_links
from chunkflow_liver.store.scratch.spill import Columns, SpilledTable
from chunkflow_liver.xp import Array

BATCH = 1 << 18
"""Links, crossings or seams taken into memory at once."""
BOUNDS = tuple(f"{a}_{end}" for end in ("start", "stop") for a in "zyx")
SEAM = {"block_a": "int64", "block_b": "int64", "axis": "uint8"}
SEAM |= dict.fromkeys((*BOUNDS, "ambiguous", "links", "crossings"), "int64")
LINK = dict.fromkeys(("seam", "a", "b", "both", "voxels_a", "voxels_b", "place"), "int64") | {
    "iou": "float64"
}
CROSSING = dict.fromkeys(("seam", "node", "voxels", "place"), "int64")
COUNTS = ("matched", "unmatched", "vetoed", *(f"iou_{i}" for i in range(TENTHS)), "z", "y", "x")
ROW = dict.fromkeys(COUNTS, "int64") | dict.fromkeys(("iou_min", "iou_median", "score"), "float64")


@dataclass(frozen=True)
class Rules:
    """When objects of two blocks are one.

    Attributes
    ----------
    iou, iomin : float
        Two objects that fit each other best are joined if, in the box that both blocks see, shared voxels
        by voxels of either reach `iou`, and shared voxels by those of the smaller one reach `iomin`.
    branches : bool
        False: two objects of one block are never joined. True: only objects that touch each other in
        their block are kept apart; a branch that another block shows to belong to an object is joined.
    min_volume_um3 : float
        Objects below this volume are removed, after joining.
    dtype : {'uint32', 'uint64'}, optional
        Type of the ids; by default uint32 unless more objects than it counts could lie in the volume.
    """

    iou: float = 0.1
    iomin: float = 0.3
    branches: bool = False
    min_volume_um3: float = 0.0
    dtype: str | None = None

    def __post_init__(self) -> None:
        for name in ("iou", "iomin"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ConfigError(f"{name} is a share of voxels, above 0 and at most 1, got {value!r}")
        if not (math.isfinite(self.min_volume_um3) and self.min_volume_um3 >= 0):
            raise ConfigError(f"min_volume_um3 must be 0 or more, got {self.min_volume_um3!r}")
        if self.dtype not in (None, "uint32", "uint64"):
            raise ConfigError(f"ids are 'uint32' or 'uint64', got dtype {self.dtype!r}")


class SeamLinks:
    """Gathers seam after seam.

    Parameters
    ----------
    scratch : Path
        Folder for 96 bytes per seam, 64 per link and 32 per object that crosses a seam, and for what
        `vetoes` needs.
    iou, iomin : float
    branches : bool
        When objects are linked; see `kernels.instances.seam_matches.meet`. With `branches` only objects
        given to `keep_apart` are kept apart, without it any two of one block.
    """

    def __init__(self, scratch: Path, *, iou: float, iomin: float, branches: bool) -> None:
        self._scratch = scratch
        self._meet = partial(meet, iou=iou, iomin=iomin, branches=branches)
        self._branches = branches
        self._seams = SpilledTable(scratch / "seams", SEAM)
        self._links = SpilledTable(scratch / "links", LINK)
        self._crossings = SpilledTable(scratch / "crossings", CROSSING)
        self._apart = SpilledTable(scratch / "apart", {"a": "int64", "b": "int64"})

    def add(self, blocks: tuple[int, int], step: Zyx, box: Box, views: tuple[View, View]) -> None:
        """Compare what two blocks, the second one at `step` from the first, see of `box`."""
        links, crossings, ambiguous = self._meet(box, *views)
        seam = len(self._seams)
        for table, found in ((self._links, links), (self._crossings, crossings)):
            if found:
                count = len(found["place"])
                table.append(found | {"seam": np.full(count, seam)})
        axis = sum(bit for bit, n in zip((4, 2, 1), step, strict=True) if n)
        row = (*blocks, axis, *box.start, *box.stop, ambiguous, len(self._links), len(self._crossings))
        self._seams.append({k: np.array([v], t) for (k, t), v in zip(SEAM.items(), row, strict=True)})

    def keep_apart(self, pairs: Array) -> None:
        """Never join the two objects of a row of `pairs` (V, 2)."""
        self._apart.append({"a": pairs[:, 0], "b": pairs[:, 1]})

    def refused(self, offsets: Sequence[int]) -> Array:
        """Which links are not made, (K,) bool; `offsets`: where the objects of each block begin."""
        apart = self._apart if self._branches else None
        return refused_links(self._links, self._scratch / "vetoes", offsets=offsets, apart=apart)

    def made(self, refused: Array) -> Iterator[Array]:
        """Objects that become one, part by part, (K, 2) int64."""
        for begin, part in self._links.parts(BATCH):
            kept = ~refused[begin : begin + BATCH]
            yield np.stack([part["a"], part["b"]], 1)[kept]

    def table(self, refused: Array) -> Columns:
        """One row per seam, memory-mapped: `SEAM` (axis: 4, 2 and 1 for z, y and x) and `seam_rows`."""
        rows = SpilledTable(self._scratch / "rows", ROW)
        links, crossings = 0, 0
        for begin, end in self._together():
            seams = self._seams.rows(begin, end)
            boxes = np.stack([seams[k] for k in BOUNDS], 1)
            until = int(seams["links"][-1]), int(seams["crossings"][-1])
            link, crossing = self._links.rows(links, until[0]), self._crossings.rows(crossings, until[1])
            link["seam"] -= begin
            crossing["seam"] -= begin
            rows.append(seam_rows(boxes, link, np.array(refused[links : until[0]]), crossing))
            links, crossings = until
        return {k: self._seams[k] for k in SEAM if k not in ("links", "crossings")} | {
            k: rows[k] for k in ROW
        }

    def _together(self) -> Iterator[tuple[int, int]]:
        """Seams, from one up to another, that fit in memory with all that crosses them."""
        begin = 0
        while begin < len(self._seams):
            ends = self._seams.rows(begin, begin + BATCH)
            total = ends["links"] + ends["crossings"]
            before = 0 if begin == 0 else int(sum(self._seams[k][begin - 1] for k in ("links", "crossings")))
            count = max(1, int(np.searchsorted(total, before + BATCH, side="right")))
            yield begin, begin + count
            begin += count
