"""The centre line of one object: branches as smooth lines in nm, with the width along each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.centreline.frame import frame_of
from chunkflow_liver.kernels.centreline.sections import Sections, at_points, pitch_nm, sections, signed_nm
from chunkflow_liver.kernels.centreline.tracing import largest_part, near, trace
from chunkflow_liver.kernels.instances.holes import background
from chunkflow_liver.xp import Array, on_host

BYTES_PER_VOXEL = 40.0
"""Working memory per voxel of the crop."""

_ROUNDS = 3
# A voxel belongs to a branch up to this multiple of the radius of a circle of the section's area.
_COVER = 1.4
# The last stretch of a path, towards a corner, is at most this share of it.
_BEND = 0.35
# Sections wider than this multiple of their surroundings reach into a branch.
_JUNCTION = 1.15


@dataclass(frozen=True)
class _Line:
    """A path with its sections, where other paths leave it, and the one it leaves.

    `radius` and `reach` are those of the sections, of their area and to their farthest point, without what
    branches add.
    """

    points: Array
    tangents: Array
    found: Sections
    radius: Array
    reach: Array
    parent: int = -1
    at: int = 0


@dataclass(frozen=True)
class Branch:
    """One branch of a centre line, from `start` to `stop`, in equal steps.

    Attributes
    ----------
    start, stop : int
        Rows of `Centreline.nodes_nm`.
    points_nm : ndarray of shape (n, 3), float64
        Points along (z, y, x), in nm from the first corner of the mask's array.
    tangents : ndarray of shape (n, 3), float64
        Unit vectors from `start` to `stop`.
    area_nm2 : ndarray of shape (n,), float64
        Area of the cross-section normal to the line.
    inscribed_nm : ndarray of shape (n,), float64
        Radius of the largest sphere around the point inside the object.
    """

    start: int
    stop: int
    points_nm: Array
    tangents: Array
    area_nm2: Array
    inscribed_nm: Array

    @property
    def position_nm(self) -> Array:
        """Length of the line from `start` to each point, (n,), in nm."""
        steps = np.linalg.norm(np.diff(self.points_nm, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length_nm(self) -> float:
        return float(self.position_nm[-1])

    @property
    def width_nm(self) -> Array:
        """Diameter of the circle with the area of the cross-section, (n,), in nm."""
        return 2.0 * np.sqrt(self.area_nm2 / np.pi)


@dataclass(frozen=True)
class Centreline:
    """The centre line of an object: a tree of branches.

    Attributes
    ----------
    nodes_nm : ndarray of shape (k, 3), float64
        Tips and branch points, in nm from the first corner of the mask's array.
    degree : ndarray of shape (k,), int64
        Branches that end at each node: 1 for a tip, 3 or more for a branch point.
    branches : tuple of Branch
    """

    nodes_nm: Array
    degree: Array
    branches: tuple[Branch, ...]

    @property
    def length_nm(self) -> float:
        """Length of all branches."""
        return float(sum(b.length_nm for b in self.branches))

    @property
    def tips(self) -> int:
        return int((self.degree == 1).sum())

    @property
    def branch_points(self) -> int:
        return int((self.degree > 2).sum())


def centreline(mask: Array, voxel_nm: Nm, *, prune: float = 0.75) -> Centreline:
    """The centre line of the one object in `mask`.

    Parameters
    ----------
    mask : ndarray of shape (Z, Y, X), bool
        The object; what lies outside the array is taken as background. Of several parts (26
        neighbours) the one with most voxels counts, the first of equal ones. Background that it
        encloses (6 neighbours) counts as object: a cavity does not make it narrow.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    prune : float
        A side branch stays if it leads away from the sections of all other branches by more than this
        multiple of its parent's radius; the corners of a cube do so by up to 0.74 of it.

    Returns
    -------
    Centreline
        Ends lie on the object's surface. Host arrays.

    Raises
    ------
    InputError
        If the mask is empty or has not three axes.

    Notes
    -----
    Tracing: TEASAR [1]_, a tree of cheapest paths through voxels whose cost falls with the squared
    distance to the surface, each from the farthest voxel that no earlier branch covers; a hole of
    the object is therefore cut open at one place. Each path is then moved to the centroids of its
    cross-sections, smoothed over the local radius, freed of its last bend towards a corner and
    lengthened straight to the surface. Cost: about 0.6 us per voxel up to 60,000 voxels, then
    0.2 us. Of paths that cost the same the one found first is taken. The object is traced in a frame of its
    own, so that its line is the same in any array that holds it, flipped, with other axes or a wider margin.

    That a branch counts by how far it leads out of the body, relative to the body's radius there, is the
    idea of erosion thickness [2]_. The body ends where the farthest points of its cross-sections do, by
    the median of sections around, which a branch does not raise; so rims of flat ends and
    most edges of flat objects are no branches; corners of thin sheets may be.

    References
    ----------
    .. [1] Sato et al., TEASAR, Pacific Graphics 2000, doi:10.1109/PCCGA.2000.883951
    .. [2] Yan et al., Erosion thickness on medial axes of 3D shapes, ACM Trans. Graph. 35 (2016),
       doi:10.1145/2897824.2925938
    """
    mask = on_host(mask).astype(bool, copy=False)
    if mask.ndim != 3 or not mask.any():
        raise InputError(
            f"a centre line needs an object in a volume, got {int(mask.sum())} voxels in {mask.shape}"
        )
    # The space around comes first; what else is background is enclosed.
    spaces, _ = background(np.pad(largest_part(mask), 1))
    solid = (spaces != 1)[1:-1, 1:-1, 1:-1]
    frame = frame_of(solid, voxel_nm)
    sides = (voxel_nm[frame.order[0]], voxel_nm[frame.order[1]], voxel_nm[frame.order[2]])
    found = _traced(np.pad(frame.turned(solid), 1), sides, prune)
    return Centreline(
        frame.points(found.nodes_nm, voxel_nm),
        found.degree,
        tuple(
            replace(b, points_nm=frame.points(b.points_nm, voxel_nm), tangents=frame.vectors(b.tangents))
            for b in found.branches
        ),
    )


def _traced(solid: Array, voxel_nm: Nm, prune: float) -> Centreline:
    """The centre line of an object with a margin of one voxel, in nm from the first corner within it."""
    signed = signed_nm(solid, voxel_nm)
    paths = trace(signed, voxel_nm)
    coarse = float(np.linalg.norm(paths.size))
    lines: list[_Line] = []
    covered = np.zeros(len(paths.points), bool)
    while not covered.all():
        rows = paths.to(int(np.where(covered, -1.0, paths.far).argmax()))
        raw, parent, at = _leaving(lines, paths.points[rows])
        least = max(prune * lines[parent].radius[at], 2 * coarse) if lines else 0.0
        # A path may end in a corner: in the middle of its sections it may not leave the others at all.
        line = _line(signed, voxel_nm, raw, (parent, at), lines) if _sticks_out(lines, raw) >= least else None
        if line is None or _sticks_out(lines, line.points) < least:
            covered |= near(raw, paths.points, coarse, ~covered)
            continue
        lines.append(line)
        reach = np.maximum(_COVER * line.radius, line.reach) + coarse
        covered |= near(line.points, paths.points, reach, ~covered)
        covered[rows] = True
    # The array without its margin begins one voxel later.
    return _tree(lines, np.array(voxel_nm))


def _leaving(lines: list[_Line], raw: Array) -> tuple[Array, int, int]:
    """The part of a path outside the spheres inside all lines; the line and row where it leaves."""
    if not lines:
        return raw, -1, 0
    inside = np.zeros(len(raw), bool)
    everything = np.ones(len(raw), bool)
    for line in lines:
        inside |= near(line.points, raw, line.found.inscribed_nm, everything)
    first = int(np.flatnonzero(inside)[-1]) if inside.any() else 0
    gaps = [np.linalg.norm(line.points - raw[first], axis=1) for line in lines]
    parent = int(np.argmin([g.min() for g in gaps]))
    return raw[first:], parent, int(np.clip(gaps[parent].argmin(), 1, len(gaps[parent]) - 2))


def _sticks_out(lines: list[_Line], points: Array) -> float:
    """How far points lead out of the spheres of `reach` around all lines, in nm; infinite without lines."""
    from scipy.spatial.distance import cdist

    out = np.full(len(points), np.inf)
    for line in lines:
        out = np.minimum(out, (cdist(points, line.points) - line.reach).min(axis=1))
    return float(out.max())


def _line(signed: Array, voxel_nm: Nm, raw: Array, leaves: tuple[int, int], lines: list[_Line]) -> _Line:
    """A path of voxels as a smooth line in the middle of the object."""
    step = pitch_nm(voxel_nm)
    points = _even(raw, step)
    radius = np.maximum(at_points(signed, voxel_nm, points), 0.5 * step)
    points = points[0 if lines else _bend(points, radius) : len(points) - _bend(points[::-1], radius[::-1])]
    keep = 0.0
    if lines:
        start = lines[leaves[0]].points[leaves[1]]
        keep = float(lines[leaves[0]].found.inscribed_nm[leaves[1]])
        points = np.concatenate([start[None], points])
    elif np.linalg.norm(points[-1] - points[0]) < step:
        points = _short(signed, voxel_nm, points)
    # A thick branch need not be centred as often as it is measured.
    stride = max(step, float(np.median(at_points(signed, voxel_nm, points))) / 8)
    for _ in range(_ROUNDS):
        points, tangents = _smooth(_even(points, stride), signed, voxel_nm)
        found = sections(signed, voxel_nm, points, tangents)
        shift = found.centre_nm - points
        shift -= (shift * tangents).sum(1, keepdims=True) * tangents
        size = np.linalg.norm(shift, axis=1)
        # Inside its parent a branch has no section of its own.
        free = np.clip(np.arange(len(points)) * stride / keep - 0.5, 0, 1) if keep else np.ones(len(points))
        # Where a branch leaves, the section reaches into it; towards an end it turns into a corner.
        width = found.width_nm
        free[width > _JUNCTION * _typical(width, float(np.median(width)), stride, "nearest")] = 0
        shift *= (free * np.minimum(1.0, 0.5 * found.inscribed_nm / np.maximum(size, 1e-9)))[:, None]
        points = points + shift
    points, _ = _smooth(_even(points, step), signed, voxel_nm)
    points = _lengthened(points, signed, voxel_nm)
    if lines:
        points[0] = start
    else:
        points = _lengthened(points[::-1], signed, voxel_nm)[::-1]
    points = _inside(_even(points, step), raw, signed, voxel_nm)
    _, tangents = _smooth(points, signed, voxel_nm)
    found = sections(signed, voxel_nm, points, tangents)
    # A flat object's section is wide over more than its thickness, one that reaches into a branch is not.
    around = 2 * float(np.median(found.inscribed_nm))
    # Mirrored, because the last sections are next to nothing.
    radius = _typical(found.width_nm / 2, around, step, "reflect")
    reach = np.maximum(radius, _typical(found.farthest_nm, around, step, "reflect"))
    return _Line(points, tangents, found, radius, reach, *leaves)


def _inside(points: Array, path: Array, signed: Array, voxel_nm: Nm) -> Array:
    """The line with what is nearly outside, except its ends, moved to the path of voxels.

    A smooth line may miss a thin bridge, where it would find no width; voxels' centres lie deeper.
    """
    from scipy.spatial import cKDTree

    deep = at_points(signed, voxel_nm, points) >= 0.5 * min(voxel_nm)
    rows = np.flatnonzero(deep)
    shallow = ~deep
    shallow[: rows[0] if len(rows) else None] = False
    shallow[rows[-1] if len(rows) else 0 :] = False
    points[shallow] = path[cKDTree(path).query(points[shallow])[1]]
    return points


def _even(points: Array, step: float) -> Array:
    """The same line in equal steps of about `step` nm, three points at least."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, along[-1], max(3, round(along[-1] / step) + 1))
    return np.stack([np.interp(at, along, points[:, a]) for a in range(3)], 1)


def _bend(points: Array, radius: Array) -> int:
    """How many of the first points only lead from the middle of the end to a corner of it."""
    inside = np.linalg.norm(points - points[0], axis=1) <= 1.5 * radius
    last = np.flatnonzero(inside[: int(_BEND * len(points))])
    return int(last[-1]) if len(last) else 0


def _short(signed: Array, voxel_nm: Nm, points: Array) -> Array:
    """Three points along the longest axis of an object that is hardly longer than thick."""
    inside = (np.argwhere(signed > 0) + 0.5) * voxel_nm
    spread = np.cov(inside.T, bias=True) + np.diag(np.square(voxel_nm)) / 12
    axis = np.linalg.eigh(spread)[1][:, -1]
    middle = points[len(points) // 2]
    return middle + np.array([[-0.5], [0.0], [0.5]]) * pitch_nm(voxel_nm) * axis


def _smooth(points: Array, signed: Array, voxel_nm: Nm) -> tuple[Array, Array]:
    """The line smoothed over half its radius, ends kept, and its unit tangents."""
    from scipy.ndimage import gaussian_filter1d

    n = len(points)
    step = max(float(np.linalg.norm(points[1] - points[0])), 1e-9)
    radius = float(np.median(np.maximum(at_points(signed, voxel_nm, points), 0)))
    sigma = min(max(0.5 * radius / step, 1.5), n / 6)
    reach = min(n - 1, int(4 * sigma) + 1)
    # Mirrored through its ends, so that it neither shrinks nor turns there.
    wide = np.pad(points, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    smooth = gaussian_filter1d(wide, sigma, axis=0, mode="nearest")
    tangents = np.gradient(smooth, axis=0)[reach : reach + n]
    size = np.linalg.norm(tangents, axis=1, keepdims=True)
    tangents = np.where(size > 0, tangents / np.maximum(size, 1e-12), np.array([1.0, 0.0, 0.0]))
    return smooth[reach : reach + n], tangents


def _lengthened(points: Array, signed: Array, voxel_nm: Nm) -> Array:
    """The line with its last point moved on, straight, to the surface."""
    step = pitch_nm(voxel_nm)
    radius = max(float(at_points(signed, voxel_nm, points[-1:])[0]), 0.0)
    back = int(np.clip(round(radius / step), 1, len(points) - 1))
    way = points[-1] - points[-1 - back]
    way = way / max(float(np.linalg.norm(way)), 1e-12)
    far = points[-1] + np.arange(1, int(4 * radius / step) + 6)[:, None] * (0.5 * step * way)
    values = at_points(signed, voxel_nm, np.concatenate([points[-1:], far]))
    out = int(np.argmax(values <= 0)) if (values <= 0).any() else len(far)
    if out == 0:
        return points
    if out == len(far):
        return np.concatenate([points, far])
    inside = float(values[out - 1])
    share = inside / (inside - float(values[out]))
    last = np.concatenate([points[-1:], far])[out - 1] + share * 0.5 * step * way
    return np.concatenate([points, far[: out - 1], last[None]])


def _typical(values: Array, around: float, step: float, ends: Literal["nearest", "reflect"]) -> Array:
    """The median within `around` nm to either side, which a thinner branch does not raise."""
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(values, size=2 * int(around / step) + 1, mode=ends))


def _tree(lines: list[_Line], first_voxel: Array) -> Centreline:
    """Lines cut at their branch points; points that lie within a radius of each other are one."""
    nodes: list[Array] = []
    leaving: dict[int, int] = {}
    branches: list[Branch] = []

    def node(point: Array) -> int:
        nodes.append(point - first_voxel)
        return len(nodes) - 1

    for i, line in enumerate(lines):
        points = line.points
        cuts = [(0, leaving[i] if i in leaving else node(points[0]))]
        radius = line.found.inscribed_nm
        for child in sorted(
            (c for c, other in enumerate(lines) if other.parent == i), key=lambda c: lines[c].at
        ):
            at = lines[child].at
            apart = np.linalg.norm(points[at] - points[cuts[-1][0]])
            if len(cuts) == 1 or apart > radius[at]:
                cuts.append((at, node(points[at])))
            leaving[child] = cuts[-1][1]
        cuts.append((len(points) - 1, node(points[-1])))
        for (begin, start), (end, stop) in itertools.pairwise(cuts):
            part = slice(begin, end + 1)
            own = points[part] - first_voxel
            # Where branch points were joined, the branch begins at the one that stayed.
            own[0], own[-1] = nodes[start], nodes[stop]
            found = line.found
            branches.append(
                Branch(start, stop, own, line.tangents[part], found.area_nm2[part], found.inscribed_nm[part])
            )
    degree = np.bincount([n for b in branches for n in (b.start, b.stop)], minlength=len(nodes))
    return Centreline(np.array(nodes), degree, tuple(branches))
