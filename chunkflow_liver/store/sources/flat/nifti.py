"""NIfTI files: their numbers, and how their axes lie in space."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.sources.axes_and_values import Meant, Values, meant
from chunkflow_liver.store.sources.flat.array import FlatFile, checked_length
from chunkflow_liver.store.sources.source import Asked, length_nm, optional, voxel_type

OBLIQUE = 1e-3
"""Largest share of a voxel's length along other axes with which an axis still counts as straight."""
_UNITS: dict[int, str] = {1: "m", 2: "mm", 3: "um"}


def open_nifti(path: str, asked: Asked) -> Meant:
    """The volume of a NIfTI-1 or NIfTI-2 file, .nii or .nii.gz.

    Notes
    -----
    The affine says where voxels lie: axes are permuted and flipped so that x, y and z rise, which is
    what nibabel's `as_closest_canonical` does. A file whose qform and sform codes are 0 says nothing of it,
    and is taken as stored. A .nii.gz above 2 GiB of voxels is refused, as every read would have to
    decompress it from the start.
    """
    nibabel = optional("nibabel", "NIfTI")
    unreadable = nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError
    damage = (OSError, EOFError, ValueError, KeyError, AttributeError, zlib.error, *unreadable)
    try:
        image = nibabel.load(path)
        header, stored = image.header, image.dataobj
        shape = tuple(int(n) for n in reversed(stored.shape))
        kind, slope, intercept = stored.dtype, float(stored.slope), float(stored.inter)
        unit = _UNITS.get(int(header["xyzt_units"]) & 7, "unknown")
        lengths = [float(f"{n:.6g}") for n in header["pixdim"][1:4]]  # float32
        offset = int(stored.offset)
        placed = int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0
        affine = np.asarray(image.affine, float) if placed else np.diag([*lengths, 1.0])
    except damage as err:
        raise InputError(f"{path} is no readable NIfTI file: {err}") from err
    voxel_type(kind, path)
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    gz = path.lower().endswith(".gz")
    flat = checked_length(FlatFile(path, shape, kind.str, offset, "gzip" if gz else "none"))
    values = Values(slope, intercept)
    if asked.axes is not None or len(shape) > 3:
        sizes = _sizes(lengths, unit, len(shape))
        return meant(flat, asked, sizes=sizes, values=values)
    names, flips, found, starts = straight(affine[:3, :3], affine[:3, 3], shape[::-1], "xyz", path)
    sizes = _sizes(found, unit, len(shape)) if placed else _sizes(lengths, unit, len(shape))
    n = len(shape)
    return meant(
        flat,
        asked,
        names=names[:n][::-1],
        flips=flips[:n][::-1],
        sizes=sizes,
        starts=starts[:n][::-1] if placed else (),
        frame="RAS",
        values=values,
    )


def _sizes(lengths: list[float], unit: str, n: int) -> list[float | None] | None:
    """Sizes along the stored axes, slowest first; None for the 1 that writers put where they know none."""
    if set(lengths) == {1.0}:
        return None
    found = [length_nm(v, unit) for v in lengths]
    return ([None] * (n - 3) + found[::-1])[-n:]


def straight(
    directions: np.ndarray[Any, Any],
    origin: np.ndarray[Any, Any],
    shape: tuple[int, ...],
    world: str,
    where: str,
) -> tuple[list[str], list[bool], list[float], list[float]]:
    """Name, flip, voxel size and start (in voxels) of three stored axes, fastest first.

    Parameters
    ----------
    directions : ndarray of shape (3, 3)
        Step in the world, one column per stored axis.
    origin : ndarray of shape (3,)
        Place of the first voxel in the world.
    shape : tuple of int
        Voxels along the stored axes, fastest first.
    world : str
        Names of the axes of the world.
    where : str
        The file.

    Raises
    ------
    InputError
        If an axis of the file is oblique in the world.
    """
    lengths = np.linalg.norm(directions, axis=0)
    if not (np.isfinite(directions).all() and np.isfinite(origin).all() and (lengths > 0).all()):
        raise InputError(
            f"{where} states no usable place of its voxels in space ({directions.tolist()}); take them as "
            "stored with axes= (--axes zyx), and give voxel_nm (--voxel-nm)"
        )
    share = np.abs(directions) / lengths
    main = [int(i) for i in share.argmax(axis=0)]
    off = np.sort(share, axis=0)[:-1].max()
    if sorted(main) != [0, 1, 2] or off > OBLIQUE:
        raise InputError(
            f"{where} is oblique: its axes lie across those of space (the directions of its stored axes are "
            f"{np.round(directions / lengths, 4).T.tolist()}), and voxels are not interpolated here; "
            "resample it to a "
            "straight grid (nibabel.processing.resample_to_output, or Resample Scalar Volume in 3D Slicer), "
            "or take the voxels as stored with axes= (--axes zyx)"
        )
    steps = [float(directions[i, k]) for k, i in enumerate(main)]
    sizes = [float(f"{abs(s):.6g}") for s in steps]  # float32 in the file
    starts = []
    for k, (i, step) in enumerate(zip(main, steps, strict=True)):
        n = shape[k] if k < len(shape) else 1
        lowest = min(float(origin[i]), float(origin[i]) + step * (n - 1))
        starts.append(float(f"{lowest / abs(step):.9g}"))
    return [world[i] for i in main], [s < 0 for s in steps], sizes, starts
