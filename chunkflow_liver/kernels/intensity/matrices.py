"""Texture features of matrices given as counts: dependences, runs and zones, and tone differences.

Every function takes the non-zero entries of the matrices of many objects at once, ascending by object, and
gives one value per object and feature. Sums go through the entries in their order, so a value does not
depend on which other objects are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array

EPS = np.spacing(1.0)
Features = dict[str, Array]

DEPENDENCES = {
    "SmallDependenceEmphasis": "small",
    "LargeDependenceEmphasis": "large",
    "GrayLevelNonUniformity": "level_sum2",
    "DependenceNonUniformity": "size_sum2",
    "DependenceNonUniformityNormalized": "size_share2",
    "GrayLevelVariance": "level_variance",
    "DependenceVariance": "size_variance",
    "DependenceEntropy": "entropy",
    "LowGrayLevelEmphasis": "low",
    "HighGrayLevelEmphasis": "high",
    "SmallDependenceLowGrayLevelEmphasis": "small_low",
    "SmallDependenceHighGrayLevelEmphasis": "small_high",
    "LargeDependenceLowGrayLevelEmphasis": "large_low",
    "LargeDependenceHighGrayLevelEmphasis": "large_high",
}
RUNS = {
    "ShortRunEmphasis": "small",
    "LongRunEmphasis": "large",
    "GrayLevelNonUniformity": "level_sum2",
    "GrayLevelNonUniformityNormalized": "level_share2",
    "RunLengthNonUniformity": "size_sum2",
    "RunLengthNonUniformityNormalized": "size_share2",
    "RunPercentage": "percentage",
    "GrayLevelVariance": "level_variance",
    "RunVariance": "size_variance",
    "RunEntropy": "entropy",
    "LowGrayLevelRunEmphasis": "low",
    "HighGrayLevelRunEmphasis": "high",
    "ShortRunLowGrayLevelEmphasis": "small_low",
    "ShortRunHighGrayLevelEmphasis": "small_high",
    "LongRunLowGrayLevelEmphasis": "large_low",
    "LongRunHighGrayLevelEmphasis": "large_high",
}
ZONES = {
    "SmallAreaEmphasis": "small",
    "LargeAreaEmphasis": "large",
    "GrayLevelNonUniformity": "level_sum2",
    "GrayLevelNonUniformityNormalized": "level_share2",
    "SizeZoneNonUniformity": "size_sum2",
    "SizeZoneNonUniformityNormalized": "size_share2",
    "ZonePercentage": "percentage",
    "GrayLevelVariance": "level_variance",
    "ZoneVariance": "size_variance",
    "ZoneEntropy": "entropy",
    "LowGrayLevelZoneEmphasis": "low",
    "HighGrayLevelZoneEmphasis": "high",
    "SmallAreaLowGrayLevelEmphasis": "small_low",
    "SmallAreaHighGrayLevelEmphasis": "small_high",
    "LargeAreaLowGrayLevelEmphasis": "large_low",
    "LargeAreaHighGrayLevelEmphasis": "large_high",
}
_PAIRS = 1 << 20


@dataclass(frozen=True, eq=False)
class Grouped:
    """Entries in groups, with sums per group.

    Attributes
    ----------
    group : ndarray of shape (N,), int64
        Ascending.
    count : int
        Number of groups; some may be empty.
    """

    group: Array
    count: int

    def sum(self, values: Array) -> Array:
        """Sum of `values` per group, float64 of shape (count,)."""
        # Without entries NumPy forgets that the weights are floats.
        return np.bincount(self.group, values, self.count).astype(np.float64, copy=False)

    def merged(self, key: Array, values: Array) -> tuple[Grouped, Array, Array]:
        """Sums of `values` over entries of one group and equal `key` (int64, not negative)."""
        reach = int(key.max(initial=0)) + 1
        joint, inverse = np.unique(self.group * reach + key, return_inverse=True)
        return Grouped(joint // reach, self.count), joint % reach, np.bincount(inverse, values, len(joint))

    def entropy(self, share: Array) -> Array:
        """Entropy in bits of every group."""
        return -self.sum(share * np.log2(share + EPS))


def consecutive(key: Array) -> tuple[Array, Array]:
    """Distinct values of an ascending `key`, and for each entry the position of its value."""
    new = np.ones(len(key), bool)
    new[1:] = key[1:] != key[:-1]
    return key[new], np.cumsum(new) - 1


def emphases(entries: Grouped, level: Array, size: Array, n: Array, names: dict[str, str]) -> Features:
    """Features of matrices whose entries count gray levels and sizes (of dependences, runs or zones).

    Parameters
    ----------
    entries : Grouped
        The matrix that each entry belongs to.
    level, size : ndarray of shape (N,), int64
        Gray level, and size in voxels, from 1.
    n : ndarray of shape (N,)
        How often; a real number where directions were weighted.
    names : dict of str to str
        Which features, and what they are called: `DEPENDENCES`, `RUNS` or `ZONES`.

    Returns
    -------
    dict of ndarray of shape (entries.count,), float64
    """
    from chunkflow_liver.kernels.intensity.emphasis_loops import KINDS, emphases_of_groups

    begin = np.searchsorted(entries.group, np.arange(entries.count + 1))
    found = np.full((entries.count, len(KINDS)), np.nan)
    if len(n):
        emphases_of_groups(begin, level, size, n.astype(np.float64), found)
    return named(found, names)


def named(found: Array, names: dict[str, str]) -> Features:
    """The columns of sums over matrices (M, kinds), under the names of a class."""
    from chunkflow_liver.kernels.intensity.emphasis_loops import KINDS

    return {name: np.ascontiguousarray(found[:, KINDS.index(kind)]) for name, kind in names.items()}


def mean_over(rows: Array, count: int, features: Features) -> Features:
    """Mean per object of the features of its directions; NaN without any; `rows` says whose each is."""
    number = np.bincount(rows, minlength=count).astype(np.float64)
    number[number == 0] = np.nan
    return {name: np.bincount(rows, v, count) / number for name, v in features.items()}


def tone_features(of: Array, count: int, level: Array, n: Array, difference: Array) -> Features:
    """NGTDM features of many objects.

    Parameters
    ----------
    of : ndarray of shape (N,), int64
        Object of each entry, ascending.
    count : int
        Number of objects.
    level, n, difference : ndarray of shape (N,)
        A gray level of the object, ascending; its voxels; the sum of |level - mean of the neighbours|.

    Returns
    -------
    dict of ndarray of shape (count,), float64
        One row per object.

    Notes
    -----
    Voxels without a neighbour count in `n` with a difference of 0, as in PyRadiomics' code. A flat object
    has coarseness 1e6 and 0 for the rest.
    """
    entries = Grouped(of, count)
    i, voxels = level.astype(np.float64), entries.sum(n)
    p = n / voxels[of]
    total = entries.sum(difference)
    weighted = entries.sum(p * difference)
    levels = np.bincount(of, minlength=count)
    begin = np.cumsum(levels) - levels
    sums = {k: np.zeros(len(of)) for k in ("contrast", "busyness", "complexity", "strength")}
    pairs = np.cumsum(levels[of])
    first = 0
    while first < len(of):
        # A level with all levels of its object, for as many levels as fit.
        done = pairs[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(pairs, done + _PAIRS, side="right")))
        k = levels[of[first:last]]
        a = np.repeat(np.arange(first, last), k)
        b = begin[of[a]] + np.arange(len(a)) - np.repeat(np.cumsum(k) - k, k)
        gap = i[a] - i[b]
        terms = {
            "contrast": p[a] * p[b] * gap * gap,
            "busyness": np.abs(i[a] * p[a] - i[b] * p[b]),
            "complexity": np.abs(gap) * (p[a] * difference[a] + p[b] * difference[b]) / (p[a] + p[b]),
            "strength": (p[a] + p[b]) * gap * gap,
        }
        for name, values in terms.items():
            sums[name][first:last] = np.bincount(a - first, values, last - first)
        first = last
    sums = {name: entries.sum(values) for name, values in sums.items()}
    return {
        "Coarseness": np.where(weighted > 0, _ratio(np.ones(count), weighted), 1e6),
        "Contrast": _ratio(sums["contrast"] * total / voxels, (levels * (levels - 1)).astype(np.float64)),
        "Busyness": _ratio(weighted, sums["busyness"]),
        "Complexity": sums["complexity"] / voxels,
        "Strength": _ratio(sums["strength"], total),
    }


def _ratio(a: Array, b: Array) -> Array:
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(len(a)), where=b != 0)
