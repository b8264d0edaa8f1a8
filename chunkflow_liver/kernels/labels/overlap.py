"""How many voxels two labellings of one block share, label by label."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.labels.planes import PlaneRuns
from chunkflow_liver.kernels.rows import grouped, merged, totals
from chunkflow_liver.xp import Array, on_host

Overlap = Mapping[str, np.ndarray[Any, Any]]
PAIR = ("a", "b")


def overlap(a: Array, b: Array) -> dict[str, np.ndarray[Any, Any]]:
    """Voxels shared by every pair of labels that meet.

    Parameters
    ----------
    a, b : ndarray of shape (Z, Y, X), integer
        Two labellings of the same voxels; 0 counts as a label.

    Returns
    -------
    dict of ndarray of shape (P,)
        `a`, `b` (uint64) and `voxels` (int64), sorted by a, then b.

    Raises
    ------
    InputError
        If the blocks differ in shape.
    """
    if a.shape != b.shape:
        raise InputError(f"two labellings of one block must have one shape, got {a.shape} and {b.shape}")
    flat_a, flat_b = on_host(a).ravel(), on_host(b).ravel()
    if not flat_a.size:
        return _none()
    # Runs of equal pairs are far fewer than voxels, so only their starts are sorted.
    change = np.flatnonzero((flat_a[1:] != flat_a[:-1]) | (flat_b[1:] != flat_b[:-1])) + 1
    start = np.concatenate([np.zeros(1, change.dtype), change])
    return _met(flat_a[start], flat_b[start], start, flat_a.size)


def overlap_runs(a: PlaneRuns, b: PlaneRuns, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """`overlap` of two labellings that are given as runs, as `plane_runs` makes them.

    Parameters
    ----------
    a, b : tuple of ndarray
        Starts and values of the runs of the same voxels in the same order; zeros included.
    size : int
        Number of voxels.
    """
    start = np.union1d(a[0], b[0])
    value_a, value_b = (values[np.searchsorted(begin, start, side="right") - 1] for begin, values in (a, b))
    return _met(value_a, value_b, start.astype(np.int64), size) if size else _none()


def _met(a: Array, b: Array, start: Array, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """Overlap of runs on which neither labelling changes."""
    length = np.diff(start, append=size)
    columns = {"a": a.astype(np.uint64), "b": b.astype(np.uint64), "voxels": length.astype(np.int64)}
    return grouped(columns, PAIR)


def merge_overlaps(parts: Iterable[Overlap]) -> dict[str, np.ndarray[Any, Any]]:
    """The overlaps of several disjoint blocks as one; exact in any order."""
    return merged(parts, PAIR, _none())


def _none() -> dict[str, np.ndarray[Any, Any]]:
    empty = np.zeros(0, np.uint64)
    return {"a": empty, "b": empty, "voxels": np.zeros(0, np.int64)}


def majority(found: Overlap) -> dict[str, np.ndarray[Any, Any]]:
    """For every label of a, the label of b that most of its voxels have.

    Parameters
    ----------
    found : dict
        Overlap of all blocks; 0 is background in a, and a label like others in b.

    Returns
    -------
    dict of ndarray of shape (L,)
        `label` (uint64, ascending, without 0), `most` (uint64; the smallest of equals) and `share`
        (float64): part of the label's voxels that lie in `most`.
    """
    kept = found["a"] != 0
    a, b, n = (found[k][kept] for k in ("a", "b", "voxels"))
    order = np.lexsort((b, -n, a))
    label, first = np.unique(a[order], return_index=True)
    _, total = totals(a, n)
    return {"label": label, "most": b[order][first], "share": n[order][first] / total}


Numbers = int | Collection[int]


def class_scores(
    found: Overlap, classes: Mapping[str, tuple[Numbers, Numbers]]
) -> dict[str, np.ndarray[Any, Any]]:
    """Dice, IoU, precision and recall of classes.

    Parameters
    ----------
    found : dict
        Overlap of predicted (a) and true (b) classes.
    classes : mapping of str to (int, int)
        Number, or numbers, of each class in the prediction and in the truth; none in one that does not know
        it.

    Returns
    -------
    dict of ndarray of shape (C,)
        `class, dice, iou, precision, recall, under_segmentation` (share of the true voxels that are not
        found), `over_segmentation` (share of the found ones that are not true), `voxels_found,
        voxels_truth`; NaN where a class is in neither.
    """
    rows = []
    for name, (in_a, in_b) in classes.items():
        is_a, is_b = is_of(found["a"], in_a), is_of(found["b"], in_b)
        both = int(found["voxels"][is_a & is_b].sum())
        a, b = int(found["voxels"][is_a].sum()), int(found["voxels"][is_b].sum())
        rows.append(
            (
                name,
                _ratio(2 * both, a + b),
                _ratio(both, a + b - both),
                _ratio(both, a),
                _ratio(both, b),
                _ratio(b - both, b),
                _ratio(a - both, a),
                a,
                b,
            )
        )
    shares = ("dice", "iou", "precision", "recall", "under_segmentation", "over_segmentation")
    names = ("class", *shares, "voxels_found", "voxels_truth")
    return {n: np.array([row[i] for row in rows]) for i, n in enumerate(names)}


def is_of(labels: Array, numbers: Numbers) -> Array:
    """Which labels are one of some numbers."""
    return np.isin(labels, np.array([numbers] if isinstance(numbers, int) else sorted(numbers), np.uint64))


def instance_scores(found: Overlap, threshold: float) -> dict[str, np.ndarray[Any, Any]]:
    """Precision, recall and F1 of instances matched one to one by IoU.

    Parameters
    ----------
    found : dict
        Overlap of predicted (a) and true (b) instances; 0 is background in both.
    threshold : float
        Smallest IoU of a match, at least 0.5: then an instance can have one partner only.

    Returns
    -------
    dict of ndarray of shape (1,)
        `iou_threshold, matched, found, truth, precision, recall, f1, mean_iou` (of matched pairs), `pq`
        (panoptic quality: the IoU of matched pairs, over matched ones and half of the others).
    """
    if not 0.5 <= threshold <= 1:
        raise InputError(f"an IoU threshold lies between 0.5 and 1, got {threshold}")
    iou = pair_iou(found)
    hit = fits(iou, threshold)
    matched = int(hit.sum())
    n_a, n_b = (len(np.setdiff1d(found[side], [0])) for side in PAIR)
    return {
        "iou_threshold": np.array([threshold]),
        "matched": np.array([matched]),
        "found": np.array([n_a]),
        "truth": np.array([n_b]),
        "precision": np.array([_ratio(matched, n_a)]),
        "recall": np.array([_ratio(matched, n_b)]),
        "f1": np.array([_ratio(2 * matched, n_a + n_b)]),
        "mean_iou": np.array([float(iou[hit].mean()) if matched else float("nan")]),
        "pq": np.array([2 * math.fsum(iou[hit].tolist()) / (n_a + n_b) if n_a + n_b else float("nan")]),
    }


def pair_iou(found: Overlap) -> np.ndarray[Any, Any]:
    """IoU of the two objects of every row, float64; 0 where one of them is background."""
    a, b, n = found["a"], found["b"], found["voxels"]
    (ids_a, sizes_a), (ids_b, sizes_b) = totals(a, n), totals(b, n)
    union = sizes_a[np.searchsorted(ids_a, a)] + sizes_b[np.searchsorted(ids_b, b)] - n
    return np.where((a > 0) & (b > 0), n / union, 0.0)


def fits(iou: Array, threshold: float) -> Array:
    """Which IoU make a match: above 0.5, where an object can have one partner only, or from more on."""
    return (iou > threshold) | ((iou == threshold) & (threshold > 0.5))


def object_scores(found: Overlap) -> dict[str, np.ndarray[Any, Any]]:
    """Every object of both sides, and the one of the other side that fits it best.

    Parameters
    ----------
    found : dict
        Overlap of predicted (a) and true (b) instances; 0 is background in both.

    Returns
    -------
    dict of ndarray of shape (L,)
        `side` ('found' or 'truth'), `label` and `partner` (uint64; 0: it meets none; the smallest of equals),
        `voxels`, `shared` (of both) and `iou`. Sorted by side, then label.
    """
    iou = pair_iou(found)
    parts: dict[str, list[Array]] = {k: [] for k in ("side", "label", "partner", "voxels", "shared", "iou")}
    for side, mine, other in (("found", "a", "b"), ("truth", "b", "a")):
        label, voxels = totals(found[mine], found["voxels"])
        order = np.lexsort((found[other], -iou, found[mine]))
        best = order[np.searchsorted(found[mine][order], label)]
        met = iou[best] > 0
        columns = {
            "side": np.full(len(label), side),
            "label": label,
            "partner": np.where(met, found[other][best], np.uint64(0)),
            "voxels": voxels,
            "shared": np.where(met, found["voxels"][best], 0),
            "iou": iou[best],
        }
        for key, values in columns.items():
            parts[key].append(values[label > 0])
    return {key: np.concatenate(values) for key, values in parts.items()}


def partition_scores(found: Overlap) -> dict[str, np.ndarray[Any, Any]]:
    """How well instances agree as a whole, whatever counts as a match.

    Parameters
    ----------
    found : dict
        Overlap of predicted (a) and true (b) instances; what is background in the truth is left out of all
        but `false_merges` and `false_splits`, which know objects only.

    Returns
    -------
    dict of ndarray of shape (1,)
        `ari`: adjusted Rand index [1]_. `vi_split`, `vi_merge`: variation of information, in bits.
        `false_merges`: found objects that hold more than half of two or more true ones. `false_splits`:
        true objects that hold more than half of two or more found ones.

    References
    ----------
    .. [1] Hubert and Arabie, Comparing partitions, 1985, doi:10.1007/BF01908075
    """
    inside = found["b"] > 0
    a, b, n = (found[k][inside] for k in ("a", "b", "voxels"))
    split, merge = variation_of_information(found)
    merged, cut = (_holders(found, *sides) for sides in (("a", "b"), ("b", "a")))
    values = {"ari": _adjusted_rand(a, b, n), "vi_split": split, "vi_merge": merge}
    return {
        **{name: np.array([value]) for name, value in values.items()},
        "false_merges": np.array([merged]),
        "false_splits": np.array([cut]),
    }


def _adjusted_rand(a: Array, b: Array, n: Array) -> float:
    """From exact pair counts: voxels of a volume have more pairs than floats can count."""

    def pairs(counts: Iterable[int]) -> int:
        return sum(k * (k - 1) // 2 for k in counts)

    total = int(n.sum())
    both = pairs(n.tolist())
    of_a, of_b = (pairs(totals(labels, n)[1].tolist()) for labels in (a, b))
    every = pairs([total])
    if not every:
        return float("nan")
    expected = of_a * of_b / every
    most = (of_a + of_b) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def _holders(found: Overlap, outer: str, inner: str) -> int:
    """Objects of one side that hold more than half of two or more of the other."""
    known, size = totals(found[inner], found["voxels"])
    objects = (found[outer] > 0) & (found[inner] > 0)
    half = 2 * found["voxels"] > size[np.searchsorted(known, found[inner])]
    return int((np.unique(found[outer][objects & half], return_counts=True)[1] > 1).sum())


def variation_of_information(found: Overlap) -> tuple[float, float]:
    """How much a partition is split and merged against the truth, in bits; 0 and 0 where they agree.

    Parameters
    ----------
    found : dict
        Overlap of predicted (a) and true (b) instances; what is background in the truth is left out.

    Returns
    -------
    split, merge : float
        The conditional entropies H(a | b) and H(b | a) [1]_.

    References
    ----------
    .. [1] Meila, 2007, doi:10.1016/j.jmva.2006.11.013
    """
    inside = found["b"] > 0
    a, b, n = found["a"][inside], found["b"][inside], found["voxels"][inside]
    if not len(n):
        return 0.0, 0.0
    total = int(n.sum())
    entropies = []
    for labels in (b, a):
        known, size = totals(labels, n)
        share = n / size[np.searchsorted(known, labels)]
        entropies.append(math.fsum((-n * np.log2(share) / total).tolist()) + 0.0)
    return entropies[0], entropies[1]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
