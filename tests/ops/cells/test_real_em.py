"""Real EM: between two painted slices, carried contours of neurons are better than a copy of the nearest."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.labels.overlap import overlap, partition_scores

pytest.importorskip("cv2", reason="needs the extra 'cells'")
VOXEL_NM = (29.0, 6.0, 6.0)


def test_neurons_between_painted_slices_are_better_than_the_nearest_painted_slice(em_data, tmp_path):
    part = (slice(0, 9), slice(0, 224), slice(0, 224))
    raw, truth = (
        tifffile.imread(em_data / "snemi3d_subset" / n)[part]
        for n in ("raw_z0-24.tif", "neurons_gt_z0-24.tif")
    )
    painted = np.zeros_like(truth)
    painted[[0, 8]] = truth[[0, 8]]
    given = {
        "raw": write(tmp_path, raw, "raw", voxel_nm=VOXEL_NM),
        "interior": write(
            tmp_path, np.where(truth > 0, 255, 0).astype(np.uint8), "interior", voxel_nm=VOXEL_NM
        ),
        "painted": write(tmp_path, painted, "painted", kind="label", voxel_nm=VOXEL_NM),
    }
    plan = cf.cells(**given, mode="contours", small_um2=0.0, name="cells", work=tmp_path / "work")
    found, rest = done(plan).read(), slice(1, 8)
    nearest = np.stack([truth[0 if z <= 4 else 8] for z in range(1, 8)])
    ours, copied = (
        partition_scores(overlap(a, truth[rest]))
        for a in (found[rest], np.where(truth[rest] > 0, nearest, 0))
    )
    assert ours["ari"] > copied["ari"] + 0.05
    assert ours["vi_split"] + ours["vi_merge"] < copied["vi_split"] + copied["vi_merge"]
