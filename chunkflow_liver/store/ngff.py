"""OME-Zarr metadata: read 0.4 and 0.5 with strict checks.

Reading goes through our own parser because a file from a microscope is often nearly right: every
problem is collected and named with file and field, instead of the first one a schema stumbles over.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard, cast

from chunkflow_liver.errors import ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Box, Nm, zyx
from chunkflow_liver.store.location import is_local, join, read_key

MAX_METADATA_BYTES = 4 << 20
MAX_AXIS = 2**31
MAX_VOXELS = 2**50
MAX_CHUNK_BYTES = 2**31
SMALLEST_VOXEL_NM, LARGEST_VOXEL_NM = 0.1, 1e6
NM_PER_UNIT = {
    "angstrom": 0.1,
    "nanometer": 1.0,
    "micrometer": 1e3,
    "millimeter": 1e6,
    "centimeter": 1e7,
    "meter": 1e9,
    "picometer": 1e-3,
}
UNIT_ALIASES = {
    "nm": "nanometer",
    "nanometre": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "micron": "micrometer",
    "micrometre": "micrometer",
    "mm": "millimeter",
    "m": "meter",
    "å": "angstrom",
    "a": "angstrom",
    "ångström": "angstrom",
}
SPACE = "zyx"
STATUS = "chunkflow_liver"
"""Attribute of our own images."""


@dataclass(frozen=True)
class Level:
    """One resolution of an image; `voxel_nm` and `origin_nm` along (z, y, x)."""

    path: str
    voxel_nm: Nm
    origin_nm: Nm


@dataclass(frozen=True)
class ImageMetadata:
    """What an OME-Zarr image group says of itself, checked."""

    url: str
    version: str
    zarr_format: Literal[2, 3]
    axes: tuple[str, ...]
    levels: tuple[Level, ...]
    is_label: bool = False
    classes: tuple[tuple[str, int], ...] = ()
    region: Box | None = None
    problems: tuple[str, ...] = field(default=(), compare=False)


def load_json(url: str, key: str) -> dict[str, Any] | None:
    """The JSON object stored under `key`, or None; broken or absurd JSON is an InputError."""
    raw = read_key(url, key)
    where = join(url, key)
    if raw is None:
        return None
    if len(raw) > MAX_METADATA_BYTES:
        raise InputError(f"{where} has {len(raw)} bytes; metadata above {MAX_METADATA_BYTES} is refused")
    try:
        found = json.loads(raw)
    except RecursionError as err:
        raise InputError(f"{where} is nested too deeply to be metadata") from err
    except ValueError as err:
        raise InputError(f"{where} is not valid JSON: {err}") from err
    if not isinstance(found, dict):
        raise InputError(f"{where} holds {type(found).__name__}, expected a JSON object")
    return found


def read_image(url: str, *, unit: str | None = None) -> ImageMetadata:
    """Metadata of the image group at `url`; every problem found stands in `problems`.

    Parameters
    ----------
    url : str
        Absolute path or URL of the group.
    unit : str, optional
        Unit of spatial axes that state none.

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
    version = str(ome.get("version") or image.get("version") or ("0.5" if zarr_format == 3 else "0.4"))
    if version not in ("0.4", "0.5"):
        raise InputError(f"{url} is OME-Zarr version {version!r}; supported are 0.4 and 0.5")
    if (version == "0.5") != (zarr_format == 3):
        problems.append(f"OME-Zarr {version} metadata in zarr v{zarr_format}; 0.4 needs v2, 0.5 needs v3")
    axes, factors = _axes(image.get("axes"), unit, problems)
    levels = _levels(url, image, axes, factors, problems)
    label = ome.get("image-label")
    return ImageMetadata(
        url=url,
        version=version,
        zarr_format=zarr_format,
        axes=axes,
        levels=levels,
        is_label=isinstance(label, dict),
        classes=_classes(label) if isinstance(label, dict) else (),
        region=_region(attributes.get(STATUS), problems),
        problems=tuple(problems),
    )


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


def group_attributes(url: str) -> tuple[dict[str, Any], Literal[2, 3]]:
    """Attributes and zarr format of the group at `url`; an InputError where there is none."""
    node = load_json(url, "zarr.json")
    if node is not None:
        if node.get("node_type") == "array":
            raise InputError(
                f"{url} is a bare zarr array without OME metadata; "
                "run 'chunkflow-liver convert' on it with --voxel-nm"
            )
        attributes = node.get("attributes", {})
        return (attributes if isinstance(attributes, dict) else {}), 3
    if load_json(url, ".zgroup") is not None:
        return load_json(url, ".zattrs") or {}, 2
    if load_json(url, ".zarray") is not None:
        raise InputError(
            f"{url} is a bare zarr array without OME metadata; "
            "run 'chunkflow-liver convert' on it with --voxel-nm"
        )
    raise InputError(f"{url} is not a zarr group: it has neither zarr.json nor .zgroup")


def _children_hint(ome: dict[str, Any]) -> str:
    if isinstance(ome.get("labels"), list):
        return f"; it lists the label images {ome['labels']}, open one of them"
    if "plate" in ome or "bioformats2raw.layout" in ome:
        return "; it is a collection, open one of the images inside it (for example 0)"
    return ""


def _axes(axes: object, unit: str | None, problems: list[str]) -> tuple[tuple[str, ...], dict[str, float]]:
    """Names of the axes in order, and nm per unit for each spatial one."""
    if not isinstance(axes, list) or not 2 <= len(axes) <= 5:
        problems.append(f"'axes' must list 2 to 5 axes, got {axes!r}")
        return (), {}
    names: list[str] = []
    factors: dict[str, float] = {}
    for i, axis in enumerate(axes):
        entry = axis if isinstance(axis, dict) else {"name": axis}
        name = str(entry.get("name", "")).lower()
        if name not in ("t", "c", *SPACE):
            problems.append(f"axis {i} is named {entry.get('name')!r}; known are t, c, z, y, x")
            continue
        names.append(name)
        if name in SPACE:
            factors[name] = _nm_per(entry.get("unit", unit), f"axis {name}", problems)
    if len(set(names)) != len(names):
        problems.append(f"axis names repeat: {names}")
    if not {"y", "x"} <= set(names):
        problems.append(f"axes {names} lack y or x")
    order = [("t", "c").index(n) if n in ("t", "c") else 2 for n in names]
    if order != sorted(order):
        problems.append(f"axes {names} are out of order: time, then channel, then space")
    return tuple(names), factors


def _nm_per(unit: object, where: str, problems: list[str]) -> float:
    if unit is None:
        problems.append(f"{where} has no unit; state one (for example unit: nanometer)")
        return 1.0
    name = str(unit).strip().lower()
    name = UNIT_ALIASES.get(name, name)
    if name not in NM_PER_UNIT:
        problems.append(f"{where} has unit {unit!r}; known are {sorted(NM_PER_UNIT)}")
        return 1.0
    return NM_PER_UNIT[name]


def _levels(
    url: str,
    image: dict[str, Any],
    axes: tuple[str, ...],
    factors: dict[str, float],
    problems: list[str],
) -> tuple[Level, ...]:
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        problems.append("'datasets' is empty: the image has no levels")
        return ()
    shared = _transform(image.get("coordinateTransformations"), len(axes), "the image", problems)
    levels = []
    for i, dataset in enumerate(datasets):
        entry = dataset if isinstance(dataset, dict) else {}
        path = entry.get("path")
        if not isinstance(path, str) or not path:
            problems.append(f"level {i} has no path")
            continue
        if path.startswith("/") or ".." in path.split("/"):
            problems.append(f"level {i} points outside the image: path {path!r}")
            continue
        given = entry.get("coordinateTransformations")
        if given is None and image.get("coordinateTransformations") is None:
            problems.append(f"level {i} ({path!r}) states no scale, so its voxel size is unknown")
        own = _transform(given, len(axes), f"level {i} ({path!r})", problems)
        scale = [a * b for a, b in zip(own[0], shared[0], strict=True)]
        shift = [a * b + c for a, b, c in zip(own[1], shared[0], shared[1], strict=True)]
        by_name = {n: (s, t) for n, s, t in zip(axes, scale, shift, strict=True)}
        voxel = tuple(by_name[n][0] * factors[n] if n in by_name else 0.0 for n in SPACE)
        if "z" not in by_name:
            # A single plane has no thickness of its own; cubic voxels keep volumes meaningful.
            voxel = (voxel[2], *voxel[1:])
        for name, size in zip(SPACE, voxel, strict=True):
            if not (math.isfinite(size) and size > 0):
                problems.append(f"level {i} ({path!r}): scale for axis {name} is {size}; it must be above 0")
            elif i == 0 and not SMALLEST_VOXEL_NM <= size <= LARGEST_VOXEL_NM:
                problems.append(
                    f"level {i} ({path!r}): a voxel of {size:g} nm along {name} is not credible; "
                    f"check scale and unit ({SMALLEST_VOXEL_NM:g} to {LARGEST_VOXEL_NM:g} nm are accepted)"
                )
        if not all(map(math.isfinite, shift)):
            problems.append(f"level {i} ({path!r}): the translation {shift} is not finite")
        origin = tuple(by_name[n][1] * factors[n] if n in by_name else 0.0 for n in SPACE)
        levels.append(Level(path, cast(Nm, voxel), cast(Nm, origin)))
    sizes = [math.prod(level.voxel_nm) for level in levels]
    if sizes != sorted(sizes):
        problems.append("levels are not ordered from fine to coarse")
    return tuple(levels)


def _transform(
    transforms: object, ndim: int, where: str, problems: list[str]
) -> tuple[list[float], list[float]]:
    """Scale and translation of a 'coordinateTransformations' list; identity where there is none."""
    scale, shift = [1.0] * ndim, [0.0] * ndim
    if transforms is None:
        return scale, shift
    if not isinstance(transforms, list):
        problems.append(f"{where}: coordinateTransformations must be a list, got {transforms!r}")
        return scale, shift
    for transform in transforms:
        entry = transform if isinstance(transform, dict) else {}
        kind = entry.get("type")
        if kind not in ("scale", "translation"):
            problems.append(f"{where}: transformation {kind!r} is not supported; use scale and translation")
            continue
        values = entry.get(kind)
        numbers = [v for v in values if _is_number(v)] if isinstance(values, list) else []
        if not isinstance(values, list) or not len(numbers) == len(values) == ndim:
            problems.append(f"{where}: {kind} must be {ndim} numbers, got {values!r}")
        elif kind == "scale":
            scale = [float(v) for v in numbers]
        else:
            shift = [float(v) for v in numbers]
    return scale, shift


def _is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a number that a float can hold (or NaN, or infinite)."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**1000)


def _classes(label: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """Class names from the properties of a label image (ours: 'class'; others: 'name')."""
    found = []
    properties = label.get("properties")
    for entry in properties if isinstance(properties, list) else ():
        value = entry.get("label-value") if isinstance(entry, dict) else None
        if _is_number(value) and math.isfinite(value):
            name = entry.get("class", entry.get("name"))
            if isinstance(name, str):
                found.append((name, int(value)))
    return tuple(found)


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
