"""What attributes of HDF5, N5 and zarr arrays say of axes, voxel sizes and numbers, by who wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.sources.axes_and_values import AS_STORED, Values
from chunkflow_liver.store.sources.source import length_nm

_AXES = ("axes", "axis_names", "axis_order", "DIMENSION_LABELS", "_ARRAY_DIMENSIONS", "dimension_names")
_EVEN = 1e-3
"""Steps of a scale that differ by a larger share are no voxel size."""
_XML_LIMIT_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Statement:
    """What is said of the axes of a stored array, one entry each; empty where nothing is said.

    Attributes
    ----------
    names : tuple of str
    sizes : tuple of float or None
        Voxel sizes in nm.
    starts : tuple of float
        Places of the lowest voxel, in voxels.
    flips : tuple of bool
    values : Values
    """

    names: tuple[str, ...] = ()
    sizes: tuple[float | None, ...] = ()
    starts: tuple[float, ...] = ()
    flips: tuple[bool, ...] = ()
    values: Values = AS_STORED

    def over(self, other: Statement) -> Statement:
        """This statement, and `other` for what it does not say."""
        values = self.values if self.values != AS_STORED else other.values
        sizes = self.sizes if any(self.sizes) else other.sizes
        placed = self if self.starts or any(self.flips) else other
        return Statement(self.names or other.names, sizes, placed.starts, placed.flips, values)


def text(value: Any) -> str:
    """An attribute as text: bytes decoded, one text out of an array of one."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size == 1 else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def texts(value: Any) -> list[str]:
    """An attribute as a list of texts."""
    found = [value] if isinstance(value, str | bytes) else list(np.ravel(value))
    return [text(v) for v in found]


def axis_tags(attributes: Mapping[str, Any], ndim: int, reverse: bool = False) -> Statement:
    """Axes as vigra and ilastik write them (`axistags`), else as a list or word called `axes`.

    `reverse`: the array orders its axes the other way round than NumPy; a list called `axes` does too.
    """
    names: list[str] = []
    if "axistags" in attributes:
        found = attributes["axistags"]
        try:
            tags = found if isinstance(found, Mapping) else json.loads(text(found))
            names = [str(tag["key"]) for tag in tags["axes"]]
        except (ValueError, KeyError, TypeError) as err:
            raise InputError(f"its axistags {found!r} are not readable: {err}") from err
    else:
        for key in _AXES:
            if key in attributes:
                found = texts(attributes[key])
                names = list(found[0]) if len(found) == 1 and len(found[0]) == ndim else found
                names = names[::-1] if reverse and key == "axes" else names
                break
    names = [n.strip().lower().removesuffix("^") for n in names]  # funlib marks channels, as in c^
    return Statement(tuple(names)) if len(names) == ndim and {"x", "y"} <= set(names) else Statement()


def numbers(attributes: Mapping[str, Any]) -> Values:
    """Scale and offset by the CF conventions, which netCDF, xarray and many scripts keep.

    References
    ----------
    .. [1] CF Conventions 1.11, section 8.1, packed data
    """
    try:
        scale = float(np.ravel(attributes.get("scale_factor", 1.0))[0])
        offset = float(np.ravel(attributes.get("add_offset", 0.0))[0])
    except (TypeError, ValueError, IndexError) as err:
        raise InputError(f"its scale_factor or add_offset is no number: {err}") from err
    return Values(scale, offset)


def unsigned(attributes: Mapping[str, Any], dtype: str) -> str:
    """Type of the bits, where `_Unsigned` says that signed integers are not."""
    if text(attributes.get("_Unsigned", "")).lower() == "true" and dtype.startswith("int"):
        return f"u{dtype}"
    return ""


def sizes(
    attributes: Mapping[str, Any], names: Sequence[str], shape: Sequence[int]
) -> tuple[float | None, ...]:
    """Voxel sizes along the stored axes, which ImageJ's, Paintera's and funlib's attributes list in order.

    Three sizes of more axes are those of the axes called x, y and z, or of those longer than one voxel.
    """
    values: Any = None
    units: Any = None
    if "element_size_um" in attributes:
        values, units = attributes["element_size_um"], "um"
    else:
        for name in ("resolution", "voxel_size"):
            units = attributes.get("units", attributes.get("unit"))
            if name in attributes and units is not None:
                values = attributes[name]
                break
    if values is None:
        return ()
    try:
        found = np.ravel(values).tolist()
    except (TypeError, ValueError):
        return ()
    named = texts(units)
    named = named * len(found) if len(named) == 1 else named
    if len(found) != len(named):
        return ()
    return _spread([length_nm(v, u) for v, u in zip(found, named, strict=True)], names, shape)


def starts(attributes: Mapping[str, Any], names: Sequence[str], shape: Sequence[int]) -> tuple[float, ...]:
    """Places along the stored axes, in voxels: `offset` by `resolution` or `voxel_size`, in whatever unit.

    References
    ----------
    .. [1] CREMI's HDF5 files; daisy and funlib.persistence, arrays/metadata.py
    """
    step = attributes.get("resolution", attributes.get("voxel_size"))
    if step is None or "offset" not in attributes:
        return ()
    try:
        steps = _spread([float(v) for v in np.ravel(step)], names, shape)
        moved = _spread([float(v) for v in np.ravel(attributes["offset"])], names, shape)
        return tuple(m / s if m and s else 0.0 for m, s in zip(moved, steps, strict=True))
    except (TypeError, ValueError):
        return ()


def _spread(
    found: Sequence[float | None], names: Sequence[str], shape: Sequence[int]
) -> tuple[float | None, ...]:
    """Numbers of all axes, or of the spatial ones, as one per stored axis; none where they do not fit."""
    if len(found) == len(shape):
        return tuple(found)
    at = [i for i, n in enumerate(names) if n in ("x", "y", "z")]
    at = at or [i for i, n in enumerate(shape) if n > 1]
    at = at if len(at) == len(found) else list(range(len(shape)))[-len(found) :]
    if len(at) != len(found):
        return ()
    told: list[float | None] = [None] * len(shape)
    for i, value in zip(at, found, strict=True):
        told[i] = value
    return tuple(told)


def scale_of(values: Any, unit: str, n: int) -> tuple[float | None, float, bool]:
    """Voxel size (nm), start (voxels) and flip of an axis of `n` voxels whose coordinates are listed."""
    places = np.ravel(values).astype(float)
    if places.size < 2 or not np.isfinite(places).all():
        return None, 0.0, False
    steps = np.diff(places)
    step = float(steps.mean())
    if step == 0 or np.abs(steps - step).max() > _EVEN * abs(step):
        return None, 0.0, False
    step = float(f"{step:.7g}")
    lowest = min(places[0], places[0] + step * (n - 1))
    return length_nm(abs(step), unit), float(f"{lowest / abs(step):.9g}"), step < 0


def velox(found: Any) -> Statement | None:
    """What Velox (Thermo Fisher) says of an image of its EMD files; None of any other dataset.

    Rows, columns and frames of an image lie in Data/Image/<id>/Data, and the size of a pixel in the JSON text
    beside it, one column of bytes per frame.
    """
    parts = str(found.name).strip("/").split("/")
    if len(parts) != 4 or parts[:2] != ["Data", "Image"] or parts[3] != "Data" or found.ndim != 3:
        return None
    told = found.parent.get("Metadata")
    sizes: tuple[float | None, ...] = ()
    if told is not None and told.ndim == 2 and told.dtype == np.uint8 and told.shape[1]:
        try:
            result = json.loads(bytes(told[:, 0]).rstrip(b"\0"))["BinaryResult"]
            pixel = result["PixelSize"]
            across = (("height", "PixelUnitY"), ("width", "PixelUnitX"))
            sizes = (*(length_nm(pixel[side], result[unit]) for side, unit in across), None)
        except (ValueError, KeyError, TypeError):
            sizes = ()
    return Statement(("y", "x", "z"), sizes)


def viewer_place(name: str) -> tuple[int, int, int] | None:
    """Time point, setup and level that the path of a BigDataViewer array states."""
    parts = name.strip("/").split("/")
    if len(parts) == 4 and parts[3] == "cells" and parts[0][:1] == "t" and parts[1][:1] == "s":
        numbers = (parts[0][1:], parts[1][1:], parts[2])
        if all(n.isdecimal() for n in numbers):
            return int(numbers[0]), int(numbers[1]), int(numbers[2])
    return None


def big_data_viewer(file: str, setup: int, level: Sequence[float]) -> Statement:
    """Axes, voxel size and meaning of numbers of one level of a BigDataViewer HDF5 file.

    Parameters
    ----------
    file : str
        The HDF5 file; the voxel size stands in an XML file beside it that names it.
    setup : int
    level : sequence of float
        How many voxels of level 0 lie in one of this level along (x, y, z).

    Notes
    -----
    BigDataViewer keeps unsigned numbers of 16 bits as signed ones, because HDF5's Java library had no
    others [1]_.

    References
    ----------
    .. [1] Pietzsch et al., BigDataViewer, Nature Methods 12, 2015, doi:10.1038/nmeth.3392
    """
    told = Statement(("z", "y", "x"))
    for xml in sorted(Path(file).parent.glob("*.xml")):
        root = spim_data(xml)
        if root is None or Path(_linked(root)).name != Path(file).name:
            continue
        for view in root.iterfind(".//ViewSetup"):
            if (view.findtext("id") or "").strip() == str(setup):
                unit = view.findtext("voxelSize/unit") or ""
                found = [length_nm(v, unit) for v in (view.findtext("voxelSize/size") or "").split()]
                if len(found) == 3 and None not in found:
                    fine = [v * f for v, f in zip(found, level, strict=True) if v]
                    starts = tuple((f - 1) / 2 / f for f in level) if max(level) > 1 else ()
                    return replace(told, sizes=tuple(fine[::-1]), starts=starts[::-1])
    return told


def spim_data(xml: Path) -> ElementTree.Element | None:
    """The root of a BigDataViewer XML file; None for any other file."""
    try:
        if xml.stat().st_size > _XML_LIMIT_BYTES:
            return None
        content = xml.read_bytes()
        if b"<SpimData" not in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            return None
        return ElementTree.fromstring(content)
    except (OSError, ElementTree.ParseError):
        return None


def _linked(root: ElementTree.Element) -> str:
    return next((e.text or "" for tag in ("hdf5", "n5", "zarr") for e in root.iter(tag)), "").strip()


def linked_data(xml: str) -> str:
    """The file or folder with the voxels that a BigDataViewer XML file names.

    Raises
    ------
    InputError
        If it is no such file, or what it names is not there.
    """
    root = spim_data(Path(xml))
    name = "" if root is None else _linked(root)
    found = Path(xml).parent / name
    if not name or not found.exists():
        raise InputError(
            f"{xml} is no BigDataViewer file whose HDF5 or N5 data lie beside it (it names {name!r}); give "
            "the "
            "file with the voxels"
        )
    return str(found)
