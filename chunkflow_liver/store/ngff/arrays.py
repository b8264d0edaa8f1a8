"""What the raw metadata of a zarr array say, looked at before zarr opens it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from chunkflow_liver.store.location import is_local, join
from chunkflow_liver.store.ngff.documents import load_json

MAX_AXIS = 2**31
MAX_VOXELS = 2**50
MAX_CHUNK_BYTES = 2**31


def array_problems(url: str, path: str, ndim: int) -> list[str]:
    """What is absurd or missing in the raw metadata of the array at `path`, before zarr opens it."""
    where = join(url, path)
    found = load_json(url, f"{path}/zarr.json") or load_json(url, f"{path}/.zarray")
    if found is None:
        return [f"{path!r} is listed as a level but {where} holds no zarr array"]
    shape = found.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int for n in shape):
        return [f"{where}: shape must be a list of integers, got {shape!r}"]
    problems = []
    if len(shape) != ndim:
        problems.append(f"{where}: the array has {len(shape)} axes, the metadata {ndim}")
    for n in shape:
        if not 1 <= n < MAX_AXIS:
            problems.append(f"{where}: an axis has length {n}; 1 to {MAX_AXIS - 1} is accepted")
    if math.prod(shape) > MAX_VOXELS:
        problems.append(f"{where}: {shape} are more voxels than the limit of {MAX_VOXELS:.3g}")
    units = _units(found)
    for what, unit in units:
        if not isinstance(unit, list) or not all(type(n) is int and n >= 1 for n in unit):
            problems.append(f"{where}: {what} shape must be integers from 1, got {unit!r}")
        elif what == "chunk" and math.prod(unit) > MAX_CHUNK_BYTES:
            problems.append(
                f"{where}: one chunk of {unit} is at least {math.prod(unit) >> 30} GiB; chunks above "
                f"{MAX_CHUNK_BYTES >> 30} GiB cannot be read out of core, rechunk the image first"
            )
    names = found.get("dimension_names")
    if isinstance(names, list) and len(names) != len(shape):
        problems.append(f"{where}: {len(names)} dimension_names for {len(shape)} axes")
    if is_local(url) and not Path(os.path.realpath(where)).is_relative_to(os.path.realpath(url)):
        problems.append(f"{where} is a link that leads out of the image; copy the data instead")
    return problems


def _units(array: dict[str, Any]) -> list[tuple[str, object]]:
    """Chunk shape, and shard shape where chunks are sharded, as the raw metadata of an array state them."""

    def configured(entry: object) -> object:
        settings = entry.get("configuration") if isinstance(entry, dict) else None
        return settings.get("chunk_shape") if isinstance(settings, dict) else None

    chunks = array.get("chunks") or configured(array.get("chunk_grid"))
    codecs = array.get("codecs")
    for codec in codecs if isinstance(codecs, list) else ():
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            return [("shard", chunks), ("chunk", configured(codec))]
    return [("chunk", chunks)]
