"""Folders of chunked arrays: which arrays are there, what their metadata say, whether they have chunks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.ngff import ImageMetadata, read_image
from chunkflow_liver.store.sources import statements
from chunkflow_liver.store.sources.source import length_nm
from chunkflow_liver.store.sources.statements import Statement

Driver = Literal["n5", "neuroglancer_precomputed", "zarr", "zarr3"]

METADATA: dict[str, Driver] = {
    "info": "neuroglancer_precomputed",
    "attributes.json": "n5",
    ".zarray": "zarr",
    ".zgroup": "zarr",
    "zarr.json": "zarr3",
}
PACKED = (".gz", ".br", ".zstd", ".zst", ".xz", ".lzma", ".bz2")
"""Endings of precomputed chunks that are compressed as files."""
_FUNLIB = ("offset", "resolution", "units", "voxel_size")
_METADATA_LIMIT_BYTES = 16 * 1024**2
_PARENTS = 8
"""How many folders up the metadata of an image are looked for."""


def driver_of(folder: Path) -> Driver | None:
    """The driver for a folder, by its metadata file; None where it has none."""
    for name, driver in METADATA.items():
        if (folder / name).is_file() and (name != "info" or "scales" in read_json(folder / name)):
            return driver
    return "n5" if folder.suffix == ".n5" else None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises
    ------
    InputError
        If there is none, or it is too large.
    """
    try:
        if path.stat().st_size > _METADATA_LIMIT_BYTES:
            raise InputError(f"{path} is larger than 16 MiB, too large for metadata")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        if isinstance(err, InputError):
            raise
        raise InputError(f"{path} is no readable JSON: {err}") from err
    if not isinstance(found, dict):
        raise InputError(f"{path} holds {type(found).__name__}, but a JSON object is wanted")
    return found


def is_array(folder: Path) -> bool:
    """Whether a folder is one array of N5 or zarr."""
    if (folder / ".zarray").is_file():
        return True
    if (folder / "zarr.json").is_file():
        return bool(read_json(folder / "zarr.json").get("node_type") == "array")
    return (folder / "attributes.json").is_file() and "dimensions" in read_json(folder / "attributes.json")


def arrays(root: Path) -> list[Path]:
    """All arrays below a folder."""
    found = []
    for folder, inner, _ in os.walk(root):
        if is_array(Path(folder)):
            found.append(Path(folder))
            inner.clear()  # chunks lie below
        else:
            inner.sort()
    return found


def listed(root: Path) -> str:
    """Names of the arrays below a folder, for a message."""
    names = [str(found.relative_to(root)) for found in arrays(root)]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return (", ".join(repr(name) for name in names[:12]) or "no array at all") + more


def only_array(root: Path) -> Path:
    """The one array below a folder, or the finest level of an OME-Zarr image.

    Raises
    ------
    InputError
        If there are more or none.
    """
    found = arrays(root)
    image = _image(root)
    if image is not None and image.levels and is_array(root / image.levels[0].path):
        return root / image.levels[0].path
    if _multiscales(root):
        raise InputError(
            f"{root} is an OME-Zarr image already: use it as it is; to convert one of its arrays, "
            f"name it ({listed(root)}), as in {found[0] if found else root / '0'}"
        )
    if len(found) != 1:
        raise InputError(
            f"{root} holds {len(found)} arrays, so one must be named"
            f"{f', as in {root}::{found[0].relative_to(root)}' if found else ''}; it has {listed(root)}"
        )
    return found[0]


def attributes(folder: Path) -> dict[str, Any]:
    """Attributes of a group or an array; none where there are none."""
    if (folder / "zarr.json").is_file():
        found = read_json(folder / "zarr.json").get("attributes", {})
        return found if isinstance(found, dict) else {}
    for name in ("attributes.json", ".zattrs"):
        if (folder / name).is_file():
            return read_json(folder / name)
    return {}


def _multiscales(folder: Path) -> list[Any]:
    told = attributes(folder)
    ome = told.get("ome")
    found = told.get("multiscales", ome.get("multiscales") if isinstance(ome, dict) else None)
    if found is None and "ome" in told:
        return [{}]
    return found if isinstance(found, list) else []


def of_image(array: Path, ndim: int) -> Statement:
    """What the OME-Zarr image says of which `array` is a level; nothing if it is none."""
    for up in list(array.parents)[:_PARENTS]:
        image = _image(up)
        inner = array.relative_to(up).as_posix()
        for level in image.levels if image is not None else ():
            if image is None or level.path.strip("/") != inner or len(image.axes) != ndim:
                continue
            if image.problems:
                return Statement(image.axes)
            size = dict(zip("zyx", level.voxel_nm, strict=True))
            start = dict(zip("zyx", level.origin_nm, strict=True))
            sizes = tuple(size.get(axis) for axis in image.axes)
            starts = tuple(start[axis] / size[axis] if axis in size else 0.0 for axis in image.axes)
            return Statement(image.axes, sizes, starts)
    return Statement()


def _image(folder: Path) -> ImageMetadata | None:
    """The OME-Zarr metadata of a folder; None where it is no image of a version that is known."""
    if driver_of(folder) not in ("zarr", "zarr3"):
        return None
    try:
        return read_image(str(folder))
    except InputError:
        return None


def of_array(array: Path, driver: Driver, shape: Sequence[int]) -> Statement:
    """What N5 and zarr attributes say of one array, and those of the groups that it lies in."""
    own, reverse = attributes(array), driver == "n5"
    told = dict(own)
    if driver == "zarr3" and (dimensions := read_json(array / "zarr.json").get("dimension_names")):
        told = {"dimension_names": [str(n) for n in dimensions], **own}
    try:
        tags = statements.axis_tags({k: v for k, v in told.items() if k != "axes" or reverse}, len(shape))
        values = statements.numbers(own)
    except InputError as err:
        raise InputError(f"{array}: {err}; mend that attribute, or delete it") from err
    names = tags.names
    if reverse and names and "axes" not in told:
        names = names[::-1]  # named as NumPy orders them
        if "axis_names" in own:  # funlib writes all its lists in that order
            own |= {key: own[key][::-1] for key in _FUNLIB if isinstance(own.get(key), list)}
    frame = own.get("transform")
    if isinstance(frame, dict) and isinstance(frame.get("axes"), list) and not names:
        names = tuple(str(a).lower() for a in frame["axes"])[:: -1 if reverse else 1]
    names = names if len(names) == len(shape) else ()
    names = names or default_names(shape, reverse)
    if not names:
        return Statement(values=values)
    placed = _transform(frame, names) or _resolution(array, own, names, shape, driver)
    return replace(placed, names=names, values=values)


def default_names(shape: Sequence[int], reverse: bool) -> tuple[str, ...]:
    """Names of the axes of an array that names none: the three that are longer than one voxel."""
    long = [i for i, n in enumerate(shape) if n > 1]
    if len(shape) <= 3:
        long = list(range(len(shape)))
    elif len(long) > 3:
        return ()
    elif len(long) < 3:
        long = list(range(len(shape)))[:3] if reverse else list(range(len(shape)))[-3:]
    letters = "zyx"[-len(long) :]
    letters = letters[::-1] if reverse else letters
    return tuple(letters[long.index(i)] if i in long else f"({i})" for i in range(len(shape)))


def _transform(frame: Any, names: Sequence[str]) -> Statement | None:
    """What COSEM writes: scale, translation and unit of named axes."""
    if not isinstance(frame, dict):
        return None
    try:
        axes = [str(a).lower() for a in frame["axes"]]
        at = [axes.index(n) if n in axes else None for n in names]
        scale = [1.0 if i is None else float(frame["scale"][i]) for i in at]
        sizes = [None if i is None else length_nm(frame["scale"][i], frame["units"][i]) for i in at]
        moved = frame.get("translate", frame.get("translation"))
        shift = [] if moved is None else [0.0 if i is None else float(moved[i]) for i in at]
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    starts = tuple(b / a if a else 0.0 for a, b in zip(scale, shift, strict=False))
    return Statement((), tuple(sizes), starts)


def _resolution(
    array: Path, own: Mapping[str, Any], names: Sequence[str], shape: Sequence[int], driver: Driver
) -> Statement:
    """Voxel size of the finest level times what is left out in this one; each in whatever group says it."""
    groups = [own, *(attributes(up) for up in list(array.parents)[:_PARENTS] if driver_of(up) is not None)]
    factors = _factors(array.name, groups)
    by_name = dict(zip("xyz", factors or (1.0, 1.0, 1.0), strict=True))
    times = [by_name.get(n, 1.0) for n in names]
    starts = tuple((f - 1) / 2 / f for f in times) if factors else ()
    for told in groups:
        pixel = told.get("pixelResolution")  # Saalfeld and Janelia: x, y, z, of the finest level
        if isinstance(pixel, dict) and isinstance(pixel.get("dimensions"), list):
            sizes = dict(zip("xyz", pixel["dimensions"], strict=False))
            found = [length_nm(sizes.get(n), pixel.get("unit", "")) for n in names]
            return Statement((), _times(found, times), starts)
    size = statements.sizes(own, names, shape)
    if factors is None:
        starts = statements.starts(own, names, shape)
    if any(size) or (starts and factors is None):
        return Statement((), _times(size, times) if size else (), starts)
    return _viewer(array, names, factors)


def _viewer(array: Path, names: Sequence[str], factors: Sequence[float] | None) -> Statement:
    """Voxel size that BigDataViewer keeps in an XML file beside its N5 folder."""
    parts = array.parts[-3:]
    if len(parts) == 3 and parts[0].startswith("setup") and parts[1].startswith("timepoint"):
        number = parts[0].removeprefix("setup")
        if number.isdecimal():
            told = statements.big_data_viewer(str(array.parents[2]), int(number), factors or (1.0, 1.0, 1.0))
            sizes, starts = (dict(zip("zyx", v, strict=False)) for v in (told.sizes, told.starts))
            if sizes:
                at = tuple(float(starts.get(n) or 0.0) for n in names) if starts else ()
                return Statement((), tuple(sizes.get(n) for n in names), at)
    return Statement()


def _times(sizes: Sequence[float | None], factors: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(None if v is None else float(f"{v * f:.12g}") for v, f in zip(sizes, factors, strict=True))


def _factors(name: str, groups: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """Voxels of the finest level in one of this level along (x, y, z)."""
    try:
        if "downsamplingFactors" in groups[0]:
            found = [float(f) for f in groups[0]["downsamplingFactors"]]
            return found if len(found) == 3 and min(found) > 0 else None
        for told in groups[1:]:
            rows = told.get("scales", told.get("downsamplingFactors"))
            if (
                isinstance(rows, list)
                and name[:1] == "s"
                and name[1:].isdecimal()
                and int(name[1:]) < len(rows)
            ):
                found = [float(f) for f in rows[int(name[1:])]]
                return found if len(found) == 3 and min(found) > 0 else None
    except (TypeError, ValueError):
        return None
    return None


def check_chunks(array: Path, driver: Driver, ndim: int, scale: Mapping[str, Any] | None) -> None:
    """Refuse an array of whose chunks none is there: all its voxels would be the fill value.

    Raises
    ------
    InputError
    """
    folder = array
    if driver == "neuroglancer_precomputed" and scale is not None:
        folder = Path(os.path.normpath(array / str(scale.get("key", ""))))
        ends = "|".join(re.escape(e) for e in PACKED)
        pattern = r".+\.shard" if scale.get("sharding") else rf"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+({ends})?"
    else:
        pattern = _chunk_keys(array, driver, ndim)
    wanted = re.compile(pattern)
    seen = ""
    for name in _files(folder, ndim + 2):
        if wanted.fullmatch(name):
            return
        if name not in (*METADATA, ".zattrs", ".zmetadata"):
            seen = seen or name
    there = f"the files there are called otherwise, such as {seen!r}: " if seen else ""
    raise InputError(
        f"{array} has none of its chunks in {folder} (names like {_example(driver, pattern)!r} are "
        f"wanted): {there}all its "
        "voxels would be the fill value, with or without --allow-gaps; copy the chunks as well, or mend "
        "their names"
    )


def _chunk_keys(array: Path, driver: Driver, ndim: int) -> str:
    lead, sign = "", "/"
    if driver == "zarr":
        sign = str(read_json(array / ".zarray").get("dimension_separator", "."))
    elif driver == "zarr3":
        encoding = read_json(array / "zarr.json").get("chunk_key_encoding")
        encoding = encoding if isinstance(encoding, dict) else {}
        settings = encoding.get("configuration")
        settings = settings if isinstance(settings, dict) else {}
        older = encoding.get("name") == "v2"
        sign = str(settings.get("separator", "." if older else "/"))
        lead = "" if older else f"c{re.escape(sign)}"
    return lead + re.escape(sign).join([r"\d+"] * ndim)


def _example(driver: Driver, pattern: str) -> str:
    if driver == "neuroglancer_precomputed":
        return "0.shard" if "shard" in pattern else "0-64_0-64_0-64"
    return pattern.replace(r"\d+", "0").replace("\\", "")


def _files(folder: Path, depth: int, inner: str = "") -> Iterator[str]:
    """Names of files below a folder, relative to it, one by one."""
    try:
        entries = os.scandir(folder)
    except OSError:
        return
    folders = []
    with entries:
        for entry in entries:
            if entry.is_dir():
                folders.append(entry.name)
            else:
                yield inner + entry.name
    for name in sorted(folders) if depth else ():
        yield from _files(folder / name, depth - 1, f"{inner}{name}/")
