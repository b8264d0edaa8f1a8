"""OME-Zarr metadata and folders, right or wrong as a test wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

SHAPES = {"t": 1, "c": 1, "z": 4, "y": 6, "x": 8}


def ome(axes: str = "zyx", unit: str | None = "nanometer", levels: int = 1) -> dict[str, Any]:
    """The 'multiscales' entry of an image with voxels of (4, 8, 16) of `unit`, halved at every level."""
    kinds = {"t": "time", "c": "channel"}
    sizes = {"z": 4.0, "y": 8.0, "x": 16.0}
    scales = [[sizes.get(a, 1.0) * (2**i if a in sizes else 1) for a in axes] for i in range(levels)]
    return {
        "axes": [
            {"name": a, "type": kinds[a]}
            if a in kinds
            else {"name": a, "type": "space"} | ({"unit": unit} if unit else {})
            for a in axes
        ],
        "datasets": [
            {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": s}]}
            for i, s in enumerate(scales)
        ],
        "name": "test",
    }


def build(folder: Path, image: dict[str, Any] | None, version: str = "0.5", **arrays: Any) -> Path:
    """An image group with `image` as its metadata and an array (uint8, all ones) per level."""
    form: Any = 3 if version == "0.5" else 2
    group = zarr.open_group(folder, mode="w", zarr_format=form)
    if image is not None:
        content: dict[str, Any] = {"multiscales": [image]}
        group.attrs.update({"ome": {"version": version, **content}} if form == 3 else content)
        if form == 2:
            group.attrs["multiscales"] = [{"version": version, **image}]
    axes = [a["name"] for a in (image or ome())["axes"]] if not arrays else []
    for i, entry in enumerate((image or ome())["datasets"]) if not arrays else ():
        shape = [max(1, SHAPES[a.lower()] >> (i if a in "zyx" else 0)) for a in axes]
        array = group.create_array(entry["path"], shape=shape, chunks=shape, dtype="uint8")
        array[:] = 1
    for name, settings_ in arrays.items():
        group.create_array(name.removeprefix("_"), **settings_)
    return folder
