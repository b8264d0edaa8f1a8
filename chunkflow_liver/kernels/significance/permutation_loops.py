"""Permutations of a design in two steps, one after the other: who is treated, and at which windows.

Whole numbers are places in arrays and do not wrap; a number below 1 times n, rounded, is below n.
"""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def differences(
    values: Array,
    windows: Array,
    groups: Array,
    roles: Array,
    rng: np.random.Generator,
    out: Array,
) -> None:
    """Differences of two means for the design as it is, and for random ones.

    Parameters
    ----------
    values : ndarray of shape (w,), float64
        Of windows, by unit; those that count when the unit is treated come first. Shuffled in each unit.
    windows : ndarray of shape (u + 1,), int64
        Where the windows of each unit begin.
    groups : ndarray of shape (g + 1,), int64
        Where the units of each group begin, in which they are exchanged; the treated ones come first, and
        there are some of both kinds.
    roles : ndarray of shape (u,), int64
        At how many windows a unit is treated, 0 if it is not.
    rng : numpy.random.Generator
    out : ndarray of shape (p, 3), float64
        Per design, the first is the given one: the sum over groups of the mean of treated units, each the
        mean over its treated windows, less that of the others, each the mean over all its windows; and the
        sums of squares of both kinds around their mean in the group.
    """
    units = len(roles)
    order, whole = np.arange(units), np.zeros(units)
    for u in range(units):
        for w in range(windows[u], windows[u + 1]):
            whole[u] += values[w]
        whole[u] /= windows[u + 1] - windows[u]
    for design in range(len(out)):
        for g in range(len(groups) - 1):
            begin, end = groups[g], groups[g + 1]
            treated, total, squares = 0, 0.0, 0.0
            while roles[begin + treated] > 0:
                i = begin + treated
                if design > 0:
                    other = i + int(rng.random() * (end - i))
                    order[i], order[other] = order[other], order[i]
                first, last = windows[order[i]], windows[order[i] + 1]
                count = min(roles[i], last - first)
                value = 0.0
                for w in range(first, first + count):
                    if design > 0:
                        other = w + int(rng.random() * (last - w))
                        values[w], values[other] = values[other], values[w]
                    value += values[w] / count
                treated, total, squares = treated + 1, total + value, squares + value * value
            rest, square = 0.0, 0.0
            for i in range(begin + treated, end):
                rest += whole[order[i]]
                square += whole[order[i]] ** 2
            others = end - begin - treated
            out[design, 0] += total / treated - rest / others
            out[design, 1] += squares - total * total / treated
            out[design, 2] += square - rest * rest / others


@compiled
def exchanged(
    values: Array,
    begins: Array,
    columns: Array,
    treated: Array,
    rng: np.random.Generator,
    out: Array,
) -> None:
    """Statistics of designs in the objects that have them, and in random ones of the same group.

    Parameters
    ----------
    values : ndarray, float64
        Of each group a matrix, row by row: of each design (row) at each object (column). The first columns
        are the objects that have the designs, in their order.
    begins : ndarray of shape (g + 1,), int64
        Where the matrix of each group begins in `values`.
    columns, treated : ndarray of shape (g,), int64
        Objects, and designs, of each group: there are more of the former, and one or more of the latter.
    rng : numpy.random.Generator
    out : ndarray of shape (p, 3), float64
        Per draw, the first is the one given: sum over designs of the value at their object less the mean,
        over objects without a design, of all designs there; the sums of squares, around their means in the
        group, of the former and of the means of designs at the latter.
    """
    most = 0
    for g in range(len(columns)):
        most = max(most, columns[g])
    order, means = np.empty(most, np.int64), np.empty(most)
    for g in range(len(columns)):
        begin, many, designs = begins[g], columns[g], treated[g]
        for j in range(many):
            order[j], means[j] = j, 0.0
            for i in range(designs):
                means[j] += values[begin + i * many + j] / designs
        for draw in range(len(out)):
            own, square = 0.0, 0.0
            for i in range(designs):
                if draw > 0:
                    other = i + int(rng.random() * (many - i))
                    order[i], order[other] = order[other], order[i]
                value = values[begin + i * many + order[i]]
                own += value
                square += value * value
            rest, squares = 0.0, 0.0
            for j in range(designs, many):
                rest += means[order[j]]
                squares += means[order[j]] ** 2
            left = many - designs
            out[draw, 0] += own - rest * designs / left
            out[draw, 1] += square - own * own / designs
            out[draw, 2] += squares - rest * rest / left
