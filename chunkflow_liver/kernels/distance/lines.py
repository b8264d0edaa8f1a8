"""Squared distances of any length as whole numbers, along whole lines of voxels, one axis after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Zyx
from chunkflow_liver.kernels.distance.squares import Unit, parabola, smallest_type

LARGEST_SQUARE = 1 << 53
"""Up to here floats hold every whole number."""

_SHIFTS = 64


def steps_in_rows(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Steps of every voxel to the nearest one of `mask` in its row, without a limit.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        What steps are counted to.

    Returns
    -------
    ndarray of the same shape, uint16 or uint32
        Steps along x; the largest number of the type in rows that hold nothing.
    """
    from chunkflow_liver.kernels.distance.transform_loops import along_rows

    width = mask.shape[2]
    kind = smallest_type(2 * width)
    far = kind.type(np.iinfo(kind).max)
    start = np.where(mask, kind.type(0), far).reshape(-1, width)
    steps = np.empty_like(start)
    along_rows(start, steps, np.arange(width, dtype=kind), far, 0)
    found: np.ndarray[Any, Any] = steps.reshape(mask.shape)
    return found


def squares_of_steps(steps: np.ndarray[Any, Any], size: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Squares of `steps_in_rows` with voxels of `size` units; `nothing(dtype)` where there are none."""
    squares: np.ndarray[Any, Any] = np.empty(steps.shape, dtype)
    for plane, found in zip(steps, squares, strict=True):
        np.multiply(plane, size, out=found, dtype=dtype)
        np.multiply(found, found, out=found)
        np.copyto(found, nothing(dtype), where=plane == np.iinfo(steps.dtype).max)
    return squares


def along_axis(squares: np.ndarray[Any, Any], axis: int, size: int) -> np.ndarray[Any, Any]:
    """Smallest of `squares` along `axis` plus the squared distance to it, without a limit.

    Parameters
    ----------
    squares : ndarray of shape (Z, Y, X), uint32 or uint64, C-contiguous
        Squares in units; `nothing(squares.dtype)` where there is nothing.
    axis : int
        Along which distances are measured, without a limit.
    size : int
        Voxel size along that axis, in units.

    Returns
    -------
    ndarray of the same shape and type
        `nothing(squares.dtype)` where a line holds nothing.
    """
    from chunkflow_liver.kernels.distance.transform_loops import whole_lines

    far, n = nothing(squares.dtype), squares.shape[axis]
    lines = squares.reshape(math.prod(squares.shape[:axis]), n, -1)
    out = np.empty_like(lines)
    # Costs are squares of lengths in the volume, below `far`; `far` is half of what the type holds.
    costs = [0, *parabola(size, (min(n - 1, _SHIFTS) * size) ** 2)]
    whole_lines(lines, out, np.array(costs, squares.dtype), size, far)
    return out.reshape(squares.shape)


def squares_type(shape: Zyx, unit: Unit) -> np.dtype[Any]:
    """Smallest type that holds the squares of all lengths in a volume, and `nothing`.

    Raises
    ------
    ConfigError
        If they are above `LARGEST_SQUARE`: floats could not store them.
    """
    largest = sum((n * u) ** 2 for n, u in zip(shape, unit.voxel, strict=True))
    for dtype in map(np.dtype, ("u4", "u8")):
        if largest < nothing(dtype):
            return dtype
    raise ConfigError(
        f"a volume of {shape} voxels is too large for exact distances of any length in steps of {unit.nm} nm"
    )


def nothing(dtype: np.dtype[Any]) -> int:
    """What stands for no square at all in an array of squares without a limit."""
    return min(int(np.iinfo(dtype).max) // 2, LARGEST_SQUARE)
