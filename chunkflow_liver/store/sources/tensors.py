"""Chunked volumes in folders through TensorStore: N5, neuroglancer precomputed and plain zarr."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.sources.source import (
    checked_box,
    checked_shape,
    fingerprint,
    optional,
    size_nm,
    voxel_type,
)
from chunkflow_liver.store.sources.zarr_axes import Stated, first_level, stated, to_zyx

Order = tuple[tuple[int, ...], tuple[int, ...]]
Driver = Literal["n5", "neuroglancer_precomputed", "zarr", "zarr3"]

METADATA = {
    "info": "neuroglancer_precomputed",
    "attributes.json": "n5",
    ".zarray": "zarr",
    ".zgroup": "zarr",
    "zarr.json": "zarr3",
}
_MARKED_FILES = 4096
_METADATA_LIMIT_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class ChunkedFolder:
    """A chunked array in a folder, seen as (z, y, x).

    Attributes
    ----------
    path : str
        Folder of the array (of all its scales, for precomputed).
    driver : str
        Name of the TensorStore driver.
    shape : Zyx
        Voxels along (z, y, x).
    dtype : str
        Native NumPy name of the voxel type.
    chunks : Zyx
        Chunk along (z, y, x).
    voxel_nm : Nm or None
        Voxel size along (z, y, x), in nm.
    reverse : bool
        Whether the format orders the axes x, y, z.
    scale : int
        Scale of a precomputed volume, 0 the first listed.
    allow_gaps : bool
        Whether a chunk that is absent reads as the fill value, instead of a ChunkError.
    order : tuple of tuple or None
        Axes of the array that are dropped, and those that are z, y, x; None where nothing is said of them.
    """

    path: str
    driver: Driver
    shape: Zyx
    dtype: str
    chunks: Zyx
    voxel_nm: Nm | None = None
    reverse: bool = False
    scale: int = 0
    allow_gaps: bool = False
    order: Order | None = None

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`; reads the chunks that it meets."""
        checked_box(box, self.shape, self.path)
        try:
            store = _three(
                _store(self.path, self.driver, self.scale, self.allow_gaps), self.reverse, self.order
            )
            data = store[box.slices[3 - store.rank :]].read().result()
        except (ValueError, OSError, RuntimeError) as err:
            raise ChunkError(
                f"{self.path} cannot be read in the box {box}: {err}; a chunk is missing or "
                "damaged: copy the volume again, or pass allow_gaps=True (--allow-gaps) if absent chunks are "
                "empty"
            ) from err
        return np.array(data.reshape(box.shape), dtype=self.dtype, order="C")

    def identity(self) -> str:
        """Fingerprint of the metadata, and of names and sizes of the first 4096 files."""
        root = Path(self.path)
        metadata = [root / name for name in METADATA if (root / name).is_file()]
        marks = itertools.islice(_files(root), _MARKED_FILES)
        contents = [file.read_bytes() for file in metadata]
        return fingerprint(self.driver, self.scale, self.shape, *contents, *marks)


def driver_of(folder: Path) -> Driver | None:
    """The driver for a folder, by its metadata file; None where it has none."""
    for name, driver in METADATA.items():
        if (folder / name).is_file() and (name != "info" or "scales" in _json(folder / name)):
            return driver  # type: ignore[return-value]
    return "n5" if folder.suffix == ".n5" else None


def open_chunked(path: str, dataset: str | None, *, allow_gaps: bool = False) -> ChunkedFolder:
    """The array in the folder `path`, or at `dataset` inside it (scale number or key: precomputed).

    Notes
    -----
    N5 and precomputed order their axes x, y, z. Those of a zarr array are as the OME-Zarr image around it
    says, or its own names of dimensions; without names they are taken as z, y, x. Of an OME-Zarr image
    itself the finest level is read. The origin of a precomputed volume is dropped.
    """
    root = Path(path)
    if driver_of(root) == "neuroglancer_precomputed":
        scale = _scale_number(root, dataset)
        return _opened(root, "neuroglancer_precomputed", scale, allow_gaps)
    if dataset is not None:
        inner = Path(os.path.normpath(root / dataset))
        if not inner.is_relative_to(root):
            raise InputError(f"dataset {dataset!r} leads out of {path}; name one inside it")
        if not _is_array(inner):
            raise InputError(f"{path} has no array {dataset!r}; it has {_listed(root)}")
        root = inner
    elif not _is_array(root):
        root = _only_array(root)
    driver = driver_of(root)
    if driver is None:
        raise InputError(f"{root} is no N5, precomputed or zarr array")
    return _opened(root, driver, 0, allow_gaps)


def _opened(root: Path, driver: Driver, scale: int, allow_gaps: bool) -> ChunkedFolder:
    where = str(root)
    try:
        whole = _store(where, driver, scale, allow_gaps)
    except (ValueError, OSError, RuntimeError) as err:
        raise InputError(f"{where} is no readable {driver} array: {err}") from err
    dtype = voxel_type(whole.dtype.numpy_dtype, where)
    reverse = driver in {"n5", "neuroglancer_precomputed"}
    said = stated(root) if driver in {"zarr", "zarr3"} else Stated()
    order = to_zyx(said.axes, whole.shape, where) if said.axes else None
    if allow_gaps and driver != "neuroglancer_precomputed":
        _refuse_empty(root)
    if driver == "neuroglancer_precomputed" and whole.shape[-1] != 1:
        raise InputError(f"{where} has {whole.shape[-1]} channels; save one of them alone")
    if order is None:
        checked_shape(whole.shape[::-1] if reverse else whole.shape, where)
    store = _three(whole, reverse, order)
    shape = checked_shape(store.shape, where)
    lengths = (1, *store.chunk_layout.read_chunk.shape)[-3:]
    chunk = [min(int(c), n) for c, n in zip(lengths, shape, strict=True)]
    voxel_nm = said.voxel_nm or _voxel_nm(root, driver, store)
    return ChunkedFolder(where, driver, shape, dtype, (chunk[0], chunk[1], chunk[2]), voxel_nm,
                         reverse, scale, allow_gaps, order)  # fmt: skip


def _refuse_empty(root: Path) -> None:
    """Refuse an array without a single chunk: that is no array with gaps."""
    if all(Path(name).name in METADATA or Path(name).name.startswith(".z") for name, _ in _files(root)):
        raise InputError(
            f"{root} has metadata but not one chunk, so nothing of it is there: copy the volume again, with "
            "the files inside its folders"
        )


def _store(path: str, driver: Driver, scale: int, allow_gaps: bool) -> Any:
    tensorstore = optional("tensorstore", driver)
    spec: dict[str, Any] = {
        "driver": driver,
        "kvstore": {"driver": "file", "path": path},
        # a store without this reads lost chunks as zeros
        "fill_missing_data_reads": allow_gaps,
    }
    if driver == "neuroglancer_precomputed":
        spec["scale_index"] = scale
    store = tensorstore.open(spec, read=True, open=True).result()
    return store[tensorstore.d[:].translate_to[0]]


def _three(store: Any, reverse: bool, order: Order | None) -> Any:
    if order is not None:
        dropped, zyx = order
        # What is dropped has one entry; it goes behind, and then away.
        store = store.transpose([*zyx, *dropped])
        for _ in dropped:
            store = store[..., 0]
        return store
    store = store.T if reverse else store
    while store.rank > 3 and store.shape[0] == 1:
        store = store[0]
    return store


def _scale_number(root: Path, dataset: str | None) -> int:
    scales = _json(root / "info")["scales"]
    keys = [str(scale.get("key")) for scale in scales]
    if dataset is None:
        return 0
    if dataset in keys:
        return keys.index(dataset)
    if dataset.isdecimal() and int(dataset) < len(keys):
        return int(dataset)
    raise InputError(f"{root} has no scale {dataset!r}; it has {', '.join(map(repr, keys))}")


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    if (folder / "zarr.json").is_file():
        return bool(_json(folder / "zarr.json").get("node_type") == "array")
    return (folder / "attributes.json").is_file() and "dimensions" in _json(folder / "attributes.json")


def _arrays(root: Path) -> list[Path]:
    found = []
    for folder, inner, _ in os.walk(root):
        if _is_array(Path(folder)):
            found.append(Path(folder))
            inner.clear()  # chunks lie below
        else:
            inner.sort()
    return found


def _listed(root: Path) -> str:
    names = [str(found.relative_to(root)) for found in _arrays(root)]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return (", ".join(repr(name) for name in names[:12]) or "no array at all") + more


def _only_array(root: Path) -> Path:
    finest = first_level(root)
    if finest is not None and _is_array(finest):
        return finest
    arrays = _arrays(root)
    if len(arrays) != 1:
        raise InputError(f"{root} holds {len(arrays)} arrays, so one must be named; it has {_listed(root)}")
    return arrays[0]


def _files(root: Path) -> Iterator[tuple[str, int]]:
    for folder, inner, names in os.walk(root):
        inner.sort()
        for name in sorted(names):
            file = Path(folder, name)
            yield str(file.relative_to(root)), file.stat().st_size


def _json(path: Path) -> dict[str, Any]:
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


def _attributes(root: Path, driver: Driver) -> dict[str, Any]:
    if driver == "zarr3":
        found = _json(root / "zarr.json").get("attributes", {})
        return found if isinstance(found, dict) else {}
    name = "attributes.json" if driver == "n5" else ".zattrs"
    return _json(root / name) if (root / name).is_file() else {}


def _voxel_nm(root: Path, driver: Driver, store: Any) -> Nm | None:
    units = store.dimension_units[-3:]
    if len(units) == 3 and all(unit is not None for unit in units):
        return size_nm([u.multiplier for u in units], [u.base_unit for u in units])
    found = _attributes(root, driver)
    try:
        if "pixelResolution" in found:  # Saalfeld and Janelia N5: x, y, z
            pixel = found["pixelResolution"]
            return size_nm(reversed(pixel["dimensions"]), pixel.get("unit", ""))
        if "transform" in found:  # COSEM: names its axes
            frame = found["transform"]
            at = [frame["axes"].index(axis) for axis in "zyx"]
            return size_nm([frame["scale"][i] for i in at], [frame["units"][i] for i in at])
        if "resolution" in found and "units" in found and driver != "n5":  # funlib zarr: z, y, x
            return size_nm(found["resolution"], found["units"])
        if "voxel_size" in found and "units" in found and driver != "n5":
            return size_nm(found["voxel_size"], found["units"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return None
