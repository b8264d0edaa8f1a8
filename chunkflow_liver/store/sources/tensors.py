"""Chunked volumes in folders through TensorStore: N5, neuroglancer precomputed and plain zarr."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.sources.axes_and_values import Meant, meant
from chunkflow_liver.store.sources.folders import (
    METADATA,
    PACKED,
    Driver,
    attributes,
    check_chunks,
    driver_of,
    is_array,
    listed,
    of_array,
    of_image,
    only_array,
    read_json,
)
from chunkflow_liver.store.sources.source import (
    NO_LABELS,
    Asked,
    fingerprint,
    length_nm,
    optional,
    voxel_type,
)
from chunkflow_liver.store.sources.statements import Statement, scale_of, text, unsigned

__all__ = ["ChunkedFolder", "driver_of", "open_chunked"]

_MARKED_FILES = 4096
_DAMAGE = (ValueError, OSError, RuntimeError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class ChunkedFolder:
    """A chunked array in a folder, its axes in the order of its metadata.

    Attributes
    ----------
    path : str
        Folder of the array (of all its scales, for precomputed).
    driver : str
        Name of the TensorStore driver.
    shape : tuple of int
    dtype : str
        Native NumPy name of the voxel type.
    chunks : tuple of int
    scale : int
        Scale of a precomputed volume, 0 the first listed.
    allow_gaps : bool
        Whether a chunk that is absent reads as the fill value, instead of a ChunkError.
    packed : bool
        Whether precomputed chunks lie in files that are compressed as such, NAME.gz and the like.
    """

    path: str
    driver: Driver
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    scale: int = 0
    allow_gaps: bool = False
    packed: bool = False

    def __str__(self) -> str:
        return self.path

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Voxels of a part; reads the chunks that it meets."""
        try:
            if self.packed:
                store = _unpacked(self.path, self.scale, where, self.allow_gaps)
            else:
                store = _store(self.path, self.driver, self.scale, self.allow_gaps)
            return np.asarray(store[where].read().result())
        except _DAMAGE as err:
            if isinstance(err, InputError):
                raise
            at = ", ".join(f"{s.start}:{s.stop}" for s in where)
            raise ChunkError(
                f"{self.path} cannot be read in the box {at}: {err}; a chunk is missing or "
                "damaged: copy the volume again, or pass allow_gaps=True (--allow-gaps) if absent chunks are "
                "empty"
            ) from err

    def identity(self) -> str:
        """Fingerprint of the metadata, and of names and sizes of the first 4096 files."""
        root = Path(self.path)
        metadata = [root / name for name in METADATA if (root / name).is_file()]
        marks = itertools.islice(_marks(root), _MARKED_FILES)
        contents = [file.read_bytes() for file in metadata]
        return fingerprint(self.driver, self.scale, self.shape, *contents, *marks)


def open_chunked(path: str, asked: Asked) -> Meant:
    """The array in the folder `path`, or at `dataset` inside it (scale number or key: precomputed).

    Notes
    -----
    N5 and precomputed order their axes x, y, z, everything else z, y, x, unless the array or the OME-Zarr
    image of which it is a level names them.
    """
    root, dataset = Path(path), asked.dataset
    if driver_of(root) == "neuroglancer_precomputed":
        return _opened(root, "neuroglancer_precomputed", _scale_number(root, dataset), asked)
    if dataset is not None:
        inner = Path(os.path.normpath(root / dataset))
        if not inner.is_relative_to(root):
            raise InputError(f"dataset {dataset!r} leads out of {path}; name one inside it")
        if not is_array(inner):
            raise InputError(f"{path} has no array {dataset!r}; it has {listed(root)}")
        root = inner
    elif not is_array(root):
        root = only_array(root)
    driver = driver_of(root)
    if driver is None:
        raise InputError(f"{root} is no N5, precomputed or zarr array")
    return _opened(root, driver, 0, asked)


def _opened(root: Path, driver: Driver, scale: int, asked: Asked) -> Meant:
    where = str(root)
    try:
        whole = _store(where, driver, scale, asked.allow_gaps)
    except (ValueError, OSError, RuntimeError) as err:
        raise InputError(f"{where} is no readable {driver} array: {err}") from err
    dtype = voxel_type(whole.dtype.numpy_dtype, where)
    shape = tuple(int(n) for n in whole.shape)
    packed, entry = False, None
    if driver == "neuroglancer_precomputed":
        if shape[-1] != 1:
            raise InputError(f"{where} has {shape[-1]} channels; save one of them alone")
        entry = read_json(root / "info")["scales"][scale]
        if asked.labels and entry.get("encoding") == "jpeg":
            raise InputError(f"{where} {NO_LABELS}")
        packed = _is_packed(root, entry)
        said = Statement(
            ("x", "y", "z", "c"), starts=(*map(float, entry.get("voxel_offset", (0, 0, 0))), 0.0)
        )
    else:
        said = of_array(root, driver, shape)
    if any(u is not None for u in whole.dimension_units) and not any(said.sizes):
        units = tuple(
            None if u is None else length_nm(u.multiplier, u.base_unit) for u in whole.dimension_units
        )
        said = replace(said, sizes=units)
    if driver in ("zarr", "zarr3"):
        said = _coordinates(root, list(whole.domain.labels), shape, asked).over(said)
        said = of_image(root, len(shape)).over(said)
        said = replace(said, values=replace(said.values, bits=unsigned(attributes(root), dtype)))
    if shape and min(shape) > 0:
        check_chunks(root, driver, len(shape), entry)
    lengths = whole.chunk_layout.read_chunk.shape
    chunks = tuple(max(1, min(int(c), n)) for c, n in zip(lengths, shape, strict=True))
    stored = ChunkedFolder(where, driver, shape, dtype, chunks, scale, asked.allow_gaps, packed)
    return meant(
        stored,
        asked,
        names=said.names,
        sizes=said.sizes or None,
        starts=said.starts,
        flips=said.flips,
        values=said.values,
    )


def _coordinates(root: Path, labels: list[str], shape: tuple[int, ...], asked: Asked) -> Statement:
    """What arrays beside this one say that are called as its axes: xarray lists there where voxels are."""
    names = attributes(root).get("_ARRAY_DIMENSIONS", labels)
    if not isinstance(names, list) or len(names) != len(shape) or asked.axes is not None:
        return Statement()
    told, listed = [], False
    for name, n in zip(names, shape, strict=True):
        beside = root.parent / str(name)
        driver = driver_of(beside) if name and beside.parent == root.parent and is_array(beside) else None
        length, start, flip = None, 0.0, False
        if driver is not None and beside != root:
            try:
                values = np.asarray(_store(str(beside), driver, 0, asked.allow_gaps).read().result())
            except _DAMAGE as err:
                raise InputError(
                    f"{root} has the places of its voxels along {name!r} in {beside}, which cannot be read: "
                    f"{err}; copy it again, or take voxels as stored with axes= (--axes)"
                ) from err
            if values.shape == (n,) and values.dtype.kind in "iuf":
                own = attributes(beside)
                length, start, flip = scale_of(values, text(own.get("units", own.get("unit", ""))), n)
                listed = True
        told.append((length, start, flip))
    lengths, starts, flips = zip(*told, strict=True) if listed else ((), (), ())
    return Statement((), lengths, starts, flips)


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
    told = read_json(Path(path) / "attributes.json") if driver == "n5" else {}
    packing = told.get("compression")
    units = told.get("units", told.get("dimensions"))
    if isinstance(packing, dict) and ("nthreads" in packing or len(units or ()) != len(told["dimensions"])):
        # z5py and the Java library write how many threads packed a chunk, funlib no unit of channels;
        # tensorstore refuses to know it (0.1.86, findings/n5-blosc-nthreads.sh), so it is given the rest.
        known = {k: told[k] for k in ("dimensions", "blockSize", "dataType") if k in told}
        packing = {k: v for k, v in packing.items() if k != "nthreads"}
        spec["metadata"] = {**known, "compression": packing}
        store = tensorstore.open(spec, read=True, open=True, assume_metadata=True).result()
    else:
        store = tensorstore.open(spec, read=True, open=True).result()
    return store[tensorstore.d[:].translate_to[0]]


def _scale_number(root: Path, dataset: str | None) -> int:
    scales = read_json(root / "info")["scales"]
    keys = [str(scale.get("key")) for scale in scales]
    if dataset is None:
        return 0
    if dataset in keys:
        return keys.index(dataset)
    if dataset.isdecimal() and int(dataset) < len(keys):
        return int(dataset)
    raise InputError(f"{root} has no scale {dataset!r}; it has {', '.join(map(repr, keys))}")


def _is_packed(root: Path, scale: dict[str, Any]) -> bool:
    """Whether a file of a scale bears the ending of a compressed one."""
    folder = Path(os.path.normpath(root / str(scale.get("key", ""))))
    if scale.get("sharding") or not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(PACKED) for entry in entries)


def _unpacked(path: str, number: int, where: tuple[slice, ...], allow_gaps: bool) -> Any:
    """A precomputed volume in memory that has the chunks of one part, from files compressed as such."""
    tensorstore = optional("tensorstore", "precomputed")
    info = (Path(path) / "info").read_bytes()
    scale = read_json(Path(path) / "info")["scales"][number]
    key, size = str(scale["key"]), [int(n) for n in scale["size"]]
    offset = [int(n) for n in scale.get("voxel_offset", (0, 0, 0))]
    side = [int(n) for n in scale["chunk_sizes"][0]]
    context = tensorstore.Context()
    memory = tensorstore.KvStore.open({"driver": "memory", "path": "v/"}, context=context).result()
    memory.write("info", info).result()
    grid = (range(s.start // c, -(-s.stop // c)) for s, c in zip(where[:3], side, strict=True))
    for cell in itertools.product(*grid):
        ends = [
            (o + i * c, o + min((i + 1) * c, n)) for i, c, n, o in zip(cell, side, size, offset, strict=True)
        ]
        name = "_".join(f"{a}-{b}" for a, b in ends)
        data = _chunk(Path(os.path.normpath(Path(path) / key)), name)
        if data is not None:
            memory.write(os.path.normpath(f"{key}/{name}"), data).result()
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "memory", "path": "v/"},
        "scale_index": number,
        "fill_missing_data_reads": allow_gaps,
    }
    store = tensorstore.open(spec, read=True, open=True, context=context).result()
    return store[tensorstore.d[:].translate_to[0]]


def _chunk(folder: Path, name: str) -> bytes | None:
    """Bytes of a chunk, from whichever of its files there is; None where there is none."""
    for ending in ("", *PACKED):
        try:
            data = (folder / f"{name}{ending}").read_bytes()
        except FileNotFoundError:
            continue
        match ending:
            case ".gz":
                return gzip.decompress(data)
            case ".br":
                return bytes(optional("imagecodecs", "chunks in .br files").brotli_decode(data))
            case ".zstd" | ".zst":
                return bytes(optional("imagecodecs", "chunks in .zstd files").zstd_decode(data))
            case ".xz" | ".lzma":
                return lzma.decompress(data)
            case ".bz2":
                return bz2.decompress(data)
        return data
    return None


def _marks(root: Path) -> Iterator[tuple[str, int]]:
    for folder, inner, names in os.walk(root):
        inner.sort()
        for name in sorted(names):
            file = Path(folder, name)
            yield str(file.relative_to(root)), file.stat().st_size
