"""Where the surface of one object comes close to another object, counted on its own voxels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.kernels.distance import distance_nm
from chunkflow_liver.xp import Array, on_host

Contacts = dict[str, Array]
"""Columns of one row per pair of objects, sorted by (own, other)."""

FACES = ("faces_z", "faces_y", "faces_x")
COUNTS = ("voxels", *FACES)

_SLAB = 1 << 15
_CELL = 4
_BATCH_ROWS = 1 << 18
# Gaps that differ by less are one gap: float32 distances cannot tell them apart.
_SAME_GAP = 1e-5


def halo_voxels(gap_nm: float, voxel_nm: Nm) -> Zyx:
    """Halo that `surface_contacts` needs around a block, in voxels along (z, y, x).

    It reaches every voxel whose box is within `gap_nm`, and the face neighbours of the block.
    """
    if not (math.isfinite(gap_nm) and gap_nm >= 0) or min(voxel_nm) <= 0:
        raise ConfigError(
            f"contacts need a finite gap of 0 nm or more and positive voxel sizes, got {gap_nm} nm "
            f"and {voxel_nm}"
        )
    return zyx([math.floor(round(gap_nm / v, 9)) + 1 for v in voxel_nm])


def surface_contacts(
    own: Array,
    other: Array,
    *,
    voxel_nm: Nm,
    gap_nm: float,
    trim: tuple[slice, slice, slice],
    same: bool = False,
) -> Contacts:
    """Contacts of every object in `own` with every object in `other`, seen from `own`'s surface.

    Parameters
    ----------
    own, other : ndarray of shape (Z, Y, X), integer or bool
        Label blocks with a halo of at least `halo_voxels`, cut only by the volume's border;
        0 is background.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    gap_nm : float
        Largest gap of a contact, in nm.
    trim : tuple of slice
        The voxels of `own` to count, inside the block.
    same : bool
        Whether `own` and `other` are one labelling, so that equal labels are one object.

    Returns
    -------
    dict of ndarray of shape (P,)
        `own`, `other` (uint64), `voxels` (surface voxels of `own` within the gap, each once per
        pair), `faces_z`, `faces_y`, `faces_x` (exposed faces of those voxels, by the axis that
        they face: the area is faces_z * vy * vx + faces_y * vz * vx + faces_x * vz * vy), all
        int64, and `gap_min_sq` (nm**2, float64). Host arrays.

    Raises
    ------
    ConfigError
        If the gap is negative or not finite.
    InputError
        If the blocks differ in shape.

    Notes
    -----
    The gap between two voxels is the shortest distance between their boxes,
    sqrt(sum((max(abs(d_i) - 1, 0) * voxel_i)**2)) for an offset of d voxels: voxels that touch, if
    only by a corner, and voxels that overlap have gap 0. A surface voxel has a face neighbour of
    another label; faces on the volume's border do not count. Gaps within 1e-5 of each other count
    as equal, which makes every column independent of the blocks.

    The Euclidean transform of the dilated `other` is the gap to its nearest voxel and the whole
    answer for an `other` with one label, whatever the gap. Between many labels every offset of the
    gap's ball is looked up for the surface voxels that can meet one: the cost grows with
    (gap / voxel)**3.
    """
    reach = halo_voxels(gap_nm, voxel_nm)
    own, other = on_host(own), on_host(other)
    if own.shape != other.shape:
        raise InputError(
            f"the blocks of the two labellings have shapes {own.shape} and {other.shape}; "
            "read both over one box"
        )
    at = _surface(own, trim)
    if not at.size:
        return _empty()
    smallest, largest = _labels_around(other, at, reach)
    kept = largest != 0
    if same:
        kept &= (smallest != own[tuple(at)]) | (largest != own[tuple(at)])
    at, alone = at[:, kept], (smallest == largest)[kept]
    if not at.size:
        return _empty()
    labels, faces = own[tuple(at)], _exposed_faces(own, at)
    # From here on only the box around what is left matters.
    low = [max(0, int(a.min()) - r) for a, r in zip(at, reach, strict=True)]
    high = [int(a.max()) + r + 1 for a, r in zip(at, reach, strict=True)]
    other = other[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    at = at - np.array(low)[:, None]
    gaps = _gap_steps(voxel_nm, gap_nm, reach)
    if same:
        everyone = np.arange(len(labels))
        return _pairs(_lookup(other, at, everyone, gaps, labels), labels, faces, gaps)
    distance = distance_nm(_dilated(other != 0), voxel_nm, gap_nm * 1.01 + 1)
    step = gaps.of(distance[tuple(at)])
    del distance
    near = step < gaps.inside
    only, several = np.flatnonzero(near & alone), np.flatnonzero(near & ~alone)
    found = [(only, largest[kept][only], step[only])]
    return _pairs(found + _lookup(other, at, several, gaps), labels, faces, gaps)


@dataclass(frozen=True, eq=False)
class _Gaps:
    """The gaps that voxels of one size can have, as steps 0, 1, .. in ascending order.

    Attributes
    ----------
    squares : ndarray of shape (S,), float64
        Gap of each step, squared, in nm**2; the same for every block.
    inside : int
        Number of steps within the gap asked for.
    table : ndarray of shape (Rz + 1, Ry + 1, Rx + 1), int64
        Step of every number of voxels between two voxels, along (z, y, x).
    """

    squares: Array
    inside: int
    table: Array

    def of(self, distance: Array) -> Array:
        """Step of each distance (nm, float32)."""
        between = (self.squares[1:] + self.squares[:-1]) / 2
        return np.searchsorted(between, distance.astype(np.float64) ** 2)

    def offsets(self) -> list[tuple[Zyx, int]]:
        """Every offset within the gap with its step, nearest first."""
        ball = []
        for offset in itertools.product(*(range(1 - n, n) for n in self.table.shape)):
            z, y, x = (max(abs(d) - 1, 0) for d in offset)
            step = int(self.table[z, y, x])
            if step < self.inside:
                ball.append((zyx(offset), step))
        return sorted(ball, key=lambda entry: entry[1])


def _gap_steps(voxel_nm: Nm, gap_nm: float, reach: Zyx) -> _Gaps:
    """Steps of all gaps up to `gap_nm`, and at least one beyond it."""
    z, y, x = ((np.arange(r + 1) * v) ** 2 for r, v in zip(reach, voxel_nm, strict=True))
    table = z[:, None, None] + y[:, None] + x
    values = np.unique(table)
    fresh = np.ones(len(values), bool)
    fresh[1:] = values[1:] > values[:-1] * (1 + _SAME_GAP)
    squares = values[fresh]
    inside = int(np.searchsorted(squares, gap_nm**2 * (1 + _SAME_GAP), side="right"))
    return _Gaps(squares, inside, np.searchsorted(squares, table, side="right") - 1)


Found = list[tuple[Array, Array, Array]]
"""Groups of (surface voxel, label met, step of the gap); a voxel meets a label once."""


def _surface(own: Array, trim: tuple[slice, slice, slice]) -> Array:
    """Coordinates (3, M) of the voxels in `trim` with a face neighbour of another label."""
    surface = np.zeros(own.shape, bool)
    for axis in range(3):
        before, after = _halves(axis)
        differs = own[before] != own[after]
        surface[before] |= differs
        surface[after] |= differs
    at = np.array(np.nonzero(surface[trim] & (own[trim] != 0)))
    first = [s.indices(n)[0] for s, n in zip(trim, own.shape, strict=True)]
    return at + np.array(first)[:, None]


def _halves(axis: int) -> tuple[Any, Any]:
    """Indices of all voxels with a successor along `axis`, and of their successors."""
    lead = (slice(None),) * axis
    return (*lead, slice(None, -1)), (*lead, slice(1, None))


def _exposed_faces(own: Array, at: Array) -> Array:
    """Faces per axis (3, M) of the voxels `at` whose neighbour in the block has another label."""
    faces = np.zeros(at.shape, np.int64)
    label = own[tuple(at)]
    for axis, side in itertools.product(range(3), (-1, 1)):
        beside = list(at)
        # At the border of the block the voxel is compared with itself, and no face is counted.
        beside[axis] = np.clip(at[axis] + side, 0, own.shape[axis] - 1)
        faces[axis] += own[tuple(beside)] != label
    return faces


def _dilated(mask: Array) -> Array:
    """`mask` with all 26 neighbours of its voxels."""
    for axis in range(3):
        before, after = _halves(axis)
        grown = mask.copy()
        grown[before] |= mask[after]
        grown[after] |= mask[before]
        mask = grown
    return mask


def _labels_around(other: Array, at: Array, reach: Zyx) -> tuple[Array, Array]:
    """Smallest and largest label near the voxels `at` (3, M), both 0 where there is none.

    The volume is cut into cells no smaller than the reach, so that everything that a voxel can
    meet lies in its own cell or a neighbour of it.
    """
    size = [max(r, _CELL) for r in reach]
    start = [np.arange(0, n, s) for n, s in zip(other.shape, size, strict=True)]
    largest = np.zeros([len(s) for s in start], other.dtype)
    smallest = np.zeros_like(largest)
    top = other.dtype.type(1) if other.dtype == bool else np.iinfo(other.dtype).max
    for cell, z in enumerate(start[0]):
        slab = other[z : z + size[0]]
        for cells, ufunc in ((largest, np.maximum), (smallest, np.minimum)):
            plane = ufunc.reduce(np.where(slab == 0, top, slab) if cells is smallest else slab)
            cells[cell] = ufunc.reduceat(ufunc.reduceat(plane, start[1]), start[2], axis=1)
    where = tuple(a // s for a, s in zip(at, size, strict=True))
    high = _with_neighbours(largest, np.maximum)[where]
    low = _with_neighbours(smallest, np.minimum)[where]
    return np.where(high == 0, high, low), high


def _with_neighbours(cells: Array, extreme: np.ufunc) -> Array:
    """Extreme of every cell and its 26 neighbours."""
    for axis in range(3):
        before, after = _halves(axis)
        spread = cells.copy()
        extreme(spread[before], cells[after], out=spread[before])
        extreme(spread[after], cells[before], out=spread[after])
        cells = spread
    return cells


def _lookup(other: Array, at: Array, some: Array, gaps: _Gaps, own: Array | None = None) -> Found:
    """Every label of `other` within the gap of the voxels `some` of `at` (3, M), except `own`."""
    if not len(some):
        return []
    reach = [n - 1 for n in gaps.table.shape]
    # Zeros all around keep every offset inside, so that one flat index reaches it.
    padded = np.pad(other, [(r, r) for r in reach])
    strides = [padded.shape[1] * padded.shape[2], padded.shape[2], 1]
    centre = sum((a[some] + r) * s for a, r, s in zip(at, reach, strides, strict=True))
    offsets = [
        (sum(d * s for d, s in zip(offset, strides, strict=True)), step) for offset, step in gaps.offsets()
    ]
    flat = padded.reshape(-1)
    found: Found = []
    for start in range(0, len(some), _SLAB):
        part = some[start : start + _SLAB]
        barred = 0 if own is None else own[part]
        met = _met(flat, centre[start : start + _SLAB], barred, offsets)
        found += [(part[voxel], label, step) for voxel, label, step in met]
    return found


def _met(flat: Array, centre: Array, own: Array | int, offsets: list[tuple[int, int]]) -> Found:
    """Labels met by a slab of voxels, each kept once at its smallest gap.

    Place k of a voxel holds the k-th label that it met; most voxels never need a second one.
    """
    places: list[tuple[Array, Array]] = []
    for offset, step in offsets:
        seen = flat[centre + offset]
        new = (seen != 0) & (seen != own)
        if places:
            new &= seen != places[0][0]
        voxel = np.flatnonzero(new)
        for label, nearest in places:
            free = voxel[label[voxel] == 0]
            label[free], nearest[free] = seen[free], step
            voxel = voxel[label[voxel] != seen[voxel]]
        if len(voxel):
            label, nearest = np.zeros_like(seen), np.zeros(len(seen), np.int64)
            label[voxel], nearest[voxel] = seen[voxel], step
            places.append((label, nearest))
    found = []
    for label, nearest in places:
        voxel = np.flatnonzero(label)
        found.append((voxel, label[voxel], nearest[voxel]))
    return found


def _pairs(found: Found, labels: Array, faces: Array, gaps: _Gaps) -> Contacts:
    """Contacts of all surface voxels, summed by pair of objects."""
    return merge_contacts(
        {
            "own": labels[voxel].astype(np.uint64),
            "other": label.astype(np.uint64),
            "voxels": np.ones(len(voxel), np.int64),
            **{name: column[voxel] for name, column in zip(FACES, faces, strict=True)},
            "gap_min_sq": gaps.squares[step],
        }
        for voxel, label, step in found
    )


def merge_contacts(parts: Iterable[Contacts]) -> Contacts:
    """Contacts of whole objects, from the contacts of blocks.

    Parameters
    ----------
    parts : iterable of dict
        What `surface_contacts` gave for blocks whose `trim` boxes tile the volume. Read lazily.

    Returns
    -------
    dict of ndarray of shape (P,)
        Columns as in `surface_contacts`; counts are added, `gap_min_sq` is the smallest.

    Notes
    -----
    Exact, and independent of the order. Memory grows with the number of pairs, not of parts.
    """
    merged, pending, rows = _empty(), list[Contacts](), 0
    for part in parts:
        pending.append(part)
        rows += len(part["own"]) + 1
        if rows >= max(_BATCH_ROWS, len(merged["own"])):
            merged, pending, rows = _add([merged, *pending]), [], 0
    return _add([merged, *pending])


def _empty() -> Contacts:
    """No contacts."""
    columns: Contacts = {name: np.zeros(0, np.uint64) for name in ("own", "other")}
    columns |= {name: np.zeros(0, np.int64) for name in COUNTS}
    return columns | {"gap_min_sq": np.zeros(0)}


def _add(parts: list[Contacts]) -> Contacts:
    """Rows of equal pairs added."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["other"], columns["own"]))
    columns = {name: column[order] for name, column in columns.items()}
    own, other = columns["own"], columns["other"]
    if not len(own):
        return columns
    fresh = np.ones(len(own), bool)
    fresh[1:] = (own[1:] != own[:-1]) | (other[1:] != other[:-1])
    begin = np.flatnonzero(fresh)
    added = {"own": own[begin], "other": other[begin]}
    added |= {name: np.add.reduceat(columns[name], begin) for name in COUNTS}
    return added | {"gap_min_sq": np.minimum.reduceat(columns["gap_min_sq"], begin)}
