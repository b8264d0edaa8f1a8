"""A run tried on a small part of its images, in a folder of its own, to tell how long all of it takes."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chunkflow_liver.config import RunFile, read_run_file
from chunkflow_liver.engine.run import run
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.pipeline import plan_run
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.volume import Volume

PARTS = (1 << 16, 1 << 22)
"""Voxels of two parts: the first compiles loops and loads what is needed, the second is timed."""


@contextlib.contextmanager
def probed(path: str | Path) -> Iterator[Path]:
    """Work folder of a run of the run file at `path` on the middle of its images, gone afterwards.

    Raises
    ------
    ConfigError
        If the run file names a box or blocks of its own, which a part of the image does not have.
    ChunkflowLiverError
        As the run itself would.
    """
    run_file = read_run_file(path)
    if (run_file.segment and run_file.segment.roi_nm) or any(e.labels for e in run_file.stitch):
        raise ConfigError(
            f"{path}: a probe takes the middle of the image, which 'roi_nm' and labels of 'stitch' do not "
            "follow; begin the run, and 'plan' tells the time by its first blocks"
        )
    with tempfile.TemporaryDirectory(prefix="chunkflow-liver-probe-") as place:
        for voxels in PARTS:
            folder = Path(place, str(voxels))
            work = folder / "a probe"
            run(plan_run(_on_a_part(run_file, folder, work, voxels)), progress=False, retries=0)
        yield work


def _on_a_part(run_file: RunFile, place: Path, work: Path, voxels: int) -> RunFile:
    """The run file, with its images replaced by the middle of each."""
    level = None if run_file.input is None else run_file.input.level
    changed: dict[str, Any] = {"work": str(work), "into_source": False}

    def part(name: str, source: str, **how: Any) -> dict[str, Any]:
        return {"path": _cut(open_volume(source, **how), voxels, place / f"{name}.ome.zarr")}

    if run_file.input is not None:
        how = run_file.input.model_dump()
        cut = part("raw", how.pop("path"), **how)
        changed["input"] = type(run_file.input)(**cut)
    if run_file.semantic is not None:
        there = run_file.semantic
        cut = part("semantic", there.path, level=level if there.level is None else there.level)
        changed["semantic"] = there.model_copy(update={**cut, "level": None, "missing_chunks": "error"})
    if run_file.segment is not None and run_file.segment.mask is not None:
        cut = part("mask", run_file.segment.mask)
        changed["segment"] = run_file.segment.model_copy(update={"mask": cut["path"]})
    for key, field in (("existing", "path"), ("link", "slices"), ("evaluate", "truth")):
        entries = []
        for i, entry in enumerate(getattr(run_file, key)):
            own = getattr(entry, "level", None)
            cut = part(f"{key}-{i}", getattr(entry, field), level=level if own is None else own)
            update = {field: cut["path"]} | ({"level": None} if own is not None else {})
            entries.append(entry.model_copy(update=update))
        changed[key] = tuple(entries)
    return run_file.model_copy(update=changed)


def _cut(volume: Volume, voxels: int, to: Path) -> str:
    """Path of an image of the middle of a volume, about as long along all axes in nm."""
    sides = list(volume.shape)
    while math.prod(sides) > voxels:
        longest = max((a for a in range(3) if sides[a] > 1), key=lambda a: sides[a] * volume.voxel_nm[a])
        sides[longest] = -(-sides[longest] // 2)
    start = [(n - s) // 2 for n, s in zip(volume.shape, sides, strict=True)]
    box = Box(zyx(start), zyx([a + s for a, s in zip(start, sides, strict=True)]))
    options: dict[str, Any] = {"voxel_nm": volume.voxel_nm, "kind": volume.kind}
    if volume.kind == "label":
        options["classes"] = volume.classes
    return write_volume(to, volume.read(box), **options).url
