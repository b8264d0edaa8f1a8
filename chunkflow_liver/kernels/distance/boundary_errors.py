"""Scores against a truth: how calibrated they are, how far boundaries are off, over what distance alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.kernels.distance.squares import Unit, parabola, spread, whole_unit
from chunkflow_liver.kernels.distance.surface_distances import surface_voxels
from chunkflow_liver.kernels.distance.transform import WHOLE
from chunkflow_liver.xp import Array

BINS = 20
"""Of scores, of equal width."""
LAGS = 24
"""Voxels along y and x, up to which errors are compared."""
STEP_NM = 1 / 1024
"""Errors are added as whole steps, so that sums do not depend on blocks."""

Sums = dict[str, Array]


def halo_of(voxel_nm: Nm, cap_nm: float) -> Zyx:
    """Halo of `compare_scores`, in voxels; `ConfigError` if the cap is too large to be measured exactly."""
    _keys(voxel_nm, cap_nm)
    reach = [math.ceil((cap_nm + max(voxel_nm)) / size) for size in voxel_nm]
    return zyx([reach[0], reach[1] + LAGS, reach[2] + LAGS])


def compare_scores(
    score: Array, truth: Array, voxel_nm: Nm, cap_nm: float, trim: Any, hidden: Array | None = None
) -> Sums:
    """Sums of one block of what scores say and what is true.

    Parameters
    ----------
    score : ndarray of shape (Z, Y, X), float
        Of one class, 0 to 1, with a halo of `halo_of`, cut only where the volume ends.
    truth : ndarray of the same shape, bool
        The class.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cap_nm : float
        A boundary that is farther off is no boundary that was shifted: it is missing, or invented.
    trim : tuple of slice
        Voxels that count.
    hidden : ndarray of the same shape, bool, optional
        Of these nothing is known: they do not count, and no boundary lies there, nor at their edge.

    Returns
    -------
    dict of ndarray, int64
        `voxels`, `true` and `score` (in 2**-20) by bin, (BINS,); `far`, `near`, `sum`, `square` of boundary
        errors; `pairs`, `first`, `product` by lag, along y and along x, (2, LAGS).

    Notes
    -----
    The error at a voxel on either side of the boundary that is found (score 0.5 or more) is its depth in the
    truth less its depth in what is found, both to the face before the nearest voxel of the other side:
    positive where the true object is larger. A voxel beside an oblique boundary counts as half a step deep
    though its centre may lie nearer; inside that makes the true object too small, outside as much too large.
    """
    found, known = score >= 0.5, np.ones(score.shape, bool) if hidden is None else ~hidden
    inner = score[trim][known[trim]].astype(np.float64)
    at = np.minimum((inner * BINS).astype(np.int64), BINS - 1)
    whole = np.rint(inner * (1 << 20)).astype(np.int64)
    sums = {
        "voxels": np.bincount(at, minlength=BINS),
        "true": np.bincount(at[truth[trim][known[trim]]], minlength=BINS),
        "score": np.array([whole[at == b].sum() for b in range(BINS)], np.int64),
    }
    surface = surface_voxels(found, known) | surface_voxels(~found, known)
    depth = _depth(truth, known, voxel_nm, cap_nm) - _depth(found, known, voxel_nm, cap_nm)
    near = surface & (np.abs(depth) <= cap_nm)
    error = np.where(near, np.rint(np.where(near, depth, 0.0) / STEP_NM), 0).astype(np.int64)
    own = near[trim]
    e = error[trim][own]
    sums |= {
        "far": np.array([int((surface & ~near)[trim].sum())]),
        "near": np.array([len(e)]),
        "sum": np.array([e.sum()]),
        "square": np.array([(e * e).sum()]),
    }
    lags = np.zeros((3, 2, LAGS), np.int64)
    for axis in (1, 2):
        for lag in range(LAGS):
            there = _moved(near, axis, lag)[trim] & own
            values = _moved(error, axis, lag)[trim][there]
            mine = error[trim][there]
            lags[:, axis - 1, lag] = len(mine), (mine + values).sum(), (mine * values).sum()
    return sums | dict(zip(("pairs", "first", "product"), lags, strict=True))


def _depth(mask: Array, known: Array, voxel_nm: Nm, cap_nm: float) -> Array:
    """Depth under the boundary, to the face before the nearest known voxel of the other side; large beyond.

    Notes
    -----
    The face lies half a step of the grid before the centre of the nearest voxel, in its direction: of n
    voxels' offset and d nm, d - d / 2 n; along an axis half a voxel of that axis. A key, the square of d
    times a number above every square of n, plus the square of n, is a sum over axes like the square of d
    alone; so of voxels that are equally near it is the fewest steps that count, whatever the block.
    """
    unit, limit, many = _keys(voxel_nm, cap_nm)
    far = (limit + 1) * many
    costs = [
        [square * many + steps**2 for steps, square in enumerate(parabola(size, limit), 1)]
        for size in unit.voxel
    ]
    found = np.empty(mask.shape)
    for side, sign in ((mask, 1.0), (~mask, -1.0)):
        start = np.multiply(side | ~known, np.uint64(far), dtype=np.uint64)
        keys = spread(start, costs, far, WHOLE)[side]
        steps = np.sqrt((keys % many).astype(np.float64))
        depth = unit.length_nm(keys // many) * (1 - 0.5 / np.maximum(steps, 1.0))
        found[side] = sign * np.where(keys < far, depth, 9 * cap_nm)
    return found


def _keys(voxel_nm: Nm, cap_nm: float) -> tuple[Unit, int, int]:
    """Unit and largest square of distances that are looked for, and what is above all squares of steps."""
    unit = whole_unit(voxel_nm)
    # Centres are farther apart than the boundaries by half a voxel at either end.
    limit = unit.squares(cap_nm + max(voxel_nm))
    many = 1 + limit // min(unit.voxel) ** 2
    if (limit + 1) * many >= 1 << 62:
        raise ConfigError(
            f"boundaries up to {cap_nm} nm off have too many keys with voxels of {voxel_nm} nm; "
            "take a smaller cap"
        )
    return unit, limit, many


def _moved(values: Array, axis: int, lag: int) -> Array:
    """What lies `lag` voxels on along an axis; 0 beyond the array."""
    found = np.zeros_like(values)
    source, target = (np.moveaxis(a, axis, 0) for a in (values, found))
    target[: max(0, len(target) - lag)] = source[lag:]
    return found


def merge_scores(parts: Iterable[Mapping[str, Any]]) -> Sums:
    """Sums of all blocks."""
    found: Sums = {}
    for part in parts:
        for name, values in part.items():
            found[name] = found.get(name, 0) + np.asarray(values)
    return found


def calibration(sums: Sums, voxel_nm: Nm) -> dict[str, float]:
    """How calibrated scores are, and the error of boundaries.

    Returns
    -------
    dict of str to float
        `ece`, the expected calibration error [1]_: mean over voxels of how far the share that is true is from
        the mean score of the bin; `ece_unsure`, of the voxels with scores of 0.05 to 0.95; `bias_nm` and
        `error_nm`, mean and standard deviation of the boundary's error; `boundary_nm` (its root mean square,
        so with the bias) and `correlation_nm`, which `boundaries.Boundary` takes with the bias;
        `boundary_voxels`, `missed_fraction` (boundary that is farther off than the cap).

    Notes
    -----
    Single voxels are off by what a voxel is wide, too, which says nothing of how far errors are alike: the
    covariance at lags of 1 and more, as far as it is above a third of the first, is taken for a Gaussian of
    the lag, and a line through its logarithm over the squared lag says how wide (the nugget of a variogram);
    infinite where it does not fall.

    References
    ----------
    .. [1] Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning,
       AAAI 2015
    """
    voxels, score = sums["voxels"], sums["score"] / (1 << 20)
    off = np.abs(sums["true"] - score)
    unsure = slice(1, BINS - 1)
    near, far = int(sums["near"][0]), int(sums["far"][0])
    found = {
        "ece": float(off.sum() / max(voxels.sum(), 1)),
        "ece_unsure": float(off[unsure].sum() / voxels[unsure].sum()) if voxels[unsure].any() else math.nan,
        "bias_nm": math.nan,
        "error_nm": math.nan,
        "boundary_nm": math.nan,
        "correlation_nm": math.nan,
        "boundary_voxels": near,
        "missed_fraction": far / (near + far) if near + far else math.nan,
    }
    if near:
        mean = float(sums["sum"][0]) / near
        variance = max(float(sums["square"][0]) / near - mean**2, 0.0)
        found |= {"bias_nm": mean * STEP_NM, "error_nm": math.sqrt(variance) * STEP_NM}
        found["boundary_nm"] = math.hypot(mean, math.sqrt(variance)) * STEP_NM
        found["correlation_nm"] = _alike_nm(sums, mean, voxel_nm)
    return found


def _alike_nm(sums: Sums, mean: float, voxel_nm: Nm) -> float:
    """Length over which errors are alike: one voxel at least, as nothing is known of less."""
    parts: list[Array] = []
    least = float(np.mean(voxel_nm[1:]))
    for size in sorted(set(voxel_nm[1:])):
        axes = [v == size for v in voxel_nm[1:]]
        number, first, product = (sums[name][axes].sum(0) for name in ("pairs", "first", "product"))
        pairs = np.maximum(number, 1)
        covariance = product / pairs - mean * first / pairs + mean**2
        below = np.flatnonzero((covariance <= covariance[1] / 3) | (number == 0))
        last = int(below[below > 0][0]) if (below > 0).any() else LAGS
        # What is alike over no more than two voxels is of single voxels.
        if last >= 3 and covariance[1] > 0:
            lag = np.arange(1, last)
            parts.append(np.stack([(lag * size) ** 2, np.log(covariance[lag]), np.sqrt(pairs[lag])]))
    if not parts:
        return least
    square, level, weight = np.concatenate(parts, axis=1)
    slope = np.polyfit(square, level, 1, w=weight)[0]
    # To end where lags do would make intervals too narrow. What is lost up to there may be rounding.
    falls = slope * square.max() < -1e-9
    return max(math.sqrt(-0.5 / slope), least) if falls else math.inf
