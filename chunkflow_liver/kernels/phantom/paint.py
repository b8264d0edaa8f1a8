"""Strokes that paint organelles into a brick of a phantom: grey value, class and instance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.phantom.cells import Phantom, cells_near, nuclei
from chunkflow_liver.kernels.phantom.fields import (
    Axes,
    Field,
    capsule,
    dot,
    key,
    smooth_noise,
    spheroid,
    squared,
)
from chunkflow_liver.kernels.phantom.objects import ER_NM, KINDS, REACH_NM, RING_NM, Bodies, tubules

CLASSES = {
    "cytoplasm": 0,
    "mitochondrion": 1,
    "er": 2,
    "nucleus": 3,
    "lipid_droplet": 4,
    "cell_boundary": 5,
}
"""Semantic numbers by class name; 0 is the background."""


class Canvas(NamedTuple):
    """What is painted on: a brick of voxels, two pixels larger in y and x than what is kept."""

    box: Box
    axes: Axes
    voxel_nm: tuple[float, float, float]
    shade: Field
    grey: Field
    semantic: Field
    instances: Field
    depth: Field

    def part(self, low: Field, high: Field) -> tuple[tuple[slice, slice, slice], Axes] | None:
        """Slices and positions of the voxels with centres between two corners in nm."""
        slices, axes = [], []
        for a, v, positions, first, last in zip(
            self.box.start, self.voxel_nm, self.axes, low, high, strict=True
        ):
            begin = max(int(np.ceil(first / v - 0.5)) - a, 0)
            end = min(int(np.floor(last / v - 0.5)) + 1 - a, len(positions))
            if begin >= end:
                return None
            slices.append(slice(begin, end))
            axes.append(positions[begin:end])
        return (slices[0], slices[1], slices[2]), (axes[0], axes[1], axes[2])


def _blend(grey: Field, f: Field, value: Field | np.float32, soft: float) -> None:
    """Paint `value` where the distance `f` (nm) is negative, with an edge `soft` nm wide."""
    weight = np.clip(np.float32(0.5) - f * np.float32(1 / soft), 0, 1)
    weight *= value - grey
    grey += weight


def paint_wall(canvas: Canvas, wall: Field) -> None:
    soft = canvas.voxel_nm[2]
    _blend(canvas.grey, wall, np.float32(68), soft)
    _blend(canvas.grey, wall + np.float32(22), np.float32(158), soft)
    canvas.semantic[wall < 0] = CLASSES["cell_boundary"]


def paint_nuclei(phantom: Phantom, canvas: Canvas, low: Field, high: Field) -> None:
    index, centres = cells_near(phantom, low, high, 0.25 * phantom.cell_nm)
    if len(index) == 0:
        return
    soft = canvas.voxel_nm[2]
    chromatin = None
    for centre, axis, (a, b) in zip(*nuclei(phantom, index, centres), strict=True):
        part = canvas.part(centre - max(a, b) - 40, centre + max(a, b) + 40)
        if part is None:
            continue
        here, axes = part
        f = spheroid(axes, centre, axis, (a, b))
        if f.min() > max(40.0, soft):
            continue
        if chromatin is None:
            chromatin = smooth_noise(key(phantom.seed, 4), canvas.axes, 170.0)
        noise = chromatin[here]
        # heterochromatin: clumps everywhere, and more of it under the envelope
        near = np.clip(np.float32(1) + f * np.float32(1 / 260), 0, 1)
        dense = np.clip((noise + near * np.float32(1.6) - np.float32(0.9)) * np.float32(1.5), 0, 1)
        value = np.float32(146) - dense * np.float32(52)
        core = centre + 0.35 * a * axis
        nucleolus = spheroid(axes, core, axis, (0.22 * a, 0.22 * a)) + noise * np.float32(40)
        _blend(value, nucleolus, np.float32(84), 60.0)
        grey = canvas.grey[here]
        _blend(grey, f, np.float32(66), soft)
        _blend(grey, f + np.float32(14), np.float32(142), soft)
        _blend(grey, f + np.float32(38), np.float32(70), soft)
        _blend(grey, f + np.float32(54), value, soft)
        canvas.semantic[here][f < 0] = CLASSES["nucleus"]


def paint_ball(canvas: Canvas, balls: Bodies, row: int, low: Field, high: Field) -> None:
    part = canvas.part(low, high)
    if part is None:
        return
    here, axes = part
    radius = float(balls.radius[row])
    f = spheroid(axes, balls.centre[row], balls.axis[row], (radius, radius))
    soft = canvas.voxel_nm[2]
    droplet = KINDS[balls.kind[row]] == "droplet"
    _blend(canvas.grey[here], f, np.float32(104 if droplet else 90), soft)
    _blend(canvas.grey[here], f + np.float32(14), np.float32(196 if droplet else 126), soft)
    if droplet:
        canvas.semantic[here][f < 0] = CLASSES["lipid_droplet"]
    depth = canvas.depth[here]
    np.minimum(depth, f, out=depth)


def _distance(canvas: Canvas, bodies: Bodies, row: int, low: Field, high: Field) -> Field | None:
    """Distance to one body over its own part of the canvas, large beyond its reach."""
    part = canvas.part(low, high)
    if part is None:
        return None
    here, axes = part
    radius = float(bodies.radius[row])
    if KINDS[bodies.kind[row]] == "ellipsoid":
        half = np.sqrt(((bodies.segments[row, 0, 1] - bodies.centre[row]) ** 2).sum())
        return spheroid(axes, bodies.centre[row], bodies.axis[row], (half + radius, radius))
    f = np.full([s.stop - s.start for s in here], np.float32(1e6))
    pad = radius + REACH_NM
    for piece in range(int(bodies.count[row])):
        ends = bodies.segments[row, piece]
        inner = canvas.part(np.maximum(ends.min(0) - pad, low), np.minimum(ends.max(0) + pad, high))
        if inner is None:
            continue
        sub = tuple(slice(s.start - h.start, s.stop - h.start) for s, h in zip(inner[0], here, strict=True))
        depth, at, width = bodies.dip[row]
        np.minimum(f[sub], capsule(inner[1], ends, radius, (depth, at, width)), out=f[sub])
    return f


def paint_mitochondrion(canvas: Canvas, bodies: Bodies, row: int, low: Field, high: Field) -> None:
    part = canvas.part(low, high)
    f = _distance(canvas, bodies, row, low, high)
    if part is None or f is None:
        return
    here, axes = part
    shade = canvas.shade[here]
    if KINDS[bodies.kind[row]] not in ("dumbbell", "touching"):
        f += shade * np.float32(6)  # no two are quite the same; necks and faces stay exact
    partner = int(bodies.partner[row])
    if partner >= 0:
        # the flat face half way between the two
        other = _distance(canvas, bodies, partner, low, high)
        f = np.maximum(f, (f - other) * np.float32(0.5))
    soft = canvas.voxel_nm[2]
    grey = canvas.grey[here]
    centre, axis, normal = bodies.centre[row], bodies.axis[row], bodies.normal[row]
    inside = f < 0
    if (f < soft).any():
        fold = dot(axes, centre, 0.85 * axis + 0.5 * normal)
        fold += shade * np.float32(26)
        fold *= np.float32(1 / 88)
        fold -= np.floor(fold)
        fold = abs(fold - np.float32(0.5))
        crista = np.clip((fold - np.float32(0.32)) * np.float32(8), 0, 1)
        crista *= np.clip(np.float32(0.75) + shade * np.float32(0.5), 0, 1)
        crista *= np.clip((f + np.float32(22)) * np.float32(-1 / 12), 0, 1)
        value = np.float32(106 + 14 * (row * 0.618 % 1)) - crista * np.float32(30)
        value += shade * np.float32(3)
        value += (np.float32(64) - value) * np.clip((f + np.float32(24)) * np.float32(1 / 10), 0, 1)
        _blend(grey, f, value, soft)
        canvas.semantic[here][inside] = CLASSES["mitochondrion"]
        canvas.instances[here][inside] = row + 1
    depth = canvas.depth[here]
    # beside a neck `f` is up to 1.5 times the true distance
    steep = np.float32(0.65 if bodies.dip[row, 0] > 0 else 1.0)
    np.minimum(depth, f * steep, out=depth)
    if np.isfinite(bodies.er_gap[row]):
        _paint_planted(canvas, bodies, row, here, axes, f)


def neck_of(bodies: Bodies, row: int) -> Field:
    """The point of the axis where a dumbbell is narrowest, (3,), in nm."""
    ends = bodies.segments[row, 0]
    way = ends[1] - ends[0]
    point: Field = ends[0] + way * (bodies.dip[row, 1] / np.sqrt((way**2).sum()))
    return point


def _paint_planted(
    canvas: Canvas,
    bodies: Bodies,
    row: int,
    here: tuple[slice, slice, slice],
    axes: Axes,
    f: Field,
) -> None:
    """ER at its gap: a sheet along one side, or a tubule around most of a neck."""
    gap = float(bodies.er_gap[row])
    axis, normal = bodies.axis[row], bodies.normal[row]
    if KINDS[bodies.kind[row]] == "dumbbell":
        at = neck_of(bodies, row)
        along = dot(axes, at, axis)
        across = np.sqrt(np.maximum(squared(axes, at) - along**2, 0))
        u = np.linspace(-gap - RING_NM, gap + RING_NM, 129)
        depth, _, width = bodies.dip[row]
        profile = bodies.radius[row] - depth / (1 + (u / width) ** 2) ** 2
        # the tubule's centre rides where a disc of this size just touches the profile
        # (rounding may take the ends of u beyond the disc)
        ride = float((profile + np.sqrt(np.maximum((gap + RING_NM) ** 2 - u**2, 0))).max())
        e = np.sqrt((across - np.float32(ride)) ** 2 + along**2) - np.float32(RING_NM)
        np.maximum(e, np.float32(-60) - dot(axes, at, normal), out=e)
    else:
        centre = bodies.centre[row]
        e = abs(f - np.float32(gap + ER_NM / 2)) - np.float32(ER_NM / 2)
        np.maximum(e, np.float32(0.2 * bodies.radius[row]) - dot(axes, centre, normal), out=e)
        np.maximum(e, abs(dot(axes, centre, axis)) - np.float32(330), out=e)
    _paint_er(canvas, here, e, (e < 0) & (canvas.semantic[here] == 0))


def _paint_er(canvas: Canvas, here: tuple[slice, slice, slice], e: Field, where: Field) -> None:
    """Two dark membranes with a paler lumen where `where`, from the distance `e` (nm)."""
    value = np.clip((e + np.float32(12)) * np.float32(-1 / 10), 0, 1)
    value *= 54
    value += 82
    grey = canvas.grey[here]
    np.copyto(grey, value, where=where)
    canvas.semantic[here][where] = CLASSES["er"]


def paint_sheets(phantom: Phantom, canvas: Canvas, free: Field) -> None:
    """ER cisternae: stacks of level sets of a smooth field, where another field is high."""
    zone = smooth_noise(key(phantom.seed, 5), canvas.axes, 800.0)
    zone += canvas.shade * np.float32(0.25)
    free = free & (zone > np.float32(0.45))
    if not free.any():
        return
    v = canvas.voxel_nm
    wider = tuple(np.concatenate([[a[0] - s], a, [a[-1] + s]]) for a, s in zip(canvas.axes, v, strict=True))
    field = smooth_noise(key(phantom.seed, 6), (wider[0], wider[1], wider[2]), 520.0)
    inner = slice(1, -1)
    slope = (field[2:, inner, inner] - field[:-2, inner, inner]) * np.float32(0.5 / v[0])
    slope *= slope
    for step, low, high in (
        (v[1], field[inner, :-2, inner], field[inner, 2:, inner]),
        (v[2], field[inner, inner, :-2], field[inner, inner, 2:]),
    ):
        part = (high - low) * np.float32(0.5 / step)
        part *= part
        slope += part
    np.sqrt(slope, out=slope)
    slope += np.float32(1e-6)
    spacing = np.float32(0.62)
    level = field[inner, inner, inner] * (1 / spacing)
    level -= np.floor(level)
    level -= np.float32(0.5)
    np.abs(level, out=level)
    level *= spacing
    level /= slope
    level -= np.float32(ER_NM / 2)
    # steeper than this, neighbouring sheets would merge
    where = free & (level < 0) & (slope < spacing / np.float32(2.1 * ER_NM))
    where &= slope > np.float32(1 / 900)  # flatter than this, a sheet would swell
    everything = (slice(None), slice(None), slice(None))
    _paint_er(canvas, everything, level, where)


def paint_tubules(phantom: Phantom, canvas: Canvas, free: Field, low: Field, high: Field) -> None:
    for ends, radius in zip(*tubules(phantom, low, high), strict=True):
        pad = float(radius) + 2.0
        part = canvas.part(ends.min(0) - pad, ends.max(0) + pad)
        if part is None:
            continue
        here, axes = part
        e = capsule(axes, ends, float(radius), (0.0, 0.0, 1.0))
        _paint_er(canvas, here, e, (e < 0) & free[here])
