"""The organelles of a phantom: planned mitochondria, droplets and peroxisomes, and ER tubules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.phantom.cells import (
    Phantom,
    directions,
    nucleus_distance,
    wall_distance,
)
from chunkflow_liver.kernels.phantom.fields import Field, key, uniform

KINDS = ("ellipsoid", "rod", "bent", "dumbbell", "branched", "touching", "long", "droplet", "peroxisome")
_SHARES = ((0.0, 0.0, 0.16, 0.22, 0.16, 0.16, 0.30), (0.22, 0.26, 0.12, 0.26, 0.0, 0.10, 0.04))
# Share of each kind among the candidates of the first turn, which have most room, and of others
_SEGMENTS = 10
_PITCH_NM = 750.0
_TURNS = 9
_BALL_PITCH_NM = 1150.0

TIGHT_NM = 80.0
"""Smallest planned gap between bodies, and to walls and nuclei."""
SPACING_NM = 140.0
"""The same around a mitochondrion with planted ER."""
CLEAR_NM = 75.0
"""Nearer than this to a mitochondrion there is no ER but the planted one."""
ER_NM = 52.0
"""Thickness of an ER sheet, and of a planted one."""
RING_NM = 26.0
"""Radius of the ER tubule planted around a neck."""
REACH_NM = 118.0
"""How far from a mitochondrion its planted ER and its clearance reach."""


@dataclass(frozen=True)
class Bodies:
    """Mitochondria, or lipid droplets and peroxisomes, one row each; lengths and positions in nm.

    Attributes
    ----------
    kind : ndarray of shape (n,), int8
        Index into `KINDS`.
    segments : ndarray of shape (n, 10, 2, 3), float64
        Axis as straight pieces, two ends each; the first `count` are used.
    count : ndarray of shape (n,), int64
    radius : ndarray of shape (n,), float64
    centre : ndarray of shape (n, 3), float64
        A point of the axis.
    axis, normal : ndarray of shape (n, 3), float64
        Unit vectors along and across the axis at the centre.
    dip : ndarray of shape (n, 3), float64
        Depth, position along the first piece, and width of the narrowing; depth 0 for none.
    partner : ndarray of shape (n,), int64
        Row of the body it touches, -1 for none.
    er_gap : ndarray of shape (n,), float64
        Gap to the planted ER, NaN for none.
    """

    kind: Field
    segments: Field
    count: Field
    radius: Field
    centre: Field
    axis: Field
    normal: Field
    dip: Field
    partner: Field
    er_gap: Field

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, rows: Field) -> Bodies:
        """The bodies at `rows` (indices or a mask)."""
        return Bodies(*(getattr(self, f.name)[rows] for f in fields(self)))

    def bounds(self) -> tuple[Field, Field]:
        """Corners of every body's box with its planted ER and clearance, (n, 3) each, in nm."""
        used = (np.arange(_SEGMENTS) < self.count[:, None])[:, :, None, None]
        pad = (self.radius + REACH_NM)[:, None]
        low = np.where(used, self.segments, np.inf).min((1, 2)) - pad
        high = np.where(used, self.segments, -np.inf).max((1, 2)) + pad
        return low, high


def _across(axis: Field) -> Field:
    """Unit vectors in the xy plane, across `axis` (n, 3): gaps then show where voxels are fine."""
    flat = np.stack([np.zeros(len(axis)), axis[:, 2], -axis[:, 1]], -1)
    size = np.sqrt((flat**2).sum(1))[:, None]
    return np.where(size > 1e-3, flat / np.maximum(size, 1e-3), [0.0, 1.0, 0.0])


def _lattice(phantom: Phantom, pitch_nm: float, stream: int) -> tuple[Field, Field]:
    """Cell indices (n, 3) of a lattice over the volume, z slowest, and jittered points in nm."""
    counts = np.ceil(phantom.extent_nm / pitch_nm).astype(int)
    index = np.stack([g.ravel() for g in np.indices(tuple(counts))], -1)
    jitter = np.stack([uniform(key(phantom.seed, stream + a), *index.T) for a in range(3)], -1)
    centres = (index + jitter) * pitch_nm
    inside = (centres < phantom.extent_nm).all(1)
    return index[inside], centres[inside]


def _mitochondria(phantom: Phantom, turn: int) -> tuple[Bodies, Field]:
    """Candidate mitochondria of one turn, one per lattice cell, and their priorities."""
    stream = 1000 * (turn + 1)
    index, centre = _lattice(phantom, _PITCH_NM, stream)
    u = [uniform(key(phantom.seed, stream + 10 + a), *index.T) for a in range(14)]
    n = len(index)
    kind = np.searchsorted(np.cumsum(_SHARES[turn > 0]), u[0], side="right").astype(np.int8)
    kind = np.minimum(kind, 6)
    is_ = {name: kind == i for i, name in enumerate(KINDS)}
    axis = directions(u[1], u[2])
    normal = _across(axis)
    third = np.cross(axis, normal)
    radius = np.where(is_["long"] | is_["branched"], 155 + 65 * u[3], 180 + 105 * u[3])
    radius = np.where(is_["dumbbell"] | is_["ellipsoid"], 185 + 85 * u[3], radius)

    segments = np.zeros((n, _SEGMENTS, 2, 3))
    count = np.ones(n, int)
    half = 0.5 * (450 + 800 * u[4])
    half = np.where(is_["ellipsoid"], radius * (0.15 + 0.6 * u[4]), half)
    half = np.where(is_["dumbbell"], 0.5 * (800 + 400 * u[4]), half)
    segments[:, 0, 0] = centre - half[:, None] * axis
    segments[:, 0, 1] = centre + half[:, None] * axis

    # Chains grow from the centre both ways, turning about `normal` and twisting a little.
    step = np.where(is_["long"], 150 + 190 * u[4], 100 + 40 * u[4])
    place = np.arange(_SEGMENTS) - (_SEGMENTS - 1) / 2
    turn = np.where(is_["long"], 0.35 * (u[5] - 0.5), 0.13 + 0.10 * u[5])[:, None] * place
    turn += np.where(is_["long"], 0.5 * u[6], 0.0)[:, None] * np.sin(place * 0.9)
    twist = np.where(is_["long"], 0.6 * (u[7] - 0.5), 0.1)[:, None] * place + 6.28 * u[8][:, None]
    side = np.cos(twist)[..., None] * normal[:, None] + np.sin(twist)[..., None] * third[:, None]
    moves = np.cos(turn)[..., None] * axis[:, None] + np.sin(turn)[..., None] * side
    moves *= step[:, None, None]
    nodes = np.concatenate([np.zeros((n, 1, 3)), np.cumsum(moves, 1)], 1)
    nodes += (centre - nodes[:, _SEGMENTS // 2])[:, None]
    chain = np.stack([nodes[:, :-1], nodes[:, 1:]], 2)
    chained = is_["long"] | is_["bent"]
    segments[chained] = chain[chained]
    count[chained] = _SEGMENTS

    for arm, (c, s) in enumerate(((1.0, 0.0), (-0.5, 0.866), (-0.5, -0.866))):
        way = c * axis + s * normal + (u[9] - 0.5)[:, None] * 0.6 * third
        way /= np.sqrt((way**2).sum(1))[:, None]
        reach = (380 + 420 * u[10 + arm % 2])[:, None]
        ends = np.stack([centre, centre + reach * way], 1)
        segments[is_["branched"], arm] = ends[is_["branched"]]
    count[is_["branched"]] = 3

    pair = is_["touching"]
    shift = (0.82 * radius)[:, None] * third
    straight = segments[:, 0].copy()
    segments[pair, 0] = (straight - shift[:, None])[pair]
    segments[pair, 1] = (straight + shift[:, None])[pair]
    count[pair] = 2

    neck = np.where(is_["dumbbell"], 90 + 110 * u[5], 0.0)
    dip = np.zeros((n, 3))
    dip[:, 0] = np.where(is_["dumbbell"], radius - neck / 2, 0.0)
    dip[:, 1] = np.where(is_["dumbbell"], 2 * half * (0.42 + 0.16 * u[6]), 0.0)
    dip[:, 2] = 150 + 60 * u[7]
    plain = is_["rod"] | is_["bent"] | is_["long"]
    planted = (plain & (u[12] < 0.7)) | (is_["dumbbell"] & (u[12] < 0.75))
    er_gap = np.where(planted, 20 + 10 * u[13], np.nan)
    bodies = Bodies(kind, segments, count, radius, centre, axis, normal, dip, np.full(n, -1), er_gap)
    big = is_["long"] | is_["branched"] | is_["bent"]
    return bodies, uniform(key(phantom.seed, stream + 30), *index.T) - 0.5 * big


def _balls(phantom: Phantom) -> tuple[Bodies, Field]:
    """Candidate lipid droplets and peroxisomes, and their priorities."""
    index, centre = _lattice(phantom, _BALL_PITCH_NM, 140)
    u = [uniform(key(phantom.seed, 150 + a), *index.T) for a in range(3)]
    n = len(index)
    droplet = u[2] < 0.5
    segments = np.zeros((n, _SEGMENTS, 2, 3))
    segments[:, 0] = centre[:, None]
    zeros = np.zeros((n, 3))
    bodies = Bodies(
        np.where(droplet, KINDS.index("droplet"), KINDS.index("peroxisome")).astype(np.int8),
        segments,
        np.ones(n, int),
        np.where(droplet, 190 + 300 * u[0], 110 + 90 * u[0]),
        centre,
        zeros + np.array([0.0, 0.0, 1.0]),
        zeros + np.array([0.0, 1.0, 0.0]),
        zeros,
        np.full(n, -1),
        np.full(n, np.nan),
    )
    return bodies, u[1]


def _axis_points(bodies: Bodies) -> tuple[Field, Field]:
    """Points at most 130 nm apart on every axis, and the row of the body of each."""
    lengths = np.sqrt(((bodies.segments[:, :, 1] - bodies.segments[:, :, 0]) ** 2).sum(-1))
    pieces = np.maximum(np.ceil(lengths / 130.0), 1).astype(int)
    used = np.arange(_SEGMENTS) < bodies.count[:, None]
    points, rows = [], []
    for k in range(int(pieces[used].max(initial=1)) + 1):
        body, piece = np.nonzero(used & (pieces >= k))
        t = (k / pieces[body, piece])[:, None]
        ends = bodies.segments[body, piece]
        points.append((1 - t) * ends[:, 0] + t * ends[:, 1])
        rows.append(body)
    return np.concatenate(points), np.concatenate(rows)


def _settle(pairs: Field, rank: Field) -> Field:
    """Which bodies stay when, of every conflicting pair, the one of lower rank wins: bool (n,).

    Same answer as going through the bodies by rank and keeping each that meets none kept before.
    """
    first, second = pairs.T
    better = np.where(rank[first] < rank[second], first, second)
    worse = np.where(rank[first] < rank[second], second, first)
    state = np.zeros(len(rank), np.int8)
    while (state == 0).any():
        blocked = np.zeros(len(rank), bool)
        blocked[worse[(state[better] == 0) & (state[worse] == 0)]] = True
        state[(state == 0) & ~blocked] = 1
        lost = worse[state[better] == 1]
        state[lost] = -1
    kept: Field = state == 1
    return kept


def _meetings(bodies: Bodies, others: Bodies) -> Iterator[Field]:
    """Rows of `bodies` and `others` nearer to each other than they may be, (k, 2), repeatedly."""
    if len(bodies) == 0 or len(others) == 0:
        return
    points, rows = _axis_points(bodies)
    far_points, far_rows = _axis_points(others)
    tree = cKDTree(far_points)
    reach = float(bodies.radius.max() + others.radius.max()) + SPACING_NM
    planted, far_planted = (np.isfinite(b.er_gap) for b in (bodies, others))
    for start in range(0, len(points), 20_000):
        part = slice(start, start + 20_000)
        near = cKDTree(points[part]).sparse_distance_matrix(tree, reach, output_type="ndarray")
        a, b = rows[part][near["i"]], far_rows[near["j"]]
        spacing = np.where(planted[a] | far_planted[b], SPACING_NM, TIGHT_NM)
        hit = near["v"] < bodies.radius[a] + others.radius[b] + spacing
        yield np.stack([a[hit], b[hit]], -1)


def _clear_of(bodies: Bodies, others: Bodies) -> Field:
    """Which bodies meet none of `others`, bool (n,)."""
    free = np.ones(len(bodies), bool)
    if len(bodies) == 0 or len(others) == 0:
        return free
    # most meet the nearest of the others, which is quick to find
    points, rows = _axis_points(bodies)
    far_points, far_rows = _axis_points(others)
    distance, near = cKDTree(far_points).query(points)
    free[rows[distance < bodies.radius[rows] + others.radius[far_rows[near]] + TIGHT_NM]] = False
    left = np.nonzero(free)[0]
    for pairs in _meetings(bodies.take(left), others):
        free[left[pairs[:, 0]]] = False
    return free


def _conflicts(bodies: Bodies) -> Field:
    """Pairs of rows of bodies nearer to each other than they may be, (k, 2)."""
    n = max(len(bodies), 1)
    found = [np.zeros(0, np.int64)]
    for pairs in _meetings(bodies, bodies):
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        found.append(np.unique(pairs[:, 0] * n + pairs[:, 1]))
    both = np.unique(np.concatenate(found))
    return np.stack([both // n, both % n], -1)


def _fitting(phantom: Phantom, bodies: Bodies, priority: Field) -> tuple[Bodies, Field]:
    """The candidates that lie in the cytoplasm, clear of walls and nuclei."""
    if len(bodies) == 0:
        return bodies, priority
    points, rows = _axis_points(bodies)
    room = np.minimum(wall_distance(phantom, points) - 40.0, nucleus_distance(phantom, points))
    fits = np.ones(len(bodies), bool)
    needed = bodies.radius + np.where(np.isfinite(bodies.er_gap), REACH_NM, TIGHT_NM)
    fits[rows[room < needed[rows]]] = False
    members = bodies.segments[:, :2].mean(2)
    inside = ((members >= 0) & (members < phantom.extent_nm)).all((1, 2))
    fits &= inside | (bodies.kind != KINDS.index("touching"))
    return bodies.take(fits), priority[fits]


def _joined(first: Bodies, second: Bodies) -> Bodies:
    names = [f.name for f in fields(Bodies)]
    return Bodies(*(np.concatenate([getattr(b, m) for b in (first, second)]) for m in names))


def _split_pairs(bodies: Bodies) -> Bodies:
    """Every touching pair as two bodies, one after the other."""
    pair = bodies.kind == KINDS.index("touching")
    rows = np.repeat(np.arange(len(bodies)), 1 + pair)
    out = bodies.take(rows)
    second = np.concatenate([[False], rows[1:] == rows[:-1]]) & pair[rows]
    first = pair[rows] & ~second
    out.segments[second, 0] = out.segments[second, 1]
    out.count[first | second] = 1
    place = np.arange(len(rows))
    out.partner[first] = place[first] + 1
    out.partner[second] = place[second] - 1
    out.centre[first | second] = out.segments[first | second, 0].mean(1)
    return out


@lru_cache(maxsize=8)
def plan(phantom: Phantom) -> tuple[Bodies, Bodies]:
    """All mitochondria, in the order of their ids 1, 2, .., and all droplets and peroxisomes.

    Raises
    ------
    ConfigError
        If fewer mitochondria find room than the phantom asks for.

    Notes
    -----
    The only thing that is global: about 1 kB per body, less than one body per um^3, and seconds of
    work per 1000 um^3 at most; kept for the last phantoms of this process.
    """
    balls, priority = _fitting(phantom, *_balls(phantom))
    balls = balls.take(_settle(_conflicts(balls), priority))
    kept = balls.take(np.zeros(len(balls), bool))
    for turn in range(_TURNS):
        more, priority = _mitochondria(phantom, turn)
        for earlier in (balls, kept):
            free = _clear_of(more, earlier)
            more, priority = more.take(free), priority[free]
        more, priority = _fitting(phantom, more, priority)
        kept = _joined(kept, more.take(_settle(_conflicts(more), priority)))
    return _first(_split_pairs(kept), phantom), balls


def _first(bodies: Bodies, phantom: Phantom) -> Bodies:
    """As many mitochondria as the phantom asks for; one whose partner is left out touches nothing."""
    wanted = phantom.mitochondria
    if wanted is None:
        return bodies
    if wanted > len(bodies):
        raise ConfigError(
            f"{wanted} mitochondria do not fit into this phantom: there is room for {len(bodies)}; ask for "
            "fewer, or for more or larger voxels"
        )
    kept = bodies.take(np.arange(wanted))
    kept.partner[kept.partner >= wanted] = -1
    return kept


def tubules(phantom: Phantom, low: Field, high: Field) -> tuple[Field, Field]:
    """Pieces (n, 2, 3) and radii (n,) in nm of the ER tubules that may pass through a box."""
    pitch, pieces, step = 800.0, 7, 230.0
    reach = pieces * step + 60.0
    first = np.floor((low - reach) / pitch).astype(int)
    last = np.ceil((high + reach) / pitch).astype(int)
    grid = np.indices(tuple(last - first)).reshape(3, -1) + first[:, None]
    at = np.stack([uniform(key(phantom.seed, 160 + a), *grid) for a in range(3)], -1)
    start = (grid.T + at) * pitch
    way = directions(*(uniform(key(phantom.seed, 163 + a), *grid) for a in range(2)))
    radius = 25.0 + 8.0 * uniform(key(phantom.seed, 165), *grid)
    found = []
    for piece in range(pieces):
        turn = directions(*(uniform(key(phantom.seed, 166 + 2 * piece + a), *grid) for a in range(2)))
        way = way + 0.6 * turn
        way /= np.sqrt((way**2).sum(1))[:, None]
        end = start + step * way
        found.append(np.stack([start, end], 1))
        start = end
    segments = np.concatenate(found)
    radii = np.tile(radius, pieces)
    pad = radii[:, None] + 10.0
    near = (segments.min(1) - pad < high).all(1) & (segments.max(1) + pad > low).all(1)
    return segments[near], radii[near]
