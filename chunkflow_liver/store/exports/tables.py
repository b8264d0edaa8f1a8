"""Instance tables for other programs: AnnData, SpatialData and neuroglancer's segment properties."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chunkflow_liver.errors import ConfigError, InputError, install
from chunkflow_liver.geometry import NM_PER_UM
from chunkflow_liver.parameters import documented
from chunkflow_liver.store.exports.images import finished, free
from chunkflow_liver.store.table import Table, read_table

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
CENTROID = ("centroid_x_nm", "centroid_y_nm", "centroid_z_nm")
PLACE = ("label", "bbox_", "centroid_")
"""Columns that say which object and where: no measurements."""


@documented
def write_anndata(table: Table | PathLike, to: PathLike) -> Path:
    """Write an instance table as AnnData (.h5ad) and return its path.

    Parameters
    ----------
    {measured}
    {table_to}

    Raises
    ------
    InputError
        If the table is missing, or lacks these columns.
    OutputError
        If `to` exists.
    ConfigError
        If anndata is not installed.

    Notes
    -----
    `obs` holds every column, named by label; `obsm["spatial"]` the centroids (x, y, z) in nm; `X` the
    measurements (ids are none) as float64, with their units in `var["unit"]`; `uns["chunkflow_liver"]` how
    the table was made, as JSON.
    """
    found = read_table(table)
    with finished(free(Path(to))) as partial, _quiet():
        _annotated(found).write_h5ad(partial)
    return Path(to)


@documented
def write_spatialdata(table: Table | PathLike, to: PathLike) -> Path:
    """Write an instance table as SpatialData (a zarr folder) and return its path.

    Parameters
    ----------
    {measured}
    {table_to}

    Raises
    ------
    InputError, OutputError, ConfigError
        As `write_anndata`.

    Notes
    -----
    The table itself is that of `write_anndata`. It annotates the shapes `instances`: for each object a
    circle at its centroid in x and y with the radius of a ball of its volume. Shapes are flat there, points
    are not: `centroids` has x, y, z, the label and the radius of each object. All in nm.
    """
    found = read_table(table)
    with finished(free(Path(to))) as partial, _quiet():
        spatialdata = _package("spatialdata")
        import pandas as pd
        from spatialdata.models import PointsModel, ShapesModel, TableModel

        data = _annotated(found)
        data.obs["region"] = "instances"
        data.obs["region"] = data.obs["region"].astype("category")
        label = found["label"].to_numpy()
        volume = found["volume_um3"].to_numpy() * NM_PER_UM**3
        radius = np.maximum(np.cbrt(volume * 3 / (4 * np.pi)), np.finfo(float).tiny)
        circles = ShapesModel.parse(data.obsm["spatial"][:, :2], geometry=0, radius=radius, index=label)
        x, y, z = data.obsm["spatial"].T
        places = pd.DataFrame({"x": x, "y": y, "z": z, "label": label, "radius": radius}, index=label)
        points = PointsModel.parse(places, instance_key="label")
        name = Path(os.fspath(to)).name.split(".")[0]
        rows = TableModel.parse(data, region="instances", region_key="region", instance_key="label")
        parts = {"shapes": {"instances": circles}, "points": {"centroids": points}, "tables": {name: rows}}
        spatialdata.SpatialData(**parts).write(partial)
    return Path(to)


@documented
def write_segment_properties(table: Table | PathLike, to: PathLike) -> Path:
    """Write a table as neuroglancer segment properties (a folder with `info`) and return its path.

    Parameters
    ----------
    {labelled}
    {table_to}
        The folder's address after `precomputed://` is a further source of a segmentation layer.

    Raises
    ------
    InputError
        If the table is missing, or has no column `label`.
    OutputError
        If `to` exists.

    Notes
    -----
    Ids are texts, so that all 64 bits arrive; a column of the ids of others (`parent`, `neighbour_label`) is
    one of texts if some need more than 32 bits or are missing. Other numbers are integers of 32 bits at
    most, or float32, to which larger counts are rounded. JSON has no NaN: a column with missing values is
    left out, and the log says which.
    """
    info = segment_properties(read_table(table), _path(table))
    with finished(free(Path(to))) as partial:
        partial.mkdir()
        (partial / "info").write_text(json.dumps(info, allow_nan=False))
    return Path(to)


def segment_properties(found: pa.Table, where: str = "the table") -> dict[str, Any]:
    """The document `info` of neuroglancer's segment properties; see `write_segment_properties`.

    Raises
    ------
    InputError
        If there is no column 'label'.
    """
    if "label" not in found.column_names:
        raise InputError(f"{where} has no column 'label', so its rows belong to no segments")
    properties: list[dict[str, Any]] = []
    left_out = []
    for field in found.schema:
        if field.name == "label":
            continue
        column = found[field.name]
        values = column.to_numpy()
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        about = {"id": field.name, "description": unit} if unit else {"id": field.name}
        if _are_large_ids(column):
            texts = ["" if v is None else str(v) for v in column.to_pylist()]
            properties.append({**about, "type": "string", "values": texts})
            continue
        if pa.types.is_string(field.type):
            kind = "label" if field.name == "class" else "string"
            # The format has no missing texts.
            properties.append({**about, "type": kind, "values": ["" if v is None else v for v in values]})
            continue
        data_type = None if column.null_count else number_type(values)
        if data_type is None:
            left_out.append(field.name)
            continue
        stored = values.astype(data_type)
        # The shortest text that is the same float32: half as long as that of the double.
        plain = [float(str(v)) for v in stored] if data_type == "float32" else stored.tolist()
        properties.append({**about, "type": "number", "data_type": data_type, "values": plain})
    if left_out:
        log.warning("segment properties leave out columns with missing values: %s", ", ".join(left_out))
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {"ids": [str(n) for n in found["label"].to_pylist()], "properties": properties},
    }


def _are_large_ids(column: pa.ChunkedArray) -> bool:
    """Whether a column holds ids, the unsigned numbers of a table, that no number of the format can say."""
    if not pa.types.is_unsigned_integer(column.type):
        return False
    return column.null_count > 0 or (pc.max(column).as_py() or 0) > np.iinfo(np.uint32).max


def number_type(values: np.ndarray[Any, Any]) -> str | None:
    """The type of a column in segment properties; None if some value is missing."""
    if values.dtype.kind == "f":
        return "float32" if np.isfinite(values.astype(np.float32)).all() else None
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32"):
        limits = np.iinfo(kind)
        if not len(values) or (limits.min <= int(values.min()) and int(values.max()) <= limits.max):
            return kind
    return "float32"


def _annotated(table: pa.Table) -> Any:
    """The table as an AnnData object."""
    missing = [c for c in ("label", "volume_um3", *CENTROID) if c not in table.column_names]
    if missing:
        raise InputError(
            f"the table has no columns {missing}: measure with the features 'basic' to export it"
        )
    anndata = _package("anndata")
    ids = [f.name for f in table.schema if pa.types.is_unsigned_integer(f.type)]
    frame = table.to_pandas()
    for name in ids:
        if table[name].null_count:
            # pandas makes doubles of whole numbers of which some are missing.
            frame[name] = table[name].to_pandas(types_mapper=_nullable)
    if "class" in frame:
        frame["class"] = frame["class"].astype("category")
    frame.index = frame["label"].astype(str)
    frame.index.name = None
    measured = [
        field
        for field in table.schema
        if not field.name.startswith(PLACE)
        and field.name not in ids
        and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type))
    ]
    names = [field.name for field in measured]
    made = anndata.AnnData(
        X=frame[names].to_numpy(np.float64),
        obs=frame,
        obsm={"spatial": frame[list(CENTROID)].to_numpy(np.float64)},
    )
    made.var_names = names
    made.var["unit"] = [(f.metadata or {}).get(b"unit", b"").decode() for f in measured]
    made.uns["chunkflow_liver"] = (table.schema.metadata or {}).get(b"chunkflow_liver", b"{}").decode()
    return made


def _nullable(kind: pa.DataType) -> Any:
    """The type of pandas that holds whole numbers of an Arrow type where some are missing."""
    import pandas as pd

    return pd.api.types.pandas_dtype(str(kind).replace("ui", "UI"))


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise ConfigError(f"this export needs {err.name!r}; {install(err.name or '')}") from err


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of these packages about themselves, which nobody here can heed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _path(table: Table | PathLike) -> str:
    return table.path if isinstance(table, Table) else os.fspath(table)
