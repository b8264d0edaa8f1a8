"""A box that is looked at as a whole, in this process: refused where it does not fit in memory."""

from __future__ import annotations

from chunkflow_liver.engine.run import worker_memory
from chunkflow_liver.engine.stage import PROCESS_BYTES, Map
from chunkflow_liver.errors import MemoryBudgetError
from chunkflow_liver.geometry import Box

GIB = 2**30


def check_fits(stage: Map, box: Box, working: float, *, what: str = "the box") -> None:
    """Refuse a box whose inputs, and `working` bytes per voxel beside them, need more memory than there is.

    Raises
    ------
    MemoryBudgetError
    """
    need = PROCESS_BYTES + box.size * (sum(i.itemsize for i in stage.inputs) + working)
    if need > (have := worker_memory(None)):
        raise MemoryBudgetError(
            f"{what} {box} needs {need / GIB:.2f} GiB and there are {have / GIB:.2f} GiB; "
            "choose a smaller box"
        )
