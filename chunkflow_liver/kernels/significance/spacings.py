"""Do narrowings of one branch follow each other evenly, as pearls do, or as chance would lay them?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.kernels.rows import starts
from chunkflow_liver.kernels.significance.decisions import LEAST
from chunkflow_liver.xp import Array

_BAND = (2.5, 97.5)
_BATCH = 1 << 21
_TIE = 1e-12
TOO_FEW = f"fewer than {LEAST} objects with three narrowings one after the other"


@dataclass(frozen=True)
class Spacings:
    """Distances between narrowings that follow each other, three narrowings or more in a row.

    Attributes
    ----------
    nm : ndarray of shape (s,), float64
        Along the branch, in the order of rows.
    row : ndarray of shape (s,), int64
        Which row of narrowings each belongs to, ascending.
    label : ndarray of shape (s,), integer
        Its object, ascending.
    """

    nm: Array
    row: Array
    label: Array


def spacings(label: Array, branch: Array, position_nm: Array, tested: Array) -> Spacings:
    """Distances of narrowings (k,) that follow each other on one branch, `tested` ones without a break."""
    order = np.lexsort((position_nm, branch, label))
    label, branch, at, kept = (column[order] for column in (label, branch, position_nm, tested))
    follows = (label[1:] == label[:-1]) & (branch[1:] == branch[:-1]) & kept[1:] & kept[:-1]
    follows &= np.diff(at) > 0
    row = np.cumsum(np.concatenate([[True], ~follows])[: len(label)])[:-1][follows]
    nm, of = np.diff(at)[follows], label[1:][follows]
    long = np.bincount(row, minlength=1)[row] >= 2 if len(row) else np.zeros(0, bool)
    return Spacings(nm[long], row[long], of[long])


def evenness(seen: Spacings, *, permutations: int, seed: int) -> dict[str, float]:
    """How much distances of narrowings in a row vary, and how much they would by chance.

    Parameters
    ----------
    seen : Spacings
    permutations : int
        How often chance lays the narrowings.
    seed : int

    Returns
    -------
    dict
        `objects`, `rows` and `spacings`, their numbers; `least_nm` and `median_nm` of the distances;
        `spread`: the root mean square over objects of the coefficient of variation of the distances in a
        row, so 0 of a string of pearls; `expected_spread`, `low_spread` and `high_spread`: of chance, its
        mean and where 95 % lie; `p_value`, two-sided and never 0.

    Notes
    -----
    Chance leaves the first and the last narrowing of a row where they are, and lays the others between them
    uniformly, none nearer to the next than a bound that is estimated from `least_nm` (the unbiased one of a
    shifted exponential distribution): two minima of one outline are never at one place, and evenness for
    that reason alone is no periodicity. What is above the least distance then shares the length
    as a uniform division of it does (a Dirichlet distribution; Pyke, J. R. Stat. Soc. B 27, 1965). Every
    object counts once, whatever its number of narrowings. Ends do not matter, and no wavelength is assumed
    to be that of another object.
    """
    names = ("least_nm", "median_nm", "spread", "expected_spread", "low_spread", "high_spread", "p_value")
    begin, many = starts(seen.row), len(seen.nm)
    counts = {"objects": len(np.unique(seen.label)), "rows": len(begin), "spacings": many}
    if not many:
        return counts | dict.fromkeys(names, math.nan)
    in_row = np.diff(np.append(begin, many))
    whole, least = np.add.reduceat(seen.nm, begin), float(seen.nm.min())
    # The smallest of a few lies above the bound by about their mean excess over it, divided by their number.
    bound = max(0.0, least - (float(seen.nm.mean()) - least) / max(1, many - 1))
    mean = np.repeat(whole / in_row, in_row)
    room = np.repeat(np.maximum(whole - in_row * bound, 0.0), in_row)
    objects = starts(seen.label)
    # Of a row of m distances m - 1 are free.
    free = np.add.reduceat(np.repeat((in_row - 1) / in_row, in_row), objects)

    def spread(nm: Array) -> Array:
        return np.asarray((np.add.reduceat((nm / mean - 1) ** 2, objects, axis=-1) / free).mean(-1))

    rng, drawn = np.random.default_rng(seed), np.empty(permutations)
    step = max(1, _BATCH // many)
    for first in range(0, permutations, step):
        parts = rng.standard_exponential((min(step, permutations - first), many))
        parts /= np.repeat(np.add.reduceat(parts, begin, axis=1), in_row, axis=1)
        drawn[first : first + step] = spread(bound + room * parts)
    own = float(spread(seen.nm))
    sides = (drawn <= own * (1 + _TIE)).sum(), (drawn >= own * (1 - _TIE)).sum()
    low, high = np.sqrt(np.percentile(drawn, _BAND))
    values = (
        least,
        float(np.median(seen.nm)),
        math.sqrt(own),
        math.sqrt(float(drawn.mean())),
        float(low),
        float(high),
        min(1.0, 2 * (1 + min(sides)) / (1 + permutations)),
    )
    return counts | dict(zip(names, values, strict=True))
