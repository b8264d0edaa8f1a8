"""Create and finish OME-Zarr images; write a whole array as one; copy parts of one to another."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.geometry import Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.images.downsample import mean, mode
from chunkflow_liver.parameters import documented
from chunkflow_liver.store.archive import ENDING
from chunkflow_liver.store.container import (
    containers,
    list_label,
    stored_attributes,
    write_attributes,
    wrong_around,
)
from chunkflow_liver.store.handles import array_at, forget_handles
from chunkflow_liver.store.location import (
    absolute,
    is_local,
    open_store,
    read_key,
    relative,
    store_errors,
)
from chunkflow_liver.store.ngff import LARGEST_VOXEL_NM, SMALLEST_VOXEL_NM, STATUS, group_attributes
from chunkflow_liver.store.ngff.read import version_beside
from chunkflow_liver.store.ngff.versions import DEFAULT, VERSIONS, WRITABLE
from chunkflow_liver.store.ngff.write import image_attributes, label_entry, pyramid_factors
from chunkflow_liver.store.volume import IMAGE_DTYPES, LABEL_DTYPES, Volume
from chunkflow_liver.store.voxels.region import OF_MASK
from chunkflow_liver.store.write_units import units

log = logging.getLogger(__name__)


def create(volume: Volume) -> None:
    """Make the image group of `volume` (level 0) and the arrays of all its levels, without voxels.

    A label image inside a `labels` group is listed there.

    Raises
    ------
    OutputError
        If something that is not ours lies there already.
    """
    refuse_foreign(volume)
    try:
        group = zarr.open_group(
            open_store(volume.url),
            mode="w",
            zarr_format=volume.version.zarr_format,
            attributes=_attributes(volume),
        )
        for v in volume.pyramid():
            _create_array(group, v)
    except store_errors() as err:
        raise OutputError(f"cannot write to {volume.url}: {err}") from err
    list_label(volume)
    forget_handles()


def _attributes(volume: Volume) -> dict[str, Any]:
    """Attributes of the group of an image that is not all there yet."""
    source = relative(volume.source, volume.url) if volume.source else None
    if volume.source and containers(volume) and version_beside(volume.source) != volume.version:
        # Readers of one version refuse an image of another; the overview beside it tells where that lies.
        source = "../.."
    attributes = image_attributes(
        version=volume.ome_version,
        name=volume.name,
        axes=volume.axes,
        levels=[(v.path, v.voxel_nm, v.origin_nm) for v in volume.pyramid()],
        label=label_entry(volume.classes, source) if volume.kind == "label" else None,
        method="mode" if volume.kind == "label" or volume.dtype == "bool" else "mean",
    )
    attributes[STATUS] = {"status": "in-progress"}
    if volume.quantum_nm is not None:
        attributes[STATUS]["quantum_nm"] = volume.quantum_nm
    if volume.region is not None:
        attributes[STATUS]["region"] = [volume.region.start, volume.region.stop]
    if (mask := volume.mask) is not None:
        told = {f: getattr(mask, f) for f in OF_MASK}
        attributes[STATUS]["mask"] = told | {"url": relative(mask.url, volume.url)}
    return attributes


def refuse_foreign(volume: Volume) -> None:
    """Refuse to make an image where something else lies, or in a container of another format.

    Making a group empties its folder, so only one of ours may lie there.

    Raises
    ------
    OutputError
    """
    if is_local(volume.url) and ENDING.search(volume.url):
        raise OutputError(
            f"{volume.url} would be in a zip file, and those are only read; choose a name without .ozx or "
            ".zip (labels: without into_source)"
        )
    try:
        free = group_attributes(volume.url)[0].get(STATUS) is not None
    except InputError:
        free = _is_free(volume.url)
    if not free:
        raise OutputError(
            f"{volume.url} exists and was not written by chunkflow_liver; choose another name or remove it"
        )
    for group in containers(volume):
        form = volume.version.zarr_format
        other = ".zgroup" if form == 3 else "zarr.json"
        if read_key(group, other) is not None:
            raise OutputError(
                f"{group} is zarr v{5 - form} and {volume.name!r} would be zarr v{form}: readers see only "
                "one of them; put it into a group of its own"
            )


def _is_free(url: str) -> bool:
    if is_local(url):
        return not os.path.exists(url) or (os.path.isdir(url) and not os.listdir(url))
    return all(read_key(url, key) is None for key in ("zarr.json", ".zgroup", ".zarray"))


def _create_array(group: zarr.Group, volume: Volume) -> None:
    lead = (1,) * (len(volume.axes) - 3)
    common: dict[str, Any] = {
        "shape": (*lead, *volume.shape),
        "chunks": (*lead, *volume.chunks),
        "dtype": volume.dtype,
        "fill_value": 0,
        "config": {"write_empty_chunks": True},
    }
    if volume.version.zarr_format == 2:
        from numcodecs import GZip

        # Checked by a CRC and known to every reader of 0.4; the checksum of v2's zstd is not.
        group.create_array(
            volume.path,
            **common,
            compressors=GZip(level=1),
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        return
    group.create_array(
        volume.path,
        **common,
        shards=(*lead, *volume.shards) if volume.shards else None,
        compressors=ZstdCodec(level=1, checksum=True),
        dimension_names=volume.axes,
    )


def finish(volume: Volume, status: str = "complete") -> None:
    """State in the image group that all its voxels are there.

    Metadata of the group that were deleted or damaged since it was made are written again; so is its entry
    in the list of label images.
    """
    attributes = stored_attributes(volume.url, volume.version)
    if not attributes or not _says(attributes, volume):
        log.warning("the metadata of %s were gone or damaged; they are written again", volume.url)
        attributes = _attributes(volume)
    attributes[STATUS] = attributes[STATUS] | {"status": status}
    write_attributes(volume.url, volume.version, attributes)
    list_label(volume)
    forget_handles()


def is_complete(volume: Volume) -> bool:
    """Whether the image group states that all its voxels are there, and what they are.

    If it joins a container, that one must be as it was written, too.
    """
    try:
        attributes = group_attributes(volume.url)[0]
    except InputError:
        return False
    found = attributes.get(STATUS)
    done = isinstance(found, dict) and found.get("status") == "complete"
    return done and _says(attributes, volume) and not wrong_around(volume)


def is_stated(volume: Volume) -> bool:
    """Whether the image group states levels, voxel sizes and places as they were written."""
    try:
        return _says(group_attributes(volume.url)[0], volume)
    except InputError:
        return False


def is_there(volume: Volume) -> bool:
    """Whether the array is stored, with the shape, chunks and type of voxels that this handle says."""
    try:
        # Which sees to shape and type.
        next(volume.keys(volume.box))
        stored = array_at(volume.url, volume.path, volume.version.array_key, complete=False)
        units = [(stored.chunks, volume.chunks), (stored.shards or (), volume.shards or ())]
        # A plane has no z; times and channels stand before.
        cut = ((a[-min(len(a), 3) :], b[-min(len(a), 3) :] if a else b) for a, b in units)
        return all(tuple(a) == tuple(b) for a, b in cut)
    except store_errors(ValueError, TypeError, LookupError, AttributeError, RuntimeError):
        return False


def _says(attributes: Mapping[str, Any], volume: Volume) -> bool:
    """Whether attributes of a group state what those of the image that `volume` is level 0 of do.

    Colours, and properties of labels beside their classes, may be others: they are there to be changed.
    """

    def stated(found: Mapping[str, Any]) -> Any:
        ome, status = found.get("ome", found), found.get(STATUS)
        if not isinstance(ome, dict) or not isinstance(status, dict):
            return None
        label, limits = ome.get("image-label"), {k: v for k, v in status.items() if k != "status"}
        if not isinstance(label, dict) or not volume.classes:
            return ome.get("multiscales"), limits, isinstance(label, dict)
        entries = [e for e in label.get("properties") or () if isinstance(e, dict)]
        return ome.get("multiscales"), limits, [(e.get("label-value"), e.get("class")) for e in entries]

    return bool(stated(attributes) == stated(json.loads(json.dumps(_attributes(volume)))))


@documented
def write_volume(
    path: str | os.PathLike[str],
    array: np.ndarray[Any, Any],
    *,
    voxel_nm: Sequence[float],
    chunks: Sequence[int] | None = None,
    kind: str = "image",
    classes: Mapping[str, int] | Sequence[tuple[str, int]] = (),
    ome_version: str = DEFAULT,
) -> Volume:
    """Write a NumPy array as a new OME-Zarr image with its pyramid; returns its finest level.

    Parameters
    ----------
    path : str or path
        Group to make; must not exist.
    array : ndarray of shape (Z, Y, X) or (Y, X)
        Intensities or labels.
    voxel_nm : sequence of 3 float
        Voxel size along (z, y, x), in nm.
    chunks : sequence of 3 int, optional
        Read unit; 64 voxels on the finest axes by default.
    kind : {'image', 'label'}
        Labels get a majority pyramid and image-label metadata.
    classes : mapping of name to number, or sequence of (name, number)
        Classes of a semantic label volume.
    {ome_version}

    Raises
    ------
    OutputError
        If `path` exists.
    InputError
        If shape, dtype or voxel size cannot be stored.
    """
    url = absolute(path)
    if ome_version not in WRITABLE:
        raise InputError(f"OME-Zarr {ome_version!r} cannot be written; choose one of {sorted(WRITABLE)}")
    named = tuple(classes.items() if isinstance(classes, Mapping) else classes)
    if named and kind != "label":
        raise InputError(f"only a label image has classes, got {dict(named)}; say kind='label'")
    volume = new_volume(url, array.shape, array.dtype.name, voxel_nm, kind=kind, ome_version=ome_version)
    if chunks is not None:
        volume = replace(volume, chunks=zyx(list(chunks)), shards=None)
        if min(volume.chunks) < 1:
            raise InputError(f"chunks need at least one voxel per axis, got {tuple(chunks)}")
    volume = replace(volume, classes=named)
    create(volume)
    data = array.reshape(volume.shape)
    reduction = mode if kind == "label" or volume.dtype == "bool" else mean
    below = volume
    for level in volume.pyramid():
        if level.level:
            step = zyx([b // a for a, b in zip(below.reduction, level.reduction, strict=True)])
            data = reduction(data, step)
        level.write(level.box, data)
        below = level
    finish(volume)
    return volume


def new_volume(
    url: str,
    shape: Sequence[int],
    dtype: str,
    voxel_nm: Sequence[float],
    *,
    kind: str = "image",
    block: Zyx | None = None,
    ome_version: str = DEFAULT,
) -> Volume:
    """Handle to level 0 of an image that is to be made at `url`, checked; nothing is written.

    Raises
    ------
    OutputError
        If something exists at `url`.
    InputError
        If shape, dtype or voxel size cannot be stored.
    """
    if kind not in ("image", "label"):
        raise InputError(f"kind must be 'image' or 'label', got {kind!r}")
    known = LABEL_DTYPES if kind == "label" else IMAGE_DTYPES
    if dtype not in known:
        raise InputError(f"{dtype} voxels cannot be stored as {kind}; convert them to one of {known}")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InputError(f"an image needs 2 or 3 axes with at least one voxel each, got shape {tuple(shape)}")
    sizes = np.asarray(voxel_nm, float)
    if sizes.shape != (3,) or not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise InputError(f"voxel_nm must be three sizes above 0 (z, y, x), got {voxel_nm}")
    if sizes.min() < SMALLEST_VOXEL_NM or sizes.max() > LARGEST_VOXEL_NM:
        raise InputError(
            f"a voxel of {tuple(sizes.tolist())} nm is not credible; is the unit right? "
            f"{SMALLEST_VOXEL_NM:g} to {LARGEST_VOXEL_NM:g} nm are accepted"
        )
    if read_key(url, "zarr.json") or read_key(url, ".zgroup") or (is_local(url) and os.path.exists(url)):
        raise OutputError(f"{url} exists already; choose another name or remove it")
    full = cast(Zyx, ((1,) * (3 - len(shape)) + tuple(int(n) for n in shape))[-3:])
    voxel = cast(Nm, tuple(float(v) for v in voxel_nm))
    chunks, shards = units(full, voxel, block, VERSIONS[ome_version].zarr_format)
    return Volume(
        url=url,
        path="0",
        shape=full,
        dtype=dtype,
        voxel_nm=voxel,
        chunks=chunks,
        shards=shards,
        kind=kind,
        levels=len(pyramid_factors(full, voxel, None)),
        ome_version=ome_version,
    )


def sweep(volume: Volume) -> None:
    """Remove what killed writers left of chunks: zarr writes under another name, and then renames."""
    if is_local(volume.url):
        for left in Path(volume.url, volume.path).rglob("*.partial"):
            left.unlink(missing_ok=True)


def copy_units(source: Volume, target: Volume, box: Box) -> bool:
    """Have the voxels of `box`, whole write units of `target`, as `source` has them.

    As bytes where both arrays are laid out alike and all of `source` is looked at, else read and written.

    Returns
    -------
    bool
        False, with nothing to be relied on, if `source` lacks a unit.

    Raises
    ------
    ChunkError
        If a chunk that had to be read is damaged.
    """
    restricted = source.region is not None or source.mask is not None
    if restricted or _layout(source) != _layout(target) or source.at != target.at:
        target.write(box, source.read(box))
        return True
    stored, new = (_array(volume).store_path for volume in (source, target))
    for key in target.keys(box):
        held = sync((stored / key).get(default_buffer_prototype()))
        if held is None:
            return False
        sync((new / key).set(held))
    return True


def _array(volume: Volume) -> Any:
    return array_at(volume.url, volume.path, volume.version.array_key, complete=False)


def _layout(volume: Volume) -> dict[str, Any]:
    """All that says which bytes stand for which voxels."""
    found: dict[str, Any] = _array(volume).metadata.to_dict()
    return {key: value for key, value in found.items() if key not in ("attributes", "dimension_names")}
