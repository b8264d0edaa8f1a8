"""Thinning to centre lines, in sweeps whose answer no cut into blocks can change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.kernels.distance.squares import whole_unit
from chunkflow_liver.xp import Array

ORDER = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1), (1, 0, 0))
"""Turns of the eight subfields of a sweep, by the parity of (z, y, x); only one parity changes at each."""
LAST = 2
"""Sweeps after all distances had their turn, for what is left two voxels thick."""


def levels(widest_nm: float, voxel_nm: Nm) -> tuple[int, ...]:
    """Largest squared distance, in units of the voxel size, that may go in each sweep.

    Parameters
    ----------
    widest_nm : float
        Largest width of a vessel, in nm: of a flat one the longer side of its section.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    tuple of int
        One smallest side of a voxel more in each sweep, up to half of `widest_nm`, and `LAST` sweeps.
    """
    unit, step = whole_unit(voxel_nm), min(voxel_nm)
    steps = math.ceil(round(widest_nm / 2 / step, 9))
    rising = [unit.squares(step * n) for n in range(1, steps + 1)]
    return (*rising, *([unit.squares(step * steps)] * LAST))


def halo_of(sweeps: int) -> Zyx:
    """Voxels around a block that can have a say in what `sweeps` sweeps leave of it.

    Notes
    -----
    What a voxel becomes depends on neighbours that had their turn before it, those on neighbours that had
    theirs before, and so on, down to one that is as it was at the start. Along such a chain a step along an
    axis changes the parity along that axis, and the turns in `ORDER` change that of x four times in a sweep,
    of y and z twice; and the first link of the chain is one voxel more.
    """
    return (2 * sweeps + 1, 2 * sweeps + 1, 4 * sweeps + 1)


def thinned(
    squares: Array,
    limits: Sequence[int],
    start: Zyx,
    known: Box | None = None,
    last: int = LAST,
    hidden: Array | None = None,
) -> Array:
    """What is left of an object after a number of sweeps.

    Parameters
    ----------
    squares : ndarray of shape (Z, Y, X), unsigned integer
        Squared distance to the background of every voxel that is left, 0 elsewhere. Beyond the array is
        background.
    limits : sequence of int
        Of each sweep: only voxels with a square of at most this may go.
    start : Zyx
        Where the array lies in the volume; the turns of voxels go by their place there.
    known : Box, optional
        What was looked at, in voxels of the volume. In its last planes lines end where those of tubes that
        go on beyond would leave: a voxel there goes only if it could, too, were its plane repeated beyond.
    last : int
        In so many sweeps at the end that no longer holds: what it left thicker than a line becomes one.
    hidden : ndarray of the shape of `squares`, bool, optional
        Voxels, of no square, that were not looked at inside of `known`: the same holds beside them, with
        what lies beside each repeated in it.

    Returns
    -------
    ndarray of the same shape and type

    Notes
    -----
    Homotopic thinning in the order of distances [1]_. In a sweep every voxel of the border, as it is when
    the sweep begins, has its turn, one subfield of equal parity after the other [2]_. Voxels of a subfield
    do not touch, so that what goes at one turn goes in any order, and each is a simple point [3]_ when it
    goes: components, tunnels and cavities stay. Voxels with a single neighbour stay: they are ends of lines.

    References
    ----------
    .. [1] Pudney, Computer Vision and Image Understanding 72 (1998), doi:10.1006/cviu.1998.0680
    .. [2] Bertrand and Aktouf, Vision Geometry III, SPIE 2356 (1995), doi:10.1117/12.198601
    .. [3] Bertrand and Malandain, Pattern Recognition Letters 15 (1994), doi:10.1016/0167-8655(94)90046-9
    """
    if not squares.any():
        return squares
    from chunkflow_liver.kernels.network.thinning_loops import sweep

    state = np.pad(squares, 1)
    border = np.zeros(state.shape, np.uint8)
    rows = np.zeros(state.shape[:2], np.int64)
    # In the padded array a voxel lies one farther than in the read box.
    first = [[1 + (p - a) % 2 for p, a in zip(parity, start, strict=True)] for parity in ORDER]
    passes = np.array(first, np.int64)
    ends = np.full((3, 2), -1, np.int64)
    for axis in range(3) if known is not None else ():
        # Across a single plane nothing goes on.
        if known is not None and known.shape[axis] > 1:
            ends[axis] = known.start[axis] - start[axis] + 1, known.stop[axis] - start[axis]
    nowhere = np.zeros((0, 0, 0), np.uint8)
    beyond = nowhere if hidden is None else np.pad(hidden.view(np.uint8), 1)
    for number, limit in enumerate(limits):
        if number == len(limits) - last:
            ends[:], beyond = -1, nowhere
        sweep(state, border, rows, limit, passes, ends, beyond)
    return np.ascontiguousarray(state[1:-1, 1:-1, 1:-1])
