"""Foreign formats into OME-Zarr, and back to TIFF or NIfTI; streamed and resumable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Records, Result
from chunkflow_liver.errors import ConfigError, InputError, OutputError
from chunkflow_liver.geometry import Block, BlockGrid, Box, Nm, Zyx
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike
from chunkflow_liver.parameters import documented
from chunkflow_liver.store.create import new_volume
from chunkflow_liver.store.exports.images import write_nifti, write_tiff
from chunkflow_liver.store.exports.sheets import write_xlsx
from chunkflow_liver.store.exports.tables import write_anndata, write_segment_properties, write_spatialdata
from chunkflow_liver.store.foreign import Foreign, size_of
from chunkflow_liver.store.location import absolute, is_local, read_key
from chunkflow_liver.store.ngff.versions import DEFAULT, WRITABLE
from chunkflow_liver.store.sources import Asked, Masks, Source, combined, open_source, whole_numbers
from chunkflow_liver.store.table import Arrays, Table, write_csv
from chunkflow_liver.store.volume import IMAGE_DTYPES, LABEL_DTYPES, Volume
from chunkflow_liver.store.write_units import CHUNK_SIDE, SHARD_SIDE
from chunkflow_liver.xp import Array

SLAB_BYTES = 1 << 30
MASK_VALUES = 256
"""Labels over a smaller range are those of a mask, which has a background; ids may fill a volume."""
TABLE_EXPORTS = {
    ".csv": write_csv,
    ".xlsx": write_xlsx,
    ".h5ad": write_anndata,
    ".spatialdata.zarr": write_spatialdata,
    ".segment_properties": write_segment_properties,
}
EXPORTS = {".tif": write_tiff, ".tiff": write_tiff, ".nii": write_nifti, ".gz": write_nifti}


class Reading(TypedDict, total=False):
    """How `convert` is to take a file, where that differs from what the file says.

    Attributes
    ----------
    axes : str
        Order of the axes in the file, slowest first, for example 'zyx' or 'xyz'; wins over what the file
        says of them, and nothing of its orientation and place is applied then.
    stored_values : bool
        Whether numbers are taken as stored, without the scale, offset or sign that the file states.
    allow_constant : bool
        Whether an image may have one value only, and labels no voxel that is 0 though not all have a class
        that is named.
    """

    axes: str | None
    stored_values: bool
    allow_constant: bool


@operation
def convert(
    source: PathLike | Mapping[str, PathLike],
    to: PathLike,
    *,
    voxel_nm: Sequence[float] | None = None,
    kind: str = "image",
    classes: Sequence[tuple[str, int]] = (),
    ome_version: str = DEFAULT,
    block: Zyx | None = None,
    allow_gaps: bool = False,
    allow_overlaps: bool = False,
    **reading: Unpack[Reading],
) -> Plan:
    """Plan the conversion of a stack of slices or a volume file into OME-Zarr.

    Parameters
    ----------
    source : path, or mapping of class name to path
        Folder of TIFF, PNG, JPEG, JPEG 2000 or BMP slices (in natural order), a TIFF, MRC, NIfTI, HDF5,
        NRRD, MetaImage, DM3/DM4, EMD or NumPy file, or an N5, neuroglancer precomputed or zarr folder.
        `file.h5::volumes/raw` names one volume of a container: the path of an HDF5, N5 or zarr array, the
        scale of a precomputed volume, the number of a TIFF's series or a DM4's image. A
        mapping gives masks of one value beside 0, which become one label image: the first class has the
        number 1, the next 2, and so on, where its mask is not 0.
    to : path or URL
        Image group to make. The journal lies beside it in `<to>.convert`.
    {file_voxel_nm}
    kind : {'image', 'label'}
        Labels get a majority pyramid and image-label metadata.
    classes : sequence of (name, number)
        Classes of a semantic label volume.
    {ome_version}
    block : Zyx, optional
        Voxels per block.
    {allow_gaps}
    {allow_overlaps}
    **reading
        How the file is to be taken: `axes`, `stored_values` and `allow_constant`, see `Reading`.

    Returns
    -------
    Plan
        Its `output` is level 0 of the new image.

    Raises
    ------
    ConfigError
        If `kind` or `ome_version` do not exist, classes repeat, or an image is given some.
    InputError
        If the source cannot be read or has no voxel size.
    OutputError
        If `to` exists and is not the unfinished result of the same conversion.
    """
    if isinstance(source, Mapping):
        if not source or classes:
            raise ConfigError(
                "masks need names, and have their numbers by their order; got "
                f"{source!r} and {tuple(classes)}"
            )
        kind, classes = "label", [(name, i) for i, name in enumerate(source, 1)]
    if kind not in ("image", "label") or (classes and kind == "image"):
        raise ConfigError(
            f"kind must be 'image' or, with classes, 'label', got {kind!r} and {tuple(classes)}"
        )
    for what, values in zip(("name", "number"), zip(*classes, strict=True), strict=False):
        twice = [v for v in values if values.count(v) > 1]
        if twice:
            raise ConfigError(f"two classes have the {what} {twice[0]!r}")
    if ome_version not in WRITABLE:
        raise ConfigError(f"OME-Zarr {ome_version!r} cannot be written; choose one of {sorted(WRITABLE)}")
    if unknown := set(reading) - set(Reading.__annotations__):
        raise ConfigError(f"convert has no argument {sorted(unknown)[0]!r}; see help(convert)")
    stored_values = reading.get("stored_values", False)
    asked = Asked(None, allow_gaps, kind == "label", reading.get("axes"), stored_values)
    found = _opened(source, asked, first_wins=allow_overlaps)
    if kind == "image" and found.dtype in LABEL_DTYPES and found.dtype not in IMAGE_DTYPES:
        raise InputError(
            f"{source} holds {found.dtype} voxels, which an image cannot; if they are ids, say kind='label' "
            "(--labels), if not, save it in a smaller type"
        )
    size = size_of(found, voxel_nm, str(source))
    if size is None:
        raise InputError(f"{source} does not state a voxel size; give it in nm as --voxel-nm Z Y X")
    url = absolute(to)
    work = Path(f"{url}.convert") if is_local(url) else Path(absolute(f"{url.rsplit('/', 1)[-1]}.convert"))
    begun = (work / "run.json").exists()
    if not begun and (read_key(url, "zarr.json") or read_key(url, ".zgroup")):
        raise OutputError(f"{url} exists already; choose another name or remove it")
    # The conversion that is to go on has made the image, so the check is done on a free name.
    checked = f"{url}.planned" if begun else url
    block = block or _slabs(found, cast(Nm, tuple(size)))
    made = new_volume(
        checked, found.shape, found.dtype, size, kind=kind, block=block, ome_version=ome_version
    )
    place = tuple(start * length for start, length in zip(found.origin, made.voxel_nm, strict=True))
    output = replace(made, url=url, classes=tuple(classes), origin_nm=cast(Nm, place))
    grid = BlockGrid(output.box, block or output.write_unit)
    name = output.name
    masks = found if isinstance(found, Masks) else None
    sources = (found,) if masks is None else masks.sources
    files = tuple(Foreign(s, os.fspath(url), made.voxel_nm, kind) for s in sources)
    rule = {} if masks is None else {"names": masks.names, "first_wins": allow_overlaps}
    first = Map(f"{name}/convert", _block if masks is None else _masks, grid, files, (output,), rule)
    kept, told = Arrays(str(work / "values")), {"names": rule.get("names", ())}
    alike = () if masks is None else (Fold(f"{name}/values", _one_value, first.name, kept, told),)
    seen = Arrays(str(work / "seen"))
    params = {"source": str(source), "kind": kind, "named": tuple(number for _, number in classes)}
    fold = Fold(f"{name}/seen", _seen, first.name, seen, params)
    net = () if reading.get("allow_constant") else (fold,)
    stages = (first, *alike, *net, *pyramid(output, name))
    return Plan(stages, work, output, (Product("raw" if kind == "image" else "semantic", name, output),))


def _opened(source: PathLike | Mapping[str, PathLike], asked: Asked, *, first_wins: bool = False) -> Source:
    """One volume, or the masks of several classes as one; what follows '::' is the name of a volume."""
    if isinstance(source, Mapping):
        masks = {name: _opened(path, asked) for name, path in source.items()}
        return combined(masks, first_wins=first_wins)
    path, sign, dataset = os.fspath(source).partition("::")
    found = open_source(path, replace(asked, dataset=dataset if sign else None))
    return whole_numbers(found) if asked.labels else found


def _slabs(source: Source, voxel_nm: Nm) -> Zyx | None:
    """Blocks of whole slices where a slice can only be read whole, else None.

    Cubes would decode every slice once for each of their columns: 6,000 times for one of 20,000 by
    20,000 pixels.
    """
    depth, ny, nx = source.shape
    if source.chunks[1:] != (ny, nx) or max(ny, nx) <= SHARD_SIDE:
        return None
    rows, columns = (-(-n // CHUNK_SIDE) * CHUNK_SIDE for n in (ny, nx))
    depth = CHUNK_SIDE if voxel_nm[0] < 2 * min(voxel_nm[1:]) else CHUNK_SIDE // 4
    plane = np.dtype(source.dtype).itemsize * columns
    while depth * rows * plane > SLAB_BYTES and depth > CHUNK_SIDE // 4:
        depth //= 2
    while depth * rows * plane > SLAB_BYTES and rows > CHUNK_SIDE:
        rows = -(-rows // 2 // CHUNK_SIDE) * CHUNK_SIDE
    return (depth, rows, columns)


def _block(block: Block, voxels: Array) -> Result:
    ends = np.fmin.reduce(voxels, axis=None), np.fmax.reduce(voxels, axis=None)
    record = {"low": np.array([ends[0]]), "high": np.array([ends[1]])}
    return Result((voxels,), record | {"zeros": np.array([not voxels.all()])})


def _masks(block: Block, *masks: Array, names: Sequence[str], first_wins: bool) -> Result:
    found = Masks(tuple(names), (), first_wins).numbers(masks, block.write)
    inside = [mask[mask != 0] for mask in masks]
    done = _block(block, found)
    ends = {
        "least": np.array([m.min() if m.size else np.nan for m in inside], np.float64),
        "most": np.array([m.max() if m.size else np.nan for m in inside], np.float64),
    }
    return replace(done, record={**done.record, **ends})


def _one_value(records: Records, *, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The value that every mask has beside 0; refuses masks that have several, as labels and edges do."""
    found = [(r["least"], r["most"]) for _, r in records]
    least, most = np.fmin.reduce([f[0] for f in found]), np.fmax.reduce([f[1] for f in found])
    for name, low, high in zip(names, least, most, strict=True):
        if low < high:
            raise InputError(
                f"the mask of {name!r} has several values beside 0, from {low:g} to {high:g}, and a mask has "
                "one; if they are edges that were smoothed or compressed, set a threshold at half of the "
                "largest and save that; if they are classes or ids, convert the file alone, with --labels "
                f"(and --class {name}=NUMBER for each class)"
            )
    return {"value": most}


def _seen(
    records: Records, *, source: str, kind: str, named: Sequence[int]
) -> dict[str, np.ndarray[Any, Any]]:
    """Least and largest value of all blocks; refuses what no image of anything looks like."""
    found = [(r["low"][0], r["high"][0], bool(r["zeros"][0])) for _, r in records]
    low, high = np.fmin.reduce([f[0] for f in found]), np.fmax.reduce([f[1] for f in found])
    way = (
        "open it in the program that it is from, and compare; if it is right so, say --allow-constant "
        "(allow_constant=True) and go on"
    )
    if not low < high:
        raise InputError(f"{source} has the same value in all voxels, {high}: {way}")
    few = kind == "label" and not any(f[2] for f in found) and float(high) - float(low) < MASK_VALUES
    # Tissue where each voxel has a class that was named is no inverted mask.
    if few and not {*range(int(low), int(high) + 1)} <= {*named}:
        raise InputError(
            f"{source} is nowhere 0 (its values are {low} to {high}): no voxel of it is background; if all "
            f"are classes, name each (--class NAME={low} ... NAME={high}); else {way}"
        )
    return {"low": np.array([low]), "high": np.array([high])}


@documented
def export(source: Volume | Table, to: PathLike) -> Path:
    """Write a volume as one TIFF or NIfTI file, plane by plane, or a table for other programs.

    Parameters
    ----------
    source : Volume or Table
        What to write.
    {export_to}

    Raises
    ------
    InputError
        If the ending is not known, or does not fit what is written.
    OutputError
        If the file exists.

    Notes
    -----
    Labels are stored in the smallest unsigned type that holds them, which needs one more look at them.
    Voxel size and place are kept. A volume does not know which way x, y and z lead in a body: it has the
    axes of the file that it was read from, turned so that they rise, and is written so. What was read from
    NIfTI lies over its source again; NRRD and MetaImage mostly count x and y the other way than NIfTI.
    """
    ending = Path(to).suffix.lower()
    if isinstance(source, Table):
        name = Path(to).name.lower()
        writer = next((w for end, w in TABLE_EXPORTS.items() if name.endswith(end)), None)
        if writer is None:
            raise InputError(
                f"cannot export a table to {os.fspath(to)!r}: the name must end in one of "
                f"{list(TABLE_EXPORTS)}"
            )
        return writer(source, to)
    write = EXPORTS.get(ending)
    if write is None:
        raise InputError(f"cannot export to {os.fspath(to)!r}: the name must end in one of {sorted(EXPORTS)}")
    dtype = source.dtype
    if source.kind == "label" and np.dtype(dtype).kind in "iu":
        dtype = _smallest(source)
    return write(
        lambda box: source.read(box).astype(dtype, copy=False),
        source.shape,
        dtype,
        to,
        voxel_nm=source.voxel_nm,
        origin_nm=source.origin_nm,
    )


def _smallest(labels: Volume) -> str:
    """The smallest unsigned type that holds all labels of a volume; its own where some are negative."""
    least = most = 0
    depth = labels.write_unit[0]
    for z in range(0, labels.shape[0], depth):
        part = labels.read(Box((z, 0, 0), (min(z + depth, labels.shape[0]), *labels.shape[1:])))
        least, most = min(least, int(part.min(initial=0))), max(most, int(part.max(initial=0)))
    return labels.dtype if least < 0 else np.min_scalar_type(most).name
