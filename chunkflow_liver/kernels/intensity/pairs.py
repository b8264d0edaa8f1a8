"""Features of gray level co-occurrence: of pairs of neighbours, per direction or weighted over directions."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM, Nm, Zyx
from chunkflow_liver.kernels.intensity.matrices import EPS, Features, Grouped, consecutive, mean_over
from chunkflow_liver.xp import Array

PAIRS = (
    *("Autocorrelation", "ClusterProminence", "ClusterShade", "ClusterTendency", "Contrast", "Correlation"),
    *("DifferenceAverage", "DifferenceEntropy", "DifferenceVariance", "Id", "Idm", "Idmn", "Idn"),
    *("Imc1", "Imc2", "InverseVariance", "JointAverage", "JointEnergy", "JointEntropy", "MCC"),
    *("MaximumProbability", "SumAverage", "SumEntropy", "SumSquares"),
)
NOISE = 1e-13
"""Information below this is the rounding of a sum of logarithms, not a dependence."""
_MATRIX_VALUES = 1 << 22


def direction_lengths(offsets: list[Zyx], voxel_nm: Nm, norm: str) -> Array:
    """Length in um of every offset, float64 of shape (D,); all 1 for 'no_weighting'."""
    steps = np.abs(np.array(offsets)) * np.array(voxel_nm) / NM_PER_UM
    if norm == "infinity":
        return steps.max(axis=1)
    if norm == "euclidean":
        return np.sqrt((steps * steps).sum(axis=1))
    return steps.sum(axis=1) if norm == "manhattan" else np.ones(len(steps))


def pair_features(
    of: Array,
    count: int,
    direction: Array,
    i: Array,
    j: Array,
    n: Array,
    *,
    span: Array,
    weights: Array | None,
) -> Features:
    """Co-occurrence features of many objects.

    Parameters
    ----------
    of : ndarray of shape (N,), int64
        Object of each entry, ascending.
    count : int
        Number of objects; one without pairs gets NaN everywhere.
    direction, i, j, n : ndarray of shape (N,), int64
        Direction, gray level of a voxel and of its neighbour, and number of such pairs; entries ascend by
        object and direction. Every pair is there in both orders if pairs are to count both ways.
    span : ndarray of shape (count, 2), int64
        Lowest and highest gray level of every object.
    weights : ndarray of shape (D,), optional
        Weight of every direction: their sum is one matrix. Without it features are means over directions.

    Returns
    -------
    dict of ndarray of shape (count,), float64
        The features `PAIRS`.

    Notes
    -----
    Definitions of PyRadiomics, with these differences in cases where it returns rounding errors: HXY2 is
    HX + HY (its epsilon inside a logarithm left out); Imc2 of independent levels is 0, and MCC (the second
    singular value of p(i, j) / sqrt(p(i) p(j)), which is the root of its eigenvalue) 0 where it would be
    the root of a negative rounding error, which PyRadiomics leaves out of the mean over directions.
    """
    amount = n.astype(np.float64)
    if weights is None:
        known, group = consecutive(of * (int(direction.max(initial=0)) + 1) + direction)
        owner = known // (int(direction.max(initial=0)) + 1)
    else:
        reach = int(max(i.max(initial=0), j.max(initial=0))) + 1
        entries, key, amount = Grouped(of, count).merged(i * reach + j, amount * weights[direction])
        i, j = np.divmod(key, reach)
        owner, group = consecutive(entries.group)
    matrices = Grouped(group, len(owner))
    p = amount / matrices.sum(amount)[group]
    features = _sums(matrices, p, i, j, span[owner, 1])
    features |= _information(matrices, p, i, j, span[owner])
    means = mean_over(owner, count, features)
    return {name: means[name] for name in PAIRS}


def _sums(matrices: Grouped, p: Array, i: Array, j: Array, most: Array) -> Features:
    """Features that are sums over the entries of a matrix, or over i + j or |i - j|."""
    g, x, y = matrices.group, i.astype(np.float64), j.astype(np.float64)
    ux, uy = matrices.sum(p * x), matrices.sum(p * y)
    dx, dy = x - ux[g], y - uy[g]
    both = dx + dy
    both2 = both * both
    sx, sy = np.sqrt(matrices.sum(p * dx * dx)), np.sqrt(matrices.sum(p * dy * dy))
    covariance = matrices.sum(p * dx * dy)
    correlation = np.where(sx * sy == 0, 1.0, covariance / (sx * sy + EPS))
    apart, k, pk = matrices.merged(np.abs(i - j), p)
    k = k.astype(np.float64)
    mean = apart.sum(k * pk)
    off = k - mean[apart.group]
    some = k > 0
    inverse = np.divide(pk, k * k, out=np.zeros(len(k)), where=some)
    levels = most[apart.group].astype(np.float64)
    sums, _, ps = matrices.merged(i + j, p)
    largest = np.zeros(matrices.count)
    np.maximum.at(largest, g, p)
    return {
        "Autocorrelation": matrices.sum(p * x * y),
        "ClusterProminence": matrices.sum(p * both2 * both2),
        "ClusterShade": matrices.sum(p * both2 * both),
        "ClusterTendency": matrices.sum(p * both2),
        "Contrast": apart.sum(pk * k * k),
        "Correlation": correlation,
        "DifferenceAverage": mean,
        "DifferenceEntropy": apart.entropy(pk),
        "DifferenceVariance": apart.sum(pk * off * off),
        "Id": apart.sum(pk / (1 + k)),
        "Idm": apart.sum(pk / (1 + k * k)),
        "Idmn": apart.sum(pk / (1 + k * k / (levels * levels))),
        "Idn": apart.sum(pk / (1 + k / levels)),
        "InverseVariance": apart.sum(inverse),
        "JointAverage": ux,
        "JointEnergy": matrices.sum(p * p),
        "MaximumProbability": largest,
        "SumAverage": matrices.sum(p * (x + y)),
        "SumEntropy": sums.entropy(ps),
        "SumSquares": matrices.sum(p * dx * dx),
    }


def _information(matrices: Grouped, p: Array, i: Array, j: Array, span: Array) -> Features:
    """Features of what one level of a pair says about the other."""
    g = matrices.group
    rows, level_x, px = matrices.merged(i, p)
    columns, level_y, py = matrices.merged(j, p)
    at_x = np.searchsorted(_joint(rows.group, level_x), _joint(g, i))
    at_y = np.searchsorted(_joint(columns.group, level_y), _joint(g, j))
    product = px[at_x] * py[at_y]
    joint = matrices.entropy(p)
    hx, hy = rows.entropy(px), columns.entropy(py)
    crossed = -matrices.sum(p * np.log2(product + EPS))
    larger = np.fmax(hx, hy)
    first = np.divide(joint - crossed, larger, out=np.zeros(len(joint)), where=larger != 0)
    known = -rows.sum(px * np.log2(px)) - columns.sum(py * np.log2(py)) + matrices.sum(p * np.log2(p))
    second = np.sqrt(1 - np.exp(-2 * np.where(known > NOISE, known, 0.0)))
    mcc = _second_singular(matrices, p / np.sqrt(product), at_x, at_y, (rows, columns))
    mcc[span[:, 0] == span[:, 1]] = 1.0
    return {"Imc1": first, "Imc2": second, "JointEntropy": joint, "MCC": mcc}


def _joint(group: Array, level: Array) -> Array:
    """One number for a group and a level below 2**12, in the order of both."""
    return (group << 12) | level


def _second_singular(
    matrices: Grouped, values: Array, at_x: Array, at_y: Array, sides: tuple[Grouped, Grouped]
) -> Array:
    """Second largest singular value of every matrix; 0 if it has a single row or column."""
    sizes = [np.bincount(side.group, minlength=matrices.count) for side in sides]
    begins = [np.cumsum(size) - size for size in sizes]
    x, y = at_x - begins[0][matrices.group], at_y - begins[1][matrices.group]
    side = np.maximum(*sizes)
    entries = np.bincount(matrices.group, minlength=matrices.count)
    begin = np.cumsum(entries) - entries
    found = np.zeros(matrices.count)
    for n in np.unique(side[np.minimum(*sizes) > 1]).tolist():
        same = np.flatnonzero((side == n) & (np.minimum(*sizes) > 1))
        batch = max(1, _MATRIX_VALUES // (n * n))
        for first in range(0, len(same), batch):
            part = same[first : first + batch]
            length = entries[part]
            local = np.repeat(np.arange(len(part)), length)
            at = np.repeat(begin[part] - (np.cumsum(length) - length), length) + np.arange(len(local))
            dense = np.zeros((len(part), n, n))
            dense[local, x[at], y[at]] = values[at]
            found[part] = np.linalg.svd(dense, compute_uv=False)[:, 1]
    return found
