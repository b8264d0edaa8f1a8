"""Coarser images by mean and coarser labels by majority, for the levels of a pyramid."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Zyx, zyx
from chunkflow_liver.xp import Array, namespace

_SLAB_CELLS = 1 << 20


def mean(array: Array, factors: Zyx) -> Array:
    """Mean of every cell of `factors` voxels.

    Parameters
    ----------
    array : ndarray of shape (Z, Y, X), integer up to 32 bits or float
        Image block that starts at a multiple of `factors`.
    factors : Zyx
        Voxels per cell along (z, y, x).

    Returns
    -------
    ndarray of shape (ceil(Z / fz), ceil(Y / fy), ceil(X / fx)), dtype of `array`
        Cells at a ragged end are the mean of the voxels that exist. Same array type as `array`.

    Raises
    ------
    ConfigError
        If a factor is below 1.
    InputError
        If `array` is bool or has 64-bit integers.

    Notes
    -----
    Integer sums are exact and the mean is rounded half to even; floats are summed in float64.
    """
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "iuf" or (kind in "iu" and size > 4):
        raise InputError(
            f"cannot take the mean of {array.dtype}; images are floats or integers of at most 32 "
            "bits, and labels need mode()"
        )
    return _by_part(array, factors, _mean_cells)


def mode(labels: Array, factors: Zyx) -> Array:
    """Most frequent label of every cell of `factors` voxels.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer or bool
        Label block that starts at a multiple of `factors`.
    factors : Zyx
        Voxels per cell along (z, y, x).

    Returns
    -------
    ndarray of shape (ceil(Z / fz), ceil(Y / fy), ceil(X / fx)), dtype of `labels`
        Of several labels that are equally frequent the smallest one, so background wins a tie.
        Cells at a ragged end count the voxels that exist. Same array type as `labels`.

    Raises
    ------
    ConfigError
        If a factor is below 1.

    Notes
    -----
    Cells of one label, nearly all of them in a segmentation, cost one comparison per voxel; only
    the others are sorted. On the host this is one compiled loop.
    """
    if namespace(labels) is not np or min(factors) < 1 or max(factors) == 1:
        return _by_part(labels, factors, _mode_cells)
    from chunkflow_liver.kernels.images.majority_loops import majority

    out = np.empty(tuple(-(-n // f) for n, f in zip(labels.shape, factors, strict=True)), labels.dtype)
    one_bit = labels.dtype == bool
    whole = np.ascontiguousarray(labels)
    majority(whole.view(np.uint8) if one_bit else whole, factors, out.view(np.uint8) if one_bit else out)
    return out


def _by_part(array: Array, factors: Zyx, reduce: Callable[[Array, Zyx], Array]) -> Array:
    """`reduce` on the full cells and on each ragged end by itself, where all cells are alike."""
    if min(factors) < 1:
        raise ConfigError(f"downsampling factors are 1 or more, got {factors}")
    if max(factors) == 1:
        return array.copy()
    xp = namespace(array)
    out = xp.empty(tuple(-(-n // f) for n, f in zip(array.shape, factors, strict=True)), array.dtype)
    ends = []
    for n, f in zip(array.shape, factors, strict=True):
        full = n // f
        ends.append([(0, full, f), (full, full + 1, n - full * f)])
    for part in itertools.product(*ends):
        if any(a == b or not f for a, b, f in part):
            continue
        cell = zyx([f for _, _, f in part])
        voxels = tuple(
            slice(a * whole, a * whole + (b - a) * f) for (a, b, f), whole in zip(part, factors, strict=True)
        )
        out[tuple(slice(a, b) for a, b, _ in part)] = reduce(array[voxels], cell)
    return out


def _members(array: Array, cell: Zyx) -> list[Array]:
    """One strided view per place in a cell."""
    return [
        array[z :: cell[0], y :: cell[1], x :: cell[2]] for z, y, x in itertools.product(*map(range, cell))
    ]


def _mean_cells(array: Array, cell: Zyx) -> Array:
    """Mean of cells that are all full."""
    xp = namespace(array)
    count = math.prod(cell)
    if array.dtype.kind == "f":
        first, *others = (m.astype(xp.float64) for m in _members(array, cell))
        total = functools.reduce(operator.add, others, first)
        return (total / count).astype(array.dtype)
    bits = array.dtype.itemsize * 8 + count.bit_length() + 1
    signed = array.dtype.kind == "i"
    wide = next(xp.dtype(f"{'i' if signed else 'u'}{size}") for size in (2, 4, 8) if bits <= 8 * size)
    first, *others = _members(array, cell)
    total = first.astype(wide)
    for member in others:
        total += member
    if count & (count - 1):
        whole, rest = xp.divmod(total, wide.type(count))
    else:
        whole, rest = total >> (count.bit_length() - 1), total & wide.type(count - 1)
    rest *= 2
    # Floor division leaves a rest >= 0, so this is half to even for negative values too.
    whole += (rest > count) | ((rest == count) & (whole & 1).astype(bool))
    return whole.astype(array.dtype)


def _mode_cells(labels: Array, cell: Zyx) -> Array:
    """Majority of cells that are all full; ties go to the smallest label."""
    xp = namespace(labels)
    members = _members(labels, cell)
    out = members[0].copy()
    mixed = xp.zeros(out.shape, bool)
    for member in members[1:]:
        mixed |= member != out
    at = xp.nonzero(mixed)
    for start in range(0, len(at[0]), _SLAB_CELLS):
        some = tuple(index[start : start + _SLAB_CELLS] for index in at)
        out[some] = _row_modes(xp.stack([member[some] for member in members], axis=1))
    return out


def _row_modes(rows: Array) -> Array:
    """Most frequent value of each row of an (M, K) array, the smallest of several."""
    xp = namespace(rows)
    rows.sort(axis=1)
    columns = xp.ascontiguousarray(rows.T)
    best = columns[0].copy()
    best_run = xp.ones(len(rows), xp.int32)
    run = xp.ones(len(rows), xp.int32)
    for before, column in itertools.pairwise(columns):
        run = xp.where(column == before, run + 1, 1)
        longer = run > best_run
        xp.copyto(best, column, where=longer)
        xp.copyto(best_run, run, where=longer)
    return best
