"""The merge of all objects over all seams, and one row per seam that says how well it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.components import PlaneRuns
from chunkflow_liver.kernels.joining import join
from chunkflow_liver.kernels.seams import compare, place_in, sizes
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


@dataclass
class SeamTable:
    """Collects seam after seam; `iou`, `iomin` and `branches` are the rules of joining."""

    iou: float
    iomin: float
    branches: bool
    rows: list[tuple[int, int, str, Box]] = field(default_factory=list)
    links: list[Columns] = field(default_factory=list)
    crossings: list[Columns] = field(default_factory=list)
    ambiguous: list[int] = field(default_factory=list)

    def add(self, blocks: tuple[int, int], axis: str, box: Box, a: View, b: View) -> None:
        """Compare what two blocks, apart along `axis` ('z', 'yx', ...), see of `box`."""
        seam = len(self.rows)
        self.rows.append((*blocks, axis, box))
        for view in (a, b):
            crossing = view.own[view.crossing]
            voxels, first = sizes(view.runs, box.size, crossing)
            node = crossing.astype(np.int64) - 1 + view.offset
            place = place_in(box, first)
            self.crossings.append(
                {"seam": np.full(len(node), seam), "node": node, "voxels": voxels, "place": place}
            )
        if not (len(a.own) and len(b.own)):
            self.ambiguous.append(0)
            return
        met = compare(a.runs, b.runs, box.size)
        owned = np.isin(met["a"], a.own) & np.isin(met["b"], b.own)
        fits = owned & (met["iou"] >= self.iou) & (met["iomin"] >= self.iomin)
        chosen = fits & met["best_a"] & met["best_b"]
        self.ambiguous.append(int((fits & ~chosen).sum()))
        if self.branches:
            chosen |= owned & (met["best_a"] | met["best_b"]) & (met["iomin"] >= self.iomin)
        first = sizes(a.runs, box.size, met["a"][chosen])[1]
        self.links.append(
            {
                "seam": np.full(int(chosen.sum()), seam),
                "pair": np.stack(
                    [
                        met[side][chosen].astype(np.int64) - 1 + view.offset
                        for side, view in (("a", a), ("b", b))
                    ],
                    1,
                ),
                "place": place_in(box, first),
                **{k: met[k][chosen] for k in ("voxels", "voxels_a", "voxels_b", "iou")},
            }
        )

    def merge(self, block: Array, apart: Array | None) -> tuple[Array, Columns]:
        """Root of every node, and the table of seams.

        Parameters
        ----------
        block : ndarray of shape (N,), int64
            Block of every node.
        apart : ndarray of shape (V, 2), int64, or None
            Nodes that must not become one; None for any two of one block.

        Returns
        -------
        roots : ndarray of shape (N,), int64
        table : dict of ndarray of shape (S,)
            `block_a, block_b`; `axis` ('z', 'yx', ...); `z_start` ... `x_stop` (the shared box, voxels);
            `matched` pairs, `unmatched` (objects that cross the seam and were joined with nothing there),
            `ambiguous` (pairs that fit well enough where a better one was there), `vetoed`; `iou_min,
            iou_median` and `iou_0` ... `iou_9` (how many in each tenth) of the matched pairs; `score`:
            twice the shared voxels of matched objects by all voxels of these and of the unmatched, NaN
            where nothing crosses; `z, y, x`: a voxel of the worst object, the largest unmatched one or
            else the one of the lowest IoU.
        """
        links = _stacked(self.links, {"pair": 2, "place": 3}, ("voxels", "voxels_a", "voxels_b", "iou"))
        crossings = _stacked(self.crossings, {"place": 3}, ("node", "voxels"))
        roots, refused = join(len(block), links["pair"], links["iou"], block=block, apart=apart)
        count = len(self.rows)
        ok = {name: column[~refused] for name, column in links.items()}
        table = self._places()
        table["matched"] = np.bincount(ok["seam"], minlength=count)
        alone = _alone(ok, crossings, len(block))
        table["unmatched"] = np.bincount(alone["seam"], minlength=count)
        table["ambiguous"] = np.array(self.ambiguous, np.int64)
        table["vetoed"] = np.bincount(links["seam"][refused], minlength=count)
        table |= _ious(ok, count)
        table["score"] = _scores(ok, alone, count, len(block))
        table |= self._worst(ok, alone)
        return roots, table

    def _places(self) -> Columns:
        starts = np.array([box.start for *_, box in self.rows], np.int64).reshape(-1, 3)
        stops = np.array([box.stop for *_, box in self.rows], np.int64).reshape(-1, 3)
        found: Columns = {
            "block_a": np.array([row[0] for row in self.rows], np.int64),
            "block_b": np.array([row[1] for row in self.rows], np.int64),
            "axis": np.array([row[2] for row in self.rows], "U3"),
        }
        for i, a in enumerate("zyx"):
            found |= {f"{a}_start": starts[:, i], f"{a}_stop": stops[:, i]}
        return found

    def _worst(self, ok: Columns, alone: Columns) -> Columns:
        """Where to look first in each seam."""
        place = np.array([np.add(b.start, b.stop) // 2 for *_, b in self.rows], np.int64).reshape(-1, 3)
        # Written in ascending order of badness: what is written last stays.
        for order, source in (
            (np.lexsort((-ok["pair"][:, 0], -ok["iou"])), ok),
            (np.lexsort((-alone["node"], alone["voxels"])), alone),
        ):
            place[source["seam"][order]] = source["place"][order]
        return {a: place[:, i] for i, a in enumerate("zyx")}


def _stacked(parts: list[Columns], wide: dict[str, int], names: tuple[str, ...]) -> Columns:
    """The parts as one, also where there are none."""
    empty: Columns = {"seam": np.zeros(0, np.int64)}
    empty |= {k: np.zeros((0, n), np.int64) for k, n in wide.items()}
    empty |= {k: np.zeros(0, np.float64 if k == "iou" else np.int64) for k in names}
    return {k: np.concatenate([v, *(p[k] for p in parts)]) for k, v in empty.items()}


def _alone(ok: Columns, crossings: Columns, nodes: int) -> Columns:
    """The objects that cross a seam and were joined with nothing across it."""
    matched = np.concatenate([ok["seam"] * nodes + ok["pair"][:, i] for i in (0, 1)])
    here = ~np.isin(crossings["seam"] * nodes + crossings["node"], matched)
    return {name: column[here] for name, column in crossings.items()}


def _scores(ok: Columns, alone: Columns, count: int, nodes: int) -> Array:
    both, whole = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(both, ok["seam"], 2 * ok["voxels"])
    np.add.at(whole, alone["seam"], alone["voxels"])
    # An object with several partners has its voxels once.
    for i, side in enumerate("ab"):
        _, once = np.unique(ok["seam"] * nodes + ok["pair"][:, i], return_index=True)
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
