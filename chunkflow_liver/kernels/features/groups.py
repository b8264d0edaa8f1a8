"""What a group of feature columns is: exact sums over blocks and what they say, or one whole object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Block, Box, Nm, Zyx
from chunkflow_liver.kernels.distance.local_errors import Image
from chunkflow_liver.kernels.labels.object_runs import ObjectRuns, runs_by_object
from chunkflow_liver.kernels.significance.boundaries import Boundary
from chunkflow_liver.xp import Array, checked_device

T = TypeVar("T")

Rows = dict[str, Array]
"""Columns of one length; `label` (uint64) says to which object a row belongs, any number each."""

Sums = dict[str, Rows]
"""Named tables of rows: what a group keeps of a block, or of many."""


NORMS = ("manhattan", "euclidean", "infinity", "no_weighting")
FARTHEST = 4
"""Largest of `Settings.distances`: 728 neighbours, and as much work."""


@dataclass(frozen=True)
class Settings:
    """How grey values become bins (the names and meanings of PyRadiomics), and limits of other groups.

    Attributes
    ----------
    bin_width : float
        Width of a bin in grey values; bin edges are multiples of it.
    bin_count : int, optional
        Number of equal bins between the smallest and the largest value of each object, instead.
    distances : tuple of int
        Which neighbours make pairs and dependences: those so many voxels away along the axis where
        they are farthest. Runs and zones always join next neighbours.
    symmetrical_glcm : bool
        Whether a pair counts in both directions.
    weighting_norm : str, optional
        One of `NORMS`: directions are weighted by their length, in um, and added. Without it a
        feature is the mean of its values for all directions.
    gldm_a : int
        Largest difference of grey levels of dependent voxels.
    crop_voxels : int
        Most voxels of the bounding box of an object that is taken whole; a larger one is refused by name.
    radius_nm : float
        Radius of the ball in which other objects are counted, in nm.
    boundary_nm, correlation_nm, bias_nm : float, optional
        How sure the boundaries of objects are, as in `significance.boundaries.Boundary`: of this come the
        ends of volumes. Without them, and without scores, the boundary is shifted by half a voxel.
    most_nm : float, optional
        The largest error that is read from scores, as there.
    device : str
        Where 'basic' and the textures that blocks count are summed: 'cpu', 'cuda', 'cuda:0', ...
    parameters : str
        For the engine 'pyradiomics': what its parameter file says, as JSON.
    """

    bin_width: float = 25.0
    bin_count: int | None = None
    distances: tuple[int, ...] = (1,)
    symmetrical_glcm: bool = True
    weighting_norm: str | None = None
    gldm_a: int = 0
    crop_voxels: int = 1 << 25
    radius_nm: float = 2000.0
    device: str = "cpu"
    parameters: str = ""
    boundary_nm: float | None = None
    correlation_nm: float | None = None
    bias_nm: float | None = None
    most_nm: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bin_width) and self.bin_width > 0):
            raise ConfigError(f"bin_width must be positive and finite, got {self.bin_width!r}")
        if self.bin_count is not None and self.bin_count < 1:
            raise ConfigError(f"bin_count must be 1 or more, got {self.bin_count!r}")
        steps = self.distances
        if not steps or len(set(steps)) < len(steps) or not set(steps) <= set(range(1, FARTHEST + 1)):
            raise ConfigError(f"distances must be different numbers from 1 to {FARTHEST}, got {list(steps)}")
        if self.weighting_norm is not None and self.weighting_norm not in NORMS:
            raise ConfigError(f"no weighting_norm {self.weighting_norm!r}; there are {list(NORMS)}")
        if self.gldm_a < 0:
            raise ConfigError(f"gldm_a must be 0 or more, got {self.gldm_a!r}")
        if self.crop_voxels < 1:
            raise ConfigError(f"crop_voxels must be 1 or more, got {self.crop_voxels!r}")
        if not (math.isfinite(self.radius_nm) and self.radius_nm > 0):
            raise ConfigError(f"radius_nm must be positive and finite, got {self.radius_nm!r}")
        checked_device(self.device)
        # Refuses what does not go together.
        _ = self.boundary

    @property
    def boundary(self) -> Boundary:
        """How sure the boundaries of objects are."""
        return Boundary(
            boundary_nm=self.boundary_nm,
            correlation_nm=self.correlation_nm,
            bias_nm=self.bias_nm,
            most_nm=self.most_nm,
        )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings from names and values, also as PyRadiomics spells them: `binWidth`, `symmetricalGLCM`.

        An unknown name is a ConfigError.
        """
        known = [f.name for f in fields(cls)]
        spelt = {name.replace("_", ""): name for name in known}
        given = {spelt.get(name.lower(), name): value for name, value in given.items()}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ConfigError(f"no feature settings {unknown}; there are {known}")
        if "distances" in given:
            given = {**given, "distances": tuple(given["distances"])}
        return cls(**given)


@dataclass(frozen=True, eq=False)
class View:
    """A block as a group sees it.

    Attributes
    ----------
    block : Block
        What it owns (`block.write`) and what it sees (`block.read`), in the volume's voxels.
    labels : ndarray of the shape of `block.read`, integer
        0 is background.
    raw : ndarray of the same shape, optional
        Image under the labels.
    objects : dict of ndarray of shape (L,)
        The columns of 'basic' for the whole objects that the block sees, sorted by `label`: their
        bounding boxes, numbers of voxels and extreme intensities are known before any group starts.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    settings : Settings
    known : dict
        Of `shared`.
    region : Box, optional
        The voxels that were looked at; all by default.
    hidden : ndarray of the shape of `block.read`, bool, optional
        Voxels in `region` of which nothing is known.
    images : tuple of Image, optional
        What says how sure the boundaries are, on the same voxels.
    """

    block: Block
    labels: Array
    raw: Array | None
    objects: Rows
    voxel_nm: Nm
    settings: Settings
    known: dict[Any, Any] = field(default_factory=dict, repr=False)
    region: Box | None = None
    hidden: Array | None = None
    images: tuple[Image, ...] | None = None

    def shared(self, function: Callable[[View], T]) -> T:
        """What `function(view)` gives, worked out once for all groups that ask for it."""
        if function not in self.known:
            self.known[function] = function(self)
        found: T = self.known[function]
        return found

    @cached_property
    def own(self) -> Array:
        """Labels of the voxels that the block owns."""
        return self.labels[self.block.trim]

    def ahead(self) -> Array:
        """Labels of the owned voxels and of one more after them on each axis where the volume has one."""
        wanted = self.block.write.grow((0, 0, 0), (1, 1, 1)).clip(self.block.read)
        return self.labels[wanted.relative_to(self.block.read).slices]

    def near(self, low: Zyx, high: Zyx) -> Array:
        """Labels of the owned voxels and of some more on each side; 0 where the volume has ended."""
        wanted = self.block.write.grow(low, high)
        seen = wanted.clip(self.block.read)
        start = [a - b for a, b in zip(seen.start, wanted.start, strict=True)]
        stop = [b - a for a, b in zip(seen.stop, wanted.stop, strict=True)]
        inside = self.labels[seen.relative_to(self.block.read).slices]
        if not any(start + stop):
            return inside
        return np.pad(inside, list(zip(start, stop, strict=True)))

    def rank(self, label: Array) -> Array:
        """Row of `objects` for each label that the block sees."""
        return np.searchsorted(self.objects["label"], label.astype(np.uint64))


@dataclass(frozen=True)
class Group:
    """One group of columns. Its three functions are pure and module-level.

    Attributes
    ----------
    sums : callable
        `sums(view) -> Sums`: every table of the group, if without rows, for the voxels, cells or pairs
        that the block owns; coordinates from the volume's first voxel. Integers, or values that
        merge without rounding.
    merge : callable
        `merge(parts) -> Sums`: one or more `Sums` as one, of blocks or merged already; the answer
        may not depend on order or grouping.
    describe : callable
        `describe(sums, objects, voxel_nm, settings) -> columns`: one row per object of `objects`
        (columns of 'basic', sorted by label); `sums` holds rows of these objects only.
    reach : tuple of Zyx, or callable
        Voxels beyond the block that `sums` reads, before and after it; as a callable, of settings and
        voxel size.
    image : bool
        Whether it needs `raw`.
    bins : bool
        Whether columns take gray values in the bins of the settings.
    working : float, or callable
        Bytes per voxel of the read box that `sums` needs, what it returns included; as a callable, of
        settings and the image's dtype ('' without one).
    fixed : int
        Bytes that it needs however small the block is.
    units : mapping of str to str
        Unit of every column, '' for a number without one.
    check : callable, optional
        `check(objects, settings)` refuses objects that the group cannot treat, before it reads a block.
    device : float
        Bytes of device memory per voxel, where `sums` works where the arrays of its view lie; 0 where it is
        given those of the host.
    alone : bool
        Whether bounding boxes are all of `View.objects` that `sums` looks at, to see what the block has
        as a whole, and one voxel after the block all that it reads beyond: then one read will do.
    """

    sums: Callable[[View], Sums]
    merge: Callable[[Sequence[Sums]], Sums]
    describe: Callable[[Sums, Rows, Nm, Settings], Rows]
    reach: tuple[Zyx, Zyx] | Callable[[Settings, Nm], tuple[Zyx, Zyx]] = ((0, 0, 0), (0, 0, 0))
    image: bool = False
    bins: bool = False
    working: float | Callable[[Settings, str], float] = 12.0
    fixed: int = 0
    units: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Rows, Settings], None] | None = None
    device: float = 0.0
    alone: bool = False

    def reads(self, settings: Settings, voxel_nm: Nm) -> tuple[Zyx, Zyx]:
        """Voxels of `voxel_nm` beyond the block, before and after it, with these settings."""
        return self.reach(settings, voxel_nm) if callable(self.reach) else self.reach

    def needs(self, settings: Settings, kind: str) -> float:
        """Bytes per voxel of the read box, with these settings and an image of the dtype `kind`."""
        return self.working(settings, kind) if callable(self.working) else self.working


@dataclass(frozen=True, eq=False)
class Crop:
    """One object, whole.

    Attributes
    ----------
    label : int
    box : Box
        Its bounding box, in the volume's voxels; with a margin, cut at the volume's border, if the
        groups want one.
    mask : ndarray of the shape of `box`, bool
        Its voxels.
    raw : ndarray of the same shape, optional
        Image of the whole box.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    settings : Settings
    known : dict
        What the groups that look at an object one after the other share.
    """

    label: int
    box: Box
    mask: Array
    raw: Array | None
    voxel_nm: Nm
    settings: Settings
    known: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class WholeGroup:
    """A group of columns that sums over blocks do not give: every object is taken whole.

    Attributes
    ----------
    describe : callable, optional
        `describe(crop) -> mapping`: a number for every column; pure and module-level.
    columns : mapping of str to str, or callable
        Name and dtype of every column, in order; as a callable, of settings.
    image : bool
        Whether it needs `raw`.
    bins : bool
        Whether columns take gray values in the bins of the settings.
    working : float
        Bytes per voxel of the crop that `describe` needs beside mask and image.
    fixed : int
        Bytes that it may need however small the crop is.
    check : callable, optional
        As for `Group`.
    margin : callable, optional
        `margin(settings)`: voxels around the bounding box that `describe` wants to see.
    together : callable, optional
        `together(crops) -> columns`: instead of `describe`, all columns of several objects at once.
    """

    describe: Callable[[Crop], Mapping[str, float | str]] | None
    columns: Mapping[str, str] | Callable[[Settings], Mapping[str, str]]
    image: bool = False
    bins: bool = False
    working: float = 12.0
    fixed: int = 0
    check: Callable[[Rows, Settings], None] | None = None
    margin: Callable[[Settings], int] | None = None
    together: Callable[[Sequence[Crop]], Rows] | None = None

    def rows(self, crops: Sequence[Crop]) -> Rows:
        """The columns of one or more objects, in their order."""
        if self.together is not None:
            return self.together(crops)
        found = [] if self.describe is None else [self.describe(crop) for crop in crops]
        kinds = self.kinds(crops[0].settings)
        return {name: np.array([row[name] for row in found], kind) for name, kind in kinds.items()}

    def kinds(self, settings: Settings) -> Mapping[str, str]:
        """Name and dtype of every column with these settings."""
        return self.columns(settings) if callable(self.columns) else self.columns


def runs_seen(view: View) -> ObjectRuns:
    """The runs of all objects of the voxels that the block sees."""
    return runs_by_object(view.labels)


def runs_ahead(view: View) -> ObjectRuns:
    """The runs of all objects of the voxels of `View.ahead`."""
    return runs_by_object(view.ahead())
