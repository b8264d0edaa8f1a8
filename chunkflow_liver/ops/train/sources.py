"""What a person gives to be trained on: images, labels, and what of them is painted; opened and checked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx, zyx
from chunkflow_liver.ops.steps.place import PathLike, checked_labels
from chunkflow_liver.ops.train.stored import Stored
from chunkflow_liver.segmenters.resampling import Resampling, Spline, resampled_shape
from chunkflow_liver.store.images import inspect, open_volume
from chunkflow_liver.store.volume import Volume

SAME_RATIO, MOST_RATIO = 1.01, 1.5
Corners = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Given:
    """One image with labels, as a person gives it.

    Attributes
    ----------
    image, labels : path
        OME-Zarr images over the same piece of tissue; their levels may differ.
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
        Of the image.
    """

    image: PathLike
    labels: PathLike
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
            return entry
        known = [f.name for f in fields(cls)]
        if not isinstance(entry, Mapping) or not {"image", "labels"} <= entry.keys() <= set(known):
            got = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
            raise ConfigError(
                f"source {number} of a training needs 'image' and 'labels', and may have {known[2:]}; got "
                f"{got}"
            )
        return cls(**entry)


def opened(
    given: Sequence[Given],
    classes: Mapping[str, int] | Sequence[str] | None,
    voxel_nm: Sequence[float] | None,
    *,
    flat: bool,
) -> tuple[tuple[Stored, ...], tuple[str, ...], Nm]:
    """Every source at one voxel size, the names of the classes, and that size.

    Parameters
    ----------
    given : sequence of Given
    classes : mapping or sequence of str, optional
        Number of each class in all label images; or names, whose numbers the label images state; those of
        the first label image if not given.
    voxel_nm : sequence of float, optional
        Size to train on; of the first image's finest level if not given.
    flat : bool
        Whether the network sees single planes: z stays as it is then.

    Raises
    ------
    ConfigError, InputError
        If a source cannot be trained on.
    """
    if not given:
        raise ConfigError("a training needs at least one source: an image and its labels")
    images, labels = [], []
    for i, source in enumerate(given):
        images.append(_levels(source.image, f"source {i}", source.channel, source.timepoint))
        labels.append([checked_labels(v, "labels") for v in _levels(source.labels, f"source {i}")])
        _same_place(images[i][0], labels[i][0], i)
    names = _names(classes, labels[0][0])
    target = _size(images[0][0].voxel_nm if voxel_nm is None else voxel_nm)
    found = [
        _stored(i, source, images[i], labels[i], classes=classes, names=names, target=target, flat=flat)
        for i, source in enumerate(given)
    ]
    size = (found[0].voxel_nm[0], *target[1:]) if flat else target
    return tuple(found), names, size


def _levels(
    path: PathLike, what: str, channel: int | None = None, timepoint: int | None = None
) -> list[Volume]:
    try:
        first = open_volume(path, channel=channel, timepoint=timepoint)
    except InputError as err:
        raise InputError(f"{what}: {err}") from err
    volumes = inspect(first.url, channel=channel, timepoint=timepoint)[1]
    return [replace(v, complete=first.complete) for v in volumes]


def _size(values: Sequence[float]) -> Nm:
    if len(values) != 3 or not all(math.isfinite(v) and v > 0 for v in values):
        raise ConfigError(f"voxel_nm is three sizes above 0 (z, y, x), got {tuple(values)}")
    return cast(Nm, tuple(float(v) for v in values))


def _names(classes: Mapping[str, int] | Sequence[str] | None, labels: Volume) -> tuple[str, ...]:
    if classes is None:
        found = tuple(name for name, number in labels.classes if number)
        if not found:
            raise InputError(
                f"{labels.url} states no classes: name them, with their numbers in the labels, as 'classes: "
                "{mitochondrion: 1}'"
            )
        return found
    if isinstance(classes, str) or not all(isinstance(name, str) and name for name in classes):
        raise ConfigError(f"classes are names, with numbers if wanted; got {classes!r}")
    return tuple(classes)


def _numbers(
    classes: Mapping[str, int] | Sequence[str] | None, names: Sequence[str], labels: Volume, i: int
) -> tuple[tuple[int, int], ...]:
    """Number in the labels and number in the network of every class."""
    if isinstance(classes, Mapping):
        odd = [n for n in classes.values() if not isinstance(n, int) or isinstance(n, bool) or n < 1]
        if odd or len(set(classes.values())) < len(classes):
            raise ConfigError(f"classes have numbers of their own from 1 on, got {dict(classes)}")
        return tuple((n, k) for k, n in enumerate(classes.values(), 1))
    there = dict(labels.classes)
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(
            f"source {i}: {labels.url} has no class {missing[0]!r}; it states {sorted(there) or 'none'}. "
            "Give "
            "the numbers of all classes, as 'classes: {" + f"{missing[0]}: 1" + "}'"
        )
    return tuple((there[name], k) for k, name in enumerate(names, 1))


def _same_place(image: Volume, labels: Volume, i: int) -> None:
    """Refuse labels that do not cover the image."""
    for axis, name in enumerate("zyx"):
        sizes = (image.voxel_nm[axis], labels.voxel_nm[axis])
        spans = (image.shape[axis] * sizes[0], labels.shape[axis] * sizes[1])
        starts = (image.origin_nm[axis] - sizes[0] / 2, labels.origin_nm[axis] - sizes[1] / 2)
        if abs(spans[0] - spans[1]) > max(sizes) * (1 + 1e-6):
            raise InputError(
                f"source {i}: along {name} the image {image.url} is {spans[0]:g} nm long "
                f"({image.shape[axis]} "
                f"voxels of {sizes[0]:g} nm) and the labels {labels.url} {spans[1]:g} nm "
                f"({labels.shape[axis]} "
                f"of {sizes[1]:g} nm): cut both out of the same box, or mend the voxel size of the wrong one"
            )
        if abs(starts[0] - starts[1]) > max(sizes) / 2:
            raise InputError(
                f"source {i}: along {name} the image {image.url} begins at {starts[0]:g} nm and the labels "
                f"{labels.url} at {starts[1]:g} nm: cut both out of the same box, or mend the translation in "
                "the metadata of the one that is wrong"
            )


def _ratio(voxel_nm: Nm, target: Nm, flat: bool) -> float:
    pairs = list(zip(voxel_nm, target, strict=True))[1 if flat else 0 :]
    return max(max(a / b, b / a) for a, b in pairs)


def _stored(
    i: int,
    given: Given,
    images: Sequence[Volume],
    labels: Sequence[Volume],
    *,
    classes: Mapping[str, int] | Sequence[str] | None,
    names: Sequence[str],
    target: Nm,
    flat: bool,
) -> Stored:
    image = min(images, key=lambda v: (round(_ratio(v.voxel_nm, target, flat), 9), v.level))
    off = _ratio(image.voxel_nm, target, flat)
    if off > MOST_RATIO:
        raise InputError(
            f"source {i}: {image.url} has levels of {', '.join(str(v.voxel_nm) for v in images)} nm (z, y, "
            "x), "
            f"and the nearest to {target} nm is {off:.3g} times off, wanted at most {MOST_RATIO}; choose a "
            "voxel_nm near one of them"
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
    numbers = () if given.instances_of is not None else _numbers(classes, names, labels[0], i)
    if given.ignore is not None and given.ignore in {0, *(n for n, _ in numbers)}:
        what = "the background" if given.ignore == 0 else "a class"
        raise ConfigError(
            f"source {i}: ignore is {given.ignore}, the number of {what}: voxels that nobody painted need "
            "one "
            "of their own"
        )
    return Stored(
        image,
        found,
        shape,
        size,
        there,
        labels_there,
        numbers,
        0 if given.instances_of is None else list(names).index(given.instances_of) + 1,
        given.ignore,
        _painted(i, given, labels[0], shape, size),
    )


def _labels_for(labels: Sequence[Volume], shape: Zyx, size: Nm, flat: bool) -> Volume:
    """The level of the labels with these voxels, else the one nearest to their size."""
    same = [v for v in labels if v.shape == shape and _ratio(v.voxel_nm, size, False) <= SAME_RATIO]
    return same[0] if same else min(labels, key=lambda v: (round(_ratio(v.voxel_nm, size, flat), 9), v.level))


def _painted(i: int, given: Given, labels: Volume, shape: Zyx, size: Nm) -> tuple[Box, ...]:
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
            raise ConfigError(
                f"source {i}: slices of {labels.voxel_nm[0]:g} nm cannot be trained on at {size[0]:g} nm "
                "along "
                f"z: single ones would be lost; choose a voxel_nm with {labels.voxel_nm[0]:g} first"
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


def called(path: PathLike) -> str:
    """The end of a path, for messages and reports."""
    return os.fspath(path).rstrip("/").rsplit("/", 1)[-1]
