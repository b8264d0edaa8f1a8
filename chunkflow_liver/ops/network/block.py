"""What tasks of `network` do with one block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.engine.stage import Result
from chunkflow_liver.geometry import Block, Nm
from chunkflow_liver.kernels.distance.squares import Unit, squares_to
from chunkflow_liver.kernels.network.chains import parts_of
from chunkflow_liver.kernels.network.thinning import thinned
from chunkflow_liver.store.voxels.region import Known
from chunkflow_liver.xp import Array


def depth_block(
    block: Block,
    labels: Array,
    *,
    wanted: list[int] | None,
    voxel_nm: Nm,
    limit: int,
    known: Known,
    unit: Unit,
) -> Result:
    """Squared distance to the background of every voxel of the object, 0 in the background.

    What nobody looked at is no background, and no object. `limit` + 1 stands for all that is farther.

    Record
    ------
    `count`: voxels of the object, and voxels that were looked at.
    """
    inside = np.zeros(labels.shape, bool)
    if wanted is None:
        np.not_equal(labels, 0, out=inside)
    else:
        for label in wanted:
            inside |= labels == label
    outside = ~inside
    if known.masks or not known.box.contains(block.read):
        looked = known(block.read)
        inside &= looked
        outside &= looked
    squares = squares_to(outside, unit, limit, block.trim)
    own = inside[block.trim]
    squares *= own
    seen = np.count_nonzero(own | outside[block.trim])
    count = np.array([np.count_nonzero(own), seen], np.int64)
    return Result((squares,), {"count": count})


def thin_block(block: Block, state: Array, *, limits: Sequence[int], known: Known, last: int) -> Result:
    """The voxels that are left after a round of sweeps."""
    hidden = known.hidden(block.read)
    return Result((thinned(state, limits, block.read.start, known.box, last, hidden)[block.trim],))


def parts_block(block: Block, state: Array, depth: Array, *, voxel_nm: Nm, known: Known) -> Result:
    """The lines and nodes of a block.

    Record
    ------
    As of `kernels.network.chains.parts_of`.
    """
    hidden = known.hidden(block.read)
    return Result(record=dict(parts_of(state, depth, block, voxel_nm, known.box, hidden)))
