"""What an OME-Zarr image says of itself, read with strict checks.

Reading goes through our own parser because a file from a microscope is often nearly right: every
problem is collected and named with file and field, instead of the first one a schema stumbles over.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Box, Nm, zyx
from chunkflow_liver.store.ngff.documents import group_attributes
from chunkflow_liver.store.ngff.labels import classes_of
from chunkflow_liver.store.ngff.systems import Frame, frame_of
from chunkflow_liver.store.ngff.units import nm_per
from chunkflow_liver.store.ngff.versions import (
    DEFAULT,
    SPACE,
    STATUS,
    VERSIONS,
    Version,
    ZarrFormat,
    like_stored,
    version_of,
)
from chunkflow_liver.store.voxels.region import OF_MASK

SMALLEST_VOXEL_NM, LARGEST_VOXEL_NM = 0.1, 1e6
SAME_SIZE = 0.01
"""By what share sizes may differ that are the same."""


@dataclass(frozen=True)
class Level:
    """One resolution of an image; `voxel_nm` and `origin_nm` along (z, y, x)."""

    path: str
    voxel_nm: Nm
    origin_nm: Nm


@dataclass(frozen=True)
class ImageMetadata:
    """What an OME-Zarr image group says of itself, checked; `axes` are those of the stored arrays."""

    url: str
    version: Version
    axes: tuple[str, ...]
    levels: tuple[Level, ...]
    is_label: bool = False
    classes: tuple[tuple[str, int], ...] = ()
    region: Box | None = None
    mask: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = field(default=(), compare=False)

    @property
    def zarr_format(self) -> ZarrFormat:
        return self.version.zarr_format


def read_image(url: str, *, unit: str | None = None) -> ImageMetadata:
    """Metadata of the image group at `url`; every problem found stands in `problems`.

    Parameters
    ----------
    url : str
        Absolute path or URL of the group.
    unit : str, optional
        Unit of spatial axes that state none, or none that is a length.

    Raises
    ------
    InputError
        If there is no image group of a known version, so that nothing more can be said.
    """
    attributes, zarr_format = group_attributes(url)
    ome = attributes.get("ome", {}) if zarr_format == 3 else attributes
    if zarr_format == 3 and "ome" not in attributes and "multiscales" in attributes:
        ome = attributes
    if not isinstance(ome, dict):
        raise InputError(f"{url}: 'ome' must be a JSON object, got {type(ome).__name__}")
    multiscales = ome.get("multiscales")
    if not isinstance(multiscales, list) or not multiscales or not isinstance(multiscales[0], dict):
        hint = _children_hint(ome)
        raise InputError(f"{url} is a zarr group but not an OME-Zarr image: it has no 'multiscales'{hint}")
    image = multiscales[0]
    problems: list[str] = []
    stated = str(ome.get("version") or image.get("version") or like_stored(zarr_format).name)
    version = version_of(stated)
    if version is None:
        raise InputError(f"{url} is OME-Zarr version {stated!r}; supported are {' '.join(VERSIONS)}")
    if version.zarr_format != zarr_format:
        problems.append(
            f"OME-Zarr {version.name} metadata in zarr v{zarr_format}; {version.name} needs "
            f"v{version.zarr_format}"
        )
    frame = frame_of(image, version, problems)
    factors = _factors(frame, unit, problems)
    levels = _levels(frame, factors, problems)
    label = ome.get("image-label")
    return ImageMetadata(
        url=url,
        version=version,
        axes=frame.array_axes,
        levels=levels,
        is_label=isinstance(label, dict),
        classes=classes_of(label, problems) if isinstance(label, dict) else (),
        region=_region(attributes.get(STATUS), problems),
        mask=_mask(attributes.get(STATUS), problems),
        problems=tuple(problems),
    )


def version_beside(url: str) -> Version:
    """The version to write inside the group at `url`, which may not exist yet."""
    try:
        attributes, zarr_format = group_attributes(url)
    except InputError:
        return VERSIONS[DEFAULT]
    ome = attributes.get("ome")
    return like_stored(zarr_format, str(ome.get("version")) if isinstance(ome, dict) else None)


def _region(ours: object, problems: list[str]) -> Box | None:
    """The voxels of level 0 that an image of ours says were looked at."""
    found = ours.get("region") if isinstance(ours, dict) else None
    if found is None:
        return None
    try:
        low, high = (zyx(corner) for corner in found)
    except (ChunkflowLiverError, TypeError, ValueError):
        problems.append(f"'region' must be two corners of whole voxels (z, y, x), got {found!r}")
        return None
    return Box(low, high)


def _mask(ours: object, problems: list[str]) -> Mapping[str, Any] | None:
    """What an image of ours says of the mask within which it was made."""
    found = ours.get("mask") if isinstance(ours, dict) else None
    if found is None:
        return None
    try:
        told = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
        zyx(told["shape"])
        is_label = np.dtype(told["dtype"]).kind in "bui"
        if not (set(told) == set(OF_MASK) and min(told["voxel_nm"]) > 0 and is_label):
            raise ValueError(sorted(told))
    except (ChunkflowLiverError, AttributeError, KeyError, TypeError, ValueError):
        problems.append(f"'mask' must tell {sorted(OF_MASK)} of a label image, got {found!r}")
        return None
    return told


def _children_hint(ome: dict[str, Any]) -> str:
    if isinstance(ome.get("labels"), list):
        return f"; it lists the label images {ome['labels']}, open one of them"
    if "plate" in ome or "bioformats2raw.layout" in ome:
        return "; it is a collection, open one of the images inside it (for example 0)"
    if "scene" in ome:
        return "; it is a scene, open one of the images inside it"
    return ""


def _factors(frame: Frame, unit: str | None, problems: list[str]) -> dict[str, float]:
    """How many nm one unit of each spatial axis is; 1 where that is a problem."""
    return {
        name: nm_per(stated, unit, f"axis {name}", problems) or 1.0
        for name, stated in zip(frame.axes, frame.units, strict=True)
        if name in SPACE
    }


def _levels(frame: Frame, factors: dict[str, float], problems: list[str]) -> tuple[Level, ...]:
    levels: list[Level] = []
    for path, placed, where in frame.datasets:
        by_name = {n: (s, t) for n, s, t in zip(frame.axes, placed.scale, placed.shift, strict=True)}
        voxel = tuple(by_name[n][0] * factors[n] if n in by_name else 0.0 for n in SPACE)
        if "z" not in by_name:
            # A single plane has no thickness of its own; cubic voxels keep volumes meaningful.
            voxel = (voxel[2], *voxel[1:])
        for name, size in zip(SPACE, voxel, strict=True):
            if name not in by_name:
                continue
            if not (math.isfinite(size) and size > 0):
                problems.append(f"{where}: scale for axis {name} is {size}; it must be above 0")
            elif not levels and not SMALLEST_VOXEL_NM <= size <= LARGEST_VOXEL_NM:
                problems.append(
                    f"{where}: a voxel of {size:g} nm along {name} is not credible; "
                    f"check scale and unit ({SMALLEST_VOXEL_NM:g} to {LARGEST_VOXEL_NM:g} nm are accepted)"
                )
        if not all(map(math.isfinite, placed.shift)):
            problems.append(f"{where}: the translation {list(placed.shift)} is not finite")
        origin = tuple(by_name[n][1] * factors[n] if n in by_name else 0.0 for n in SPACE)
        levels.append(Level(path, cast(Nm, voxel), cast(Nm, origin)))
    _refuse_disorder(levels, problems)
    return tuple(levels)


def _refuse_disorder(levels: list[Level], problems: list[str]) -> None:
    """Every level is as coarse as the one before, or coarser, along each axis."""
    for finer, coarser in itertools.pairwise(levels):
        smaller = [
            f"{name} ({b:g} after {a:g} nm)"
            for name, a, b in zip(SPACE, finer.voxel_nm, coarser.voxel_nm, strict=True)
            if b < a * (1 - SAME_SIZE)
        ]
        if smaller:
            problems.append(
                f"levels are not ordered from fine to coarse: {coarser.path!r} has smaller voxels than "
                f"{finer.path!r} along {', '.join(smaller)}"
            )


def extent_problems(metadata: ImageMetadata, shapes: list[tuple[int, ...]]) -> list[str]:
    """Levels whose voxels, by their shape and scale, do not fill what those of level 0 fill.

    A coarse voxel at the end may be cut off, or reach over it, but no more than that.

    Parameters
    ----------
    metadata : ImageMetadata
        The image.
    shapes : list of tuple
        Voxels of each of its levels along (z, y, x).
    """
    problems = []
    first = metadata.levels[0]
    for level, shape in zip(metadata.levels[1:], shapes[1:], strict=True):
        spans = zip(SPACE, first.voxel_nm, level.voxel_nm, shapes[0], shape, strict=True)
        for axis, fine, coarse, n_fine, n in spans:
            whole = n_fine * fine
            if abs(n * coarse - whole) >= coarse * (1 - 1e-9) + SAME_SIZE * whole:
                problems.append(
                    f"level {level.path!r} and level {first.path!r} contradict each other along {axis}: "
                    f"{n} voxels of {coarse:g} nm are {n * coarse:g} nm, {n_fine} of {fine:g} nm are "
                    f"{whole:g} nm; mend the scales or leave the level out of 'datasets'"
                )
        for axis, a, b, size in zip(SPACE, first.origin_nm, level.origin_nm, level.voxel_nm, strict=True):
            if abs(b - a) > size * (1 + SAME_SIZE):
                problems.append(
                    f"level {level.path!r} begins at {b:g} nm along {axis}, level {first.path!r} at {a:g} "
                    f"nm: more than a voxel of {size:g} nm apart; mend the translations"
                )
    return problems
