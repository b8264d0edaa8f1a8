"""Do conditions differ? Permutations between animals, which are the units; not between their objects."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.kernels.significance.permutations import adjusted
from chunkflow_liver.kernels.significance.power import detectable_noncentrality
from chunkflow_liver.xp import Array

_AT_ONCE = 1 << 22
_TIE = 1e-9


@dataclass(frozen=True)
class Nested:
    """Objects in cells in animals in conditions.

    Attributes
    ----------
    animal, cell : ndarray of shape (n,), integer
        Of each object; a cell is of one animal.
    condition : ndarray of shape (a,), integer
        Of each animal, 0, 1, ...
    """

    animal: Array
    cell: Array
    condition: Array

    def means(self, values: Array) -> Array:
        """Values (n, f) as those of animals, (a, f): means of their cells' means, whatever a cell holds."""
        pairs = np.unique(np.stack([self.animal, self.cell]), axis=1, return_inverse=True)
        of, row = pairs[0][0], pairs[1].reshape(-1)
        cells = _mean(values, row, len(of))
        return _mean(cells, of, len(self.condition))

    def shares(self, values: Array) -> Array:
        """Parts of the sum of squares between conditions, animals, cells and objects, (4, f)."""
        pairs = np.unique(np.stack([self.animal, self.cell]), axis=1, return_inverse=True)[1].reshape(-1)
        levels = [np.zeros(len(self.animal), np.int64), self.condition[self.animal], self.animal, pairs]
        fitted = [_mean(values, row, int(row.max()) + 1)[row] for row in levels] + [values]
        sums = np.stack([((b - a) ** 2).sum(0) for a, b in itertools.pairwise(fitted)])
        total = sums.sum(0)
        return np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)


def _mean(values: Array, row: Array, rows: int) -> Array:
    sums = np.zeros((rows, values.shape[1]))
    np.add.at(sums, row, values)
    return sums / np.bincount(row, minlength=rows)[:, None]


def between_animals(
    means: Array, condition: Array, *, permutations: int, level: float, seed: int
) -> dict[str, Array]:
    """Whether animals of different conditions differ in columns.

    Parameters
    ----------
    means : ndarray of shape (a, f), float64
        One row per animal: see `Nested.means`.
    condition : ndarray of shape (a,), integer
        0, 1, ...
    permutations : int
        All arrangements of animals in conditions if there are at most so many, else so many by chance.
    level : float
        Of the test: where not even the most extreme arrangement would be below it, nothing is tested.
    seed : int

    Returns
    -------
    dict of str to ndarray of shape (f,)
        `statistic` (of two conditions the difference of their means, the second less the first; of more the
        part of the sum of squares between them), `animal_sd` (within conditions), `difference_low`,
        `difference_high` (95 %, by t; of two conditions), `standardised` (difference over `animal_sd`),
        `detectable` (smallest standardised effect, Cohen's d of two conditions and f of more, that this
        design finds with a power of 0.8), `p_value`, `q_value`, `arrangements`, `smallest_p`, `no_test`.

    Notes
    -----
    Without an effect every animal might have had any condition, whatever its cells and objects are like:
    the test is exact where all arrangements are taken, and p = (1 + as extreme) / (1 + permutations) [1]_
    where not. Objects of one animal are alike, and say little more than one of them; taken as independent,
    they make differences between animals look like differences between conditions [2]_.

    References
    ----------
    .. [1] Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), doi:10.2202/1544-6115.1585
    .. [2] Lazic, BMC Neuroscience 11 (2010) 5, doi:10.1186/1471-2202-11-5
    """
    sizes = np.bincount(condition)
    count, columns = arrangements(sizes), means.shape[1]
    exact = count <= permutations
    smallest = _as_extreme(sizes) / count if exact else 1 / (1 + permutations)
    centred = means - means.mean(0)
    # Rounding of sums in another order may not decide.
    observed = _statistic(condition[None], centred, sizes)[0]
    spread = _spread(centred, condition, sizes)
    found = {"statistic": _effect(means, condition, sizes), **_described(means, condition, sizes, spread)}
    testable = smallest <= level
    why = "" if testable else _too_few(sizes, smallest, level)
    p_value = np.full(columns, np.nan)
    if testable:
        extreme, tried = np.zeros(columns, np.int64), 0
        scale = np.maximum(np.abs(observed), (centred**2).sum(0))
        for drawn in _drawn(condition, sizes, permutations, exact, columns, seed):
            extreme += (_statistic(drawn, centred, sizes) >= observed - _TIE * scale).sum(0)
            tried += len(drawn)
        p_value = extreme / tried if exact else (1 + extreme) / (1 + tried)
    constant = (np.ptp(means, axis=0) == 0) if len(means) else np.ones(columns, bool)
    p_value = np.where(constant, np.nan, p_value)
    reason = np.where(constant & testable, "all animals have the same value", why)
    return found | {
        "p_value": p_value,
        "q_value": adjusted(p_value),
        "arrangements": np.full(columns, min(count, 2**53)),
        "smallest_p": np.full(columns, smallest),
        "no_test": reason.astype(str),
    }


def arrangements(sizes: Array) -> int:
    """In how many ways animals can have conditions of these sizes."""
    found, left = 1, int(sizes.sum())
    for size in sizes.tolist():
        found *= math.comb(left, size)
        left -= size
    return found


def _as_extreme(sizes: Array) -> int:
    """Fewest arrangements that are as extreme as any: conditions of one size can change places."""
    equal = np.unique(sizes, return_counts=True)[1]
    return math.prod(math.factorial(int(n)) for n in equal)


def _too_few(sizes: Array, smallest: float, level: float) -> str:
    many = " and ".join(map(str, sizes.tolist()))
    return f"too few animals ({many}): no p-value could be below {smallest:.3g}, the level is {level:g}"


def _drawn(
    condition: Array, sizes: Array, permutations: int, exact: bool, columns: int, seed: int
) -> Iterator[Any]:
    """Conditions of animals, some arrangements (p, a) at a time."""
    step = max(1, _AT_ONCE // max(len(condition), columns))
    if exact:
        every = _every(tuple(range(len(condition))), tuple(sizes.tolist()))
        while part := list(itertools.islice(every, step)):
            yield np.array(part)
        return
    rng = np.random.default_rng(seed)
    for begin in range(0, permutations, step):
        many = min(step, permutations - begin)
        yield rng.permuted(np.repeat(condition[None], many, 0), axis=1)


def _every(animals: tuple[int, ...], sizes: tuple[int, ...], first: int = 0) -> Iterator[Any]:
    """Every arrangement, as the condition of each animal."""
    total = len(animals)

    def fill(left: tuple[int, ...], condition: int, so_far: tuple[int, ...]) -> Iterator[Any]:
        if condition == len(sizes) - 1:
            found = list(so_far)
            for animal in left:
                found[animal] = condition
            yield tuple(found)
            return
        for chosen in itertools.combinations(left, sizes[condition]):
            found = list(so_far)
            for animal in chosen:
                found[animal] = condition
            rest = tuple(a for a in left if a not in chosen)
            yield from fill(rest, condition + 1, tuple(found))

    return fill(animals, first, (0,) * total)


def _statistic(condition: Array, centred: Array, sizes: Array) -> Array:
    """Sum of squares between conditions, for arrangements (p, a) and columns (a, f): (p, f)."""
    found = np.zeros((len(condition), centred.shape[1]))
    for kind, size in enumerate(sizes.tolist()):
        found += ((condition == kind).astype(float) @ centred) ** 2 / size
    return found


def _effect(means: Array, condition: Array, sizes: Array) -> Array:
    own = np.stack([means[condition == kind].mean(0) for kind in range(len(sizes))])
    if len(sizes) == 2:
        return np.asarray(own[1] - own[0])
    total = ((means - means.mean(0)) ** 2).sum(0)
    between = ((own - means.mean(0)) ** 2 * sizes[:, None]).sum(0)
    return np.divide(between, total, out=np.full(len(total), np.nan), where=total > 0)


def _spread(centred: Array, condition: Array, sizes: Array) -> Array:
    """Standard deviation of animals within conditions, (f,)."""
    free = int(sizes.sum()) - len(sizes)
    if free < 1:
        return np.full(centred.shape[1], np.nan)
    own = np.stack([centred[condition == kind].mean(0) for kind in range(len(sizes))])
    return np.sqrt(((centred - own[condition]) ** 2).sum(0) / free)


def _described(means: Array, condition: Array, sizes: Array, spread: Array) -> dict[str, Array]:
    from scipy.stats import t

    none = np.full(means.shape[1], np.nan)
    free = int(sizes.sum()) - len(sizes)
    found = {"animal_sd": spread, "difference_low": none, "difference_high": none, "standardised": none}
    if len(sizes) == 2 and free > 0:
        difference = _effect(means, condition, sizes)
        half = float(t.ppf(0.975, free)) * spread * math.sqrt(float((1 / sizes).sum()))
        some = np.divide(difference, spread, out=none.copy(), where=spread > 0)
        found |= {"difference_low": difference - half, "difference_high": difference + half}
        found["standardised"] = some
    return found | {"detectable": np.full(means.shape[1], detectable(sizes))}


def detectable(sizes: Array, level: float = 0.05) -> float:
    """Smallest standardised effect that F between animals of these conditions finds with `power.POWER`.

    Cohen's d (difference over the standard deviation of animals) of two conditions, f of more.
    """
    noncentrality = detectable_noncentrality(len(sizes) - 1, int(sizes.sum()) - len(sizes), level)
    if len(sizes) == 2:
        return math.sqrt(noncentrality * float((1 / sizes).sum()))
    return math.sqrt(noncentrality / float(sizes.sum()))
