"""Where operations put their results inside a work folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.store.location import absolute, checked_name, join
from chunkflow_liver.store.ngff.read import version_beside
from chunkflow_liver.store.ngff.versions import DEFAULT
from chunkflow_liver.store.table import Arrays, Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.store.voxels.region import Known

PathLike = str | os.PathLike[str]

SAME_SIZE = 1e-6
"""By what share the voxel sizes of two volumes may differ, so that numbers of text and of float32 agree."""

SLICES = "slices are looked at whole, from one end of the image to the other"
WINDOWS = "the network looks at windows around an object; 'limits' and 'direction' say how far it goes"
EDITS = "objects would lose what lies elsewhere; edit the whole image"
"""Why some operations take no part of a volume."""


def work_folder(work: PathLike) -> Path:
    """The work folder as an absolute path."""
    return Path(absolute(work))


def label_url(work: PathLike, name: str, into: PathLike | None = None) -> str:
    """URL of the label image `name`: in `into` (an image group), else in the work folder's results."""
    group = absolute(work_folder(work) / "results.ome.zarr" if into is None else into)
    return join(group, "labels", checked_name(name))


def label_version(into: PathLike | None) -> str:
    """OME-Zarr version of a label image in `into`: readers see one zarr format in a group, so as there."""
    return DEFAULT if into is None else version_beside(absolute(into)).name


def image_url(work: PathLike, name: str) -> str:
    """URL of the image `name` of a work folder."""
    return join(absolute(work), f"{checked_name(name)}.ome.zarr")


def table_at(work: PathLike, name: str) -> Table:
    """The table `name` of a work folder."""
    return Table(str(work_folder(work) / "tables" / f"{checked_name(name)}.parquet"))


def arrays_at(work: PathLike, name: str, what: str) -> Arrays:
    """The artefact `what` of the operation `name`."""
    return Arrays(str(work_folder(work) / "artefacts" / f"{checked_name(name)}.{what}"))


def artefact_url(work: PathLike, name: str, what: str) -> str:
    """URL of the image `what` that the operation `name` keeps for itself."""
    return join(absolute(work), "artefacts", f"{checked_name(name)}.{what}.ome.zarr")


def known_of(work: PathLike, instances: Volume) -> Arrays:
    """What the operation that made `instances` knows of them; a place where nothing is for foreign ones.

    A result lies among the labels of an image; any other image that bears its name is not that result.
    """
    is_result = instances.url.split("/")[-2:] == ["labels", instances.name]
    return arrays_at(work, instances.name, "instances" if is_result else "foreign")


def checked_labels(volume: Volume, what: str) -> Volume:
    """`volume` to be read as labels, of which negative ones are refused; `what` they are, in the plural."""
    if np.dtype(volume.dtype).kind not in "bui":
        raise InputError(f"{volume.url} holds {volume.dtype} voxels; {what} must be integers")
    return replace(volume, ids=True)


class Placed(Protocol):
    """What lies somewhere in space."""

    @property
    def url(self) -> str: ...
    @property
    def shape(self) -> Zyx: ...
    @property
    def voxel_nm(self) -> Nm: ...
    @property
    def origin_nm(self) -> Nm: ...


def same_voxels(first: Placed, second: Placed, need: str) -> None:
    """Refuse two volumes whose voxels are not the same ones; `need` says who needs it.

    Raises
    ------
    InputError
        If shapes differ, voxel sizes by more than a millionth, or places by more than half a voxel.
    """
    if first.shape != second.shape:
        raise InputError(
            f"{first.url} has {first.shape} voxels and {second.url} {second.shape}: {need}; choose the level "
            "that matches"
        )
    sizes = list(zip(first.voxel_nm, second.voxel_nm, strict=True))
    if any(abs(a - b) > SAME_SIZE * max(a, b) for a, b in sizes):
        raise InputError(
            f"{first.url} has voxels of {first.voxel_nm} nm and {second.url} of {second.voxel_nm} nm: "
            f"{need}; choose the level that matches, or mend the size in the metadata of the one that is "
            "wrong"
        )
    places = zip(first.origin_nm, second.origin_nm, first.voxel_nm, strict=True)
    if any(abs(a - b) > size / 2 for a, b, size in places):
        raise InputError(
            f"{first.url} begins at {first.origin_nm} nm (z, y, x) and {second.url} at {second.origin_nm} "
            f"nm: {need}; cut both out of the same box, or mend the translation in the metadata of the one "
            "that is wrong"
        )


def known_in_all(*volumes: Volume) -> Known:
    """The voxels that were looked at in every one of some volumes on the same voxels.

    Raises
    ------
    InputError
        If there are none.
    """
    found = volumes[0].known
    for volume in volumes[1:]:
        found = found.clip(volume.known)
    if not found.size:
        raise InputError(
            "nothing is known of the same voxels: "
            + "; ".join(f"{v.url} was segmented in {v.known}" for v in volumes)
            + "; segment both in boxes (roi_nm) that overlap"
        )
    masks = dict.fromkeys(volume.mask for volume in volumes if volume.mask is not None)
    return Known(found, volumes[0].voxel_nm, tuple(masks))


def known_as(output: Volume, known: Known) -> Volume:
    """A new image, which is known where all that it is made of is.

    Raises
    ------
    ConfigError
        If there are two masks, of which an image can name one.
    """
    masks = list(known.by_mask())
    if len(masks) > 1:
        raise ConfigError(
            f"there are two masks, {' and '.join(m.url for m in masks)}; draw them into one image"
        )
    return replace(
        output, region=None if known.box == output.box else known.box, mask=masks[0] if masks else None
    )


def refuse_mask(what: str, why: str, *volumes: Volume | None) -> None:
    """Refuse volumes that a mask is laid over, where an operation cannot tell what it does.

    Raises
    ------
    ConfigError
    """
    for volume in volumes:
        if volume is not None and volume.mask is not None:
            raise ConfigError(f"{what} takes no mask, and {volume.url} has {volume.mask.url}: {why}")


def refuse_part(what: str, why: str, *volumes: Volume | None) -> None:
    """Refuse volumes of which only a part is to be looked at, where an operation needs them whole.

    Raises
    ------
    ConfigError
    """
    refuse_mask(what, why, *volumes)
    for volume in volumes:
        if volume is not None and volume.blank:
            raise ConfigError(
                f"{what} takes no roi_nm, and of {volume.url} only {volume.known} is wanted: {why}"
            )


def class_list(classes: str | int | Sequence[str | int]) -> list[str | int]:
    """Classes as a list, of which a single one may be given as its name or number alone."""
    return [classes] if isinstance(classes, str | int) else list(classes)
