"""Measurements as properties of a label image, where viewers look for them."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.parameters import documented
from chunkflow_liver.store.handles import forget_handles
from chunkflow_liver.store.location import write_key
from chunkflow_liver.store.ngff import MAX_METADATA_BYTES, load_json
from chunkflow_liver.store.ngff.write import check_ome
from chunkflow_liver.store.table import Table, read_table
from chunkflow_liver.store.volume import Volume

RENAMED = {"class": "class_name"}
"""'class' in properties names the classes of a semantic image."""
CHECKED = 64
"""Objects that are looked up in the image before anything is written."""
LARGEST_CHECKED = 1 << 24
"""Voxels of the largest bounding box that is read for that."""


@documented
def write_properties(
    table: Table | str | os.PathLike[str], labels: Volume, *, columns: Sequence[str] | None = None
) -> Volume:
    """Write columns of a table into the `image-label` metadata of the label image that it measures.

    Parameters
    ----------
    {labelled}
    labels : Volume
        The instances; properties written before are replaced.
    {columns}

    Returns
    -------
    Volume
        `labels`.

    Raises
    ------
    InputError
        If the table or the image is missing, a column does not exist, the image has classes, or the table
        was measured on another image.
    ConfigError
        If the metadata would be larger than readers accept.

    Notes
    -----
    Metadata are one JSON document that every reader loads whole: `MAX_METADATA_BYTES` (4 MiB) is about 12,000
    objects with ten columns. More go into neuroglancer's segment properties (`export` to
    `<name>.segment_properties`) or stay in the table. A missing value is left out of its object.

    Of a table with bounding boxes (the features 'basic') at most `CHECKED` objects, from small to large, are
    looked up in the image.
    """
    found = read_table(table)
    names = [c for c in found.column_names if c != "label"] if columns is None else list(columns)
    unknown = sorted({"label", *names} - set(found.column_names))
    if unknown:
        near = sorted({c for u in unknown for c in difflib.get_close_matches(u, found.column_names)})
        hint = f"did you mean {near}?" if near else f"it has {found.column_names}"
        raise InputError(f"the table has no columns {unknown}; {hint}")
    if labels.kind != "label" or any(number for _, number in labels.classes):
        raise InputError(
            f"{labels.url} is no image of instances: it has kind {labels.kind!r} and classes "
            f"{dict(labels.classes)}, which its properties name"
        )
    key = labels.version.attributes_key
    document = load_json(labels.url, key)
    if document is None:
        raise InputError(f"{labels.url} is not written yet: run its plan first")
    _refuse_other_image(found, labels)
    ome = labels.version.ome(labels.version.attributes(document))
    rows = found.select(["label", *names]).to_pylist()
    ome.setdefault("image-label", {})["properties"] = [_entry(row) for row in rows]
    data = json.dumps(document, allow_nan=False).encode()
    if len(data) > MAX_METADATA_BYTES:
        fit = int(len(names) * MAX_METADATA_BYTES / len(data))
        advice = f"take about {fit} columns, or " if fit else ""
        raise ConfigError(
            f"{len(names)} columns of {len(rows)} objects are {len(data)} bytes of metadata, more than the "
            f"{MAX_METADATA_BYTES} that are read: {advice}export the table as .segment_properties"
        )
    check_ome(ome, labels.ome_version)
    write_key(labels.url, key, data)
    forget_handles()
    return labels


def _refuse_other_image(table: pa.Table, labels: Volume) -> None:
    """Refuse a table whose objects are not where it says, or not as large."""
    sides = [f"bbox_{a}_{end}" for end in ("min", "max") for a in "zyx"]
    if not {"voxels", *sides} <= set(table.column_names) or not len(table):
        return
    corners = np.stack([table[c].to_numpy() for c in sides], axis=1)
    size = np.prod(corners[:, 3:] - corners[:, :3], axis=1)
    order = np.argsort(size, kind="stable")
    order = order[: max(1, int(np.count_nonzero(size <= LARGEST_CHECKED)))]
    few = np.linspace(0, len(order) - 1, min(CHECKED, len(order))).astype(np.int64)
    outside = np.flatnonzero((corners[:, 3:] > labels.shape).any(axis=1))[:1]
    for i in [*outside.tolist(), *order[few].tolist()]:
        label, wanted = table["label"][i].as_py(), table["voxels"][i].as_py()
        box = Box(zyx(corners[i, :3].tolist()), zyx(corners[i, 3:].tolist()))
        inside = labels.box.contains(box)
        # Of a box too large to read, being inside must do.
        if inside and box.size > LARGEST_CHECKED:
            continue
        there = int(np.count_nonzero(labels.read(box) == label)) if inside else 0
        if there != wanted:
            raise InputError(
                f"{labels.url} has {there} voxels of instance {label} at {box}, where the table has "
                f"{wanted}: take the table that was measured on this image"
            )


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    values = {RENAMED.get(k, k): v for k, v in row.items() if k != "label"}
    # JSON has no NaN.
    known = {
        k: v
        for k, v in values.items()
        if v is not None and not (isinstance(v, float) and not math.isfinite(v))
    }
    return {"label-value": row["label"], **known}
