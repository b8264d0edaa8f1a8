"""What is said of a bare zarr array: axes and voxel size by the OME-Zarr image around it, or by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.store.ngff import ImageMetadata, read_image
from chunkflow_liver.store.ngff.documents import load_json
from chunkflow_liver.store.ngff.versions import SPACE

MOST_PARENTS = 4
"""So many folders up an image is looked for."""


@dataclass(frozen=True)
class Stated:
    """Names of the axes of an array in their order, empty if unknown, and the voxel size along (z, y, x)."""

    axes: tuple[str, ...] = ()
    voxel_nm: Nm | None = None


def first_level(folder: Path) -> Path | None:
    """The finest array of an OME-Zarr image; None if the folder is no image."""
    image = _image(folder)
    if image is None or not image.levels:
        return None
    return folder / image.levels[0].path


def stated(array: Path) -> Stated:
    """What is said of the array in the folder `array`, by the image around it, else by itself."""
    for parent in list(array.parents)[:MOST_PARENTS]:
        image = _image(parent)
        path = array.relative_to(parent).as_posix()
        for level in image.levels if image is not None else ():
            if level.path.strip("/") == path and image is not None:
                return Stated(image.axes, None if image.problems else level.voxel_nm)
    return Stated(_own_axes(array))


def _image(folder: Path) -> ImageMetadata | None:
    if not any((folder / key).is_file() for key in ("zarr.json", ".zattrs")):
        return None
    try:
        return read_image(str(folder))
    except InputError:
        return None


def _own_axes(array: Path) -> tuple[str, ...]:
    """Names of the axes in the array's own metadata, as zarr 3 and xarray write them."""
    names: Any = (load_json(str(array), "zarr.json") or {}).get("dimension_names")
    if names is None:
        names = (load_json(str(array), ".zattrs") or {}).get("_ARRAY_DIMENSIONS")
    known = isinstance(names, list) and all(isinstance(n, str) for n in names)
    found = tuple(n.strip().lower() for n in names) if known else ()
    return found if {"y", "x"} <= set(found) and len(set(found)) == len(found) else ()


def to_zyx(
    axes: tuple[str, ...], shape: Sequence[int], where: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of an array that are dropped, and those that are z, y, x, in this order.

    Raises
    ------
    InputError
        If an axis that is not one of space is longer than 1.
    """
    if len(axes) != len(shape):
        raise InputError(f"{where} has {len(shape)} axes, its metadata name {list(axes)}; mend the metadata")
    long = [f"{name} ({n})" for name, n in zip(axes, shape, strict=True) if name not in SPACE and n > 1]
    if long:
        raise InputError(
            f"{where} has axes {list(axes)}, and {', '.join(long)} with more than one entry: one volume is "
            "needed; save one channel and one time point alone"
        )
    dropped = tuple(i for i, name in enumerate(axes) if name not in SPACE)
    return dropped, tuple(axes.index(name) for name in SPACE if name in axes)
