"""Stacks in TIFF files: plain, BigTIFF, ImageJ and OME, and what they state of voxel sizes and numbers."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.store.sources.axes_and_values import AS_STORED, Meant, Values, meant
from chunkflow_liver.store.sources.flat import FlatFile
from chunkflow_liver.store.sources.flat.array import checked_length
from chunkflow_liver.store.sources.pages import DAMAGE, TiffPages, check_page, page_offsets
from chunkflow_liver.store.sources.source import Asked, Stored, size_nm, voxel_type

_X_RESOLUTION, _Y_RESOLUTION = 282, 283
_STRAIGHT_LINE, _NO_CALIBRATION = 0, 20
_DIMENSIONS = ("z", "y", "x")


def open_tiff(path: str, asked: Asked) -> Meant:
    """The stack in a TIFF file, or in several that OME-XML puts together; `dataset`: number of a series.

    Notes
    -----
    Voxels come as stored, except where ImageJ calibrated them by a straight line: the index, for a file with
    a colour table. OME-XML says which page of which file is which slice.
    """
    page_offsets(path)  # refuses a chain of pages that breaks
    try:
        with tifffile.TiffFile(path) as tif:
            number = _series_number(tif, path, asked.dataset)
            series = tif.series[number]
            page = series.keyframe
            shape, names = _stack(series, path, asked)
            _check_imagej_count(tif, shape[0], path)
            check_page(page, path, planes=True, labels=asked.labels)
            dtype = voxel_type(series.dtype, path)
            values = AS_STORED if asked.stored_values else calibration(tif, path)
            # the tags of the resolution are those of columns and rows, whatever these are called
            sizes = _voxel_nm(tif, number) if names == _DIMENSIONS else None
            stored: Stored
            if series.dataoffset is not None and series.dtype.itemsize * 8 == page.bitspersample:
                kind = np.dtype(dtype).newbyteorder(tif.byteorder).str
                stored = checked_length(FlatFile(path, shape, kind, int(series.dataoffset)))
            else:
                files, places = _planes(series, shape[0], path, asked)
                tile = (page.tilelength, page.tilewidth) if page.is_tiled else shape[1:]
                chunks = (1, min(int(tile[0]), shape[1]), min(int(tile[1]), shape[2]))
                stored = TiffPages(files, zlib.compress(places.tobytes()), shape, dtype, chunks)
    except DAMAGE as err:
        if isinstance(err, InputError):
            raise
        raise InputError(f"{path} is no readable TIFF file: {err}") from err
    return meant(stored, asked, names=names, sizes=sizes, values=values)


def calibration(tif: tifffile.TiffFile, path: str) -> Values:
    """What ImageJ says that the numbers of a file stand for.

    Notes
    -----
    ImageJ stores signed 16-bit numbers as unsigned ones, with a calibration by a straight line [1]_.

    References
    ----------
    .. [1] ImageJ, ij/io/FileSaver.java and ij/measure/Calibration.java
    """
    found = (tif.imagej_metadata or {}) if tif.is_imagej else {}
    try:
        function = int(found.get("cf", _NO_CALIBRATION))
        scale, offset = float(found.get("c1", 1.0)), float(found.get("c0", 0.0))
    except (TypeError, ValueError) as err:
        raise InputError(f"{path} has an ImageJ calibration that cannot be read: {err}") from err
    if function == _NO_CALIBRATION:
        return AS_STORED
    if function != _STRAIGHT_LINE:
        raise InputError(
            f"{path} has a calibration of its values by ImageJ that is no straight line (function "
            f"{function}), "
            "which is not applied here; take the numbers as stored with stored_values=True "
            "(--stored-values), or save the calibrated ones as 32-bit"
        )
    return Values(scale, offset)


def ome_files(path: str) -> bool:
    """Whether the OME-XML of a TIFF file makes one stack of several files."""
    with tifffile.TiffFile(path) as tif:
        return tif.is_ome and (tif.ome_metadata or "").count("FileName=") > 1


def _planes(
    series: tifffile.TiffPageSeries, depth: int, path: str, asked: Asked
) -> tuple[tuple[str, ...], np.ndarray[Any, Any]]:
    """Files of a stack, and for every plane its file, page and sample."""
    samples = 1 if series.keyframe.shape[-3:-2] == () else int(series.keyframe.samplesperpixel)
    pages = list(series.pages)
    numbers: dict[str, int] = {path: 0}
    places = np.full((len(pages) * samples, 3), -1, np.int32)
    for i, page in enumerate(pages):
        if page is None:
            continue
        file = os.path.abspath(page.parent.filehandle.path)
        index = page.index if isinstance(page.index, int) else -1
        known = len(page_offsets(file)) if index >= 0 else 0
        if index >= known:
            raise InputError(
                f"{path} has its slice {i} in no page of its chain; save it again as one multi-page TIFF"
            )
        where = numbers.setdefault(file, len(numbers))
        places[i * samples : (i + 1) * samples] = [(where, index, s) for s in range(samples)]
    if len(places) != depth:
        raise InputError(
            f"{path} has {depth} slices, but {len(places)} planes; save it again as one multi-page TIFF"
        )
    absent = np.flatnonzero(places[:, 0] < 0)
    if len(absent) == depth:
        raise InputError(f"{path} has none of its {depth} slices: none of the files that it names is there")
    if len(absent) and not asked.allow_gaps:
        raise InputError(
            f"{path} says that it has {depth} slices, but {_listed(absent)} (from 0) are in no page of it, "
            "nor of "
            "a file beside it that it names; add the files, or pass allow_gaps=True (--allow-gaps) for "
            "slices "
            "of zeros"
        )
    return tuple(numbers), places


def _listed(numbers: np.ndarray[Any, Any]) -> str:
    more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    return ", ".join(str(n) for n in numbers[:10]) + more


def _series_number(tif: tifffile.TiffFile, path: str, dataset: str | None) -> int:
    shapes = [tuple(s.shape) for s in tif.series]
    if dataset is None and len(shapes) == 1:
        return 0
    if dataset is None or not (dataset.isdecimal() and int(dataset) < len(shapes)):
        got = "no choice was made" if dataset is None else f"got {dataset!r}"
        listed = ", ".join(f"{i}: {shape}" for i, shape in enumerate(shapes[:8]))
        raise InputError(
            f"{path} holds {len(shapes)} image series and {got}; pass the number of one as the "
            f"dataset ({listed})"
        )
    return int(dataset)


def _stack(series: tifffile.TiffPageSeries, path: str, asked: Asked) -> tuple[Zyx, tuple[str, ...]]:
    """Shape and names of the axes of a stack as it is stored: planes, rows and columns."""
    sizes = dict(zip(series.axes, (int(n) for n in series.shape), strict=True))
    names = {"C": "channels", "T": "time points", "S": "values per pixel"}
    if series.axes[-1] == "S" and sizes["S"] > 1:
        raise InputError(
            f"{path} has {sizes['S']} values per pixel (axes {series.axes}, shape {series.shape}): colour or "
            "alpha; save it as grey values, e.g. Image > Type > 8-bit in Fiji"
        )
    for axis, name in names.items():
        if sizes.get(axis, 1) > 1 and asked.axes is None:
            raise InputError(
                f"{path} has {sizes[axis]} {name} (axes {series.axes}, shape {series.shape}); one "
                "volume is needed: save one of them, or, if they are z slices, say so with axes= (--axes "
                "zyx) "
                "or in its metadata (Image > Properties in Fiji)"
            )
    axes = [axis for axis in series.axes if axis != "S" or sizes["S"] > 1]
    *depth, row, column = axes
    long = [axis for axis in depth if sizes[axis] > 1]
    plane = next((axis for axis in long if axis in "XYZ"), None) or (set("XYZ") - {row, column}).pop()
    if not {"Y", "X"} <= set(sizes) or len(long) > 1 or len({plane, row, column} & set("XYZ")) != 3:
        raise InputError(f"{path} has axes {series.axes} of shape {tuple(series.shape)}; (z, y, x) is needed")
    shape = max((sizes[axis] for axis in depth), default=1), sizes[row], sizes[column]
    return shape, tuple(axis.lower() for axis in (plane, row, column))


def _check_imagej_count(tif: tifffile.TiffFile, depth: int, path: str) -> None:
    # ImageJ writes one page entry for all slices; tifffile reads what is cut off as one slice
    promised = (tif.imagej_metadata or {}).get("images", depth) if tif.is_imagej else depth
    if promised != depth:
        raise InputError(
            f"{path} is cut off or damaged: its ImageJ header promises {promised} slices, but "
            f"{depth} can be read; fetch it again"
        )


def _voxel_nm(tif: tifffile.TiffFile, number: int) -> Nm | None:
    if tif.is_ome:
        several = len(tif.series)
        return _ome_voxel_nm(tif.ome_metadata or "", number, several, str(tif.series[number].name))
    if tif.is_imagej:
        found = tif.imagej_metadata or {}
    elif tif.shaped_metadata and number < len(tif.shaped_metadata):
        found = tif.shaped_metadata[number]
    else:
        return None
    tags = tif.pages.first.tags
    try:
        across = [tags[code].value for code in (_Y_RESOLUTION, _X_RESOLUTION)]
        y, x = (below / above for above, below in across)
    except (KeyError, ZeroDivisionError, TypeError, ValueError):
        return None
    unit = str(found.get("unit", ""))
    # ImageJ writes the units of y and z where they differ from that of x (ij/io/FileSaver.java)
    units = [str(found.get(name, unit)) for name in ("zunit", "yunit")]
    return size_nm((found.get("spacing"), y, x), [*units, unit])


def _ome_voxel_nm(xml: str, number: int, several: int, name: str) -> Nm | None:
    """Voxel size that OME-XML states of series `number` of `several`, which is called `name`."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:  # entities can expand without bound
        return None
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    images = root.findall(".//{*}Image")
    if len(images) == several:
        images = images[number : number + 1]
    else:  # an image whose files are elsewhere is no series, and shifts the numbers of those behind it
        images = [image for image in images if image.get("Name") == name]
    told = {_pixel_nm(pixels.attrib) for image in images for pixels in image.findall("{*}Pixels")}
    return told.pop() if len(told) == 1 else None


def _pixel_nm(found: Mapping[str, str]) -> Nm | None:
    sizes = [found.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    # the OME schema makes micrometres the default
    return size_nm(sizes, [found.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"])
