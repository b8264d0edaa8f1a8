"""Cells that touch and a vessel that branches, running through slices: what propagation is tried on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.phantom.fields import (
    Axes,
    Field,
    blur_in_plane,
    key,
    smooth_noise,
    uniform,
    wave,
    white_noise,
)

_BLUR = (0.5697, 0.2054, 0.0097)  # Gaussian of sd 0.7 pixel
_GOLDEN = np.pi * (3 - np.sqrt(5))
_NOISE = 12.0


@dataclass(frozen=True)
class Bundle:
    """A stack of slices through cells side by side, around a vessel that branches.

    Parameters
    ----------
    shape : tuple of int
        Voxels along (z, y, x).
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    seed : int
        Which bundle; 0 or more.
    cells : int, optional
        How many cells.
    cell_nm : float, optional
        Their diameter, about, in nm.
    ending : int, optional
        How many of them begin or end within the stack; the others run through it.
    branch : float, optional
        Where along the stack the vessel branches, as a share of its slices.
    missing : tuple of int, optional
        Slices that were lost: their grey values are 0, their truth is kept.
    shifted : tuple of (z, y, x), optional
        Slices that were cut askew, and by how many voxels along y and x they lie beside their place, image
        and truth alike.

    Raises
    ------
    ConfigError
        If a number is not positive, or a slice is not of the stack.
    """

    shape: Zyx
    voxel_nm: Nm
    seed: int
    cells: int = 8
    cell_nm: float = 1600.0
    ending: int = 0
    branch: float = 0.4
    missing: tuple[int, ...] = ()
    shifted: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ConfigError(f"a bundle needs at least one voxel per axis, got {self.shape}")
        lengths = (*self.voxel_nm, self.cell_nm)
        if not all(np.isfinite(v) and v > 0 for v in lengths):
            raise ConfigError(f"a bundle needs voxels and cells above 0 nm, got {lengths}")
        if self.seed < 0 or self.cells < 1 or not 0 <= self.ending <= self.cells:
            raise ConfigError(
                "a bundle needs a seed of 0 or more, one cell or more, and no more that end than there are; "
                f"got seed {self.seed}, cells {self.cells}, ending {self.ending}"
            )
        odd = [z for z in (*self.missing, *(s[0] for s in self.shifted)) if not 0 <= z < self.shape[0]]
        if odd:
            raise ConfigError(f"a bundle of {self.shape[0]} slices has no slices {odd}")

    @property
    def vessel(self) -> int:
        """The vessel's number in the truth; cells are 1 to one less."""
        return self.cells + 1


def render_bundle(bundle: Bundle) -> tuple[Field, Field]:
    """Image and truth of a whole bundle.

    Returns
    -------
    raw : ndarray of shape (Z, Y, X), uint8
        Grey values; membranes are dark, the vessel's lumen is bright.
    truth : ndarray of shape (Z, Y, X), uint8
        Cells 1 to `cells`, each to the middle of its membrane, and the vessel with its wall; 0 between
        them. The vessel is one disc on slices before it branches and two after.

    Notes
    -----
    A voxel is of the cell whose centre is nearest, by distances less a weight of each cell; centres and
    weights wander along z, and all walls are bent by smooth noise.
    """
    wide = (bundle.shape[0], bundle.shape[1] + 4, bundle.shape[2] + 4)
    z, y, x = ((np.arange(n) + 0.5 - pad) * v
               for n, pad, v in zip(wide, (0, 2, 2), bundle.voxel_nm, strict=True))  # fmt: skip
    moved_y, moved_x = np.zeros(len(z)), np.zeros(len(z))
    for at, dy, dx in bundle.shifted:
        moved_y[at], moved_x[at] = dy * bundle.voxel_nm[1], dx * bundle.voxel_nm[2]
    raw = np.empty(bundle.shape, np.uint8)
    truth = np.empty(bundle.shape, np.uint8)
    for i in range(len(z)):
        axes = (z[i : i + 1], y - moved_y[i], x - moved_x[i])
        labels, grey = _slice(bundle, axes)
        grey += white_noise(key(bundle.seed, 2), (i, 0, 0), grey.shape) * np.float32(20)
        image = blur_in_plane(grey, _BLUR)[0]
        image += white_noise(key(bundle.seed, 3), (i, 0, 0), (1, *image.shape))[0] * np.float32(_NOISE)
        raw[i] = 0 if i in bundle.missing else np.rint(np.clip(image, 0, 255))
        truth[i] = labels[2:-2, 2:-2]
    return raw, truth


def _slice(bundle: Bundle, axes: Axes) -> tuple[Field, Field]:
    """Labels (Y, X) and grey values (1, Y, X) before blur and noise."""
    pitch, seed = bundle.cell_nm, bundle.seed
    bend = [0.10 * pitch * smooth_noise(key(seed, 10 + a), axes, 0.35 * pitch)[0] for a in (0, 1)]
    grid_y, grid_x = axes[1][:, None] + bend[0], axes[2][None, :] + bend[1]
    height = float(axes[0][0])
    nearest, second, own = _nearest(bundle, height, grid_y, grid_x)
    wall = (second - nearest) / (2 * pitch)
    beyond = np.sqrt(np.maximum(nearest, 0)) - 0.62 * pitch
    vessel = _vessel(bundle, height, grid_y, grid_x)
    inside = (beyond < 0) & (vessel > 0)
    labels = np.where(vessel <= 0, bundle.vessel, np.where(inside, own, 0)).astype(np.uint8)
    membrane = np.minimum(np.minimum(wall, -beyond), vessel)
    shade = smooth_noise(key(seed, 1), axes, 600.0)[0]
    bodies = smooth_noise(key(seed, 4), axes, 170.0)[0]
    cytoplasm = np.where(bodies > 1.1, np.float32(100), 150 + 8 * shade)
    fibres = 185 + 25 * np.sign(bodies) * (np.abs(bodies) > 0.9)
    lumen = np.where(vessel < -0.09 * pitch, 215 + 6 * shade, np.float32(70))
    grey = np.where(vessel <= 0, lumen, np.where(inside, cytoplasm, fibres))
    grey = np.where((vessel > 0) & inside & (membrane < 30.0), np.float32(60), grey)
    return labels, grey.astype(np.float32)[None]


def _angles(bundle: Bundle) -> Field:
    """Where cells, and last the vessel, lie around the middle: sunflower seeds lie evenly."""
    turn = 2 * np.pi * uniform(key(bundle.seed, 20), np.zeros(1, np.int64))[0]
    angles: Field = turn + _GOLDEN * np.arange(bundle.cells + 1)
    return angles


def _centres(bundle: Bundle, height: float) -> tuple[Field, Field]:
    """Centres (y, x) of the vessel and all cells at a height, in nm."""
    extent = [n * v for n, v in zip(bundle.shape, bundle.voxel_nm, strict=True)]
    angle = _angles(bundle)
    index = np.arange(len(angle))
    radius = 0.56 * bundle.cell_nm * np.sqrt(index + 0.4)
    at = np.array([height])
    places = []
    for axis, direction in ((1, np.sin(angle)), (2, np.cos(angle))):
        jitter = 0.22 * (uniform(key(bundle.seed, 20 + axis), index) - 0.5)
        wander = [
            0.14 * wave(key(bundle.seed, 100 * axis + int(i)), at, 1.1 * bundle.cell_nm)[0] for i in index
        ]
        all_of_them = 0.2 * wave(key(bundle.seed, 30 + axis), at, 2 * bundle.cell_nm)[0]
        places.append(
            extent[axis] / 2 + radius * direction + bundle.cell_nm * (jitter + np.array(wander) + all_of_them)
        )
    return np.roll(places[0], 1), np.roll(places[1], 1)


def _nearest(bundle: Bundle, height: float, y: Field, x: Field) -> tuple[Field, Field, Field]:
    """Weighted squared distances to the nearest and next cell, and which the nearest is."""
    centres = _centres(bundle, height)
    nearest = np.full(y.shape, np.inf, np.float32)
    second, own = nearest.copy(), np.zeros(y.shape, np.uint8)
    for cell in range(1, bundle.cells + 1):
        weight = 0.05 * wave(key(bundle.seed, 400 + cell), np.array([height]), bundle.cell_nm)[0]
        weight = (weight - _ended(bundle, cell, height)) * bundle.cell_nm**2
        square = ((y - centres[0][cell]) ** 2 + (x - centres[1][cell]) ** 2 - weight).astype(np.float32)
        better = square < nearest
        second = np.where(better, nearest, np.minimum(second, square))
        own[better] = cell
        nearest = np.where(better, square, nearest)
    return nearest, second, own


def _ended(bundle: Bundle, cell: int, height: float) -> float:
    """How much a cell that begins or ends within the stack has shrunk, in its squared diameters."""
    if cell > bundle.ending:
        return 0.0
    length = bundle.shape[0] * bundle.voxel_nm[0]
    share = uniform(key(bundle.seed, 40), np.array([cell]))[0]
    last, first = (0.55 + 0.3 * share) * length, (0.15 + 0.3 * share) * length
    beyond = (height - last if cell % 2 else first - height) / bundle.cell_nm
    return 4 * max(0.0, beyond + 0.25) ** 2


def _vessel(bundle: Bundle, height: float, y: Field, x: Field) -> Field:
    """Distance to the vessel's outside in nm, negative within."""
    pitch = bundle.cell_nm
    centre_y, centre_x = (c[0] for c in _centres(bundle, height))
    length = bundle.shape[0] * bundle.voxel_nm[0]
    after = max(0.0, height - bundle.branch * length)
    apart = min(0.62 * pitch, 0.55 * after)
    # Branches part along the rim, so that neither leaves the bundle.
    turn = float(_angles(bundle)[-1]) + np.pi / 2
    radius = (0.42 - 0.12 * min(1.0, apart / (0.4 * pitch))) * pitch
    both = [
        np.hypot(y - centre_y - side * apart * np.sin(turn), x - centre_x - side * apart * np.cos(turn))
        for side in (-1, 1)
    ]
    found: Field = np.minimum(both[0], both[1]) - radius
    return found
