"""Volumes written slab by slab into one file for other programs: OME-TIFF and NIfTI."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError, ConfigError, InputError, OutputError, install
from chunkflow_liver.geometry import NM_PER_UM, Box, Nm, Zyx
from chunkflow_liver.parameters import documented

Read = Callable[[Box], np.ndarray[Any, Any]]

BIGTIFF_BYTES = int(3.9 * 1024**3)
SLAB = 16

_NIFTI1_SIDE = 32767
_STORED_AS = {"bool": "uint8", "float16": "float32"}
_MICROMETRES, _SCANNER_FRAME = "micron", 1


@documented
def write_tiff(
    read: Read,
    shape: Zyx,
    dtype: str,
    path: str | os.PathLike[str],
    *,
    voxel_nm: Nm,
    origin_nm: Nm = (0.0, 0.0, 0.0),
    slab: int = SLAB,
) -> Path:
    """The path of an OME-TIFF of a volume, written slab by slab; BigTIFF above 3.9 GiB.

    Parameters
    ----------
    {read}
    {shape}
    dtype : str
        NumPy name of the voxel type. bool is stored as uint8 and float16 as float32; int64 and
        uint64 do not exist in OME-TIFF.
    path : path-like
        A name that ends in .tif or .tiff and does not exist yet.
    voxel_nm : Nm
        Voxel size along (z, y, x), in nm; written as OME PhysicalSize and as TIFF resolution.
    origin_nm : Nm
        Centre of the first voxel along (z, y, x), in nm; written as OME Position of every plane, if not 0.
    {slab}

    Raises
    ------
    OutputError
        If the file exists, or its folder does not.
    ConfigError
        If the name, the voxel size or the voxel type cannot be stored.
    """
    import tifffile  # its codecs take 40 MiB, which the viewer and the exports of tables do without

    target = _target(path, (".tif", ".tiff"))
    _checked(shape, voxel_nm, origin_nm, slab)
    if np.dtype(dtype).name in {"int64", "uint64"}:
        raise ConfigError(
            f"{target} cannot hold {dtype}: OME-TIFF ends at 32-bit integers; renumber the labels "
            "to uint32, or export .nii"
        )
    stored = np.dtype(_STORED_AS.get(np.dtype(dtype).name, dtype))
    sizes: dict[str, Any] = {f"PhysicalSize{a}": size for a, size in zip("ZYX", voxel_nm, strict=True)}
    sizes |= {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}
    if any(origin_nm):
        sizes["Plane"] = _positions(shape[0], voxel_nm, origin_nm)
    planes = (plane for part in _slabs(read, shape, dtype, slab) for plane in part.astype(stored))
    big = math.prod(shape) * stored.itemsize > BIGTIFF_BYTES
    with finished(target) as partial, tifffile.TiffWriter(partial, bigtiff=big, ome=True) as tif:
        tif.write(
            planes,
            shape=shape,
            dtype=stored,
            photometric="minisblack",
            # pixels per centimetre
            resolution=(1e7 / voxel_nm[2], 1e7 / voxel_nm[1]),
            resolutionunit="CENTIMETER",
            software=False,
            # the same volume gives the same bytes: no random UUID
            metadata={"axes": "ZYX", "UUID": f"urn:uuid:{uuid.UUID(int=0)}", **sizes},
        )
    return target


@documented
def write_nifti(
    read: Read,
    shape: Zyx,
    dtype: str,
    path: str | os.PathLike[str],
    *,
    voxel_nm: Nm,
    origin_nm: Nm = (0.0, 0.0, 0.0),
    slab: int = SLAB,
) -> Path:
    """The path of a NIfTI file of a volume, written slab by slab, gzipped if it ends in .gz.

    Parameters
    ----------
    {read}
    {shape}
    dtype : str
        NumPy name of the voxel type; bool is stored as uint8 and float16 as float32.
    path : path-like
        A name that ends in .nii or .nii.gz and does not exist yet.
    voxel_nm : Nm
        Voxel size along (z, y, x), in nm; stored in micrometres, as the header says.
    origin_nm : Nm
        Centre of the first voxel along (z, y, x), in nm: the offset of qform and sform.
    {slab}

    Raises
    ------
    OutputError
        If the file exists, or its folder does not.
    ConfigError
        If the name or the voxel size cannot be stored.

    Notes
    -----
    NIfTI-1, or NIfTI-2 where a side has more than 32767 voxels. The (x, y, z) Fortran order of
    the file is the (z, y, x) C order of the volume, so slabs follow each other. x, y and z rise in the
    file's space, as they do in a volume that was read from NIfTI: a voxel of it has the place it had, though
    the first voxel of the file may be another corner.
    """
    target = _target(path, (".nii", ".nii.gz"))
    _checked(shape, voxel_nm, origin_nm, slab)
    stored = np.dtype(_STORED_AS.get(np.dtype(dtype).name, dtype)).newbyteorder("<")
    header = _nifti_header(shape, stored, voxel_nm, origin_nm)
    with finished(target) as partial, open(partial, "wb") as raw, contextlib.ExitStack() as stack:
        file: Any = raw
        if target.name.lower().endswith(".gz"):
            # neither name nor time in the stream: the same volume gives the same bytes
            file = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
        file.write(header)
        for part in _slabs(read, shape, dtype, slab):
            file.write(np.ascontiguousarray(part, stored).data)
    return target


def _positions(planes: int, voxel_nm: Nm, origin_nm: Nm) -> dict[str, list[Any]]:
    """Place of the first pixel of every plane, as OME-XML has it."""
    z, y, x = origin_nm
    places = {"Z": [z + i * voxel_nm[0] for i in range(planes)], "Y": [y] * planes, "X": [x] * planes}
    units = {f"Position{axis}Unit": ["nm"] * planes for axis in places}
    return {f"Position{axis}": at for axis, at in places.items()} | units


def _nifti_header(shape: Zyx, stored: np.dtype[Any], voxel_nm: Nm, origin_nm: Nm) -> bytes:
    try:
        nibabel = importlib.import_module("nibabel")
    except ImportError as err:
        raise ConfigError("writing NIfTI needs 'nibabel'; " + install("nibabel")) from err
    kind = nibabel.Nifti1Header if max(shape) <= _NIFTI1_SIDE else nibabel.Nifti2Header
    header = kind(endianness="<")
    header.set_data_dtype(stored)
    header.set_data_shape(shape[::-1])
    sizes_um = [size / NM_PER_UM for size in voxel_nm[::-1]]
    header.set_zooms(sizes_um)
    header.set_xyzt_units(xyz=_MICROMETRES)
    frame = np.diag([*sizes_um, 1.0])
    frame[:3, 3] = [place / NM_PER_UM for place in origin_nm[::-1]]
    header.set_qform(frame, _SCANNER_FRAME)
    header.set_sform(frame, _SCANNER_FRAME)
    header["magic"] = header.single_magic
    header.set_data_offset(header.single_vox_offset)
    data: bytes = header.binaryblock
    return data.ljust(header.single_vox_offset, b"\0")


def _slabs(read: Read, shape: Zyx, dtype: str, depth: int) -> Iterator[np.ndarray[Any, Any]]:
    for z in range(0, shape[0], depth):
        box = Box((z, 0, 0), (min(z + depth, shape[0]), shape[1], shape[2]))
        part = np.asarray(read(box))
        if part.shape != box.shape or part.dtype != np.dtype(dtype):
            raise InputError(
                f"reading the box {box} gave {part.dtype} voxels of shape {part.shape}, but "
                f"{np.dtype(dtype)} of shape {box.shape} was announced; give the volume's own "
                "shape and dtype"
            )
        yield part


def _target(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
    target = Path(path)
    if not target.name.lower().endswith(suffixes):
        raise ConfigError(f"{target} must end in {' or '.join(suffixes)}")
    return free(target)


def free(target: Path) -> Path:
    """`target` if nothing lies there and its folder exists, else an OutputError."""
    if target.exists():
        raise OutputError(f"{target} exists; delete it, or write to another name")
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} of {target.name} does not exist; create it")
    return target


def _checked(shape: Zyx, voxel_nm: Nm, origin_nm: Nm, slab: int) -> None:
    if len(voxel_nm) != 3 or not all(math.isfinite(v) and v > 0 for v in voxel_nm):
        raise ConfigError(f"voxel_nm must be three finite positive lengths (z, y, x) in nm, got {voxel_nm}")
    if len(origin_nm) != 3 or not all(map(math.isfinite, origin_nm)):
        raise ConfigError(f"origin_nm must be three finite places (z, y, x) in nm, got {origin_nm}")
    if min(shape) < 1 or slab < 1:
        raise ConfigError(f"shape and slab must be at least 1, got {shape} and {slab}")


@contextlib.contextmanager
def finished(target: Path) -> Iterator[Path]:
    """A name beside `target` for a file or folder; renamed to it at the end, removed on any error."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        if partial.is_file():
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        if target.exists():
            raise OutputError(f"{target} was written by someone else meanwhile; use another name")
        partial.replace(target)
    except OSError as err:
        if isinstance(err, ChunkflowLiverError):  # what `read` raised
            raise
        raise OutputError(f"{target} cannot be written: {err}; look at space and rights") from err
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
