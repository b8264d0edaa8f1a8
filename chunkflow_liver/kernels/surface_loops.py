"""Compiled: the surface voxels of a label block, with the surface that each stands for."""

from __future__ import annotations

import math

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def _slope(
    flat: Array, voxel: int, outward: int, along: int, long_out: int, long_along: int, reach: int
) -> float:
    """Slope, in voxels, of the outline through one face, in the plane of the steps `outward` and `along`.

    The outline is walked face by face, forwards and backwards. Places count from the first face, in half
    voxels, and lengths in whole units of which `reach` has 2**13: sums are whole, below 2**57.
    """
    label = flat[voxel]
    rise = run = 0
    for way in (1, -1):
        at, out, head = voxel, outward, way * along
        out_rise, out_run, head_rise, head_run = 1, 0, 0, way
        place_rise = place_run = sum_rise = sum_run = walked = 0
        length = long_along
        while walked < reach:
            ahead = at + head
            beyond = ahead + out
            if flat[ahead] < 0 or flat[beyond] < 0:
                break
            if flat[beyond] == label:
                at = beyond
                place_rise += head_rise + out_rise
                place_run += head_run + out_run
                out, head = -head, out
                out_rise, out_run, head_rise, head_run = -head_rise, -head_run, out_rise, out_run
            elif flat[ahead] == label:
                at = ahead
                place_rise += 2 * head_rise
                place_run += 2 * head_run
            else:
                place_rise += head_rise - out_rise
                place_run += head_run - out_run
                out, head = head, -out
                out_rise, out_run, head_rise, head_run = head_rise, head_run, -out_rise, -out_run
            walked += length
            length = long_along if head_rise == 0 else long_out
            walked += length
            weight = length * walked * (reach + reach // 4 - walked)
            sum_rise += weight * place_rise
            sum_run += weight * place_run
        rise += way * sum_rise
        run += way * sum_run
    # Small things are walked round: there the face counts as it is.
    return rise / run if run > 0 else 0.0


@compiled
def surface_voxels(
    labels: Array,
    low: tuple[int, int, int],
    high: tuple[int, int, int],
    sizes: tuple[float, float, float],
    lengths: tuple[int, int, int],
    reach: int,
    index: Array,
    area: Array,
) -> int:
    """Write the surface voxels of a box in raster order, and return how many there are.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), int32, contiguous
        Objects, 0 for background, -1 all around.
    low, high : tuple of int
        The box, within the -1.
    sizes : tuple of float
        Voxel size along (z, y, x); the largest face of a voxel has the area 1.
    lengths : tuple of int
        The same, the largest 2**10.
    reach : int
        Twice the length that an outline is followed to either side.
    index, area : ndarray of shape (M,), int64
        Filled: index in `labels.ravel()`; area in steps of 2**-24 of six largest faces.

    Notes
    -----
    Indices are int64 and below the size of the array; areas are below 2**24.
    """
    flat = labels.reshape(-1)
    step_y = labels.shape[2]
    step_z = labels.shape[1] * step_y
    size_z, size_y, size_x = sizes
    long_z, long_y, long_x = lengths
    steps = float(1 << 24) / 6.0
    count = 0
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            row = z * step_z + y * step_y
            for voxel in range(row + low[2], row + high[2]):
                label = flat[voxel]
                if label <= 0:
                    continue
                total, exposed = 0.0, False
                for face in range(6):
                    sign = 1 - 2 * (face & 1)
                    if face < 2:
                        out, a, b, size, size_a, size_b = sign * step_z, step_y, 1, size_z, size_y, size_x
                        length, long_a, long_b = long_z, long_y, long_x
                    elif face < 4:
                        out, a, b, size, size_a, size_b = sign * step_y, step_z, 1, size_y, size_z, size_x
                        length, long_a, long_b = long_y, long_z, long_x
                    else:
                        out, a, b, size, size_a, size_b = sign, step_z, step_y, size_x, size_z, size_y
                        length, long_a, long_b = long_x, long_z, long_y
                    if flat[voxel + out] == label or flat[voxel + out] < 0:
                        continue
                    exposed = True
                    one = _slope(flat, voxel, out, a, length, long_a, reach) * size / size_a
                    two = _slope(flat, voxel, out, b, length, long_b, reach) * size / size_b
                    total += size_a * size_b / math.sqrt(1.0 + one * one + two * two)
                if exposed:
                    index[count] = voxel
                    area[count] = int(total * steps + 0.5)
                    count += 1
    return count
