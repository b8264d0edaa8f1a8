"""The image group that label images lie in: their list, and an overview where it has no image of its own.

A group with labels alone is opened by no viewer. Only the process that plans and hands out work writes here.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import xxhash
import zarr

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.store.images import inspect, write_boxes
from chunkflow_liver.store.location import is_local, join, open_store, relative, write_key
from chunkflow_liver.store.ngff import group_attributes, load_json
from chunkflow_liver.store.ngff.versions import Version
from chunkflow_liver.store.ngff.write import image_attributes
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

log = logging.getLogger(__name__)

OVERVIEW = "overview"
"""Beginning of the names of its arrays, and the method that its metadata state."""
TOLD = ("description", "image", "extent_nm")
"""What the metadata of an overview say beside its checksum."""
CHUNK_SIDE = 128
MOST_KEPT, MOST_READ = 1 << 21, 1 << 28
"""Voxels of the largest overview, and of the largest level that is read whole to make one."""


def containers(volume: Volume) -> tuple[str, ...]:
    """The image group and the `labels` group that a label image joins; none for other images."""
    parent = volume.url.rpartition("/")[0]
    if volume.kind != "label" or not parent.endswith("/labels"):
        return ()
    return parent.rpartition("/")[0], parent


def list_label(volume: Volume) -> None:
    """Enter a label image into the list of its `labels` group, and make both groups around it if need be.

    What was deleted or damaged there is written again.
    """
    groups = containers(volume)
    if not groups:
        return
    image, labels = groups
    _show(image, volume)
    version = volume.version
    attributes = stored_attributes(labels, version)
    if attributes is not None and _is_listed(volume, attributes):
        return
    names = {volume.url.rpartition("/")[2], *_listed(volume, attributes or {})}
    if is_local(labels) and _is_ours(image, version):
        names = {n for n in names if os.path.isdir(join(labels, n))} | set(_label_folders(labels))
    if attributes is None or not isinstance(attributes.get("ome", {}), dict):
        attributes = {}
    ome = version.ome(attributes)
    if version.zarr_format == 3:
        ome["version"] = volume.ome_version
    ome["labels"] = sorted(names)
    write_attributes(labels, version, attributes)


def wrong_around(volume: Volume) -> str:
    """What is not as it was written of the groups around a label image on a local disk; '' if nothing."""
    groups = containers(volume)
    if not groups or not is_local(volume.url):
        return ""
    image, labels = groups
    try:
        attributes = _attributes(labels, volume.version)
        if attributes is None or not _is_listed(volume, attributes):
            return f"the list of label images in {labels} is damaged or gone"
        attributes = _attributes(image, volume.version)
        shown = attributes is not None and _is_shown(image, attributes)
        return "" if shown else f"the overview in {image} is damaged or gone"
    except InputError as err:
        return str(err)


def _listed(volume: Volume, attributes: Mapping[str, Any]) -> list[str]:
    """Names that the attributes of a `labels` group state; none where they state no list."""
    ome = attributes if volume.version.zarr_format == 2 else attributes.get("ome")
    stated = ome.get("labels") if isinstance(ome, dict) else None
    return [n for n in stated if isinstance(n, str)] if isinstance(stated, list) else []


def _is_listed(volume: Volume, attributes: Mapping[str, Any]) -> bool:
    """Whether a `labels` group lists an image, and, if it is ours, nothing that is not there."""
    image, labels = containers(volume)
    names = _listed(volume, attributes)
    if volume.url.rpartition("/")[2] not in names:
        return False
    if not (is_local(labels) and _is_ours(image, volume.version)):
        return True
    stated = attributes.get("ome", {}).get("version", volume.ome_version)
    return stated == volume.ome_version and all(os.path.isdir(join(labels, n)) for n in names)


def unlist_label(volume: Volume) -> None:
    """Take a label image out of the list of its `labels` group, before it is removed."""
    for labels in containers(volume)[1:]:
        attributes = stored_attributes(labels, volume.version) or {}
        ome = volume.version.ome(attributes)
        name, stated = volume.url.rpartition("/")[2], ome.get("labels")
        if isinstance(stated, list) and name in stated:
            ome["labels"] = [n for n in stated if n != name]
            write_attributes(labels, volume.version, attributes)


def stored_attributes(url: str, version: Version) -> dict[str, Any] | None:
    """Attributes of the group at `url`, of that version; None where they are missing or damaged."""
    try:
        return _attributes(url, version)
    except InputError as err:
        log.warning("%s; it is written again", err)
        return None


def _attributes(url: str, version: Version) -> dict[str, Any] | None:
    """The same; InputError where they are damaged."""
    group = load_json(url, version.group_key)
    document = load_json(url, version.attributes_key)
    if group is None or group.get("zarr_format") != version.zarr_format:
        return None
    if version.zarr_format == 2:
        return document or {}
    found = group.get("attributes")
    return found if isinstance(found, dict) and group.get("node_type") == "group" else None


def write_attributes(url: str, version: Version, attributes: dict[str, Any]) -> None:
    """Make the group at `url`, or replace its attributes; what it holds stays."""
    if version.zarr_format == 2:
        write_key(url, version.group_key, json.dumps({"zarr_format": 2}).encode())
    document = version.document(attributes)
    write_key(url, version.attributes_key, json.dumps(document, indent=2).encode())


def _label_folders(labels: str) -> list[str]:
    """Names of the label images that a local `labels` group holds, listed or not."""
    found = []
    for name in os.listdir(labels) if is_local(labels) and os.path.isdir(labels) else ():
        try:
            attributes, _ = group_attributes(join(labels, name))
        except InputError:
            continue
        if "image-label" in attributes.get("ome", attributes):
            found.append(name)
    return found


def _show(url: str, volume: Volume) -> None:
    """Give the group at `url` an overview of what `volume` was made of, unless it has an image already."""
    attributes = stored_attributes(url, volume.version)
    extent = [round(float(n * v), 6) for n, v in zip(volume.shape, volume.voxel_nm, strict=True)]
    if attributes and _is_shown(url, attributes, extent):
        return
    if attributes is None:
        write_attributes(url, volume.version, {})
    # Readers want as many levels as the labels have.
    levels = [_overview(volume)]
    while len(levels) < volume.levels:
        levels.append(levels[-1][tuple(slice(None, None, 2) for _ in range(3))])
    for i, voxels in enumerate(levels):
        _store(url, f"{OVERVIEW}-{i}", volume, voxels)
    made = image_attributes(
        version=volume.ome_version,
        name=OVERVIEW,
        axes=volume.axes,
        levels=[(f"{OVERVIEW}-{i}", *_place(volume, cast(Zyx, v.shape))) for i, v in enumerate(levels)],
        label=None,
        method=OVERVIEW,
        metadata={
            "description": "a coarse view of the image that the label images were made from",
            "image": relative(volume.source, url) if volume.source else None,
            "extent_nm": extent,
        },
    )
    if is_local(url):
        _image(made)["metadata"]["checksum"] = _sum(url, made)
    # The group is an image when all of it is there.
    write_attributes(url, volume.version, made)


def _image(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The first image of a group; empty where there is none."""
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") if isinstance(ome, dict) else None
    return images[0] if isinstance(images, list) and images and isinstance(images[0], dict) else {}


def _is_ours(url: str, version: Version) -> bool:
    """Whether a group around label images was made for them, so that it has no image of its own."""
    try:
        return _is_overview(_image(_attributes(url, version) or {}))
    except InputError:
        return True


def _is_overview(image: Mapping[str, Any]) -> bool:
    levels = image.get("datasets")
    names = [str(v.get("path")) for v in levels if isinstance(v, dict)] if isinstance(levels, list) else []
    return image.get("type") == OVERVIEW or not names or any(n.startswith(f"{OVERVIEW}-") for n in names)


def _is_shown(url: str, attributes: Mapping[str, Any], extent: list[float] | None = None) -> bool:
    """Whether a group has an image of its own, or a whole overview, of `extent` nm where that is given."""
    if not _is_overview(image := _image(attributes)):
        return True
    told = image.get("metadata")
    if not isinstance(told, dict) or (extent is not None and told.get("extent_nm") != extent):
        return False
    if "checksum" not in told:
        # Made by release 0.1, or in an object store.
        return set(told) == set(TOLD)
    bare = json.loads(json.dumps(attributes))
    return bool(_image(bare)["metadata"].pop("checksum") == _sum(url, bare))


def _sum(url: str, attributes: dict[str, Any]) -> str:
    """Checksum of an overview: of its attributes, but for the checksum in them, and of its files."""
    found = xxhash.xxh3_128(json.dumps(attributes, sort_keys=True).encode())
    for file in sorted(Path(url).glob(f"{OVERVIEW}-*/**/*")):
        if file.is_file():
            found.update(file.relative_to(url).as_posix().encode())
            found.update(file.read_bytes())
    return found.hexdigest()


def _store(url: str, name: str, volume: Volume, voxels: Array) -> None:
    """Write an array of a group, with the axes and in the format of `volume`."""
    lead = (1,) * (len(volume.axes) - 3)
    third = volume.version.zarr_format == 3
    zarr.create_array(
        open_store(url),
        name=name,
        data=voxels.reshape(lead + voxels.shape),
        chunks=lead + tuple(min(n, CHUNK_SIDE) for n in voxels.shape),
        zarr_format=volume.version.zarr_format,
        dimension_names=volume.axes if third else None,
        chunk_key_encoding=None if third else {"name": "v2", "separator": "/"},
        config={"write_empty_chunks": True},
        overwrite=True,
    )


def _place(volume: Volume, shape: Zyx) -> tuple[Nm, Nm]:
    """Voxel size and origin of an overview of `shape` that fills the voxels of `volume`."""
    voxel = [v * n / m for v, n, m in zip(volume.voxel_nm, volume.shape, shape, strict=True)]
    origin = [o + (w - v) / 2 for o, v, w in zip(volume.origin_nm, volume.voxel_nm, voxel, strict=True)]
    return cast(Nm, tuple(voxel)), cast(Nm, tuple(origin))


def _overview(volume: Volume) -> Array:
    """Voxels of a coarse level of the image behind `volume`; black where none is small enough."""
    levels: list[Volume] = []
    try:
        if volume.source is not None:
            levels = inspect(volume.source, channel=0, timepoint=0)[1]
        fit = [v for v in levels if max(_steps(v)) == 1] or [v for v in levels[-1:] if _size(v) <= MOST_READ]
        if fit:
            return _sampled(fit[0])
    except (InputError, ChunkError) as err:
        log.warning("no overview of %s: %s", volume.source, err)
    steps = _steps(volume)
    return np.zeros([-(-n // s) for n, s in zip(volume.shape, steps, strict=True)], np.uint8)


def _size(volume: Volume) -> int:
    z, y, x = volume.shape
    return z * y * x


def _steps(volume: Volume) -> Zyx:
    """Every how many voxels one is taken, so that not too many are kept and they are near-cubic."""
    steps = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(volume.shape, steps, strict=True)]) > MOST_KEPT:
        sides = [
            v * s if n > s else np.inf for v, s, n in zip(volume.voxel_nm, steps, volume.shape, strict=True)
        ]
        steps[int(np.argmin(sides))] *= 2
    return cast(Zyx, tuple(steps))


def _sampled(volume: Volume) -> Array:
    """Every so many voxels of a level, read write unit by write unit."""
    steps = _steps(volume)
    found = np.zeros([-(-n // s) for n, s in zip(volume.shape, steps, strict=True)], volume.dtype)
    for box in write_boxes(volume):
        first = [-(-a // s) for a, s in zip(box.start, steps, strict=True)]
        voxels = volume.read(box)[
            tuple(slice(f * s - a, None, s) for f, s, a in zip(first, steps, box.start, strict=True))
        ]
        found[tuple(slice(f, f + n) for f, n in zip(first, voxels.shape, strict=True))] = voxels
    return found
