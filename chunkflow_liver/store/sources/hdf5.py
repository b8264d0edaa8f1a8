"""One dataset of an HDF5 file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.sources.source import (
    checked_box,
    checked_shape,
    file_marks,
    fingerprint,
    optional,
    size_nm,
    voxel_type,
)


@dataclass(frozen=True)
class Hdf5Dataset:
    """A (z, y, x) dataset; leading axes of length 1 are dropped.

    Attributes
    ----------
    path : str
        The HDF5 file.
    dataset : str
        Path of the dataset inside it.
    shape : Zyx
        Voxels along (z, y, x).
    dtype : str
        Native NumPy name of the voxel type.
    chunks : Zyx
        HDF5 chunk, or one slice where the dataset is contiguous.
    voxel_nm : Nm or None
        Voxel size along (z, y, x), in nm.
    """

    path: str
    dataset: str
    shape: Zyx
    dtype: str
    chunks: Zyx
    voxel_nm: Nm | None = None

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`; chunks that were never written are the fill value, as HDF5 means it."""
        checked_box(box, self.shape, f"{self.path}:{self.dataset}")
        try:
            with _file(self.path) as file:
                array = file[self.dataset]
                where = (0,) * (array.ndim - 3) + box.slices[max(0, 3 - array.ndim) :]
                data = np.asarray(array[where])
        except (OSError, KeyError, ValueError, RuntimeError) as err:
            raise ChunkError(
                f"{self.path}: dataset {self.dataset!r} cannot be read in the box {box}: {err}; "
                "the file is damaged, or a filter plug-in is missing (hdf5plugin)"
            ) from err
        return np.array(data.reshape(box.shape), dtype=self.dtype, order="C")

    def identity(self) -> str:
        """Fingerprint of dataset, name, size, and the first and last 4 KiB of the file."""
        return fingerprint(self.dataset, self.shape, self.dtype, *file_marks(self.path))


def open_hdf5(path: str, dataset: str | None) -> Hdf5Dataset:
    """The dataset called `dataset`, or the only one that is 3-D."""
    h5py = optional("h5py", "HDF5")
    try:
        with _file(path) as file:
            if dataset is None:
                dataset = _only_volume(file, path, h5py)
            found = file.get(dataset)
            if not isinstance(found, h5py.Dataset):
                raise InputError(f"{path} has no dataset {dataset!r}; it has {_listed(_arrays(file, h5py))}")
            where = f"{path}:{dataset}"
            if found.shape is None:
                raise InputError(f"{where} is empty: it has no shape")
            dtype = voxel_type(found.dtype, where)
            shape = checked_shape(found.shape, where)
            chunks = (1, *found.chunks)[-3:] if found.chunks else (1, *shape[1:])
            voxel_nm = _voxel_nm(dict(found.attrs))
    except (OSError, RuntimeError, KeyError) as err:
        raise InputError(f"{path} is no readable HDF5 file: {err}") from err
    chunk = tuple(min(int(c), n) for c, n in zip(chunks, shape, strict=True))
    return Hdf5Dataset(path, dataset, shape, dtype, (chunk[0], chunk[1], chunk[2]), voxel_nm)


def _file(path: str) -> Any:
    # cluster file systems often refuse locks, and a reader needs none
    return optional("h5py", "HDF5").File(path, "r", locking="best-effort")


def _arrays(file: Any, h5py: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)
    return found


def _only_volume(file: Any, path: str, h5py: Any) -> str:
    found = _arrays(file, h5py)
    volumes = [
        name
        for name, item in found.items()
        if item.shape is not None and item.ndim == 3 and item.dtype.kind in "buif"
    ]
    if len(volumes) != 1:
        raise InputError(
            f"{path} holds {len(volumes)} 3-D datasets, so one must be named; it has {_listed(found)}"
        )
    return volumes[0]


def _listed(found: dict[str, Any]) -> str:
    texts = [f"{name!r} {item.shape} {item.dtype}" for name, item in list(found.items())[:12]]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(texts) or "no dataset") + more


def _voxel_nm(attributes: dict[str, Any]) -> Nm | None:
    if "element_size_um" in attributes:
        return size_nm(np.ravel(attributes["element_size_um"]), "um")
    for name in ("resolution", "voxel_size"):
        units = attributes.get("units", attributes.get("unit"))
        if name in attributes and units is not None:
            if isinstance(units, (str, bytes)):
                units = [units] * 3
            names = [u.decode() if isinstance(u, bytes) else str(u) for u in np.ravel(units)]
            return size_nm(np.ravel(attributes[name]), names)
    return None
