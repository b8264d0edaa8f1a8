"""How well cells agree with painted slices that they were not made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chunkflow_liver.engine.stage import Records, Result
from chunkflow_liver.geometry import Block, Box
from chunkflow_liver.kernels.labels.overlap import merge_overlaps, object_scores, overlap, partition_scores
from chunkflow_liver.store.table import Arrays, Columns
from chunkflow_liver.store.volume import Volume

MEASURES = ("ari", "vi_split", "vi_merge", "false_splits", "false_merges")


def compare(block: Block, found: Volume, painted: Volume, *, known: Arrays) -> Iterator[Result]:
    """Overlaps of the held-out slices of a block."""
    begin, end = block.write.start, block.write.stop
    record: dict[str, Any] = {}
    for z in (int(z) for z in known["held"]):
        if begin[0] <= z < end[0]:
            box = Box((z, *begin[1:]), (z + 1, *end[1:]))
            met = overlap(found.read(box), painted.read(box))
            record |= {f"{z}.{k}": v for k, v in met.items()}
    yield Result(record=record)


def scores(records: Records, *, known: Arrays, step_nm: float) -> Columns:
    """A row per held-out slice."""
    held = [int(z) for z in known["held"]]
    parts: dict[int, list[Columns]] = {z: [] for z in held}
    for _, record in records:
        for z in {int(k.partition(".")[0]) for k in record}:
            parts[z].append({k: record[f"{z}.{k}"] for k in ("a", "b", "voxels")})
    used = np.asarray(known["used"])
    rows: dict[str, list[float]] = {n: [] for n in ("slice", "from_painted_nm", "cells", "dice", *MEASURES)}
    for z in held:
        met = merge_overlaps(parts[z])
        objects = object_scores(met)
        iou = objects["iou"][objects["side"] == "truth"]
        rows["slice"].append(z)
        rows["from_painted_nm"].append(float(np.abs(used - z).min()) * step_nm)
        rows["cells"].append(len(iou))
        # Of the object that fits best; Dice follows from IoU.
        rows["dice"].append(float((2 * iou / (1 + iou)).mean()))
        for name, value in partition_scores(met).items():
            rows[name].append(value.item())
    counts = ("slice", "cells", "false_splits", "false_merges")
    return {n: np.array(v, np.int64 if n in counts else np.float64) for n, v in rows.items()}
