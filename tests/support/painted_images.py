"""The same small painted images in storage."""

from __future__ import annotations

from pathlib import Path

from painted import VOXEL_NM, blobs

import chunkflow_liver as cf

CLASSES = (("dark", 1), ("bright", 2))
SMALL = {"window": (4, 16, 16), "features": (4, 8), "convolutions": 1, "steps": 8, "epoch": 4} | {
    "rate": 1e-2,
    "precision": "float32",
    "validation_windows": 4,
}
"""A training that takes a second."""


def stored(
    folder, name="a", *, grey=None, classes=None, voxel_nm=VOXEL_NM, seed=0, shape=(20, 48, 48), named=CLASSES
):
    """A source: an image and its labels in a folder."""
    made = blobs(shape, seed)
    grey = made[0] if grey is None else grey
    classes = made[1] if classes is None else classes
    at = {"voxel_nm": voxel_nm, "chunks": (8, 16, 16)}
    folder = Path(folder)
    image = cf.write_volume(folder / f"{name}-raw.ome.zarr", grey, **at)
    about = {"kind": "label", "classes": named}
    labels = cf.write_volume(folder / f"{name}-labels.ome.zarr", classes, **at, **about)
    return {"image": image.url, "labels": labels.url}
