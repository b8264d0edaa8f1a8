"""Random placements of objects: are they nearer to others than chance would lay them?"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.kernels.contacts.areas import surface_areas, walled
from chunkflow_liver.kernels.distance.squares import Unit, whole_unit
from chunkflow_liver.xp import Array

_ROUNDING = 1e-9
AGAIN = 20
"""How often objects are laid together anew before one that found no room is left out."""


@dataclass(frozen=True)
class Chance:
    """How objects are laid at random.

    Attributes
    ----------
    gap_nm : float
        Largest gap of a contact, between the boxes of two voxels.
    cap_nm : float
        Where the curve ends, and the largest distance to the nearest partner that is told from farther ones.
    placements : int
        Of every object.
    region_nm : float
        Side of the cubes, from the volume's first corner on, in which the middle of an object stays: what
        differs over longer distances does not count as nearness.
    apart : bool
        No object is laid on another of its set: those whose middles are in one cube are laid together, in
        an order of chance, each off those before it. Without it each is laid alone and may lie on
        others; where they keep each other away p then errs to the large side.
    free : bool
        Rotations of any angle; else those that carry the grid of voxels onto itself, whose voxels are exact.
        Objects that reach a face of the volume, so all of an image of one plane, have the latter in any case.
    keep_nm : float
        Depth of the shells of a distance (to a nucleus, say) in which the middle of an object stays.
    tries : int
        How often a place is looked for before the object counts as one that has no room.
    border : bool
        Also objects that the volume's end cuts, whose surface is not known there. They stay at the faces that
        cut them, are laid elsewhere along these, and turned about the axis across, not by any angle.
    crop_voxels : int
        Largest window: objects that need a larger one are left out and marked `too_large`.
    draws : int
        For a confidence interval.
    seed : int
        With the label of an object, of its random numbers.
    """

    gap_nm: float = 30.0
    cap_nm: float = 100.0
    placements: int = 200
    region_nm: float = 1000.0
    apart: bool = False
    free: bool = False
    keep_nm: float = 100.0
    tries: int = 500
    border: bool = False
    crop_voxels: int = 1 << 25
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        lengths = {"cap_nm": self.cap_nm, "region_nm": self.region_nm, "keep_nm": self.keep_nm}
        for name, value in lengths.items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be positive and finite, got {value!r}")
        if not 0 <= self.gap_nm <= self.cap_nm:
            raise ConfigError(
                f"gap_nm must be 0 or more and at most cap_nm = {self.cap_nm:g}, got {self.gap_nm!r}"
            )
        counts = {n: getattr(self, n) for n in ("placements", "tries", "crop_voxels", "draws")}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"{name} must be 1 or more, got {value!r}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {self.seed!r}")


@dataclass(frozen=True)
class Laid:
    """One object where it is (first) and at its placements.

    Attributes
    ----------
    areas : ndarray of shape (1 + k, p, g), int64
        Surface within each gap of each partner, in steps of `area_step_nm2`.
    nearest : ndarray of shape (1 + k, p), int64
        Smallest squared gap, in units; above the cap where it is farther.
    surface : int
        The whole surface, in the same steps.
    placed : int
        How many of the `k` placements were found: of fewer the rest is 0.
    """

    areas: Array
    nearest: Array
    surface: int
    placed: int


def symmetries(voxel_nm: Nm) -> Array:
    """Rotations that carry a grid of voxels onto itself, (r, 3, 3): 24 of cubes, 8, or 4."""
    found = []
    for order in itertools.permutations(range(3)):
        if any(voxel_nm[a] != voxel_nm[b] for a, b in enumerate(order)):
            continue
        for signs in itertools.product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.linalg.det(turn) > 0:
                found.append(turn)
    return np.array(found)


def turns_of(turns: Array, ends: Array) -> Array:
    """Rotations (r, 3, 3) that leave an object at the ends of the volume, (3, 2), that cut it."""
    along = turns[:, range(3), range(3)]
    # What reaches from one end to the other one may be turned round.
    stays = np.where(ends.all(axis=1), np.abs(along) == 1, along == 1) | ~ends.any(axis=1)
    return turns[stays.all(axis=1)]


def cube_of(low: Any, shape: Any, voxel_nm: Nm, chance: Chance) -> Array:
    """Along each axis, which cube of `region_nm` the middle of an object, or of each of (n, 3), lies in."""
    middle = (np.asarray(low) + (np.asarray(shape) - 1) / 2 + 0.5) * np.array(voxel_nm)
    return np.floor(middle / chance.region_nm).astype(np.int64)


def places_of(low: Any, shape: Any, voxel_nm: Nm, chance: Chance) -> tuple[Array, Array]:
    """Where the middle of an object may lie: the first place, and how many there are along each axis.

    Parameters
    ----------
    low, shape : sequence of int
        First voxel of its box, in the volume, and extent of the box.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    chance : Chance

    Returns
    -------
    first : ndarray of shape (3,), float64
        In voxels of the volume, the centre of voxel i being i: whole steps from the object's own middle.
    many : ndarray of shape (3,), int64
    """
    size = np.array(voxel_nm)
    middle = np.array(low) + (np.array(shape) - 1) / 2
    begin = cube_of(low, shape, voxel_nm, chance) * (chance.region_nm / size) - 0.5
    first = middle - np.floor(middle - begin + _ROUNDING)
    last = first + np.ceil(begin + chance.region_nm / size - first - _ROUNDING) - 1
    return first, np.maximum(last - first + 1, 1).astype(np.int64)


def reach_of(low: Any, shape: Any, voxel_nm: Nm, chance: Chance) -> tuple[Array, Array]:
    """First voxel, and end, of all that the placements of an object may touch."""
    size, extent = np.array(voxel_nm), np.array(shape)
    first, many = places_of(low, shape, voxel_nm, chance)
    # However it is turned, an object stays in the ball around its box.
    radius = np.ceil(math.sqrt((((extent - 1) * size) ** 2).sum()) / 2 / size) + 1
    return np.floor(first - radius).astype(np.int64), np.ceil(first + many + radius).astype(np.int64)


@dataclass(frozen=True)
class Piece:
    """One object that is to be laid.

    Attributes
    ----------
    label : int
        With `Chance.seed` the seed of its random numbers.
    mask : ndarray of shape (Z, Y, X), bool
        The object in its box.
    low : ndarray of shape (3,), int64
        First voxel of the box, in the volume.
    ends : ndarray of shape (3, 2), bool
        Where the box ends with the volume: there is no surface.
    home : int
        Its region.
    """

    label: int
    mask: Array
    low: Array
    ends: Array
    home: int


def lay_objects(
    pieces: list[Piece],
    window: Array,
    ground: tuple[Array, Array, Array],
    fields: Array,
    limits: Array,
    *,
    voxel_nm: Nm,
    chance: Chance,
    turn: tuple[int, ...],
) -> list[Laid]:
    """Gaps of objects to partners, where they are and where chance lays them.

    Parameters
    ----------
    pieces : list of Piece
        With `chance.apart` those that are laid together, none on another one.
    window : ndarray of shape (3,), int64
        First voxel of the window, in the volume.
    ground : tuple of ndarray
        Window of where nothing may lie (-1, else 0), int32, which is 0 and -1 again afterwards; of regions,
        int32, and of distances to keep, float32, both of which may be empty.
    fields : ndarray of shape (p, ...), uint32
        Squared gaps to the partners in the window, in units of `voxel_nm`.
    limits : ndarray of shape (g,), int64
        Squared gaps of the curve, ascending.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    chance : Chance
    turn : tuple of int
        With `chance.seed` the seed of the order in which the objects of a round have their turn.

    Notes
    -----
    An object may lie on what is forbidden with as many voxels as it does at its own place, and nowhere
    with one beyond the window, which the volume ends, nor at a face of it that does not cut the object at
    its own place: there partners are seen on one side only, and what is whole would not be known to be.
    Areas are those at its own place: a rotation of the grid does not change them, a free one by no more than
    their error. Objects that are laid together have
    their turn in another order in every round (random sequential addition: Widom, J. Chem. Phys. 44, 1966).
    Where one of them finds no room the round begins anew; after `AGAIN` times it is left out from then on.
    """
    laid = [_Laying(p, window, ground, fields, limits, voxel_nm=voxel_nm, chance=chance) for p in pieces]
    if not chance.apart:
        for one in laid:
            one.lay(1, 1 + chance.placements)
        return [one.result() for one in laid]
    order = order_of(chance, turn)
    left, mark, k = list(laid), 0, 1
    while left and k <= chance.placements:
        stuck: _Laying | None = None
        for _ in range(AGAIN):
            mark += 1
            turns = (left[i] for i in order.permutation(len(left)).tolist())
            stuck = next((one for one in turns if not one.lay(k, k + 1, mark)), None)
            if stuck is None:
                break
        if stuck is None:
            k += 1
        else:
            stuck.placed = k - 1
            left.remove(stuck)
    for one in left:
        one.placed = chance.placements
    np.minimum(ground[0], 0, out=ground[0])
    return [one.result() for one in laid]


def draws_of(chance: Chance, label: int) -> np.random.Generator:
    """Random numbers of an object."""
    return np.random.default_rng((chance.seed, label))


def order_of(chance: Chance, turn: tuple[int, ...]) -> np.random.Generator:
    """Random numbers of the order in which the objects of a cube have their turn.

    NumPy takes zeros at the end of a seed for none: (seed, 7, 0, 0) would be the numbers of object 7.
    """
    return np.random.default_rng(np.random.SeedSequence(chance.seed, spawn_key=turn))


class _Laying:
    """One object, and how often it was laid so far."""

    def __init__(
        self,
        piece: Piece,
        window: Array,
        ground: tuple[Array, Array, Array],
        fields: Array,
        limits: Array,
        *,
        voxel_nm: Nm,
        chance: Chance,
    ) -> None:
        from chunkflow_liver.kernels.contacts.placement_loops import at_home

        self.rng = draws_of(chance, piece.label)
        half = (np.array(piece.mask.shape) - 1) / 2
        # Most places are refused by one of the first voxels that are looked at.
        voxels = self.rng.permutation(np.argwhere(piece.mask) - half)
        # A margin of background where the box ends and the volume does not.
        margin = np.where(piece.ends, 0, 1)
        wide = np.pad(piece.mask, margin).astype(np.uint8)
        bounds = (0, 0, 0), (wide.shape[0], wide.shape[1], wide.shape[2])
        at, area = surface_areas(walled(wide)[0], bounds, voxel_nm)
        first, many = places_of(piece.low, piece.mask.shape, voxel_nm, chance)
        # What would lie beyond the window is beyond the volume, and never laid.
        shift = np.maximum(0, np.ceil(window - first))
        first, many = first + shift, many - shift.astype(np.int64)
        most = np.maximum(1, np.floor(window + ground[0].shape - first).astype(np.int64))
        self.solid = voxels, at.T - margin[:, 0] - half, area
        # At an end that cuts it an object stays; one that is whole, at other ends, would not be known to be.
        cut = piece.ends.any(axis=1)
        first, many = np.where(cut, piece.low + half, first), np.where(cut, 1, many)
        self.ground = ground[0], ground[1], piece.home, ground[2], chance.keep_nm, margin.astype(np.int64)
        turns, size = turns_of(symmetries(voxel_nm), piece.ends), np.array(voxel_nm, float)
        self.way = turns, size, chance.free and not cut.any(), np.empty((3, 3)), chance.tries
        self.to = fields, limits
        self.areas = np.zeros((1 + chance.placements, len(fields), len(limits)), np.int64)
        self.nearest = np.zeros(self.areas.shape[:2], np.int64)
        self.placed = 0
        home = at_home(
            self.solid,
            piece.low + half - window,
            self.ground,
            self.way[3],
            *self.to,
            self.areas,
            self.nearest,
        )
        self.at = first - window, np.clip(many, 1, most), *home

    def lay(self, begin: int, end: int, mark: int = 0) -> bool:
        """Lay it in some rounds, off what has the `mark`; whether there was room in all of them."""
        from chunkflow_liver.kernels.contacts.placement_loops import lay

        self.areas[begin:end] = 0
        rounds = (begin, end, mark)
        self.placed = lay(
            self.solid, self.at, self.ground, self.way, rounds, self.to, self.rng, self.areas, self.nearest
        )
        return self.placed == end - begin

    def result(self) -> Laid:
        return Laid(np.cumsum(self.areas, axis=2), self.nearest, int(self.solid[2].sum()), self.placed)


def limits_of(chance: Chance, voxel_nm: Nm) -> tuple[Array, Array, Unit]:
    """Gaps of the curve (every nm to the cap, and the gap itself), their squares, and the unit of these."""
    gaps = np.unique([*range(math.floor(chance.cap_nm) + 1), chance.gap_nm, chance.cap_nm]).astype(np.float64)
    unit = whole_unit(voxel_nm)
    return gaps, np.array([unit.squares(gap) for gap in gaps.tolist()], np.int64), unit
