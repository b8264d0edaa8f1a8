"""Cells that touch, with thin protrusions, between slices: image, interior, boundary and truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.phantom.fields import (
    Field,
    blur_in_plane,
    key,
    smooth_noise,
    uniform,
    white_noise,
)

_BLUR = (0.5697, 0.2054, 0.0097)  # Gaussian of sd 0.7 pixel
_TRIES = 400
_CLEAR = 6.0  # pixels between a protrusion and what it must not touch


@dataclass(frozen=True)
class Tissue:
    """A stack of slices through a layer of cells.

    Parameters
    ----------
    shape : tuple of int
        Voxels along (z, y, x).
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm; pixels are square.
    seed : int
        Which tissue; 0 or more.
    cells : int, optional
        How many cells, about: places on a lattice, some of which stay empty.
    late : float, optional
        Share of cells that begin and end within the stack.
    protrusions : int, optional
        How many thin protrusions are tried; one that has no room is left out.
    gaps : float, optional
        Share of the boundary that its map does not show.
    drift : float, optional
        By how many pixels a slice lies off the one before, most.
    missing : tuple of int, optional
        Slices whose image, interior and boundary are 0; their truth is kept.

    Raises
    ------
    ConfigError
        If a number is not possible.
    """

    shape: Zyx
    voxel_nm: Nm
    seed: int
    cells: int = 12
    late: float = 0.2
    protrusions: int = 8
    gaps: float = 0.2
    drift: float = 1.5
    missing: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not all(np.isfinite(v) and v > 0 for v in self.voxel_nm):
            raise ConfigError(f"tissue needs voxels of sizes above 0 nm, got {self.shape} of {self.voxel_nm}")
        if self.seed < 0 or self.cells < 1 or self.protrusions < 0:
            raise ConfigError(
                f"tissue needs a seed of 0 or more and one cell or more, got seed {self.seed}, cells "
                f"{self.cells}, protrusions {self.protrusions}"
            )
        if not (0 <= self.late <= 1 and 0 <= self.gaps < 1 and 0 <= self.drift < np.inf):
            raise ConfigError(
                f"late and gaps are shares and drift is 0 or more, got {self.late}, {self.gaps}, {self.drift}"
            )

    @cached_property
    def pitch(self) -> float:
        """Pixels between places of cells."""
        return float(np.sqrt(self.shape[1] * self.shape[2] / self.cells))

    @cached_property
    def shift(self) -> Field:
        """Where every slice lies, (Z, 2), in pixels: a walk that comes back."""
        steps = self.drift * (2 * uniform(key(self.seed, 1), np.arange(2 * self.shape[0])) - 1).reshape(-1, 2)
        walk = np.cumsum(steps, axis=0)
        ramp = np.linspace(0, 1, len(walk))[:, None]
        out: Field = walk - ramp * walk[-1]
        return out

    @cached_property
    def bodies(self) -> Field:
        """Of every cell y, x, radius (pixels), middle slice, half its slices (or inf), and a phase."""
        rows, columns = (max(1, round(n / self.pitch)) for n in self.shape[1:])
        j, i = (a.ravel() for a in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
        u = [uniform(key(self.seed, 10 + k), j, i) for k in range(8)]
        there = (u[0] > 0.22) | (len(j) < 4)
        y = (j + 0.5 + 0.3 * (u[1] - 0.5)) * self.shape[1] / rows
        x = (i + 0.5 + 0.3 * (u[2] - 0.5)) * self.shape[2] / columns
        radius = self.pitch * (0.58 + 0.1 * u[3])
        late = u[4] < self.late
        middle = self.shape[0] * (0.3 + 0.4 * u[5])
        half = np.where(late, self.shape[0] * (0.2 + 0.1 * u[6]), np.inf)
        out: Field = np.stack([y, x, radius, middle, half, 2 * np.pi * u[7]], 1)[there]
        return out

    def at(self, z: float) -> tuple[Field, Field]:
        """Centres (N, 2) and radii (N,) of cells on a slice, in pixels; radius 0 where a cell is not."""
        y, x, radius, middle, half, phase = self.bodies.T
        turn = phase + 2 * np.pi * z / (60 + 30 * np.cos(5 * phase))
        away = 0.1 * self.pitch
        centre = np.stack([y + away * np.sin(turn), x + away * np.cos(turn)], 1)
        swell = 1 + 0.06 * np.sin(2 * turn + 1)
        part = np.where(np.isinf(half), 0, (z - middle) / half)
        return centre, radius * swell * np.sqrt(np.maximum(0, 1 - part**2))

    @cached_property
    def threads(self) -> list[tuple[int, Field]]:
        """Protrusions: the cell (row of `bodies`) and its discs as rows of z, y, x, radius (pixels)."""
        found: list[tuple[int, Field]] = []
        for attempt in range(_TRIES if self.protrusions else 0):
            if len(found) == self.protrusions:
                break
            u = uniform(key(self.seed, 30), np.arange(8) + 8 * attempt)
            cell, way = int(u[0] * len(self.bodies)), 1 if u[1] < 0.5 else -1
            begin, length = int(u[2] * self.shape[0]), int(12 + 24 * u[3])
            planes = begin + way * np.arange(length)
            if planes.min() < 0 or planes.max() >= self.shape[0]:
                continue
            discs = self._discs(cell, planes, u)
            if self._is_clear(cell, discs, [d for _, d in found]):
                found.append((cell, discs))
        return found

    def _discs(self, cell: int, planes: Field, u: Field) -> Field:
        thick, turn = 4.0 + 3.0 * u[4], 2 * np.pi * u[5]
        centre, radius = self.at(float(planes[0]))
        steps = np.arange(len(planes))
        out = radius[cell] - 1.5 * thick + (0.5 + 0.5 * u[6]) * thick * steps
        bend = turn + 0.25 * np.sin(0.2 * steps)
        return np.stack(
            [
                planes,
                centre[cell, 0] + out * np.sin(bend),
                centre[cell, 1] + out * np.cos(bend),
                np.full(len(planes), thick),
            ],
            1,
        )

    def _is_clear(self, cell: int, discs: Field, others: list[Field]) -> bool:
        """Whether a protrusion begins in its cell, leaves it, and touches nothing else."""
        inner = (discs[:, 1:3] > 12) & (discs[:, 1:3] < np.array(self.shape[1:]) - 12)
        if not inner.all():
            return False
        outside = []
        for z, y, x, thick in discs:
            centre, radius = self.at(z)
            room = np.hypot(centre[:, 0] - y, centre[:, 1] - x) - radius - thick
            outside.append(room[cell])
            room[cell] = np.inf
            if radius[cell] <= 0 or (room[radius > 0] < _CLEAR).any():
                return False
            for other in others:
                same = other[:, 0] == z
                if (np.hypot(other[same, 1] - y, other[same, 2] - x) < other[same, 3] + thick + _CLEAR).any():
                    return False
        return outside[0] < -thick and outside[-1] > _CLEAR


class Plane(NamedTuple):
    """One slice of tissue: `raw`, `interior`, `boundary` (uint8), and `truth`, `thread` (int32, 0 is none).

    `thread` is the truth where a protrusion lies outside of its cell's body.
    """

    raw: Field
    interior: Field
    boundary: Field
    truth: Field
    thread: Field


def planes(tissue: Tissue) -> Iterator[Plane]:
    """The slices of tissue, one after the other.

    Yields
    ------
    Plane
        Cells are discs cut where they meet (a power diagram), with wavy walls; truth is the row of
        `Tissue.bodies` and 1, without the wall.
    """
    height, width = tissue.shape[1:]
    texture = [_texture(tissue, k) for k in range(2)]
    for z in range(tissue.shape[0]):
        yield _plane(
            tissue, z, np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), texture
        )


def _texture(tissue: Tissue, which: int) -> Field:
    """Grey values that go with the tissue, (2 pitch, 2 pitch)."""
    side = int(2.4 * tissue.pitch) + 64
    at = np.arange(side, dtype=np.float32)
    field = smooth_noise(key(tissue.seed, 50 + which), (np.zeros(1, np.float32), at, at), 9.0)
    return np.asarray(field[0], np.float32)


def _plane(tissue: Tissue, z: int, rows: Field, columns: Field, texture: list[Field]) -> Plane:
    dy, dx = tissue.shift[z]
    y, x = np.broadcast_arrays((rows - np.float32(dy))[:, None], (columns - np.float32(dx))[None, :])
    # Walls are bent by waves that change slowly along z.
    bent_y = y + np.float32(4) * np.sin(x / np.float32(23) + np.float32(z / 25))
    bent_x = x + np.float32(4) * np.cos(y / np.float32(19) - np.float32(z / 31))
    centre, radius = tissue.at(float(z))
    first = np.full(y.shape, np.float32(np.inf))
    second = first.copy()
    owner = np.zeros(y.shape, np.int32)
    for k in np.flatnonzero(radius > 0).tolist():
        # Beyond its disc a cell is nowhere the first, and beyond a little more nowhere in the way.
        reach = radius[k] * 1.5 + 16
        top, left = (max(0, int(c - reach + s)) for c, s in zip(centre[k], (dy, dx), strict=True))
        low, right = (int(c + reach + s) + 1 for c, s in zip(centre[k], (dy, dx), strict=True))
        here = (slice(top, max(top, low)), slice(left, max(left, right)))
        power = (bent_y[here] - np.float32(centre[k, 0])) ** 2 + (
            bent_x[here] - np.float32(centre[k, 1])
        ) ** 2
        power -= np.float32(radius[k] ** 2)
        nearer = power < first[here]
        second[here] = np.where(nearer, first[here], np.minimum(second[here], power))
        owner[here] = np.where(nearer, k + 1, owner[here])
        first[here] = np.where(nearer, power, first[here])
    inside = first < 0
    # To the radical axis of two discs a pitch apart, about.
    wall = np.where(inside, (np.minimum(second, np.float32(1e9)) - first) / np.float32(2 * tissue.pitch), 1e9)
    rim = -first / np.float32(2 * tissue.pitch)
    thick = np.float32(1.6)
    body = inside & (wall > thick) & (rim > thick / 2)
    truth = np.where(body, owner, 0)
    thread = np.zeros(y.shape, np.int32)
    for cell, discs in tissue.threads:
        for _, cy, cx, r in discs[discs[:, 0] == z]:
            disc = (y - np.float32(cy)) ** 2 + (x - np.float32(cx)) ** 2 < np.float32(r**2)
            # What reaches into the body is the body, and its rim there is none.
            disc &= ~inside | (owner == cell + 1)
            thread[disc & ~body] = cell + 1
            truth[disc] = cell + 1
    interior = truth > 0
    shown = inside & ~interior
    lost = smooth_noise(key(tissue.seed, 60), (np.full(1, z, np.float32), rows, columns), 40.0)[0]
    level = np.quantile(lost[::7, ::7], 1 - tissue.gaps) if tissue.gaps else np.inf
    boundary = shown & (lost <= level)
    # The map of the interior knows no thin walls, which is why cells touch in it.
    seen = interior | (shown & (wall <= thick))
    side = texture[0].shape[0]
    share = np.float32(0.5 + 0.5 * np.sin(z / 12))
    # There and back, so that the texture has no seam.
    fy, fx = (
        np.abs(np.mod(a, 2 * side - 2) - (side - 1)).astype(np.int32) for a in (y + 7 * owner, x + 13 * owner)
    )
    grey = np.where(interior, 130 + 40 * (share * texture[0][fy, fx] + (1 - share) * texture[1][fy, fx]), 205)
    grey = np.where(shown, 60, grey).astype(np.float32)
    image = blur_in_plane(np.pad(grey, 2, "edge")[None], _BLUR)[0]
    image += white_noise(key(tissue.seed, 61), (z, 0, 0), (1, *image.shape))[0] * np.float32(6)
    there = z not in tissue.missing
    maps = (np.rint(np.clip(image, 0, 255)), 255 * seen, 255 * boundary)
    return Plane(*(np.asarray(there * m, np.uint8) for m in maps), truth.astype(np.int32), thread)  # type: ignore[call-arg]
