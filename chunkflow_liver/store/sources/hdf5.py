"""One dataset of an HDF5 file, whoever wrote it: ilastik, ImageJ, BigDataViewer, netCDF, MATLAB, EMD."""

from __future__ import annotations

import contextlib
import importlib
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.sources import statements
from chunkflow_liver.store.sources.axes_and_values import Meant, Values, meant
from chunkflow_liver.store.sources.source import (
    Asked,
    file_marks,
    fingerprint,
    length_nm,
    optional,
    voxel_type,
)
from chunkflow_liver.store.sources.statements import Statement

_FILTERS = {
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32026: "Blosc2",
}
_MATLAB = "MATLAB_class"


@dataclass(frozen=True)
class Hdf5Dataset:
    """A dataset.

    Attributes
    ----------
    path : str
        The HDF5 file.
    dataset : str
        Path of the dataset inside it.
    shape : tuple of int
    dtype : str
        Native NumPy name of the voxel type.
    chunks : tuple of int
        HDF5 chunk, or one slice where the dataset is contiguous.
    """

    path: str
    dataset: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.path}::{self.dataset}"

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Voxels of a part; chunks that were never written are the fill value, as HDF5 means it."""
        try:
            with _file(self.path) as file:
                found = file[self.dataset]
                _check_filters(found, str(self))
                return np.asarray(found[where])
        except (OSError, KeyError, ValueError, RuntimeError) as err:
            if isinstance(err, InputError):
                raise
            at = ", ".join(f"{s.start}:{s.stop}" for s in where)
            raise ChunkError(
                f"{self.path}: dataset {self.dataset!r} cannot be read in the box {at}: {err}; "
                "the file is damaged: fetch it again"
            ) from err

    def identity(self) -> str:
        """Fingerprint of dataset, name, size, and the first and last 4 KiB of the file."""
        return fingerprint(self.dataset, self.shape, self.dtype, *file_marks(self.path))


def open_hdf5(path: str, asked: Asked) -> Meant:
    """The dataset that is asked for, or the only one that is a volume.

    Notes
    -----
    Axes are those that `axistags`, dimension scales or labels, or the dims of an EMD group name; of an
    image of Velox, frames are slices. MATLAB
    orders the axes of an image y, x, z, of which its files hold the reverse: z, x, y.
    """
    h5py = optional("h5py", "HDF5")
    try:
        with _file(path) as file:
            dataset = _only_volume(file, path, h5py) if asked.dataset is None else asked.dataset
            found = file.get(dataset)
            if not isinstance(found, h5py.Dataset):
                raise InputError(f"{path} has no dataset {dataset!r}; it has {_listed(_arrays(file, h5py))}")
            where = f"{path}::{dataset}"
            if found.shape is None:
                raise InputError(f"{where} is empty: it has no shape")
            dtype = voxel_type(found.dtype, where)
            _check_filters(found, where)
            _check_written(found, os.fspath(found.file.filename), where)
            colour = statements.text(found.attrs.get("IMAGE_SUBCLASS", "")) == "IMAGE_TRUECOLOR"
            if colour and asked.axes is None:
                raise InputError(
                    f"{where} is a colour picture, as its IMAGE_SUBCLASS says, of shape {found.shape}; save "
                    "grey values, or, if it is a volume, say so with axes= (--axes zyx)"
                )
            chunks = found.chunks or tuple(1 if i < found.ndim - 2 else n for i, n in enumerate(found.shape))
            chunks = tuple(max(1, min(int(c), int(n))) for c, n in zip(chunks, found.shape, strict=True))
            said = _said(found, file, path, h5py)
            shape = tuple(int(n) for n in found.shape)
            if (imaris := _imaris(found, file)) is not None:
                shape, said = imaris
                chunks = tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
            # of a file that links to the dataset, that with the voxels is read and fingerprinted
            stored = Hdf5Dataset(
                os.fspath(found.file.filename), str(found.name).strip("/"), shape, dtype, chunks
            )
    except (OSError, RuntimeError, KeyError) as err:
        raise InputError(f"{path} is no readable HDF5 file: {err}") from err
    return meant(
        stored,
        asked,
        names=said.names,
        sizes=said.sizes or None,
        starts=said.starts,
        flips=said.flips,
        values=said.values,
    )


def _file(path: str) -> Any:
    # cluster file systems often refuse locks, and a reader needs none
    return optional("h5py", "HDF5").File(path, "r", locking="best-effort")


def _said(found: Any, file: Any, path: str, h5py: Any) -> Statement:
    attributes = dict(found.attrs)
    try:
        values = statements.numbers(attributes)
        bits = statements.unsigned(attributes, str(found.dtype.newbyteorder("=").name))
        tags = statements.axis_tags(attributes, found.ndim)
    except InputError as err:
        raise InputError(f"{path}::{found.name}: {err}; mend that attribute, or delete it") from err
    own = replace(
        tags,
        values=replace(values, bits=bits),
        sizes=statements.sizes(attributes, tags.names, found.shape),
        starts=statements.starts(attributes, tags.names, found.shape),
    )
    own = own.over(_scales(found)).over(_emd(found, h5py))
    levels = _viewer_levels(found.name, file)
    if levels is not None:
        setup, level = levels
        bits = "uint16" if found.dtype == np.int16 else ""
        return replace(statements.big_data_viewer(path, setup, level), values=Values(bits=bits))
    if (velox := statements.velox(found)) is not None:
        return velox
    if not own.names and _MATLAB in attributes and found.ndim == 3:
        return replace(own, names=("z", "x", "y"))
    return own


def _viewer_levels(name: str, file: Any) -> tuple[int, list[float]] | None:
    """Setup and factors along (x, y, z) of a BigDataViewer dataset; None for any other."""
    place = statements.viewer_place(name)
    if place is None:
        return None
    if f"s{place[1]:02d}/resolutions" not in file:  # a partition: the voxels alone, to which a file links
        return place[1], [1.0, 1.0, 1.0]
    rows = np.asarray(file[f"s{place[1]:02d}/resolutions"])
    return (place[1], [float(v) for v in rows[place[2]]]) if place[2] < len(rows) else None


def _imaris(found: Any, file: Any) -> tuple[tuple[int, ...], Statement] | None:
    """Voxels of an Imaris 5 dataset without the padding to whole chunks, and its size and place.

    References
    ----------
    .. [1] Imaris 5.5 file format: DataSetInfo/Image (ExtMin, ExtMax: the outer edges), ImageSizeX of channels
    """
    if not str(found.name).startswith("/DataSet/ResolutionLevel "):
        return None

    def told(attributes: Any, key: str) -> str:
        return b"".join(np.ravel(attributes[key]).astype("S1")).decode("ascii", "replace")

    try:
        sides = [int(told(found.parent.attrs, f"ImageSize{a}")) for a in "ZYX"]
        image = file["DataSetInfo/Image"].attrs
        ends = [[float(told(image, f"Ext{m}{i}")) for m in ("Min", "Max")] for i in (2, 1, 0)]
        fine = [int(told(image, a)) for a in "ZYX"]
        unit = told(image, "Unit")
        steps = [(high - low) / n for (low, high), n in zip(ends, sides, strict=True)]
        starts = [low / step for (low, _), step in zip(ends, steps, strict=True)]
        # the outer edge is that of all levels, the first voxel is the middle of several of the finest
        starts = [at + (1 - n / m) / 2 for at, n, m in zip(starts, sides, fine, strict=True)]
    except (KeyError, ValueError, ZeroDivisionError) as err:
        raise InputError(
            f"{found.file.filename}::{found.name} is of Imaris, but its ImageSizeX, Y, Z or "
            f"DataSetInfo/Image cannot be read ({err}), so that voxels cannot be told "
            "from padding; export it as OME-TIFF"
        ) from err
    if found.ndim != 3 or any(not 0 < n <= m for n, m in zip(sides, found.shape, strict=True)):
        raise InputError(
            f"{found.file.filename}::{found.name} states an image of {sides} voxels (z, y, x) in an array of "
            f"{found.shape}; export it anew from Imaris"
        )
    sizes = tuple(length_nm(f"{step:.9g}", unit) for step in steps)
    return tuple(sides), Statement(("z", "y", "x"), sizes, tuple(float(f"{s:.9g}") for s in starts))


def _scales(found: Any) -> Statement:
    """Names, spacing and direction from dimension scales and labels."""
    names, lengths, starts, flips, listed = [], [], [], [], False
    for axis, dimension in enumerate(found.dims):
        name, length, start, flip = str(dimension.label), None, 0.0, False
        if len(dimension):
            scale = dimension[0]
            own = statements.text(scale.attrs.get("NAME", b""))
            last = str(scale.name or "").rpartition("/")[2]
            name = name or (own if own and not own.startswith("This is a netCDF") else last)
            if scale.ndim == 1 and scale.dtype.kind in "iuf" and scale.shape[0] == found.shape[axis]:
                unit = statements.text(scale.attrs.get("units", scale.attrs.get("unit", "")))
                length, start, flip = statements.scale_of(scale[()], unit, found.shape[axis])
                listed = True
        names.append(name.strip().lower())
        lengths.append(length)
        starts.append(start)
        flips.append(flip)
    if not {"x", "y"} <= set(names):
        return Statement()
    return Statement(tuple(names), tuple(lengths), tuple(starts) if listed else (), tuple(flips))


def _emd(found: Any, h5py: Any) -> Statement:
    """Names, spacing and direction from the dim1, dim2, ... beside the data of an EMD group (Berkeley)."""
    group = found.parent
    dims = [group.get(f"dim{i + 1}") for i in range(found.ndim)]
    if "emd_group_type" not in group.attrs or not all(isinstance(d, h5py.Dataset) for d in dims):
        return Statement()
    names, told = [], []
    for dim, n in zip(dims, found.shape, strict=True):
        names.append(statements.text(dim.attrs.get("name", "")).strip().lower())
        unit = statements.text(dim.attrs.get("units", ""))
        told.append(statements.scale_of(dim[()], unit, n) if dim.dtype.kind in "iuf" else (None, 0.0, False))
    lengths, starts, flips = zip(*told, strict=True)
    if not {"x", "y"} <= set(names):
        names = []
    return Statement(tuple(names), lengths, starts, flips)


def _check_filters(found: Any, where: str) -> None:
    """Refuse a dataset that no filter here can decompress, before anything is read of it."""
    import h5py

    wanted = found.id.get_create_plist()
    for i in range(wanted.get_nfilters()):
        number, _, _, name = wanted.get_filter(i)
        if h5py.h5z.filter_avail(number):
            continue
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")  # registers what it brings
        if not h5py.h5z.filter_avail(number):
            known = _FILTERS.get(number, name.decode("utf-8", "replace") or "unknown")
            raise InputError(
                f"{where} is compressed with the HDF5 filter {number} ({known}), which is not here; pip "
                "install "
                "'chunkflow-liver[formats]' brings the usual ones (hdf5plugin), h5repack -f GZIP=1 takes "
                "it off"
            )


def _check_written(found: Any, path: str, where: str) -> None:
    """Refuse a dataset whose voxels are elsewhere and missing, or were never written: it reads as zeros."""
    if found.is_virtual:
        folder = os.path.dirname(path)
        names = {source.file_name for source in found.virtual_sources()} - {"."}
        absent = [n for n in sorted(names) if not os.path.exists(os.path.join(folder, n))]
        if not absent:
            _check_sources(found, folder, where)
        if absent:
            raise InputError(
                f"{where} takes its voxels from {len(names)} other files, of which {len(absent)} are not "
                f"there ({', '.join(absent[:3])}): they would read as zeros; put them beside it"
            )
        return
    outside = [name for name, _, _ in found.external or ()]
    absent = [n for n in outside if not os.path.exists(os.path.join(os.path.dirname(path), n))]
    if absent:
        raise InputError(f"{where} has its voxels in {absent[0]}, which is not there; put it beside it")
    if not outside and found.size and found.id.get_storage_size() == 0:
        raise InputError(
            f"{where} was never written: all its voxels would be the fill value {found.fillvalue}; write it, "
            "or name another dataset"
        )


def _check_sources(found: Any, folder: str, where: str) -> None:
    """Refuse a virtual dataset of which a file that is there has not the dataset that is wanted of it."""
    wanted: dict[str, set[str]] = {}
    for source in found.virtual_sources():
        if "%" not in source.dset_name:  # a pattern, of as many as there are
            wanted.setdefault(source.file_name, set()).add(source.dset_name)
    for name, datasets in wanted.items():
        with _file(found.file.filename if name == "." else os.path.join(folder, name)) as file:
            gone = sorted(d for d in datasets if d not in file)
        if gone:
            raise InputError(
                f"{where} takes voxels from {name}::{gone[0]}, but there is no such dataset ({len(gone)} of "
                f"{len(datasets)} are missing): they would read as zeros; write it, or name another dataset"
            )


def _arrays(file: Any, h5py: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)
    # visititems follows no links, by which BigDataViewer's files hold the voxels of other files
    for time in (t for t in file if t[:1] == "t" and t[1:].isdecimal()):
        for setup, levels in ((s, file.get(f"{time}/{s}")) for s in file[time]):
            for level in levels if isinstance(levels, h5py.Group) else ():
                name = f"{time}/{setup}/{level}/cells"
                if isinstance(cells := file.get(name), h5py.Dataset):
                    found[name] = cells
    return found


def _only_volume(file: Any, path: str, h5py: Any) -> str:
    found = _arrays(file, h5py)
    volumes = [
        name
        for name, item in found.items()
        if item.shape is not None
        and item.dtype.kind in "buif"
        and sum(n > 1 for n in item.shape) <= 3 <= item.ndim
    ]
    if not volumes:  # one array of channels is no volume either, and is refused as what it is
        volumes = [n for n, item in found.items() if item.dtype.kind in "buif" and len(item.shape or ()) > 3]
    imaris = [name for name in volumes if name.startswith("DataSet/ResolutionLevel 0/")]
    volumes = imaris or volumes
    viewer = [name for name in volumes if statements.viewer_place(name)]
    if viewer:  # of a pyramid, the finest
        finest = [name for name in viewer if statements.viewer_place(name)[2] == 0]  # type: ignore[index]
        volumes = finest or viewer
    if len(volumes) != 1:
        raise InputError(
            f"{path} holds {len(volumes)} 3-D datasets, so one must be named, as in "
            f"{path}::{(volumes or ['volumes/raw'])[0]}; it has {_listed(found)}"
        )
    return volumes[0]


def _listed(found: dict[str, Any]) -> str:
    texts = [f"{name!r} {item.shape} {item.dtype}" for name, item in list(found.items())[:12]]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(texts) or "no dataset") + more
