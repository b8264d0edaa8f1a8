"""Holes, hulls, directions and centre lines of instances, for any grid and against whole arrays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from scipy.ndimage import find_objects
from scipy.spatial import ConvexHull
from skimage.measure import euler_number, marching_cubes
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    most_resident,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.centreline.skeleton import COLUMNS, SKELETON, describe_skeleton
from chunkflow_liver.kernels.features.groups import Crop, Settings
from chunkflow_liver.kernels.shape.morphology import euler_eighths
from chunkflow_liver.store.volume import Volume

FEATURES = ["morphology", "skeleton"]
MORPHOLOGY = ["euler_number", "solidity", "convexity", "tilt_deg", "azimuth_deg"]


def skeleton(mask, voxel_nm=VOXEL_NM):
    found = describe_skeleton(Crop(1, Box.of(mask.shape), mask, None, voxel_nm, Settings()))
    assert list(found) == list(COLUMNS)
    return found


def hull(mask):
    """Volume and area in nm of the hull of the vertices of scikit-image's mesh."""
    vertices = marching_cubes(np.pad(mask, 1).astype(float), 0.5, spacing=VOXEL_NM)[0]
    found = ConvexHull(vertices)
    return found.volume, found.area


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_the_table_does_not_depend_on_the_grid(shape, seed, block):
    labels = components(semantic(shape, seed, 1), 26).astype(np.uint32)
    got = []
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, labels, "cells", kind="label")
        for name, cut in (("whole", None), ("cut", block)):
            features = ["shape", *FEATURES]
            plan = cf.measure(volume, features=features, name="t", work=f"{folder}/{name}", block=cut)
            found = table(plan)
            got.append(Path(plan.output.path).read_bytes())
        plan = cf.measure(volume, features=FEATURES, name="t", work=f"{folder}/alone", block=block)
        alone = table(plan)
    assert got[0] == got[1]
    assert list(alone) == ["label", "class", *MORPHOLOGY, *COLUMNS]
    for i, label in enumerate(found["label"]):
        mask = np.pad(labels == label, 1)
        volume_nm3, area_nm2 = hull(mask)
        assert found["euler_number"][i] == euler_number(mask, 3)
        assert found["solidity"][i] * volume_nm3 == pytest.approx(found["shape_MeshVolume"][i] * 1e9)
        assert found["convexity"][i] * found["shape_SurfaceArea"][i] * 1e6 == pytest.approx(area_nm2)
        # The box of the object is all that a centre line needs.
        inside = tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(mask))
        wanted = skeleton(mask[inside])
        assert [found[c][i] for c in COLUMNS] == list(wanted.values())
        assert [alone[c][i] for c in MORPHOLOGY] == pytest.approx(
            [found[c][i] for c in MORPHOLOGY], nan_ok=True
        )


def test_shapes_worked_by_hand(tmp_path):
    """A bar along x, a ring in a z-plane, and a hollow box, in voxels of (4, 8, 16) nm."""
    labels = np.zeros((9, 16, 18), np.uint32)
    labels[1, 1, 1:9] = 1
    labels[1, 4:9, 1:6] = 2
    labels[1, 5:8, 2:5] = 0
    labels[3:8, 10:15, 10:15] = 3
    labels[4:7, 11:14, 11:14] = 0
    volume = write(tmp_path, labels, "cells", kind="label")
    features = ["basic", "morphology"]
    plan = cf.measure(volume, features=features, name="t", work=tmp_path / "work", block=(3, 4, 6))
    found = table(plan)
    assert found["euler_number"] == [1, 0, 2]
    assert (found["tilt_deg"][0], found["azimuth_deg"][0]) == (90.0, 0.0)
    # The mesh of a bar is its own hull: a box without its corners.
    assert found["solidity"][0] == pytest.approx(1.0)
    assert found["convexity"][0] == pytest.approx(1.0)
    assert max(found["solidity"][1:]) < 0.9
    units = {f.name: (f.metadata or {}).get(b"unit", b"") for f in cf.read_table(plan.output).schema}
    assert units["tilt_deg"] == b"degree"
    assert units["solidity"] == units["euler_number"] == b""


def test_cells_without_a_surface_add_nothing_to_the_euler_number():
    eighths = euler_eighths()
    assert eighths[0] == eighths[255] == 0
    # One voxel: eight cells with one corner inside.
    assert eighths[[1 << bit for bit in range(8)]].sum() == 8


def rod(radius_nm=120.0, half_nm=400.0, voxel_nm=(16.0, 8.0, 8.0), angle=0.0):
    """A capsule in the yx plane, turned by `angle`."""
    size = [
        int(2 * (radius_nm + (half_nm if a else 0)) / v) + 4 for a, v in zip((0, 1, 1), voxel_nm, strict=True)
    ]
    z, y, x = (
        (i + 0.5 - n / 2) * v
        for i, n, v in zip(np.ogrid[[slice(n) for n in size]], size, voxel_nm, strict=True)
    )
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return (along - np.clip(along, -half_nm, half_nm)) ** 2 + across**2 + z**2 <= radius_nm**2


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4])
def test_a_rod_has_one_straight_branch_of_its_length_and_width(angle):
    found = skeleton(rod(angle=angle), (16.0, 8.0, 8.0))
    assert found["skeleton_branches"] == 1
    assert (found["skeleton_branch_points"], found["skeleton_tips"]) == (0, 2)
    assert found["skeleton_length_nm"] == pytest.approx(1040, abs=20)
    assert found["tortuosity"] == pytest.approx(1.0, abs=0.01)
    assert found["width_mean_nm"] == pytest.approx(240, abs=8)
    assert found["width_min_nm"] == pytest.approx(240, abs=12)


def test_a_cross_has_branches_and_a_narrow_place_its_width():
    mask = np.zeros((15, 150, 150), bool)
    mask[3:12, 70:80, 5:145] = mask[3:12, 5:145, 70:80] = True
    mask[3:6, 70:80, 30:35] = mask[9:12, 70:80, 30:35] = False
    mask[:, 70:73, 30:35] = mask[:, 77:80, 30:35] = False
    found = skeleton(mask, (8.0, 8.0, 8.0))
    assert found["skeleton_branches"] == 4
    assert found["skeleton_tips"] == 4
    assert found["skeleton_length_nm"] == pytest.approx(4 * 70 * 8, rel=0.03)
    wide, thin = (np.sqrt(4 / np.pi * a * b) * 8 for a, b in ((9, 10), (3, 4)))
    assert found["width_min_nm"] == pytest.approx(thin, abs=12)
    assert found["width_mean_nm"] == pytest.approx(wide, rel=0.08)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (1, 4, 4), (3, 3, 3)])
def test_small_objects_have_one_branch_with_a_width(shape):
    found = skeleton(np.ones(shape, bool))
    assert found["skeleton_branches"] == 1
    assert found["width_mean_nm"] >= found["width_min_nm"] > 0
    assert all(np.isfinite(list(found.values())))


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    classes = semantic((8, 12, 12), 1, 1)

    def make(work):
        cells = cf.label(write(work.parent, classes), name="cells", work=work)
        at = {"name": "t", "work": work, "block": (4, 6, 12)}
        return cells + cf.measure(cells.output, features=FEATURES, **at)

    resumed_equals_whole(make, tmp_path, "t/features", 2)


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    volume = write(
        tmp_path, components(semantic((8, 12, 12), 1, 1), 26).astype(np.uint32), "cells", kind="label"
    )
    monkeypatch.setattr(Volume, "read", lambda *_: pytest.fail("read"))
    assert len(cf.measure(volume, features=FEATURES, name="t", work=tmp_path / "work").stages) == 8


@pytest.mark.parametrize("filled", [0.2, 1.0])
def test_a_crop_fits_its_estimate(filled):
    mask = np.zeros((80, 80, 80), bool)
    mask[: int(80 * filled)] = True
    crop = Crop(1, Box.of(mask.shape), mask, None, VOXEL_NM, Settings())
    peak = most_resident(lambda: describe_skeleton(crop))
    assert peak <= SKELETON.working * mask.size + SKELETON.fixed


def test_real_mitochondria_have_the_form_that_scikit_image_finds(em_data, tmp_path):
    labels = tifffile.imread(em_data / "urocell_labels/mito_instance_fib1-1-0-3.tif")
    volume = write(tmp_path, labels, "mitos", kind="label")
    features = ["basic", "shape", "morphology"]
    plan = cf.measure(volume, features=features, name="t", work=tmp_path / "work", block=(64, 128, 256))
    found = table(plan)
    assert found["label"] == np.unique(labels[labels > 0]).tolist()
    for i, box in enumerate(find_objects(labels)):
        mask = np.pad(labels[box] == found["label"][i], 1)
        volume_nm3, area_nm2 = hull(mask)
        assert found["euler_number"][i] == euler_number(mask, 3)
        assert found["shape_MeshVolume"][i] * 1e9 / found["solidity"][i] == pytest.approx(volume_nm3)
        assert found["shape_SurfaceArea"][i] * 1e6 * found["convexity"][i] == pytest.approx(area_nm2)
