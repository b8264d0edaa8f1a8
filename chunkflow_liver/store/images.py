"""Open and check OME-Zarr images on disk or in an object store."""

from __future__ import annotations

import heapq
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.archive import archive_of
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.location import (
    METADATA_KEYS,
    absolute,
    chunk_advice,
    holds_more,
    is_local,
    join,
    open_store,
    read_key,
    store_errors,
)
from chunkflow_liver.store.ngff import SPACE, ImageMetadata, array_problems, read_image
from chunkflow_liver.store.ngff.read import extent_problems
from chunkflow_liver.store.ngff.systems import axis_problems
from chunkflow_liver.store.slice_faults import slice_faults
from chunkflow_liver.store.volume import IMAGE_DTYPES, LABEL_DTYPES, Volume
from chunkflow_liver.store.voxels.absent import absent
from chunkflow_liver.xp import Array

MOST_RATIO = 1.5
MOST_NUMBERS = 20
"""Of the numbers in a label image so many are told."""
MANY = 1 << 20
"""So many numbers are gathered before they are sorted, and so many missing chunks are counted."""


def open_volume(
    path: str | os.PathLike[str],
    *,
    level: int | None = None,
    voxel_nm: Sequence[float] | None = None,
    channel: int | None = None,
    timepoint: int | None = None,
    missing_chunks: str = "error",
    unit: str | None = None,
) -> Volume:
    """A handle to one level of an OME-Zarr image; reads metadata only.

    Parameters
    ----------
    path : str or path
        Image group: a local folder or a URL (s3, gs, az, https, memory).
    level : int, optional
        Level of the pyramid, 0 the finest (default).
    voxel_nm : sequence of 3 float, optional
        Instead of `level`: take the level whose (z, y, x) voxel size in nm is nearest, if it is at most 1.5
        times off on every axis.
    channel, timepoint : int, optional
        Index along c and t; needed where an axis is longer than 1.
    missing_chunks : {'error', 'fill'}
        Whether a chunk that is not stored is an error, or the array's fill value: many writers leave
        out empty chunks, and an upload that broke off looks the same.
    unit : str, optional
        Unit of spatial axes whose metadata state none.

    Raises
    ------
    InputError
        If the image cannot be used; the text lists every problem found.
    """
    if missing_chunks not in ("error", "fill"):
        raise InputError(f"missing_chunks must be 'error' or 'fill', got {missing_chunks!r}")
    metadata, volumes, problems = inspect(path, channel=channel, timepoint=timepoint, unit=unit)
    if problems:
        raise InputError(
            f"{metadata.url} cannot be used, {len(problems)} problem(s): "
            + "; ".join(f"({i}) {p}" for i, p in enumerate(problems, 1))
        )
    if level is not None and voxel_nm is not None:
        raise InputError("choose the level by 'level' or by 'voxel_nm', not by both")
    chosen = level or 0
    if voxel_nm is not None:
        if len(voxel_nm) != 3 or not all(math.isfinite(v) and v > 0 for v in voxel_nm):
            raise InputError(f"voxel_nm must be three sizes above 0 (z, y, x), got {tuple(voxel_nm)}")
        chosen = nearest_level(volumes, cast(Nm, tuple(voxel_nm)))
        pairs = zip(volumes[chosen].voxel_nm, voxel_nm, strict=True)
        if any(max(a / b, b / a) > MOST_RATIO for a, b in pairs):
            raise InputError(
                f"{metadata.url} has no level of about {tuple(voxel_nm)} nm (z, y, x): its levels have "
                f"{', '.join(str(v.voxel_nm) for v in volumes)} nm, and the nearest is more than "
                f"{MOST_RATIO} times off; give the size of one of them, or its number as 'level'"
            )
    if not 0 <= chosen < len(volumes):
        raise InputError(f"{metadata.url} has levels 0 to {len(volumes) - 1}, not {chosen}")
    volume = replace(volumes[chosen], complete=missing_chunks == "error")
    if not volume.complete and (empty := _emptiness(volume)):
        raise InputError(empty)
    return volume


def _emptiness(volume: Volume) -> str:
    """What to say of an image of which no chunk is stored, which is no image with gaps; '' of others."""
    if holds_more(volume.url, volume.path):
        return ""
    return (
        f"not one chunk of {join(volume.url, volume.path)} is there, so nothing of it is known: copy the "
        "image again, with the files inside its folders"
    )


def nearest_level(volumes: Sequence[Volume], voxel_nm: Nm) -> int:
    """The level whose voxel size is nearest in ratio (sum of squared logarithms over the axes)."""

    def distance(volume: Volume) -> float:
        return sum(math.log(a / b) ** 2 for a, b in zip(volume.voxel_nm, voxel_nm, strict=True))

    return min(range(len(volumes)), key=lambda i: distance(volumes[i]))


def inspect(
    path: str | os.PathLike[str],
    *,
    channel: int | None = None,
    timepoint: int | None = None,
    unit: str | None = None,
) -> tuple[ImageMetadata, list[Volume], list[str]]:
    """Metadata, a handle per level, and every problem that the metadata show; reads no voxels."""
    url = absolute(path)
    _refuse_other_files(url)
    # Another program may have written the image anew since.
    forget_handles()
    metadata = read_image(url, unit=unit)
    problems = list(metadata.problems)
    volumes: list[Volume] = []
    for i, level in enumerate(metadata.levels):
        found = array_problems(url, level.path, len(metadata.axes))
        problems += found
        if not found:
            try:
                stored = zarr.open_array(open_store(url), path=level.path, mode="r")
            except store_errors(
                ValueError,
                TypeError,
                LookupError,
                AttributeError,
                RuntimeError,
                ArithmeticError,
                AssertionError,
            ) as err:
                problems.append(f"level {i} ({level.path!r}) cannot be opened: {err}")
                continue
            volumes.append(_handle(metadata, i, stored))
            problems += _dtype_problems(volumes[-1], stored.dtype, metadata.is_label)
            names = getattr(stored.metadata, "dimension_names", None)
            if names and tuple(str(n).lower() for n in names) != metadata.axes:
                problems.append(f"level {i}: dimension_names {list(names)} differ from axes {metadata.axes}")
            problems += axis_problems(metadata.axes, stored.shape)
            problems += _selection_problems(metadata.axes, stored.shape, channel, timepoint)
    if len(volumes) == len(metadata.levels) > 1 and not metadata.problems:
        problems += extent_problems(metadata, [v.shape for v in volumes])
    if len({v.dtype for v in volumes}) > 1:
        problems.append(f"levels have different dtypes: {[v.dtype for v in volumes]}")
    problems = list(dict.fromkeys(problems))
    if problems:
        return metadata, volumes, problems
    at = tuple((a, i) for a, i in (("c", channel), ("t", timepoint)) if i is not None and a in metadata.axes)
    volumes = [replace(v, at=at, levels=len(volumes), reduction=_reduction(volumes[0], v)) for v in volumes]
    if region := metadata.region:
        if not (region.size and volumes[0].box.contains(region)):
            problems.append(f"'region' {region} does not lie in the {volumes[0].shape} voxels")
        volumes = [replace(v, region=region.coarser(v.reduction)) for v in volumes]
    if told := metadata.mask:
        where = told["url"] if "://" in told["url"] else absolute(join(url, told["url"]))
        volumes = [replace(v, mask=Volume(**{**told, "url": where})) for v in volumes]
    return metadata, volumes, problems


def _refuse_other_files(url: str) -> None:
    if not is_local(url) or archive_of(url) is not None:
        return
    if not os.path.exists(url):
        raise InputError(f"no such file or folder: {url}{_beside(url)}")
    if os.path.isfile(url):
        raise InputError(
            f"{url} is a file, not an OME-Zarr folder; run 'chunkflow-liver convert' on it first"
        )
    if not any(os.path.exists(join(url, key)) for key in METADATA_KEYS) and os.listdir(url):
        raise InputError(
            f"{url} is not a zarr group: it has neither zarr.json nor .zgroup; if it holds slices, or is "
            "an N5 or precomputed volume, run 'chunkflow-liver convert' on it first"
        )


def _beside(url: str) -> str:
    """The images in the group where one was looked for, which often differ from it by a letter."""
    group = next(folder for folder in Path(url).parents if folder.is_dir())
    if not any((group / key).exists() for key in METADATA_KEYS):
        return ""
    inside = [f for folder in (group, group / "labels") if folder.is_dir() for f in sorted(folder.iterdir())]
    names = [f.relative_to(group).as_posix() for f in inside if _is_image(str(f))]
    return f"; {group} has {', '.join(names) or 'no images in it'}"


def _is_image(url: str) -> bool:
    return any(b"multiscales" in (read_key(url, key) or b"") for key in ("zarr.json", ".zattrs"))


def _handle(metadata: ImageMetadata, i: int, stored: zarr.Array[Any]) -> Volume:
    level = metadata.levels[i]

    def spatial(values: Sequence[int]) -> Zyx:
        found = dict(zip(metadata.axes, values, strict=True))
        return cast(Zyx, tuple(int(found.get(a, 1)) for a in SPACE))

    return Volume(
        url=metadata.url,
        path=level.path,
        shape=spatial(stored.shape),
        dtype=np.dtype(stored.dtype).newbyteorder("=").name,
        voxel_nm=level.voxel_nm,
        chunks=spatial(stored.chunks),
        shards=spatial(stored.shards) if stored.shards else None,
        kind="label" if metadata.is_label else "image",
        origin_nm=level.origin_nm,
        classes=metadata.classes,
        axes=metadata.axes,
        level=i,
        ome_version=metadata.version.name,
    )


def _reduction(finest: Volume, volume: Volume) -> Zyx:
    ratios = zip(finest.voxel_nm, volume.voxel_nm, finest.shape, strict=True)
    return cast(Zyx, tuple(max(1, round(b / a)) if n > 1 else 1 for a, b, n in ratios))


def _dtype_problems(volume: Volume, dtype: np.dtype[Any], is_label: bool) -> list[str]:
    known = LABEL_DTYPES if is_label else IMAGE_DTYPES
    if volume.dtype in known:
        return []
    what = "labels" if is_label else "an image"
    found = f"level {volume.level} holds {dtype} voxels; {what} must be one of {', '.join(known)}"
    if volume.dtype not in LABEL_DTYPES:
        return [found]
    # Many programs write ids without the mark `image-label`.
    return [f"{found}; if they are ids of objects, make labels of them: {to_labels(volume)}"]


def to_labels(volume: Volume) -> str:
    """The command that marks the numbers of an image as labels."""
    z, y, x = volume.voxel_nm
    return (
        f"chunkflow-liver convert {volume.url}/{volume.path} labels.ome.zarr --labels --voxel-nm "
        f"{z:g} {y:g} {x:g}"
    )


def _selection_problems(
    axes: tuple[str, ...], shape: tuple[int, ...], channel: int | None, timepoint: int | None
) -> list[str]:
    problems = []
    for axis, chosen, option in (("c", channel, "channel"), ("t", timepoint, "timepoint")):
        n = dict(zip(axes, shape, strict=False)).get(axis, 1)
        if chosen is None and n > 1:
            problems.append(f"axis {axis} has {n} entries; choose one with '{option}'")
        elif chosen is not None and not 0 <= chosen < n:
            problems.append(f"{option} {chosen} does not exist; axis {axis} has {n} entries")
    return problems


def validate(
    path: str | os.PathLike[str], *, deep: bool = False, missing_chunks: str = "error", **selection: Any
) -> list[str]:
    """Every problem of the image at `path`, as one line each; an empty list if it can be used.

    Chunks are looked at only where the metadata are right.

    Parameters
    ----------
    path : str or path
        Image group.
    deep : bool
        Read every chunk of every level, and report those that are corrupt or not finite; of an image also
        slices that are black, duplicated, shifted or missing, and jumps of contrast.
    missing_chunks : {'error', 'fill'}
        Whether a chunk that is not stored is a problem, as for `open_volume`.
    **selection
        `channel`, `timepoint`, `unit` as for `open_volume`.
    """
    try:
        _, volumes, problems = inspect(path, **selection)
    except InputError as err:
        return [str(err)]
    for found in [] if problems else volumes:
        volume = replace(found, complete=missing_chunks == "error")
        try:
            missing = list(itertools.islice(absent(volume), MANY)) if volume.complete else []
        except ChunkError as err:
            problems.append(f"level {volume.level}: {err}")
            continue
        if not volume.complete and (empty := _emptiness(volume)):
            problems.append(f"level {volume.level}: {empty}")
        elif missing:
            total = math.prod(-(-n // u) for n, u in zip(volume.shape, volume.write_unit, strict=True))
            count = f"{len(missing)} or more" if len(missing) == MANY else len(missing)
            problems.append(
                f"level {volume.level}: {count} of {total} chunks are missing, the first is "
                f"{join(volume.url, volume.path, missing[0])}; {chunk_advice(volume.url, missing=True)}"
            )
        elif deep:
            damaged = _voxel_problems(volume)
            problems += damaged
            if volume.level == 0 and not damaged:
                problems += [f"level 0: {text}" for text in slice_faults(volume)]
    return problems


def numbers_absent(volume: Volume, numbers: Iterable[int]) -> tuple[set[int], list[int]]:
    """Which of `numbers`, 0 left out, no voxel of a label image has, and the smallest numbers that are there.

    Reads the image until all are found. At most `MOST_NUMBERS` others are told.
    """
    left = set(numbers) - {0}
    seen: set[int] = set()
    for box in write_boxes(volume):
        if not left:
            break
        seen.update(np.unique(volume.read(box)).tolist())
        left -= seen
        seen = set(heapq.nsmallest(MOST_NUMBERS, seen - {0}))
    return left, sorted(seen)


def numbers_in(volume: Volume) -> Array:
    """All numbers but 0 that voxels of a label image have, sorted, read write unit by write unit."""
    held = np.zeros(0, volume.dtype)
    waiting: list[Array] = []
    for box in write_boxes(volume):
        waiting.append(np.unique(volume.read(box)))
        # Joined when as many wait as are held: each number is sorted a few times, whatever the boxes.
        if sum(map(len, waiting)) > max(len(held), MANY):
            held, waiting = np.unique(np.concatenate([held, *waiting])), []
    held = np.unique(np.concatenate([held, *waiting]))
    return held[held != 0]


def classes_absent(volume: Volume) -> tuple[list[str], list[int]]:
    """Names of the classes that no voxel of a label image has, and the smallest numbers that are there.

    `volume` is level 0. Coarse levels are looked at first: what they show is there.
    """
    left = {number for _, number in volume.classes}
    seen: list[int] = []
    for level in reversed(volume.pyramid()):
        left, seen = numbers_absent(level, left)
    return [name for name, number in volume.classes if number in left], seen


def write_boxes(volume: Volume) -> Iterator[Box]:
    """The write units of a volume, as boxes."""
    unit = volume.write_unit
    for at in np.ndindex(*(-(-n // u) for n, u in zip(volume.shape, unit, strict=True))):
        start = cast(Zyx, tuple(i * u for i, u in zip(at, unit, strict=True)))
        yield Box(start, cast(Zyx, tuple(s + u for s, u in zip(start, unit, strict=True)))).clip(volume.box)


def _voxel_problems(volume: Volume) -> list[str]:
    problems = []
    for box in write_boxes(volume):
        try:
            voxels = volume.read(box)
        except ChunkError as err:
            problems.append(str(err))
            continue
        if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
            first = tuple(
                int(i) + s for i, s in zip(np.argwhere(~np.isfinite(voxels))[0], box.start, strict=True)
            )
            count = int((~np.isfinite(voxels)).sum())
            problems.append(
                f"level {volume.level}: {count} voxels are NaN or infinite, the first at (z, y, x) = {first}"
            )
        if volume.kind == "label" and voxels.dtype.kind == "i" and voxels.min() < 0:
            problems.append(f"level {volume.level}: labels below 0 in {box}")
    return problems
