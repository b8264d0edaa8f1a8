"""Which objects fit each other over a seam, and one row per seam that says how well it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.instances.seams import compare, places_in, sizes
from chunkflow_liver.kernels.labels.planes import PlaneRuns
from chunkflow_liver.xp import Array

TENTHS = 10

Columns = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, eq=False)
class View:
    """What one block sees of a shared box.

    Attributes
    ----------
    runs : tuple of ndarray
        Runs of the box.
    own : ndarray of shape (K,), uint32
        Objects of the block that own voxels of the box; only these are joined.
    crossing : ndarray of shape (K,), bool
        Whether they also have voxels that the other block owns.
    offset : int
        Node of the block's object 1.
    """

    runs: PlaneRuns
    own: Array
    crossing: Array
    offset: int


def meet(
    box: Box, a: View, b: View, *, iou: float, iomin: float, branches: bool
) -> tuple[Columns, Columns, int]:
    """What two blocks say of a box that both see.

    Parameters
    ----------
    box : Box
    a, b : View
        Of the earlier block and of the later one.
    iou, iomin : float
        Objects that are each other's best are linked if they reach both.
    branches : bool
        Whether objects are linked, too, if one is the other's best and they reach `iomin`.

    Returns
    -------
    links : dict of ndarray of shape (K,)
        Objects that fit: nodes `a`, `b`, voxels `both`, `voxels_a`, `voxels_b`, `iou`, and `place`, the index
        in the runs of the box of the first voxel of `a`.
    crossings : dict of ndarray of shape (C,)
        Objects of either that reach into the block of the other: `node`, `voxels`, `place`.
    ambiguous : int
        Pairs that fit well enough where a better one was there.
    """
    parts = []
    for view in (a, b):
        crossing = view.own[view.crossing]
        voxels, first = sizes(view.runs, box.size, crossing)
        parts.append({"node": crossing.astype(np.int64) - 1 + view.offset, "voxels": voxels, "place": first})
    crossings = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    if not (len(a.own) and len(b.own)):
        return {}, crossings, 0
    met = compare(a.runs, b.runs, box.size)
    owned = np.isin(met["a"], a.own) & np.isin(met["b"], b.own)
    fits = owned & (met["iou"] >= iou) & (met["iomin"] >= iomin)
    chosen = fits & met["best_a"] & met["best_b"]
    ambiguous = int((fits & ~chosen).sum())
    if branches:
        chosen |= owned & (met["best_a"] | met["best_b"]) & (met["iomin"] >= iomin)
    links = {
        "a": met["a"][chosen].astype(np.int64) - 1 + a.offset,
        "b": met["b"][chosen].astype(np.int64) - 1 + b.offset,
        "both": met["voxels"][chosen],
        **{k: met[k][chosen] for k in ("voxels_a", "voxels_b", "iou")},
        "place": sizes(a.runs, box.size, met["a"][chosen])[1],
    }
    return links, crossings, ambiguous


def seam_rows(boxes: Array, links: Columns, refused: Array, crossings: Columns) -> Columns:
    """One row per seam on how well it went.

    Parameters
    ----------
    boxes : ndarray of shape (S, 6), int64
        First voxel of each shared box along z, y, x, and its end.
    links, crossings : dict of ndarray
        As `meet` gives them, with `seam`: the row of `boxes` they belong to, ascending.
    refused : ndarray of shape (K,), bool
        Links that were not made, because they would join what must stay apart.

    Returns
    -------
    dict of ndarray of shape (S,)
        `matched` pairs, `unmatched` (objects that cross the seam and were joined with nothing there),
        `vetoed`; `iou_min, iou_median` and `iou_0` ... `iou_9` (how many in each tenth) of the matched
        pairs; `score`: twice the shared voxels of matched objects by all voxels of these and of the
        unmatched, NaN where nothing crosses; `z, y, x`: a voxel of the worst object, the largest unmatched
        one or else the one of the lowest IoU.
    """
    count = len(boxes)
    ok = {name: column[~refused] for name, column in links.items()}
    nodes = int(max((ok[k].max(initial=0) for k in "ab"), default=0))
    nodes = max(nodes, int(crossings["node"].max(initial=0))) + 1
    alone = _alone(ok, crossings, nodes)
    return {
        "matched": np.bincount(ok["seam"], minlength=count),
        "unmatched": np.bincount(alone["seam"], minlength=count),
        "vetoed": np.bincount(links["seam"][refused], minlength=count),
        **_ious(ok, count),
        "score": _scores(ok, alone, count, nodes),
        **_worst(boxes, ok, alone),
    }


def _worst(boxes: Array, ok: Columns, alone: Columns) -> Columns:
    """Where to look first in each seam."""
    place = (boxes[:, :3] + boxes[:, 3:]) // 2
    # Written in ascending order of badness: what is written last stays.
    for order, source in (
        (np.lexsort((-ok["a"], -ok["iou"])), ok),
        (np.lexsort((-alone["node"], alone["voxels"])), alone),
    ):
        place[source["seam"][order]] = places_in(boxes[source["seam"][order]], source["place"][order])
    return {a: place[:, i] for i, a in enumerate("zyx")}


def _alone(ok: Columns, crossings: Columns, nodes: int) -> Columns:
    """The objects that cross a seam and were joined with nothing across it."""
    matched = np.concatenate([ok["seam"] * nodes + ok[side] for side in "ab"])
    here = ~np.isin(crossings["seam"] * nodes + crossings["node"], matched)
    return {name: column[here] for name, column in crossings.items()}


def _scores(ok: Columns, alone: Columns, count: int, nodes: int) -> Array:
    both, whole = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(both, ok["seam"], 2 * ok["both"])
    np.add.at(whole, alone["seam"], alone["voxels"])
    # An object with several partners has its voxels once.
    for side in "ab":
        _, once = np.unique(ok["seam"] * nodes + ok[side], return_index=True)
        np.add.at(whole, ok["seam"][once], ok[f"voxels_{side}"][once])
    return np.divide(both, whole, out=np.full(count, np.nan), where=whole > 0)


def _ious(ok: Columns, count: int) -> Columns:
    """Smallest, median and histogram of the IoU of the matched pairs of every seam."""
    order = np.lexsort((ok["iou"], ok["seam"]))
    seam, iou = ok["seam"][order], ok["iou"][order]
    begin, end = (np.searchsorted(seam, np.arange(count), side=s) for s in ("left", "right"))
    some = end > begin
    least, median = np.full(count, np.nan), np.full(count, np.nan)
    least[some] = iou[begin[some]]
    n = (end - begin)[some]
    median[some] = (iou[begin[some] + (n - 1) // 2] + iou[begin[some] + n // 2]) / 2
    tenth = np.minimum((iou * TENTHS).astype(np.int64), TENTHS - 1)
    bins = np.bincount(seam * TENTHS + tenth, minlength=count * TENTHS).reshape(count, TENTHS)
    return {"iou_min": least, "iou_median": median} | {f"iou_{i}": bins[:, i] for i in range(TENTHS)}
