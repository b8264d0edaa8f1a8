"""What a person gives to be trained on: images, labels, and what of them is painted; opened and checked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx, zyx
from chunkflow_liver.ops.steps.place import PathLike
from chunkflow_liver.ops.train.masks import Masks, masks_of
from chunkflow_liver.ops.train.opening import (
    SAME_RATIO,
    channel_levels,
    channel_names,
    same_place,
    truth_of,
)
from chunkflow_liver.ops.train.stored import Stored
from chunkflow_liver.ops.train.targets import Classes, Targets, named
from chunkflow_liver.segmenters.resampling import Resampling, Spline, resampled_shape
from chunkflow_liver.store.foreign import Image

MOST_RATIO = 1.5
Corners = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Given:
    """One image with labels, as a person gives it.

    Attributes
    ----------
    image : path or sequence of path
        OME-Zarr, or any file or folder that `convert` reads; several, on the same voxels, are the channels
        that the network sees.
    labels : path, optional
        Over the same piece of tissue, OME-Zarr or a file; levels may differ.
    masks : mapping of str to path, optional
        Instead of labels: for every class an image that is not 0 where it is.
    voxel_nm : sequence of float, optional
        Voxel size of files that do not state one, in nm (z, y, x).
    slices : sequence of int, optional
        Numbers of the z slices that are painted, all of each; others were not.
    boxes_nm : sequence of corners, optional
        First and opposite corner (z, y, x), in nm from the volume's first corner, of boxes that are painted.
        Without slices and boxes everything is.
    ignore : int, optional
        Number in the labels of voxels that nobody painted.
    instances_of : str, optional
        The class of every number above 0: the labels are ids of objects, as `label` and `edit` make them.
    channel, timepoint : int, optional
        Of the image, if it is an OME-Zarr.
    """

    image: PathLike | Sequence[PathLike]
    labels: PathLike | None = None
    masks: Mapping[str, PathLike] | None = None
    voxel_nm: Sequence[float] | None = None
    slices: Sequence[int] | None = None
    boxes_nm: Sequence[Corners] | None = None
    ignore: int | None = None
    instances_of: str | None = None
    channel: int | None = None
    timepoint: int | None = None

    @classmethod
    def of(cls, entry: Given | Mapping[str, Any], number: int) -> Given:
        """From a mapping with the same keys."""
        if isinstance(entry, Given):
            return entry.checked(number)
        known = [f.name for f in fields(cls)]
        if not isinstance(entry, Mapping) or not {"image"} <= entry.keys() <= set(known):
            got = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
            raise ConfigError(
                f"source {number} of a training needs 'image' and 'labels' or 'masks', and may have "
                f"{known[3:]}; got {got}"
            )
        return cls(**entry).checked(number)

    def checked(self, number: int) -> Given:
        """Itself, if it has labels of one kind."""
        if (self.labels is None) == (self.masks is None):
            raise ConfigError(
                f"source {number} needs either 'labels' (one image) or 'masks' (one image per class); it has "
                f"{'none' if self.labels is None else 'both'}"
            )
        if self.masks is not None and (self.ignore is not None or self.instances_of is not None):
            raise ConfigError(
                f"source {number}: 'ignore' and 'instances_of' speak of numbers in 'labels', which masks do "
                "not have; say what is painted by 'slices' or 'boxes_nm'"
            )
        if not self.images:
            raise ConfigError(f"source {number} has no image: give a path, or one per channel")
        return self

    @property
    def apart(self) -> bool:
        """Whether slices alone are painted, most of them without a painted neighbour."""
        painted = {z for z in self.slices or () if isinstance(z, int)}
        beside = sum(z - 1 in painted or z + 1 in painted for z in painted)
        return not self.boxes_nm and 2 * beside < len(painted)

    @property
    def images(self) -> tuple[PathLike, ...]:
        """One per channel."""
        return (self.image,) if isinstance(self.image, str | os.PathLike) else tuple(self.image)


@dataclass(frozen=True)
class Opened:
    """All sources, at one voxel size.

    Attributes
    ----------
    sources : tuple of Stored
    names : tuple of str
        Classes.
    voxel_nm : Nm
    channels : tuple of str
    regions : tuple of tuple of int
        Numbers of every class in dataset.json where they may overlap; empty if not.
    """

    sources: tuple[Stored, ...]
    names: tuple[str, ...]
    voxel_nm: Nm
    channels: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...]


def opened(
    given: Sequence[Given],
    classes: Classes | None,
    voxel_nm: Sequence[float] | None,
    *,
    flat: bool,
    regions: bool = False,
) -> Opened:
    """Every source at one voxel size, with the classes and channels of all.

    Parameters
    ----------
    given : sequence of Given
    classes : mapping or sequence of str, optional
        Number of each class in all label images, or several where classes overlap; or names, whose numbers
        the label images state; those of the first source if not given.
    voxel_nm : sequence of float, optional
        Size to train on; of the first image's finest level if not given.
    flat : bool
        Whether the network sees single planes: z stays as it is then.
    regions : bool
        Whether classes may overlap; they may where one has several numbers.

    Raises
    ------
    ConfigError, InputError
        If a source cannot be trained on.
    """
    if not given:
        raise ConfigError("a training needs at least one source: an image and its labels")
    images = [channel_levels(i, source) for i, source in enumerate(given)]
    counts = [len(levels[0]) for levels in images]
    if len(set(counts)) > 1:
        odd = next(i for i, n in enumerate(counts) if n != counts[0])
        raise InputError(
            f"source {odd} has {counts[odd]} channels and source 0 has {counts[0]}: the network sees the "
            "same ones everywhere"
        )
    truths = [truth_of(i, source) for i, source in enumerate(given)]
    for i, (levels, truth) in enumerate(zip(images, truths, strict=True)):
        same_place(levels[0][0], next(iter(truth.values())) if isinstance(truth, dict) else truth[0], i)
    names, sets = named(classes, tuple(truths[0]) if isinstance(truths[0], dict) else truths[0][0])
    several = any(len(numbers) > 1 for numbers in sets)
    if regions and not several and not any(isinstance(truth, dict) for truth in truths):
        raise ConfigError(
            "'regions' says that a voxel may be of several classes, which no label image can tell: give "
            "masks, or numbers of several classes, as 'classes: {cell: [1, 2], nucleus: [2]}'"
        )
    targets = Targets(names, sets, regions or several)
    labels = [
        [masks_of(truth, names, targets.regions, i)] if isinstance(truth, dict) else truth
        for i, truth in enumerate(truths)
    ]
    target = _size(images[0][0][0].voxel_nm if voxel_nm is None else voxel_nm)
    found = [
        _stored(i, source, images[i], labels[i], targets, target=target, flat=flat)
        for i, source in enumerate(given)
    ]
    size = (found[0].voxel_nm[0], *target[1:]) if flat else target
    numbers = targets.written if targets.regions else ()
    return Opened(tuple(found), names, size, channel_names(given[0].images), numbers)


def _size(values: Sequence[float]) -> Nm:
    if len(values) != 3 or not all(math.isfinite(v) and v > 0 for v in values):
        raise ConfigError(f"voxel_nm is three sizes above 0 (z, y, x), got {tuple(values)}")
    return cast(Nm, tuple(float(v) for v in values))


def _ratio(voxel_nm: Nm, target: Nm, flat: bool) -> float:
    pairs = list(zip(voxel_nm, target, strict=True))[1 if flat else 0 :]
    return max(max(a / b, b / a) for a, b in pairs)


def _stored(
    i: int,
    given: Given,
    levels: Sequence[tuple[Image, ...]],
    labels: Sequence[Image | Masks],
    targets: Targets,
    *,
    target: Nm,
    flat: bool,
) -> Stored:
    channels = min(levels, key=lambda v: (round(_ratio(v[0].voxel_nm, target, flat), 9), v[0].level))
    image, names = channels[0], targets.names
    off = _ratio(image.voxel_nm, target, flat)
    if off > MOST_RATIO:
        raise InputError(
            f"source {i}: {image.url} has levels of {', '.join(str(v[0].voxel_nm) for v in levels)} nm (z, "
            f"y, x), and the nearest to {target} nm is {off:.3g} times off, wanted at most {MOST_RATIO}; "
            "choose a voxel_nm near one of them"
        )
    wanted: Nm = (image.voxel_nm[0], *target[1:]) if flat else target
    same = off <= SAME_RATIO
    shape = image.shape if same else resampled_shape(image.shape, image.voxel_nm, wanted)
    size = image.voxel_nm if same else wanted
    there = Resampling.between(image.shape, shape, image.voxel_nm, size, Spline(3))
    found = _labels_for(labels, shape, size, flat)
    labels_there = Resampling(found.shape, shape, (0, 0, 0))
    if given.instances_of is not None and given.instances_of not in names:
        raise ConfigError(
            f"source {i}: instances_of names {given.instances_of!r}, which is not among the classes "
            f"{list(names)}"
        )
    numbers = () if given.instances_of is not None else targets.of(labels[0], i)
    if given.ignore is not None and given.ignore in {0, *(n for n, _ in numbers)}:
        what = "the background" if given.ignore == 0 else "a class"
        raise ConfigError(
            f"source {i}: ignore is {given.ignore}, the number of {what}: voxels that nobody painted need "
            "one "
            "of their own"
        )
    instances = 0
    if given.instances_of is not None:
        instances = targets.target(list(names).index(given.instances_of) + 1)
    return Stored(
        channels,
        found,
        shape,
        size,
        there,
        labels_there,
        numbers,
        instances,
        given.ignore,
        _painted(i, given, labels[0], [v[0] for v in levels], shape, size),
        regions=targets.regions,
    )


def _labels_for(labels: Sequence[Image | Masks], shape: Zyx, size: Nm, flat: bool) -> Image | Masks:
    """The level of the labels with these voxels, else the one nearest to their size."""
    same = [v for v in labels if v.shape == shape and _ratio(v.voxel_nm, size, False) <= SAME_RATIO]
    return same[0] if same else min(labels, key=lambda v: (round(_ratio(v.voxel_nm, size, flat), 9), v.level))


def _painted(
    i: int, given: Given, labels: Image | Masks, levels: Sequence[Image], shape: Zyx, size: Nm
) -> tuple[Box, ...]:
    """Boxes of what is painted, in voxels that are trained on."""
    boxes: list[Box] = []
    if given.slices is not None:
        numbers = list(given.slices)
        if not numbers or not all(isinstance(z, int) and not isinstance(z, bool) for z in numbers):
            raise ConfigError(f"source {i}: slices are whole numbers of z slices, got {given.slices!r}")
        odd = [z for z in numbers if not 0 <= z < labels.shape[0]]
        if odd:
            raise ConfigError(
                f"source {i}: there is no slice {odd[0]} of {labels.url}; it has 0 to {labels.shape[0] - 1}"
            )
        if shape[0] != labels.shape[0]:
            # A network of single planes keeps z, but of a pyramid that halves z the nearest level may not.
            keep = [v.voxel_nm for v in levels if v.shape[0] == labels.shape[0]]
            raise ConfigError(
                f"source {i}: slices of {labels.voxel_nm[0]:g} nm cannot be trained on at {size[0]:g} nm "
                f"along z: single ones would be lost; choose a voxel_nm with {labels.voxel_nm[0]:g} first, "
                f"near a level of the image that has all slices: {', '.join(map(str, keep)) or 'none has'}"
            )
        boxes += [Box((z, 0, 0), (z + 1, *shape[1:])) for z in sorted(set(numbers))]
    for corners in given.boxes_nm or ():
        boxes.append(_box(i, corners, shape, size))
    return tuple(boxes) if given.slices is not None or given.boxes_nm is not None else (Box.of(shape),)


def _box(i: int, corners: Corners, shape: Zyx, size: Nm) -> Box:
    try:
        (a, b) = corners
        ends = [(float(p), float(q), s, n) for p, q, s, n in zip(a, b, size, shape, strict=True)]
    except (TypeError, ValueError) as err:
        raise ConfigError(
            f"source {i}: a box is two corners (z, y, x) in nm, as [[0, 0, 0], [400, 2000, 2000]]; got "
            f"{corners!r}"
        ) from err
    # Voxels that lie wholly inside: what is cut may be half painted.
    start = [math.ceil(round(p / s, 6)) for p, _, s, _ in ends]
    stop = [math.floor(round(q / s, 6)) for _, q, s, _ in ends]
    box = Box(zyx(start), zyx(stop))
    if box.size == 0 or not Box.of(shape).contains(box):
        extent = tuple(round(n * s, 3) for n, s in zip(shape, size, strict=True))
        raise ConfigError(
            f"source {i}: the box {[list(a), list(b)]} nm holds no voxel, or reaches outside of the image, "
            f"which goes from (0, 0, 0) to {extent} nm (z, y, x)"
        )
    return box
