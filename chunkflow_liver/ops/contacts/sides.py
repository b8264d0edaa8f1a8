"""How sure the boundaries of both sides of contacts are, from the sums of all blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.kernels.distance.local_errors import errors_nm, no_errors
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.kernels.significance.boundaries import SOURCES, Boundary
from chunkflow_liver.xp import Array

PAIR, OBJECT = ("own", "other"), ("label",)
SUMS: dict[str, tuple[tuple[str, ...], Rows]] = {
    f"sure_{what}{side}": (keys, no_errors(*keys))
    for what, keys in (("", PAIR), ("objects_", OBJECT))
    for side in "ab"
}
"""Of what a block keeps where scores are given: keys, and no row."""


@dataclass(frozen=True)
class Sides:
    """Where the errors of both sides are known from.

    Attributes
    ----------
    boundary : Boundary
    images : tuple of int
        Of scores or networks, of either side.
    pitch_nm : float
    """

    boundary: Boundary
    images: tuple[int, int]
    pitch_nm: float

    @property
    def sources(self) -> dict[str, str]:
        """By side, one of `SOURCES`."""
        return {
            side: self.boundary.source_of(n, partner=side == "b")
            for side, n in zip("ab", self.images, strict=True)
        }

    @property
    def local(self) -> bool:
        """Whether every object has errors of its own."""
        return any(source in SOURCES[1:3] for source in self.sources.values())

    @property
    def largest_nm(self) -> float:
        """Half the interval of any gap, at most."""
        most = self.boundary.largest_nm(self.pitch_nm)
        ends = [max(most, self.pitch_nm / 4) if s in SOURCES[1:3] else None for s in self.sources.values()]
        return float(self.boundary.between_nm(self.pitch_nm, *ends))

    def between_nm(self, side: str, sure: tuple[Array, Array] | None) -> Array:
        """Half the interval of a gap; `sure` are the errors of `side` and of the other one."""
        a, b = (None, None) if sure is None else sure if side == "a" else sure[::-1]
        return self.boundary.between_nm(self.pitch_nm, a, b)

    def patch_nm(self, side: str, radius_nm: Array, sure: tuple[Array, Array] | None) -> Array:
        """The same of the mean gap over a disc."""
        a, b = (None, None) if sure is None else sure if side == "a" else sure[::-1]
        return self.boundary.patch_nm(radius_nm, self.pitch_nm, a, b)

    def columns(self, side: str, nm: Array, whole: Array, capped: Array) -> Rows:
        """Columns of a table on the errors of one side.

        Parameters
        ----------
        side : {'a', 'b'}
        nm : ndarray of shape (n,), float64
            NaN where scores say nothing.
        whole : ndarray of shape (n,), bool
            Whether they are not of the contact, but of what else of the object is near to others.
        capped : ndarray of shape (n,), float64
        """
        source, own = self.sources[side], self.boundary.boundary_nm
        if source not in SOURCES[1:3]:
            given = self.boundary.partner_nm if side == "b" and self.boundary.partner_nm is not None else own
            nm, whole = np.full(len(nm), np.nan if given is None else given), np.zeros(len(nm), bool)
            told = np.full(len(nm), source, dtype=object)
            capped = np.full(len(nm), np.nan)
            names = (f"boundary_{side}_{what}" for what in ("nm", "source", "capped_fraction"))
            return dict(zip(names, (nm, told, capped), strict=True))
        told = np.where(whole, f"{source}, other places of the object", source).astype(object)
        told[np.isnan(nm)] = SOURCES[3]
        return {
            f"boundary_{side}_nm": nm,
            f"boundary_{side}_source": told,
            f"boundary_{side}_capped_fraction": capped,
        }

    def columns_of_objects(self, side: str, own: tuple[Array, Array, Array], others: Array) -> Rows:
        """The same of objects: of each its own, and of its partners."""
        found = {name.replace(f"_{side}_", "_"): c for name, c in self.columns(side, *own).items()}
        other, none = "b" if side == "a" else "a", np.full(len(others), np.nan)
        seen = self.columns(other, others, np.zeros(len(others), bool), none)
        return found | {
            name.replace(f"boundary_{other}_", "partner_boundary_"): column
            for name, column in seen.items()
            if not name.endswith("capped_fraction")
        }

    def of_pairs(self, sums: dict[str, Rows], pairs: Array, side: str) -> tuple[Array, Array, Array]:
        """Error of one side of each pair (P, 2), in nm; whether it is of other places; how much is capped."""
        rows = sums[f"sure_{side}"]
        at = np.searchsorted(_code(pairs, pairs), _code(np.stack([rows["own"], rows["other"]], 1), pairs))
        here = {name: np.zeros(len(pairs), np.int64) for name in ("weight", "squares", "capped")}
        for name, total in here.items():
            total[at] = rows[name]
        elsewhere = self._objects(sums, pairs[:, "ab".index(side)], side)
        whole = here["weight"] == 0
        here = {name: np.where(whole, elsewhere[name], total) for name, total in here.items()}
        nm = errors_nm(here, self.boundary.largest_nm(self.pitch_nm))
        return nm, whole & (here["weight"] > 0), _share(here)

    def of_objects(
        self, sums: dict[str, Rows], label: Array, pairs: Array, area: Array, side: str
    ) -> tuple[tuple[Array, Array, Array], Array]:
        """Error of each object of a side, as for pairs, and that of its partners, over the pairs' areas."""
        rows = self._objects(sums, label, side)
        nm = errors_nm(rows, self.boundary.largest_nm(self.pitch_nm))
        other = self.of_pairs(sums, pairs, "b" if side == "a" else "a")[0]
        at = np.searchsorted(label, pairs[:, "ab".index(side)])
        known = ~np.isnan(other) & (area > 0)
        square, whole = (
            np.bincount(at[known], values[known], len(label)) for values in (area * other**2, area)
        )
        mean = np.sqrt(np.divide(square, whole, out=np.full(len(label), np.nan), where=whole > 0))
        return (nm, np.zeros(len(label), bool), _share(rows)), mean

    def _objects(self, sums: dict[str, Rows], label: Array, side: str) -> Rows:
        rows = sums[f"sure_objects_{side}"]
        found = {name: np.zeros(len(label), np.int64) for name in ("weight", "squares", "capped")}
        if len(rows["label"]):
            at = np.minimum(np.searchsorted(rows["label"], label), len(rows["label"]) - 1)
            there = rows["label"][at] == label
            found = {name: np.where(there, rows[name][at], 0) for name in found}
        return found


def _share(rows: Rows) -> Array:
    some = np.maximum(rows["weight"], 1)
    return np.where(rows["weight"] > 0, rows["capped"] / some, np.nan)


def _code(some: Array, pairs: Array) -> Array:
    """A number for each pair, ascending as pairs do."""
    first, second = (np.unique(pairs[:, k]) for k in range(2))
    ranks = [np.searchsorted(values, some[:, k]) for k, values in enumerate((first, second))]
    return ranks[0] * max(len(second), 1) + ranks[1]
