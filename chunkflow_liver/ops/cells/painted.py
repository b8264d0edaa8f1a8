"""Which slices are painted, with which ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chunkflow_liver.engine.stage import Records, Result
from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Block
from chunkflow_liver.kernels.rows import distinct
from chunkflow_liver.store.planes.whole import Planes
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume


def look(block: Block, painted: Volume) -> Iterator[Result]:
    """The ids of every painted slice of a block."""
    planes = Planes(painted)
    slices, ids = [], []
    for z in range(block.write.start[0], block.write.stop[0]):
        found = distinct(planes(z))[0]
        found = found[found != 0].astype(np.uint64)
        if len(found):
            slices.append(np.full(len(found), z))
            ids.append(found)
    if slices:
        yield Result(record={"slice": np.concatenate(slices), "id": np.concatenate(ids)})
    else:
        yield Result()


def choose(records: Records, *, url: str, slices: Sequence[int] | None) -> Columns:
    """Painted slices that labels are carried from (`used`), others (`held`), and the `ids` of the former."""
    found = [record for _, record in records if record]
    at = np.concatenate([r["slice"] for r in found]) if found else np.zeros(0, np.int64)
    ids = np.concatenate([r["id"] for r in found]) if found else np.zeros(0, np.uint64)
    there = np.unique(at)
    used = there if slices is None else np.array(sorted(set(slices)), np.int64)
    lacking = np.setdiff1d(used, there)
    if not len(used) or len(lacking):
        known = there[:20].tolist()
        what = f"slices {lacking[:20].tolist()} of {url} are" if len(lacking) else f"no slice of {url} is"
        raise InputError(f"{what} painted; there are labels in {known or 'none'}: paint one, or name others")
    return {
        "used": used,
        "held": np.setdiff1d(there, used),
        "ids": np.unique(ids[np.isin(at, used)]),
    }
