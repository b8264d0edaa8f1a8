"""Images, labels and masks of a source are opened, and refused where they do not belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.ops.steps.place import PathLike, Placed, checked_labels, same_voxels
from chunkflow_liver.store.foreign import Foreign, Image, is_foreign, open_foreign
from chunkflow_liver.store.images import inspect, open_volume

if TYPE_CHECKING:
    from chunkflow_liver.ops.train.sources import Given

SAME_RATIO = 1.01
"""Voxel sizes that differ by less are one."""
ENDINGS = (".ome.zarr", ".zarr", ".ome.tiff", ".ome.tif", ".nii.gz")


class Sized(Placed, Protocol):
    @property
    def dtype(self) -> str: ...


def channel_levels(i: int, given: Given) -> list[tuple[Image, ...]]:
    """Levels of the image of source `i`, each with all channels.

    Raises
    ------
    InputError
        If an image cannot be used, or channels do not lie on the same voxels.
    """
    found = [_levels(path, f"source {i}", given, labels=False) for path in given.images]
    for channel in found[1:]:
        same_voxels(found[0][0], channel[0], f"channels of source {i} must lie on the same voxels")
    levels = []
    for first in found[0]:
        # A channel that was made alone may have fewer levels, or be halved along other axes.
        others = [
            [v for v in c if v.shape == first.shape and v.voxel_nm == first.voxel_nm] for c in found[1:]
        ]
        if all(others):
            levels.append((first, *(fits[0] for fits in others)))
    return levels


def truth_of(i: int, given: Given) -> list[Image] | dict[str, Image]:
    """Levels of the labels of source `i`, or the mask of every class at its finest level.

    Raises
    ------
    ConfigError, InputError
        If there is no mask, or something cannot be used.
    """
    if given.masks is None:
        assert given.labels is not None
        return _levels(given.labels, f"source {i}", given, labels=True)
    if not given.masks:
        raise ConfigError(f"source {i}: masks are paths by the name of their class, got none")
    return {
        name: _levels(path, f"source {i}, mask of {name!r}", given, labels=True)[0]
        for name, path in given.masks.items()
    }


def channel_names(images: Sequence[PathLike]) -> tuple[str, ...]:
    """What the channels of a model are called: the images by the end of their path, one alone 'EM'."""
    if len(images) == 1:
        return ("EM",)
    names: list[str] = []
    for path in images:
        name = called(path)
        ending = next((e for e in ENDINGS if name.endswith(e)), "")
        name = name.removesuffix(ending) if ending else name.rsplit(".", 1)[0]
        names.append(name if name and name not in names else f"{name or 'channel'}-{len(names)}")
    return tuple(names)


def called(path: PathLike) -> str:
    """The end of a path, for messages and reports."""
    return str(path).rstrip("/").rsplit("/", 1)[-1]


def same_place(image: Image, labels: Sized, i: int) -> None:
    """Refuse labels that do not cover the image.

    Raises
    ------
    InputError
    """
    # A file that states no place lies where its image does.
    placed = not any(isinstance(v, Foreign) and not any(v.origin_nm) for v in (image, labels))
    for axis, name in enumerate("zyx"):
        sizes = (image.voxel_nm[axis], labels.voxel_nm[axis])
        spans = (image.shape[axis] * sizes[0], labels.shape[axis] * sizes[1])
        starts = (image.origin_nm[axis] - sizes[0] / 2, labels.origin_nm[axis] - sizes[1] / 2)
        if abs(spans[0] - spans[1]) > max(sizes) * (1 + 1e-6):
            raise InputError(
                f"source {i}: along {name} the image {image.url} is {spans[0]:g} nm long "
                f"({image.shape[axis]} voxels of {sizes[0]:g} nm) and the labels {labels.url} {spans[1]:g} "
                f"nm ({labels.shape[axis]} of {sizes[1]:g} nm): cut both out of the same box, or mend the "
                "voxel size of the wrong one"
            )
        if placed and abs(starts[0] - starts[1]) > max(sizes) / 2:
            raise InputError(
                f"source {i}: along {name} the image {image.url} begins at {starts[0]:g} nm and the labels "
                f"{labels.url} at {starts[1]:g} nm: cut both out of the same box, or mend the translation in "
                "the metadata of the one that is wrong"
            )


def _levels(path: PathLike, what: str, given: Given, *, labels: bool) -> list[Image]:
    try:
        return (
            _foreign(path, given, labels=labels) if is_foreign(path) else _stored(path, given, labels=labels)
        )
    except InputError as err:
        raise InputError(f"{what}: {err}") from err


def _foreign(path: PathLike, given: Given, *, labels: bool) -> list[Image]:
    if not labels and (given.channel is not None or given.timepoint is not None):
        raise InputError(
            f"{path} is a file of one volume, of which no channel or timepoint can be chosen: leave them out"
        )
    return [open_foreign(path, given.voxel_nm, labels=labels)]


def _stored(path: PathLike, given: Given, *, labels: bool) -> list[Image]:
    channel, timepoint = (None, None) if labels else (given.channel, given.timepoint)
    first = open_volume(path, channel=channel, timepoint=timepoint)
    if given.voxel_nm is not None:
        pairs = zip(first.voxel_nm, given.voxel_nm, strict=False)
        if len(given.voxel_nm) != 3 or any(max(a / b, b / a) > SAME_RATIO for a, b in pairs):
            raise InputError(
                f"{first.url} states voxels of {first.voxel_nm} nm, not {tuple(given.voxel_nm)}: leave out "
                "the voxel_nm of the source, or mend the one that is wrong"
            )
    found = inspect(first.url, channel=channel, timepoint=timepoint)[1]
    volumes = [replace(v, complete=first.complete) for v in found]
    return [checked_labels(v, "labels") for v in volumes] if labels else list(volumes)
