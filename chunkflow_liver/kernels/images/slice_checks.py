"""What is wrong with slices of a stack: black, duplicated, shifted, missing ones, and jumps of contrast."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.xp import Array

LEAST_SLICES = 5
"""Fewer say nothing about what is usual."""
FAR_VOXELS = 4.0
OUTLIER = 6.0
"""Deviations, in robust standard deviations, beyond which a slice is unlike the others."""
SURE, BETTER = 0.3, 0.1
"""Correlation of shifted windows that tells a shift, and how much more it is than unshifted."""
INDEPENDENT = 0.02
"""Voxels of a window, faded and smoothed as in `_shift`, that say something of their own: the share is
(sum of squared fades)^2 / (sum of their fourth powers) along y and x, over 4 pi sigma^2."""
JUMP = 0.5
"""Least jump of the mean, in standard deviations of gray values."""
SPREAD = 1.5
"""Least ratio of two contrasts."""
APART = 0.05
"""How much more alike neighbours must be than slices two apart, for a missing one to be told."""


@dataclass(frozen=True)
class Fault:
    """Something wrong with slice `z`: kind and what it is, in words."""

    kind: str
    z: int
    text: str


@dataclass
class _Seen:
    """Of every slice: extremes, mean, contrast; and how it fits the one before it."""

    low: list[float]
    high: list[float]
    mean: list[float]
    spread: list[float]
    same: list[bool]
    shift: list[tuple[float, float]]
    alike: list[float]
    alike_two: list[float]


def faults(slices: Iterable[Array]) -> list[Fault]:
    """What is wrong with the slices of a stack.

    Parameters
    ----------
    slices : iterable of ndarray of shape (K, H, W)
        Windows of each slice in turn, at the same places.

    Returns
    -------
    list of Fault
        Kinds 'black' (one value only), 'duplicate' (equal to the one before it), 'shift', 'missing' and
        'contrast', in the order of slices. Empty for a stack that is black as a whole, or of fewer than
        `LEAST_SLICES`.

    Notes
    -----
    What is usual is the median over the stack, and how much it varies the median deviation. A shift is where
    most windows correlate best. A slice is missing where neighbours are no more alike than slices two apart
    usually are. The last two slices are held.
    """
    seen = _Seen([], [], [], [], [], [], [], [])
    held: list[Array] = []
    for windows in slices:
        _look(windows, held, seen)
        held = [*held[-1:], windows]
    count = len(seen.mean)
    blank = np.array(seen.low) == np.array(seen.high)
    if count < LEAST_SLICES or blank.all():
        return []
    found = [
        Fault("black", z, f"is black: every voxel that was looked at is {seen.low[z]:g}")
        for z in np.flatnonzero(blank).tolist()
    ]
    paired = ~blank
    paired[1:] &= ~blank[:-1]
    paired[0] = False
    same = np.array(seen.same) & paired
    found += [Fault("duplicate", z, f"is the same as slice {z - 1}") for z in np.flatnonzero(same).tolist()]
    paired &= ~same
    moved = _shifts(np.array(seen.shift), paired, found)
    jumped = _contrasts(np.array(seen.mean), np.array(seen.spread), paired, found)
    _gaps(np.array(seen.alike), np.array(seen.alike_two), paired & ~moved & ~jumped, found)
    return sorted(found, key=lambda f: (f.z, f.kind))


def _look(windows: Array, held: list[Array], seen: _Seen) -> None:
    now = np.asarray(windows, np.float32)
    seen.low.append(float(now.min()))
    seen.high.append(float(now.max()))
    seen.mean.append(float(now.mean()))
    seen.spread.append(float(now.std()))
    before = np.asarray(held[-1], np.float32) if held else None
    two = np.asarray(held[-2], np.float32) if len(held) > 1 else None
    seen.same.append(before is not None and bool((now == before).all()))
    seen.shift.append((0.0, 0.0) if before is None else _shift(before, now))
    seen.alike.append(np.nan if before is None else _alike(before, now))
    seen.alike_two.append(np.nan if two is None else _alike(two, now))


def _alike(a: Array, b: Array) -> float:
    """Median over windows of the correlation of gray values."""
    x, y = (v - v.mean(axis=(1, 2), keepdims=True) for v in (a, b))
    both = np.sqrt((x**2).sum((1, 2)) * (y**2).sum((1, 2)))
    return float(np.median((x * y).sum((1, 2)) / np.maximum(both, 1e-9)))


def _shift(a: Array, b: Array) -> tuple[float, float]:
    """By how many voxels (y, x) most windows of `b` lie off those of `a`; 0 where they do not agree."""
    from scipy.ndimage import gaussian_filter

    height, width = a.shape[1:]
    fade = np.hanning(height)[:, None] * np.hanning(width)
    x, y = (gaussian_filter(v - v.mean(axis=(1, 2), keepdims=True), (0, 1, 1)) * fade for v in (a, b))
    cross = np.fft.irfft2(np.fft.rfft2(y) * np.conj(np.fft.rfft2(x)), s=(height, width))
    size = np.sqrt((x**2).sum((1, 2)) * (y**2).sum((1, 2)))
    flat = cross.reshape(len(a), -1) / np.maximum(size, 1e-9)[:, None]
    at = flat.argmax(1)
    offsets = np.stack([at // width, at % width], 1).astype(float)
    offsets -= np.where(offsets > np.array([height, width]) / 2, [height, width], 0)
    # Of noise, the best of all places correlates by a few of these deviations: small windows tell nothing.
    chance = OUTLIER / math.sqrt(INDEPENDENT * height * width)
    sure = (flat.max(1) >= max(SURE, chance)) & (flat.max(1) >= flat[:, 0] + BETTER)
    if sure.sum() * 2 <= len(a):
        return 0.0, 0.0
    middle = np.median(offsets[sure], axis=0)
    agree = (np.abs(offsets[sure] - middle) <= 2).all(1).sum()
    return (float(middle[0]), float(middle[1])) if agree * 2 > len(a) else (0.0, 0.0)


def _shifts(shift: Array, paired: Array, found: list[Fault]) -> Array:
    size = np.where(paired, np.linalg.norm(shift, axis=1), 0.0)
    moved = size > max(FAR_VOXELS, _limit(size[paired]))
    z = 1
    while z < len(moved):
        if moved[z]:
            y, x = shift[z]
            back = z + 1 < len(moved) and moved[z + 1] and np.abs(shift[z] + shift[z + 1]).max() <= 2
            what = "lies off its place" if back else "and all after it lie off the ones before"
            found.append(Fault("shift", z, f"{what}, by {y:g} voxels along y and {x:g} along x"))
            z += 1 if back else 0
        z += 1
    return np.asarray(moved)


def _contrasts(mean: Array, spread: Array, paired: Array, found: list[Fault]) -> Array:
    step = np.zeros(len(mean))
    step[1:] = np.abs(np.diff(mean)) / max(float(np.median(spread)), 1e-9)
    ratio = np.zeros(len(mean))
    ratio[1:] = np.abs(np.diff(np.log(np.maximum(spread, 1e-9))))
    jumped = paired & (step > max(JUMP, _limit(step[paired])))
    jumped |= paired & (ratio > max(np.log(SPREAD), _limit(ratio[paired])))
    z = 1
    while z < len(mean):
        if jumped[z]:
            change = (
                f"mean {mean[z - 1]:.4g} to {mean[z]:.4g}, deviation {spread[z - 1]:.4g} to {spread[z]:.4g}"
            )
            back = z + 1 < len(mean) and jumped[z + 1]
            found.append(Fault("contrast", z, f"has another contrast than slice {z - 1}: {change}"))
            z += 1 if back else 0
        z += 1
    return jumped


def _gaps(alike: Array, two: Array, paired: Array, found: list[Fault]) -> None:
    known = alike[paired & np.isfinite(alike)]
    apart = two[np.isfinite(two)]
    if len(known) < LEAST_SLICES - 1 or not len(apart):
        return
    usual, usual_two = float(np.median(known)), float(np.median(apart))
    if usual - usual_two < APART:
        return
    low = paired & (alike <= usual_two) & (alike < 2 * usual - _limit(2 * usual - known))
    for z in np.flatnonzero(low).tolist():
        found.append(
            Fault(
                "missing",
                z,
                f"and slice {z - 1} are less alike ({alike[z]:.2f}) than slices two apart usually are "
                f"({usual_two:.2f}): one or more slices seem to be missing between them",
            )
        )


def _limit(values: Array) -> float:
    """What is no longer usual: `OUTLIER` robust standard deviations above the median."""
    if not len(values):
        return np.inf
    middle = float(np.median(values))
    return middle + OUTLIER * 1.4826 * float(np.median(np.abs(values - middle)))
