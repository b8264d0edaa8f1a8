"""Surface and contact of one object along its centre line, in windows at narrowings and elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm, zyx
from chunkflow_liver.kernels.centreline.line import Branch, Centreline
from chunkflow_liver.kernels.contacts.areas import area_step_nm2, surface_areas, walled
from chunkflow_liver.kernels.distance.squares import squares_to, whole_unit
from chunkflow_liver.kernels.distance.transform import WHOLE
from chunkflow_liver.xp import Array

WINDOWS = {
    "branch": np.int64,
    "position_nm": np.float64,
    "narrow": np.bool_,
    "tested": np.bool_,
    "area_um2": np.float64,
    "contact_um2": np.float64,
}

OTHERS = "others"
"""The name of the other objects of the same image, as a partner."""
WINDOW_NM = 150.0
_NM2_PER_UM2 = 1e6


@dataclass(frozen=True)
class Near:
    """What lies near a narrowing: the other classes, their gap, and the stretch of the object that counts.

    Attributes
    ----------
    to : str or int, or several
        Classes of the other volume, each a partner of its own; its instances are all one where it has no
        classes.
    others : bool
        The other objects of the same image are a partner, too: `OTHERS`, after those of `to`.
    gap_nm : float
        Largest gap of a contact, between the boxes of two voxels (0 where they touch).
    window_nm : float, optional
        Along the centre line, to either side; 150 nm by default.
    window_fraction : float, optional
        The same as a share of the branch's length, instead.
    all_kinds : bool
        Tests take narrowings of every kind (`kinds.KINDS`), not constrictions alone.
    permutations, draws : int
        Permutations of a test, and draws for a confidence interval.
    seed : int
        Of the random numbers of both.
    """

    to: str | int | tuple[str | int, ...] = "er"
    gap_nm: float = 30.0
    window_nm: float | None = None
    window_fraction: float | None = None
    permutations: int = 9999
    draws: int = 2000
    seed: int = 0
    all_kinds: bool = False
    others: bool = False

    def __post_init__(self) -> None:
        classes = self.classes
        if not classes or len(set(classes)) < len(classes) or OTHERS in classes:
            raise ConfigError(
                f"'to' names classes, each once and none {OTHERS!r} (what 'others' adds); got {self.to!r}"
            )
        if not (math.isfinite(self.gap_nm) and self.gap_nm >= 0):
            raise ConfigError(f"gap_nm must be 0 or more, got {self.gap_nm!r}")
        if self.window_nm is not None and self.window_fraction is not None:
            raise ConfigError("give either window_nm or window_fraction, not both")
        if self.window_nm is not None and not (math.isfinite(self.window_nm) and self.window_nm > 0):
            raise ConfigError(f"window_nm must be positive and finite, got {self.window_nm!r}")
        if self.window_fraction is not None and not 0 < self.window_fraction <= 0.5:
            raise ConfigError(
                f"window_fraction must be above 0 and at most 0.5, got {self.window_fraction!r}"
            )
        if min(self.permutations, self.draws) < 1 or self.seed < 0:
            raise ConfigError(
                f"permutations and draws must be 1 or more and the seed 0 or more, got "
                f"{self.permutations!r}, {self.draws!r} and {self.seed!r}"
            )

    @property
    def classes(self) -> tuple[str | int, ...]:
        """Those of `to`."""
        return tuple(self.to) if isinstance(self.to, list | tuple) else (self.to,)

    def filled(self) -> Near:
        """The same with the window that is meant where none is given, lengths as floats, one class alone."""
        length = WINDOW_NM if self.window_nm is None and self.window_fraction is None else self.window_nm
        to = self.classes[0] if len(self.classes) == 1 else self.classes
        return replace(
            self, to=to, gap_nm=float(self.gap_nm), window_nm=None if length is None else float(length)
        )

    def reach_nm(self, length_nm: float) -> float:
        """Half the length of a window on a branch of `length_nm`."""
        if self.window_fraction is not None:
            return self.window_fraction * length_nm
        return WINDOW_NM if self.window_nm is None else self.window_nm


@dataclass(frozen=True)
class Track:
    """The surface voxels of an object, each at its nearest point of the centre line.

    Attributes
    ----------
    at : tuple of ndarray of shape (n,), int64
        Their indices in the array.
    branch : ndarray of shape (n,), int64
    point : ndarray of shape (n,), int64
        Of the branch.
    position_nm : ndarray of shape (n,), float64
        Along the branch.
    area_nm2 : ndarray of shape (n,), float64
        As in `surface_areas`.
    contact : ndarray of shape (p, n), bool
        Whether each partner comes within the gap.
    """

    at: tuple[Array, ...]
    branch: Array
    point: Array
    position_nm: Array
    area_nm2: Array
    contact: Array

    def sums(self, chosen: Array) -> tuple[float, Array]:
        """Area, and area in contact with each partner (p,), of the chosen voxels, in um2."""
        area = float(self.area_nm2[chosen].sum()) / _NM2_PER_UM2
        contact = [float(self.area_nm2[chosen & one].sum()) / _NM2_PER_UM2 for one in self.contact]
        return area, np.array(contact, np.float64)


def surface_track(
    mask: Array,
    others: Sequence[Array],
    line: Centreline,
    *,
    start_nm: Array,
    voxel_nm: Nm,
    gap_nm: float,
    hidden: Array | None = None,
) -> Track:
    """The surface of an object along its centre line, and where it is in contact.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        The object, with a margin of `halo_voxels` unless the volume ends.
    others : sequence of ndarray of the same shape, bool
        What it may be in contact with, of each partner.
    line : Centreline
        In nm.
    start_nm : ndarray of shape (3,)
        Corner of the array `mask` in the coordinates of `line`.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    gap_nm : float
        Largest gap of a contact.
    hidden : ndarray of the shape of `mask`, bool, optional
        Voxels of which nothing is known: no surface lies towards them.

    Notes
    -----
    The end of the volume is no surface.
    """
    from scipy.spatial import cKDTree

    places, steps = surface_areas(walled(mask, hidden)[0], ((0, 0, 0), zyx(list(mask.shape))), voxel_nm)
    at = tuple(places)
    contact = np.zeros((len(others), len(at[0])), bool)
    for here, other in zip(contact, others, strict=True):
        here[:] = contact_mask(other, voxel_nm, gap_nm)[at]
    points = (np.stack(at, 1) + 0.5) * np.array(voxel_nm) + start_nm
    owner = np.repeat(np.arange(len(line.branches)), [len(b.points_nm) for b in line.branches])
    nearest = cKDTree(np.concatenate([b.points_nm for b in line.branches])).query(points)[1]
    position = np.concatenate([b.position_nm for b in line.branches])
    point = np.concatenate([np.arange(len(b.points_nm)) for b in line.branches])
    return Track(
        at, owner[nearest], point[nearest], position[nearest], steps * area_step_nm2(voxel_nm), contact
    )


def contact_mask(other: Array, voxel_nm: Nm, gap_nm: float) -> Array:
    """Voxels within a gap, between the boxes of two voxels, of the other class, itself included; bool."""
    unit = whole_unit(voxel_nm)
    limit = unit.squares(gap_nm)
    found: Array = squares_to(other, unit, limit, WHOLE, between=True) <= limit
    return found


def windows(line: Centreline, track: Track, narrow: dict[str, Array], near: Near) -> dict[str, Array]:
    """Surface and contact in windows at the narrowings, and at as many other places as there is room for.

    Parameters
    ----------
    line : Centreline
    track : Track
        Of the same object.
    narrow : dict of ndarray
        `branch`, `position_nm` and `tested` of the narrowings.
    near : Near
        Length of a window.

    Returns
    -------
    dict of ndarray of shape (w,)
        `branch, position_nm, narrow, tested, area_um2`, and `contact_um2` of shape (w, p) with each partner:
        first the narrowings in their order,
        then the control positions. These are spread evenly over every stretch of a branch that is free of
        narrowings, as many as fit without overlap with each other, with a narrowing's window or with an
        end of the branch.
    """
    rows: list[tuple[int, float, bool, bool]] = [
        (int(b), float(p), True, bool(t))
        for b, p, t in zip(narrow["branch"], narrow["position_nm"], narrow["tested"], strict=True)
    ]
    for i, branch in enumerate(line.branches):
        own = sorted(p for b, p, *_ in rows if b == i)
        rows += [(i, p, False, True) for p in _free_places(branch, own, near.reach_nm(branch.length_nm))]
    sums = [
        track.sums(
            (track.branch == b) & (np.abs(track.position_nm - p) <= near.reach_nm(line.branches[b].length_nm))
        )
        for b, p, *_ in rows
    ]
    found = [(*row, *areas) for row, areas in zip(rows, sums, strict=True) if areas[0] > 0 or row[2]]
    columns = zip(*found, strict=True) if found else ((),) * len(WINDOWS)
    seen: dict[str, Array] = {
        name: np.array(c, kind) for (name, kind), c in zip(WINDOWS.items(), columns, strict=True)
    }
    return seen | {"contact_um2": seen["contact_um2"].reshape(-1, len(track.contact))}


def _free_places(branch: Branch, narrow: list[float], reach: float) -> list[float]:
    """Middles of windows in what is left of a branch."""
    if reach <= 0:
        return []
    places: list[float] = []
    begins = [0.0, *(p + reach for p in narrow)]
    ends = [*(p - reach for p in narrow), branch.length_nm]
    for begin, end in zip(begins, ends, strict=True):
        count = int((end - begin) / (2 * reach) + 1e-9) if end > begin else 0
        places += [begin + (end - begin) * (i + 0.5) / count for i in range(count)]
    return places


def along(line: Centreline, track: Track) -> tuple[Array, Array]:
    """Surface (n,), and that in contact with each partner (n, p), nearest to every point, in um2."""
    begins = np.cumsum([0, *(len(b.points_nm) for b in line.branches)])
    row = begins[track.branch] + track.point
    weights = np.vstack([track.area_nm2[None], track.area_nm2 * track.contact])
    sums = np.stack([np.bincount(row, v, begins[-1]) for v in weights], 1) / _NM2_PER_UM2
    return sums[:, 0], sums[:, 1:]


def within(track: Track, narrow: dict[str, Array], line: Centreline, near: Near) -> Array:
    """Which surface voxels lie in the window of some narrowing, bool (n,)."""
    inside = np.zeros(len(track.branch), bool)
    for b, p in zip(narrow["branch"].tolist(), narrow["position_nm"].tolist(), strict=True):
        reach = near.reach_nm(line.branches[b].length_nm)
        inside |= (track.branch == b) & (np.abs(track.position_nm - p) <= reach)
    return inside
