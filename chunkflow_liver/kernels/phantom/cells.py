"""The tissue of a phantom: a lattice of polyhedral cells with wavy walls, and their nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.phantom.fields import Axes, Field, key, uniform, wave


@dataclass(frozen=True)
class Phantom:
    """A piece of liver tissue of any size that exists only where it is rendered.

    Parameters
    ----------
    shape : tuple of int
        Voxels along (z, y, x).
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm. Objects have sizes in nm, so it is the magnification.
    seed : int
        Which tissue; 0 or more.
    scale : float, optional
        Size of cells and nuclei: 1 is a cell of 5 um with a nucleus of 2 um, so that a small volume
        has both; 5 is a hepatocyte. Everything else keeps its size.
    mitochondria : int, optional
        How many mitochondria; as many as find room by default.

    Raises
    ------
    ConfigError
        If a side, a voxel size, the scale or the number is not positive, or the seed is negative.
    """

    shape: Zyx
    voxel_nm: Nm
    seed: int
    scale: float = 1.0
    mitochondria: int | None = None

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ConfigError(f"a phantom needs at least one voxel per axis, got {self.shape}")
        if not all(np.isfinite(v) and v > 0 for v in self.voxel_nm):
            raise ConfigError(f"a phantom needs voxel sizes above 0 nm, got {self.voxel_nm}")
        if self.seed < 0:
            raise ConfigError(f"a phantom needs a seed of 0 or more, got {self.seed}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"a phantom needs a scale above 0, got {self.scale}")
        if self.mitochondria is not None and self.mitochondria < 1:
            raise ConfigError(f"a phantom needs at least one mitochondrion, got {self.mitochondria}")

    @property
    def extent_nm(self) -> Field:
        """Size of the volume along (z, y, x), in nm."""
        extent: Field = np.array(self.shape) * np.array(self.voxel_nm)
        return extent

    @property
    def cell_nm(self) -> float:
        """Pitch of the lattice of cells, in nm."""
        return 5000.0 * self.scale


def directions(u: Field, v: Field) -> Field:
    """Unit vectors (n, 3), uniform on the sphere, of two uniform numbers each."""
    z = 2 * u - 1
    flat = np.sqrt(1 - z**2)
    return np.stack([z, flat * np.sin(2 * np.pi * v), flat * np.cos(2 * np.pi * v)], -1)


def cell_centres(phantom: Phantom, k: Field, j: Field, i: Field) -> Field:
    """Centres of the cells at lattice indices (k, j, i), shape (..., 3), in nm.

    Notes
    -----
    Odd layers are shifted by half a pitch, so that cells are polyhedra with oblique walls. The
    first cell is placed so that even a volume of 4 um has its nucleus and its walls.
    """
    shift = 0.5 * (k % 2)
    places = (k + 0.22, j + 0.22 + shift, i + 0.22 + shift)
    jitter = [uniform(key(phantom.seed, 10 + a), k, j, i) for a in range(3)]
    parts = [p + 0.16 * (u - 0.5) for p, u in zip(places, jitter, strict=True)]
    return np.stack(np.broadcast_arrays(*parts), -1) * phantom.cell_nm


def cells_near(phantom: Phantom, low: Field, high: Field, reach_nm: float) -> tuple[Field, Field]:
    """Indices (n, 3) and centres (n, 3) in nm of all cells within `reach_nm` of a box."""
    first = np.floor((low - reach_nm) / phantom.cell_nm - 1).astype(int)
    last = np.ceil((high + reach_nm) / phantom.cell_nm + 1).astype(int)
    grid = np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(first, last, strict=True)), indexing="ij")
    index = np.stack([g.ravel() for g in grid], -1)
    centres = cell_centres(phantom, *index.T)
    away = np.maximum(np.maximum(low - centres, centres - high), 0)
    near = (away**2).sum(1) <= reach_nm**2
    return index[near], centres[near]


def nuclei(phantom: Phantom, index: Field, centres: Field) -> tuple[Field, Field, Field]:
    """Centres (n, 3), unit axes (n, 3) and semi-axes (n, 2) in nm of the nuclei of cells."""
    u = [uniform(key(phantom.seed, 20 + a), *index.T) for a in range(4)]
    axis = directions(u[0], u[1])
    semi = np.stack([0.19 + 0.05 * u[2], 0.165 + 0.03 * u[3]], -1) * phantom.cell_nm
    return centres, axis, semi


def _waves(phantom: Phantom, z: Field, y: Field, x: Field) -> list[Field]:
    """Four waves in nm that bend the walls: z by x, y by x, x by y, and all of them by z."""
    return [
        100.0 * wave(key(phantom.seed, 30 + a), at, 800.0) + 30.0 * wave(key(phantom.seed, 40 + a), at, 170.0)
        for a, at in enumerate((x, x, y, z))
    ]


def _lean(phantom: Phantom, k: Field, j: Field, i: Field) -> Field:
    """How much the fourth wave moves the walls of cells, 1 on average between two of them."""
    return 3.0 * (uniform(key(phantom.seed, 50), k, j, i) - 0.5)


def wall_distance(phantom: Phantom, points: Field) -> Field:
    """Distance of points (n, 3) to the middle of the nearest cell wall, in nm, first order."""
    z, y, x = points.T
    waves = _waves(phantom, z, y, x)
    moved = np.stack([z + waves[0], y + waves[1], x + waves[2]], -1)
    index, centres = cells_near(phantom, moved.min(0), moved.max(0), 1.5 * phantom.cell_nm)
    # a lean is far too small to bring forward a cell that is not among the six nearest
    distance, near = cKDTree(centres).query(moved, k=6)
    square = distance**2 + _lean(phantom, *index.T)[near] * phantom.cell_nm * waves[3][:, None]
    square.partition(1, axis=1)
    out: Field = (square[:, 1] - square[:, 0]) / (2 * phantom.cell_nm)
    return out


def nucleus_distance(phantom: Phantom, points: Field) -> Field:
    """Distance of points (n, 3) to the nearest nucleus, in nm, first order; negative inside."""
    low, high = points.min(0), points.max(0)
    index, centres = cells_near(phantom, low, high, 1.5 * phantom.cell_nm)
    centres, axis, semi = nuclei(phantom, index, centres)
    _, near = cKDTree(centres).query(points, k=1)
    d = points - centres[near]
    along = (d * axis[near]).sum(1) ** 2
    across = (d**2).sum(1) - along
    a2, b2 = (semi[near] ** 2).T
    scaled = np.sqrt(along / a2 + across / b2)
    slope = np.sqrt(along / a2**2 + across / b2**2)
    out: Field = scaled * (scaled - 1) / np.maximum(slope, 1e-9)
    return out


def wall_field(phantom: Phantom, axes: Axes, thick_nm: float) -> Field | None:
    """Distance to the nearest cell wall of thickness `thick_nm`, negative inside; None if far.

    Parameters
    ----------
    phantom : Phantom
    axes : tuple of ndarray
        Positions along z, y, x, in nm.
    thick_nm : float
        Thickness of a wall; it varies by a quarter with the distance of the two cells.

    Returns
    -------
    ndarray of shape (Z, Y, X), float32, or None
        nm. None only where every voxel is farther than 60 nm.
    """
    low, high = (np.array([f(a) for a in axes]) for f in (np.min, np.max))
    slack = 300.0  # more than a wave can move a wall, and `give` more than a lean can
    give = 450.0 * phantom.cell_nm
    index, centres = cells_near(phantom, low, high, 1.5 * phantom.cell_nm + slack)
    away = np.maximum(np.maximum(low - centres, centres - high) - slack, 0)
    most = np.maximum(abs(low - centres), abs(centres - high)) + slack
    least, most = (away**2).sum(1) - give, (most**2).sum(1) + give
    nearest, next_nearest = np.partition(most, 1)[:2]
    if np.partition(least, 1)[1] - nearest > 2 * phantom.cell_nm * (thick_nm / 2 + 60.0):
        return None
    # only cells that can be the nearest or the second nearest of some voxel matter
    matter = least <= next_nearest
    z, y, x = axes
    waves = _waves(phantom, z, y, x)
    first = np.full([len(a) for a in axes], np.float32(1e15))
    second = first.copy()
    for centre, lean in zip(centres[matter], _lean(phantom, *index[matter].T), strict=True):
        side = (z[:, None] + waves[0][None, :] - centre[0]) ** 2
        side += (lean * phantom.cell_nm * waves[3])[:, None]
        top = (y[:, None] + waves[1][None, :] - centre[1]) ** 2
        top += (x[None, :] + waves[2][:, None] - centre[2]) ** 2
        square = side.astype(np.float32)[:, None, :] + top.astype(np.float32)[None]
        np.minimum(second, np.maximum(first, square), out=second)
        np.minimum(first, square, out=first)
    second -= first
    second *= np.float32(0.5 / phantom.cell_nm)
    second -= np.float32(thick_nm / 2)
    return second
