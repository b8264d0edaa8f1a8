"""`python stitch_memory.py FOLDER yes|no`: peaks of the process that joins blocks, as a line of JSON.

In a process of its own: threads that tests before left in theirs (of dask, say) take memory, too, and the
longer a join takes the more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import block_functions as functions
import heaps
from strategies import write

import chunkflow_liver as cf
from chunkflow_liver.kernels.instances import union
from chunkflow_liver.ops.steps import numbering
from chunkflow_liver.ops.steps.seams import links, vetoes
from chunkflow_liver.store.scratch import sorting, spill

LAYERS = (3, 5, 15)
"""Of blocks; the first time compiles loops."""


def peaks(folder: Path, branches: bool) -> list[int]:
    """Three times the blocks and objects, in the same tables of a few hundred rows."""
    for module, name in ((spill, "WAITING"), (sorting, "MOST"), (numbering, "BINS")):
        setattr(module, name, 256)
    for module in (numbering, union, vetoes, links):
        module.BATCH = 256
    found = []
    for layers in LAYERS:
        truth = functions.voronoi((layers * 4, 16, 16), layers * 60, 1)
        volume = write(folder / str(layers), truth, name="truth", kind="label", voxel_nm=(16.0, 8.0, 8.0))
        made = cf.stitch(
            volume,
            functions.wobbling,
            params={"voxels": 1.0},
            halo_nm=32.0,
            block=(4, 8, 8),
            branches=branches,
            name="cells",
            work=folder / str(layers) / "work",
        )
        blocks, join = made.stages[:2]
        records = [
            (b.index, blocks.function(b, truth[b.read.slices], **blocks.params).record) for b in blocks.grid
        ]
        scratch = folder / f"scratch-{layers}"
        scratch.mkdir(parents=True)
        with heaps.peak() as highest:
            joined = join.function(iter(records), **join.params, scratch=scratch)
        found += highest
        assert joined["seam_vetoed"].any()
        assert len(joined["final"]) > 100 * layers
    return found


if __name__ == "__main__":
    print(json.dumps(peaks(Path(sys.argv[1]), sys.argv[2] == "yes")))
