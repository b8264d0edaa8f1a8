"""Sums of float values that are exact, and so the same however the values are cut into blocks."""

from __future__ import annotations

import math

import numpy as np

from chunkflow_liver.xp import Array

LIMBS = 12
"""Limbs of 32 bits for a sum of float32 values; one of squares has twice as many."""

# The smallest bit that a mantissa of 24 bits of a float32 can have: frexp(2**-149) is 0.5 * 2**-148.
_UNIT = -172
_LIMB = 32
# Some 150 bytes for each value of a slab are needed at a time.
_SLAB = 1 << 18


def exact_sums(rank: Array, values: Array, count: int) -> tuple[Array, Array]:
    """Sums of the values, and of their squares, of every object.

    Parameters
    ----------
    rank : ndarray of shape (N,), integer
        Object that each value belongs to, from 0.
    values : ndarray of shape (N,), float
        Of float64 what is above float32's largest number counts as infinite.
    count : int
        Number of objects.

    Returns
    -------
    ndarray of shape (count, 12), int64
        The sum as a number with digits of 32 bits, the lowest first; the last column counts values
        that are not finite, which are left out. May be added to others, and `carried` now and then.
    ndarray of shape (count, 23), int64
        The same for the squares, without the last column.

    Notes
    -----
    A float32 is an integer of 24 bits times a power of two: a long accumulator as in Kulisch [1]_.

    References
    ----------
    .. [1] Kulisch, Computer Arithmetic and Validity, 2013, chapter 8, doi:10.1515/9783110301793
    """
    first, second = (np.zeros(count * digits, np.int64) for digits in (LIMBS, 2 * LIMBS - 1))
    for start in range(0, len(values), _SLAB):
        # Sums of 2^18 digits of 32 bits are exact as float64, which bincount adds up.
        of = rank[start : start + _SLAB].astype(np.int64)
        slab = values[start : start + _SLAB]
        with np.errstate(over="ignore"):
            finite = np.isfinite(slab.astype(np.float32))
        first[LIMBS - 1 :: LIMBS] += np.bincount(of[~finite], minlength=count)
        of, terms = of[finite], _terms(slab[finite])
        for i, (mantissa, shift) in enumerate(terms):
            _deposit(first, of * LIMBS, mantissa, shift)
            for j, (other, more) in enumerate(terms[: i + 1]):
                product, at = mantissa * other, shift + more + (i != j)
                _deposit(second, of * (2 * LIMBS - 1), product & ((1 << 24) - 1), at)
                _deposit(second, of * (2 * LIMBS - 1), product >> 24, at + 24)
    return first.reshape(count, LIMBS), second.reshape(count, 2 * LIMBS - 1)


def _terms(values: Array) -> list[tuple[Array, Array]]:
    """Mantissas of 24 bits and their shifts, of which `values` are the sums: one for float32, up to three."""
    found: list[tuple[Array, Array]] = []
    rest = values.astype(np.float64)
    while not found or rest.any():
        part = rest.astype(np.float32)
        rest = rest - part if values.dtype == np.float64 else np.zeros(0)
        fraction, exponent = np.frexp(part.astype(np.float64))
        mantissa = np.ldexp(fraction, 24).astype(np.int64)
        found.append((mantissa, exponent.astype(np.int64) - 24 - _UNIT))
        if not part.any():
            # What is left is too small for float32.
            break
    return found


def carried(sums: Array) -> Array:
    """The same numbers with digits of 32 bits again, so that sums of sums never overflow; in place."""
    digits = sums[:, : LIMBS - 1] if sums.shape[1] == LIMBS else sums
    for i in range(digits.shape[1] - 1):
        digits[:, i + 1] += digits[:, i] >> _LIMB
        digits[:, i] &= (1 << _LIMB) - 1
    return sums


def mean_sd(voxels: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Mean and population standard deviation from exact sums, float64 of shape (L,).

    Parameters
    ----------
    voxels : ndarray of shape (L,), int64
    first, second : ndarray of shape (L, 12) and (L, 23), int64
        What `exact_sums` gave, added up. NaN comes back where a value was not finite.
    """
    mean, sd = np.full(len(voxels), np.nan), np.full(len(voxels), np.nan)
    for i in np.flatnonzero(first[:, LIMBS - 1] == 0).tolist():
        n, total, squares = int(voxels[i]), _number(first[i, : LIMBS - 1]), _number(second[i])
        mean[i] = math.ldexp(total / n, _UNIT)
        sd[i] = math.sqrt(math.ldexp((n * squares - total * total) / (n * n), 2 * _UNIT))
    return mean, sd


def _deposit(sums: Array, at: Array, digits: Array, shift: Array) -> None:
    """Add signed `digits` (at most 2^24) times 2^shift to the accumulators that begin `at`."""
    limb, bit = np.divmod(shift, _LIMB)
    moved = digits << bit
    low, high = moved & ((1 << _LIMB) - 1), moved >> _LIMB
    for place, part in ((at + limb, low), (at + limb + 1, high)):
        sums += np.bincount(place, part, minlength=len(sums)).astype(np.int64)


def _number(limbs: Array) -> int:
    return sum(digit << (_LIMB * i) for i, digit in enumerate(limbs.tolist()))
