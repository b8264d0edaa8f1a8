"""Stacks in TIFF files: plain, BigTIFF, ImageJ and OME, and the voxel size that they state."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import tifffile

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.store.sources.flat import FlatFile, checked_length
from chunkflow_liver.store.sources.pages import DAMAGE, TiffPages, check_page, page_offsets
from chunkflow_liver.store.sources.source import size_nm, voxel_type

_X_RESOLUTION, _Y_RESOLUTION = 282, 283


def open_tiff(path: str, dataset: str | None) -> TiffPages | FlatFile:
    """The stack in a TIFF file; `dataset` is the number of the series where there are several.

    Notes
    -----
    Voxels come as stored: the index, for a file with a colour table.
    """
    pages = page_offsets(path)
    try:
        with tifffile.TiffFile(path) as tif:
            number = _series_number(tif, path, dataset)
            series = tif.series[number]
            shape = _stack_shape(series, path)
            _check_imagej_count(tif, shape[0], path)
            page = series.keyframe
            check_page(page, path)
            dtype = voxel_type(series.dtype, path)
            voxel_nm = _voxel_nm(tif, number)
            if series.dataoffset is not None and series.dtype.itemsize * 8 == page.bitspersample:
                stored = np.dtype(dtype).newbyteorder(tif.byteorder).str
                return checked_length(FlatFile(path, shape, stored, int(series.dataoffset), voxel_nm))
            indices = [-1 if p is None else p.index for p in series.pages]
            first = indices[0] if isinstance(indices[0], int) else -1
            if indices != list(range(first, first + shape[0])) or first + shape[0] > len(pages):
                raise InputError(
                    f"{path} does not store its {shape[0]} planes as consecutive pages of this "
                    "file; save it again as one multi-page TIFF"
                )
            tile = (page.tilelength, page.tilewidth) if page.is_tiled else shape[1:]
            chunks = (1, min(int(tile[0]), shape[1]), min(int(tile[1]), shape[2]))
    except DAMAGE as err:
        if isinstance(err, InputError):
            raise
        raise InputError(f"{path} is no readable TIFF file: {err}") from err
    return TiffPages(path, shape, dtype, chunks, first, voxel_nm)


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


def _stack_shape(series: tifffile.TiffPageSeries, path: str) -> Zyx:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    names = {"C": "channels", "T": "time points", "S": "values per pixel"}
    for axis, name in names.items():
        if sizes.get(axis, 1) > 1:
            raise InputError(
                f"{path} has {sizes[axis]} {name} (axes {series.axes}, shape {series.shape}); one "
                "volume is needed: save one of them, or, if they are z slices, say so in its "
                "metadata (Image > Properties in Fiji)"
            )
    depth = [n for axis, n in sizes.items() if axis not in "YXCTS"]
    if not {"Y", "X"} <= set(sizes) or sum(n > 1 for n in depth) > 1 or series.axes[-1] == "S":
        raise InputError(f"{path} has axes {series.axes} of shape {tuple(series.shape)}; (z, y, x) is needed")
    return max([int(n) for n in depth], default=1), int(sizes["Y"]), int(sizes["X"])


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
        return _ome_voxel_nm(tif.ome_metadata or "", number)
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
    return size_nm((found.get("spacing"), y, x), str(found.get("unit", "")))


def _ome_voxel_nm(xml: str, number: int) -> Nm | None:
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:  # entities can expand without bound
        return None
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    pixels = root.findall(".//{*}Image/{*}Pixels")
    if number >= len(pixels):
        return None
    found = pixels[number].attrib
    sizes = [found.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    # the OME schema makes micrometres the default
    return size_nm(sizes, [found.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"])
