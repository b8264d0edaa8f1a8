"""Narrowings against the same places, along the branch, of objects without any: place is no neck."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.kernels.rows import starts
from chunkflow_liver.kernels.significance.permutations import EFFECT, paired_effect
from chunkflow_liver.xp import Array

MOST_DESIGNS, MOST_OBJECTS = 1000, 4000
"""Objects of a cell that are compared: of more, so many by chance."""
_TIE = 1e-12


@dataclass(frozen=True)
class Along:
    """Surface and contact along the centre lines of objects, and where narrowings lie.

    Attributes
    ----------
    label, branch, position_nm : ndarray of shape (p,)
        Of the points of all lines, sorted by these.
    area, contact : ndarray of shape (p,), float64
        Surface that is nearest to each point, and how much of it is in contact, in one unit.
    neck_label, neck_branch, neck_nm : ndarray of shape (k,)
        Narrowings that are tested.
    barred : ndarray, integer
        Labels of objects with other narrowings: they are no controls.
    cells : dict of int to int
        Cell of each label; objects that are not in it are left out.
    """

    label: Array
    branch: Array
    position_nm: Array
    area: Array
    contact: Array
    neck_label: Array
    neck_branch: Array
    neck_nm: Array
    barred: Array
    cells: dict[int, int]


@dataclass(frozen=True)
class _Object:
    """One object: sums up to each point of its longest branch, and of all of it."""

    label: int
    branch: int
    position: Array
    area: Array
    contact: Array
    whole: tuple[float, float]

    @property
    def length(self) -> float:
        return float(self.position[-1])

    def windows(self, places: Array, reach: float) -> tuple[Array, Array]:
        """Surface and contact within `reach` of places, which are shares of the length."""
        middle = places * self.length
        low = np.searchsorted(self.position, middle - reach)
        high = np.searchsorted(self.position, middle + reach, side="right")
        return self.area[high] - self.area[low], self.contact[high] - self.contact[low]


def same_places(
    seen: Along, reach: tuple[float, float], *, permutations: int, draws: int, seed: int
) -> dict[str, float]:
    """Contact at narrowings against that at the same places of objects without one, in the same cells.

    Parameters
    ----------
    seen : Along
    reach : tuple of float
        Half the length of a window: so many nm, plus so much of the branch.
    permutations, draws, seed
        As for `permutations.within_objects`.

    Returns
    -------
    dict
        The entries of `permutations.EFFECT`, and `matched`, narrowings that are compared. `objects`: with a
        narrowing, and compared; `rarer`: of these and of the objects without a narrowing the fewer;
        `missing`: of either kind without contact; `unpaired`: with a narrowing, but none on the longest
        branch, or with too short a branch for two windows, or in a cell without an object to compare with.
        `mean_narrow` is the mean density at narrowings, `mean_control` what is to be expected there: the
        density of the rest of the object, and by how much more there is at the same places of the others
        than on their rest.

    Notes
    -----
    A structure that likes the middle, or the tips, of objects is there at narrowings too, because they lie
    near the middle. So the contrast of every narrowing (density in its window less that of the rest of its
    object) is compared with the contrasts, at the same share of the length of their longest branch, of the
    other objects of its cell. A permutation draws anew which objects have the narrowings; the places stay
    those that they are. Which end of a branch is its first is drawn for each object. Contrasts are brought to
    one variance by area as in `permutations.within_objects`, and the statistic is studentised as in
    `permutations.between_objects`. p is exact where objects of a cell may be exchanged but for their
    narrowings. Intervals are those of `permutations.paired_effect`.
    """
    rng = np.random.default_rng(seed)
    objects, missing = _objects(seen, reach)
    longest = {one.label: one for one in objects}
    necks: dict[int, list[float]] = {}
    for label, branch, at in zip(
        seen.neck_label.tolist(), seen.neck_branch.tolist(), seen.neck_nm.tolist(), strict=True
    ):
        if label in longest and branch == longest[label].branch:
            necks.setdefault(label, []).append(at / longest[label].length)
    barred = (set(seen.barred.tolist()) | set(seen.neck_label.tolist())) - necks.keys()
    groups: dict[int, tuple[list[_Object], list[_Object]]] = {}
    for one in objects:
        kinds = groups.setdefault(seen.cells[one.label], ([], []))
        if one.label in necks:
            kinds[0].append(one)
        elif one.label not in barred:
            kinds[1].append(one)
    matrices, columns, treated = [np.zeros(0)], [], []
    effect: list[Array] = []
    rarer, matched = [0, 0], 0
    for row, cell in enumerate(sorted(groups)):
        own, others = (_some(kind, most, rng) for kind, most in zip(groups[cell], _MOST, strict=True))
        if not own or not others:
            continue
        contrasts, density = _contrasts(own, others, necks, reach, rng)
        matched += sum(len(necks[one.label]) for one in own)
        matrices.append(contrasts.ravel())
        columns.append(contrasts.shape[1])
        treated.append(len(own))
        expected = density[:, 0] - density[:, 1]
        effect.append(np.column_stack([density[:, 0], expected, np.full(len(own), row)]))
        rarer[0] += len(own)
        rarer[1] += len(others)
    touched = set(np.unique(seen.label[seen.contact > 0]).tolist())
    with_neck = set(seen.neck_label.tolist()) & seen.cells.keys()
    left = {"missing": missing, "unpaired": len(with_neck & touched) - rarer[0], "matched": matched}
    if not columns:
        nothing = dict.fromkeys(EFFECT, math.nan) | {"objects": 0, "rarer": 0, "cells": 0}
        return nothing | {k: float(v) for k, v in left.items()}
    p_value = _p_value(matrices, np.array(columns), np.array(treated), permutations, rng)
    values = np.concatenate(effect)
    found = paired_effect(values[:, 0], values[:, 1], values[:, 2].astype(np.int64), draws, rng)
    return found | {k: float(v) for k, v in left.items()} | {"rarer": min(rarer), "p_value": p_value}


_MOST = (MOST_DESIGNS, MOST_OBJECTS)


def _objects(seen: Along, reach: tuple[float, float]) -> tuple[list[_Object], int]:
    """Objects that have room for a window and a rest, and contact; how many lack the latter."""
    found, missing = [], 0
    begin = starts(seen.label)
    for first, last in zip(begin, np.append(begin, len(seen.label))[1:], strict=True):
        part = slice(first, last)
        label = int(seen.label[first])
        if label not in seen.cells:
            continue
        whole = float(seen.area[part].sum()), float(seen.contact[part].sum())
        if whole[1] <= 0:
            missing += 1
            continue
        branches = starts(seen.branch[part])
        ends = [*branches[1:], last - first]
        position = seen.position_nm[part]
        lengths = [position[b - 1] for b in ends]
        longest = int(np.argmax(lengths))
        own = slice(first + branches[longest], first + ends[longest])
        if lengths[longest] < 4 * (reach[0] + reach[1] * lengths[longest]):
            continue
        sums = [np.concatenate([[0.0], np.cumsum(column[own])]) for column in (seen.area, seen.contact)]
        branch = int(seen.branch[own.start])
        found.append(_Object(label, branch, seen.position_nm[own], sums[0], sums[1], whole))
    return found, missing


def _some(kind: list[_Object], most: int, rng: np.random.Generator) -> list[_Object]:
    if len(kind) <= most:
        return kind
    return [kind[i] for i in np.sort(rng.choice(len(kind), most, replace=False)).tolist()]


def _contrasts(
    own: list[_Object],
    others: list[_Object],
    necks: dict[int, list[float]],
    reach: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Contrasts (designs, objects), at one variance and less what is expected at each place.

    Returns
    -------
    contrasts : ndarray of shape (N, n)
    density : ndarray of shape (N, 2)
        Mean density at the narrowings of each design's own object; how far its contrast is above that of the
        others at its places.
    """
    of = np.repeat(np.arange(len(own)), [len(necks[one.label]) for one in own])
    places = np.array([at for one in own for at in necks[one.label]])
    every = [*own, *others]
    raw, weight = np.zeros((2, len(places), len(every)))
    here = np.zeros(len(places))
    for j, one in enumerate(every):
        flip = rng.random() < 0.5
        at = np.where((of != j) & flip, 1 - places, places)
        area, contact = one.windows(at, reach[0] + reach[1] * one.length)
        rest = one.whole[0] - area
        some = (area > 0) & (rest > 0)
        area, rest = np.where(some, area, 1.0), np.where(some, rest, 1.0)
        raw[:, j] = contact / area - (one.whole[1] - contact) / rest
        weight[:, j] = some / (1 / area + 1 / rest)
        here = np.where(of == j, contact / area, here)
    total = np.maximum(weight.sum(1, keepdims=True), _TIE)
    middle = (raw * weight).sum(1, keepdims=True) / total
    scaled = (raw - middle) * np.sqrt(weight * (len(every) / total))
    unlike = weight[:, len(own) :]
    beside = over_rows((raw[:, len(own) :] * unlike).sum(1), unlike.sum(1))
    mine = raw[np.arange(len(of)), of]
    many = np.bincount(of)
    contrasts = np.zeros((len(own), len(every)))
    np.add.at(contrasts, of, scaled)
    density = [np.bincount(of, v) / many for v in (here, mine - beside)]
    return contrasts / many[:, None], np.stack(density, 1)


def over_rows(a: Array, b: Array) -> Array:
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(len(a)), where=b > 0)


def _p_value(
    matrices: list[Array], columns: Array, treated: Array, permutations: int, rng: np.random.Generator
) -> float:
    from chunkflow_liver.kernels.significance.permutation_loops import exchanged

    sums = np.zeros((1 + permutations, 3))
    begins = np.concatenate([[0], np.cumsum(columns * treated)])
    exchanged(np.concatenate(matrices), begins, columns, treated, rng, sums)
    statistic, left = np.abs(sums[:, 0]), columns - treated
    free = (treated - 1).sum(), (left - 1).sum()
    if min(free) > 0:
        first = sums[:, 1] / free[0] * treated.sum()
        second = sums[:, 2] / free[1] * (treated**2 / left).sum()
        statistic = statistic / np.sqrt(np.maximum(first + second, _TIE))
    extreme = int((statistic[1:] >= statistic[0] * (1 - _TIE) - _TIE).sum())
    return (1 + extreme) / (1 + permutations)
