"""Does a column change with the place? Slopes and zones with cells as the units, not their objects."""

from __future__ import annotations

import itertools
import math

import numpy as np

from chunkflow_liver.kernels.significance.intervals import LEAST
from chunkflow_liver.kernels.significance.permutations import adjusted
from chunkflow_liver.xp import Array

TRENDS = (
    "objects",
    "cells",
    "slope",
    "slope_low",
    "slope_high",
    "correlation",
    "p_value",
    "arrangements",
    "smallest_p",
)
"""What is said of a column; see `trends`."""
_TIE = 1e-9


def trends(
    place: Array, values: Array, cell: Array, *, within: bool, permutations: int, level: float, seed: int
) -> dict[str, Array]:
    """How columns change with the place of their objects, between cells or within them.

    Parameters
    ----------
    place : ndarray of shape (n,), float64
        Of each object, from 0 to 1. Between cells the mean of a cell's objects is the place of the cell.
    values : ndarray of shape (n, f), float64
        NaN where a value is missing: the object is then left out of that column.
    cell : ndarray of shape (n,), integer
        Of each object; cells are the units.
    within : bool
        Whether the trend is looked for within cells, of which each has a slope of its own, or between them.
    permutations : int
        All arrangements if there are not more, else so many by chance.
    level : float
        Of the test: where no arrangement could be below it, nothing is tested.
    seed : int

    Returns
    -------
    dict of str to ndarray of shape (f,)
        `objects`, `cells` that have a part in it, `slope` (change of the column from place 0 to place 1) with
        a 95 % interval by t over cells, `correlation` (of the means of cells; within, the mean of those
        of cells), `p_value`, `q_value` over the columns, `arrangements`, `smallest_p`, `no_test`.

    Notes
    -----
    Between cells a line is fitted to the means of cells, each one point whatever it holds, and without a
    trend the means might stand at the places in any order. Within cells each cell of three objects or more at
    different places has a slope, and without a trend every slope might as well have the other sign. Both
    tests are exact where all arrangements are taken; where not, p = (1 + as extreme) / (1 + permutations).
    Objects of a cell share what is of the cell: taken as independent they make chance look like a trend.
    """
    names = (*TRENDS, "no_test")
    columns = [
        _column(place, values[:, i], cell, within, permutations, level, seed) for i in range(values.shape[1])
    ]
    found = {name: np.array([column[name] for column in columns]) for name in names}
    return found | {"q_value": adjusted(found["p_value"].astype(np.float64))}


def _column(
    place: Array, value: Array, cell: Array, within: bool, permutations: int, level: float, seed: int
) -> dict[str, float | int | str]:
    known = np.isfinite(value) & np.isfinite(place)
    x, y, count = place[known], value[known], int(known.sum())
    row = np.unique(cell[known], return_inverse=True)[1].reshape(-1)
    found: dict[str, float | int | str] = dict.fromkeys(TRENDS, math.nan)
    found |= {"objects": count, "cells": 0, "arrangements": 0, "no_test": ""}
    if not count:
        return found | {"no_test": "no object has a value and a place"}
    sizes = np.bincount(row)
    centre_x, centre_y = np.bincount(row, x) / sizes, np.bincount(row, y) / sizes
    if within:
        return found | _of_slopes(
            _within(x - centre_x[row], y - centre_y[row], row, sizes), permutations, level, seed
        )
    return found | {"cells": len(sizes)} | _of_means(centre_x, centre_y, permutations, level, seed)


def _within(x: Array, y: Array, row: Array, sizes: Array) -> Array:
    """Slope and correlation (2, c) of every cell whose objects are enough, from values about its means."""
    xx, xy, yy = (np.bincount(row, v) for v in (x * x, x * y, y * y))
    # Places that differ by rounding alone make no slope.
    used = (sizes >= LEAST) & (xx > _TIE**2 * sizes)
    slope = xy[used] / xx[used]
    scale = np.sqrt(xx[used] * yy[used])
    return np.stack([slope, np.divide(xy[used], scale, out=np.zeros(len(slope)), where=scale > 0)])


def _of_slopes(slopes: Array, permutations: int, level: float, seed: int) -> dict[str, float | int | str]:
    from scipy.stats import t

    own, count = slopes[0], slopes.shape[1]
    found: dict[str, float | int | str] = {"cells": count}
    if not count:
        return found | {"no_test": f"no cell has {LEAST} objects at different places"}
    mean = float(own.mean())
    found |= {"slope": mean, "correlation": float(slopes[1].mean())}
    if count >= LEAST:
        half = float(t.ppf(0.975, count - 1)) * float(own.std(ddof=1)) / math.sqrt(count)
        found |= {"slope_low": mean - half, "slope_high": mean + half}
    exact = count < 60 and 2**count <= permutations
    smallest = 2 / 2**count if exact else 1 / (1 + permutations)
    found |= {"arrangements": min(2**count, 2**53), "smallest_p": smallest}
    if smallest > level:
        return found | {"no_test": _too_few(count, smallest, level)}
    if exact:
        signs = 1.0 - 2.0 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (permutations, count))
    return found | {"p_value": _p_value(signs @ own, float(own.sum()), float(np.abs(own).sum()), exact)}


def _of_means(x: Array, y: Array, permutations: int, level: float, seed: int) -> dict[str, float | int | str]:
    from scipy.stats import t

    count, found = len(x), dict[str, float | int | str]()
    x, y = x - x.mean(), y - y.mean()
    xx, yy, xy = float(x @ x), float(y @ y), float(x @ y)
    if not xx > _TIE**2 * count:
        return found | {"no_test": "all cells are at one place"}
    slope = xy / xx
    found |= {"slope": slope, "correlation": xy / math.sqrt(xx * yy) if yy > 0 else 0.0}
    if count > 2:
        left = max(yy - slope * xy, 0.0)
        half = float(t.ppf(0.975, count - 2)) * math.sqrt(left / (count - 2) / xx)
        found |= {"slope_low": slope - half, "slope_high": slope + half}
    orders = math.factorial(min(count, 18))
    exact = orders <= permutations
    smallest = 1 / orders if exact else 1 / (1 + permutations)
    found |= {"arrangements": orders, "smallest_p": smallest}
    if smallest > level:
        return found | {"no_test": _too_few(count, smallest, level)}
    if exact:
        order = np.array(list(itertools.permutations(range(count))))
    else:
        order = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
    return found | {"p_value": _p_value(x[order] @ y, xy, math.sqrt(xx * yy), exact)}


def _p_value(drawn: Array, observed: float, scale: float, exact: bool) -> float:
    """Share of arrangements as extreme as what is observed; rounding decides none."""
    extreme = int((np.abs(drawn) >= abs(observed) - _TIE * scale).sum())
    return extreme / len(drawn) if exact else (1 + extreme) / (1 + len(drawn))


def _too_few(cells: int, smallest: float, level: float) -> str:
    return f"too few cells ({cells}): no p-value could be below {smallest:.3g}, the level is {level:g}"


def zone_means(zone: Array, values: Array, cell: Array, zones: int) -> dict[str, Array]:
    """Means of columns in zones, with cells as the units.

    Parameters
    ----------
    zone : ndarray of shape (n,), integer
        Of each object, from 1; 0 for none.
    values : ndarray of shape (n, f), float64
        NaN where a value is missing.
    cell : ndarray of shape (n,), integer
    zones : int

    Returns
    -------
    dict of str to ndarray of shape (f, zones)
        `objects`, `cells`, `mean` (of the means of the cells' objects in the zone), `sd` of those means, and
        the 95 % interval of their mean by t, `low` and `high`, from three cells on.
    """
    from scipy.stats import t

    shape = (values.shape[1], zones)
    found = {name: np.zeros(shape, np.int64) for name in ("objects", "cells")}
    found |= {name: np.full(shape, np.nan) for name in ("mean", "sd", "low", "high")}
    for i, k in np.ndindex(shape):
        here = np.isfinite(values[:, i]) & (zone == k + 1)
        row = np.unique(cell[here], return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(row)
        found["objects"][i, k], found["cells"][i, k] = int(here.sum()), len(sizes)
        if not len(sizes):
            continue
        means = np.bincount(row, values[here, i]) / sizes
        found["mean"][i, k] = means.mean()
        if len(means) > 1:
            found["sd"][i, k] = means.std(ddof=1)
        if len(means) >= LEAST:
            half = float(t.ppf(0.975, len(means) - 1)) * means.std(ddof=1) / math.sqrt(len(means))
            found["low"][i, k], found["high"][i, k] = means.mean() - half, means.mean() + half
    return found
