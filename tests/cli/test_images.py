"""Images that look like labels are converted as asked, with a word about it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from strategies import command

import chunkflow_liver as cf

BLOBS = np.indices((4, 20, 20)).sum(0) // 5 % 2
GREY = np.random.default_rng(0).integers(0, 255, BLOBS.shape)


@pytest.mark.parametrize(
    ("voxels", "why"),
    [
        ((BLOBS * 255).astype(np.uint8), "the values in its middle are 0, 255"),
        ((BLOBS + 1).astype(np.uint8), "the values in its middle are 1, 2"),
        (GREY.astype(np.uint32), "uint32, as ids are"),
        (GREY.astype(np.uint8), None),
        (GREY.astype(np.float32), None),
    ],
    ids=["mask", "ilastik", "ids", "grey values", "real numbers"],
)
def test_what_looks_like_labels_is_told(voxels, why, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", voxels, photometric="minisblack")
    call = ("convert", tmp_path / "a.tif", tmp_path / "a.ome.zarr", "--voxel-nm", 8, 8, 8)
    code, _, told = command(*call)
    assert code == 0, told
    assert cf.open_volume(tmp_path / "a.ome.zarr").kind == "image"
    assert (f"note: these look like labels ({why})" in told) == (why is not None)
    if why is not None:
        code, _, told = command(*call, "--labels", "--redo", "--allow-constant")
        assert code == 0, told
        assert "look like" not in told
        assert cf.open_volume(tmp_path / "a.ome.zarr").kind == "label"
