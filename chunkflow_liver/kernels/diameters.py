"""Largest distances between mesh vertices, in space and in planes, from a few extreme voxels per plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.features import Rows
from chunkflow_liver.kernels.mesh import Cells
from chunkflow_liver.xp import Array

DIAMETERS = ("slice_sq", "column_sq", "row_sq", "space_sq")

# The axes (u, v) that span the planes across z, y and x.
_ACROSS = ((1, 2), (0, 2), (0, 1))
# The bit of a cell's code for the neighbour of its first corner along z, y and x.
_NEXT = (4, 3, 1)
_INT64_MAX = 2**63 - 1
_MANY = 512


def extreme_voxels(
    found: Cells, own: Array, known: Array, low: Zyx, origin: Zyx, kinds: Sequence[int] = range(6)
) -> Rows:
    """The voxels of a block that can end a diameter.

    Parameters
    ----------
    found : Cells
        Of the block, of `low` voxels before it and of one after it on each axis.
    own : ndarray of shape (Z, Y, X), integer
        Labels of the block.
    known : ndarray of shape (L,), uint64
        The labels there are, ascending.
    low : Zyx
        1 on axes where the block begins with the volume, else 0.
    origin : Zyx
        First voxel of the block in the volume.
    kinds : sequence of int
        Which kinds of planes.

    Returns
    -------
    dict of ndarray of shape (P,)
        `label` (uint64); `kind` (int8): 2 a for the plane of voxels `plane` across axis a, 2 a + 1 for
        the plane between the voxels `plane` and `plane + 1`; `plane`, `u`, `v` (int32, voxels of the
        volume): the corners of the convex hull of each plane. Sorted by label, kind, plane.

    Notes
    -----
    A mesh vertex is the middle of a face between a voxel inside and one outside. The hull of those
    in a plane of voxels is the hull of the voxels' centres and half a voxel more along both axes, so
    that corners of the hull of the centres are enough, and these end a run; a plane between two
    layers has the centres of the voxels that are in one layer only. What is a corner in space is one
    in its plane.
    """
    rank = np.searchsorted(known, found.label.astype(np.uint64))
    at = np.stack([found.z, found.y, found.x])
    faces = [_faces(rank, found.code, at, low, axis) for axis in range(3)]
    ends = {axis: _ends(*faces[axis], own, known, low, axis) for axis in (1, 2)}
    side = max(own.shape) + 2
    parts = []
    for kind in kinds:
        axis, between = divmod(kind, 2)
        if between:
            of, _, place = faces[axis]
        else:
            of, place = ends[1 if axis == 2 else 2]
        u, v = (place[a] for a in _ACROSS[axis])
        rows = _corners(of * side + place[axis], u, v)
        parts.append((*np.divmod(rows[0], side), rows[1], rows[2], np.full(len(rows[0]), kind, np.int8)))
    rank, plane, u, v, which = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(rank, kind="stable")
    rank, plane, u, v, which = (column[order] for column in (rank, plane, u, v, which))
    start = np.array(origin) - np.array(low)
    axes, across = which // 2, np.array(_ACROSS)
    return {
        "label": known[rank],
        "kind": which,
        "plane": (plane + start[axes]).astype(np.int32),
        "u": (u + start[across[axes, 0]]).astype(np.int32),
        "v": (v + start[across[axes, 1]]).astype(np.int32),
    }


def merge_voxels(parts: Sequence[Rows]) -> Rows:
    """The extreme voxels of several blocks as one: again the corners of the hull of each plane."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not len(joined["label"]):
        return joined
    keys = np.stack([joined["label"].view(np.int64), joined["kind"], joined["plane"]])
    order = np.lexsort([joined["plane"], joined["kind"], joined["label"]])
    group = np.zeros(len(order), np.int64)
    group[order[1:]] = np.cumsum((keys[:, order[1:]] != keys[:, order[:-1]]).any(0))
    first = order[np.searchsorted(group[order], np.arange(group.max() + 1))]
    at, u, v = _corners(group, joined["u"].astype(np.int64), joined["v"].astype(np.int64))
    kept = {name: joined[name][first[at]] for name in ("label", "kind", "plane")}
    return {**kept, "u": u.astype(np.int32), "v": v.astype(np.int32)}


def largest(voxels: Rows, label: Array, voxel_nm: Nm) -> Rows:
    """Squared diameters of objects, from all of their extreme voxels.

    Parameters
    ----------
    voxels : dict of ndarray of shape (P,)
        What `extreme_voxels` or `merge_voxels` gave.
    label : ndarray of shape (L,), uint64
        Objects wanted, ascending; all of `voxels` belong to them.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    dict of ndarray of shape (L,), float64
        `slice_sq`, `column_sq`, `row_sq` (in planes across z, y and x) and `space_sq`, in nm^2. Exact up to
        the rounding of one sum, and the same bits for any two voxels that are as far apart.
    """
    found = {name: np.zeros(len(label)) for name in DIAMETERS}
    rank: Array = np.searchsorted(label, voxels["label"])
    # What is known of an object spares it most of its other planes: the widest are among those of voxels.
    for kind in (0, 2, 4, 1, 3, 5):
        axis, between = divmod(kind, 2)
        rows = voxels["kind"] == kind
        size = np.array([voxel_nm[a] for a in _ACROSS[axis]])
        at = np.stack([voxels["u"][rows], voxels["v"][rows]]).astype(np.int64)
        _widen(found[DIAMETERS[axis]], rank[rows], voxels["plane"][rows], at, size, grown=not between)
    found["space_sq"] = np.maximum.reduce([found[name] for name in DIAMETERS[:3]])
    rows = voxels["kind"] == 0
    at = np.stack([voxels[name][rows] for name in ("plane", "u", "v")]).astype(np.int64)
    _widen(found["space_sq"], rank[rows], None, at, np.array(voxel_nm), grown=True)
    return found


def _faces(rank: Array, code: Array, at: Array, low: Zyx, axis: int) -> tuple[Array, Array, Array]:
    """The faces across `axis` that a label has in the block: object, on which side it is, first voxel."""
    first, second = code & 1, code >> _NEXT[axis] & 1
    kept = first != second
    for other in range(3):
        if other != axis:
            # Cells before the block belong to the volume's border: they hold no voxel of the block here.
            kept &= at[other] >= low[other]
    return rank[kept], second[kept], at[:, kept]


def _ends(
    rank: Array, side: Array, at: Array, own: Array, known: Array, low: Zyx, axis: int
) -> tuple[Array, Array]:
    """First and last voxel of every run along `axis` in the block: at a face, or where the block is cut."""
    inside = at.copy()
    inside[axis] += side
    kept = inside[axis] < own.shape[axis] + low[axis]
    of, places = [rank[kept]], [inside[:, kept]]
    for plane in (0, own.shape[axis] - 1):
        cut = np.take(own, [plane], axis)
        where = np.stack(np.nonzero(cut))
        of.append(np.searchsorted(known, cut[tuple(where)].astype(np.uint64)))
        where[axis] += plane
        places.append(where + np.array(low)[:, None])
    return np.concatenate(of), np.concatenate(places, axis=1)


def _corners(group: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """Corners of the convex hull of the points (u, v) of each group, sorted by group."""
    if not len(group):
        return group, u, v
    nu, nv = int(u.max()) + 1, int(v.max()) + 1
    if (int(group.max()) + 1) * nu * nv <= _INT64_MAX:
        # One sort of one integer per point: several times faster than a sort by three columns.
        row, v = np.divmod(np.sort((group * nu + u) * nv + v), nv)
        group, u = np.divmod(row, nu)
        new = row[1:] != row[:-1]
    else:
        order = np.lexsort([v, u, group])
        group, u, v = group[order], u[order], v[order]
        new = (group[1:] != group[:-1]) | (u[1:] != u[:-1])
    first = np.flatnonzero(np.concatenate([[True], new]))
    last = np.append(first[1:], len(group)) - 1
    group, u = group[first], u[first]
    # Products of coordinates of a block fit 32 bits, and half as many bytes take half as long.
    narrow = np.int32 if max(nu, nv) < 1 << 15 else np.int64
    along, low, high = (c.astype(narrow) for c in (u, v[first], v[last]))
    lower = _chain(group, along, low, 1)
    upper = _chain(group, along, high, -1)
    # Where a row is one voxel wide it may be a corner of both chains.
    upper = upper[~np.isin(upper, lower) | (v[first] != v[last])[upper]]
    at = np.concatenate([lower, upper])
    v = np.concatenate([v[first[lower]], v[last[upper]]])
    order = np.argsort(group[at], kind="stable")
    return group[at][order], u[at][order], v[order]


def _chain(group: Array, u: Array, v: Array, sign: int) -> Array:
    """Rows of the corners of the lower (1) or upper (-1) half of each hull, of points sorted by u."""
    kept = np.arange(len(group))
    while len(kept) > 2:
        a, b, c = kept[:-2], kept[1:-1], kept[2:]
        # A point between two others is no corner if it lies on their line or inside, even if these go too.
        inside = sign * ((v[b] - v[a]) * (u[c] - u[a]) - (v[c] - v[a]) * (u[b] - u[a])) >= 0
        inside &= group[a] == group[c]
        if not inside.any():
            break
        kept = np.concatenate([kept[:1], b[~inside], kept[-1:]])
    return kept


def _widen(best: Array, rank: Array, plane: Array | None, at: Array, size: Array, *, grown: bool) -> None:
    """Raise `best` (per object) to the largest squared distance within one plane (None: in space).

    `grown` adds half a voxel along some axis to both ends.
    """
    if not len(rank):
        return
    new = rank[1:] != rank[:-1]
    if plane is not None:
        new |= plane[1:] != plane[:-1]
    begin = np.flatnonzero(np.concatenate([[True], new]))
    rank, group, at = _candidates(begin, rank[begin], at, size, float(size.max()) if grown else 0.0, best)
    if not len(rank):
        return
    if plane is None:
        kept = _hull_in_space(rank, at)
        rank, group, at = rank[kept], group[kept], at[:, kept]
    begin = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    length = np.diff(np.append(begin, len(rank)))
    place = np.arange(len(rank)) - np.repeat(begin, length)
    count = np.repeat(length, length)
    start = np.repeat(begin, length)
    here = np.arange(len(rank))
    for step in range(int(length.max()) // 2 + 1):
        # Every pair of a group is met once when its points go round.
        other = start + (place + step) % count
        apart = np.abs(at[:, here] - at[:, other]) * size[:, None]
        np.maximum.at(best, rank, _grown(apart, size) if grown else (apart**2).sum(0))
        more = count >= 2 * (step + 1)
        here, rank, place, count, start = (c[more] for c in (here, rank, place, count, start))


def _hull_in_space(rank: Array, at: Array) -> Array:
    """The points to keep: corners of the convex hull of the objects that have many points, all of others."""
    begin = np.flatnonzero(np.concatenate([[True], rank[1:] != rank[:-1]]))
    length = np.diff(np.append(begin, len(rank)))
    kept = np.repeat(length <= _MANY, length)
    for first, count in zip(begin[length > _MANY].tolist(), length[length > _MANY].tolist(), strict=True):
        points = at[:, first : first + count].T
        try:
            # The library is loaded only where an object is as large as this.
            from scipy.spatial import ConvexHull, QhullError

            kept[first + ConvexHull(points - points[0]).vertices] = True
        except QhullError:
            # All in one plane: each z-plane has two corners at most, and few can end a diameter.
            kept[first : first + count] = True
    return kept


def _grown(apart: Array, size: Array) -> Array:
    """Squared lengths of `apart` (nm, not negative) with half a voxel more along an axis at both ends."""
    squares = apart**2
    total = squares.sum(0)
    best = np.zeros(apart.shape[1])
    for i in range(len(size)):
        best = np.maximum(best, total - squares[i] + (apart[i] + size[i]) ** 2)
        for j in range(i):
            rest = total - squares[i] - squares[j]
            best = np.maximum(best, rest + (apart[i] + size[i] / 2) ** 2 + (apart[j] + size[j] / 2) ** 2)
    return best


def _candidates(
    begin: Array, owner: Array, at: Array, size: Array, slack: float, best: Array
) -> tuple[Array, Array, Array]:
    """Object, group and coordinates of the points that can end a longest distance of their object.

    `best` is what is known already (squared, per object), `slack` what may be added to a distance.
    """
    length = np.diff(np.append(begin, at.shape[1]))
    group = np.repeat(np.arange(len(begin)), length)
    middle = np.minimum.reduceat(at, begin, axis=1) + np.maximum.reduceat(at, begin, axis=1)
    radius = np.sqrt((((2 * at - middle[:, group]) * (size[:, None] / 2)) ** 2).sum(0))
    reach = np.maximum.reduceat(radius, begin)
    far = np.flatnonzero(radius == reach[group])
    far = far[np.searchsorted(group[far], np.arange(len(begin)))]
    from_far = np.sqrt((((at - at[:, far][:, group]) * size[:, None]) ** 2).sum(0))
    known = np.sqrt(best)
    np.maximum.at(known, owner, np.maximum.reduceat(from_far, begin))
    # A pair is at most both distances from the middle apart, and must reach a pair that is known.
    needed = (known - slack)[owner] * (1 - 1e-9)
    kept = radius + reach[group] >= needed[group]
    return owner[group][kept], group[kept], at[:, kept]
