"""Shape features are those of PyRadiomics, whatever the grid, for objects of any form."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from radiomics_reference import pyradiomics
from strategies import VOXEL_NM, blocks, done, resumed_equals_whole, seeds, semantic, shapes, table, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.shape.pyradiomics_shape import UNITS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")


def agrees(found, labels, voxel_nm=VOXEL_NM):
    """Every object's row has PyRadiomics' numbers, within 1e-6 of each (lengths of 1e-9 um are 0)."""
    for row, label in enumerate(found["label"]):
        box = tuple(slice(found[f"bbox_{a}_min"][row], found[f"bbox_{a}_max"][row]) for a in "zyx")
        wanted = pyradiomics("shape", labels[box], label, voxel_nm=voxel_nm)
        assert set(wanted) == {name.removeprefix("shape_") for name in UNITS}
        got = {name: found[f"shape_{name}"][row] for name in wanted}
        wanted = {k: 0.0 if np.isnan(v) and k in ("Elongation", "Flatness") else v for k, v in wanted.items()}
        got = {k: 0.0 if np.isnan(v) else v for k, v in got.items()}
        assert got == pytest.approx(wanted, rel=1e-6, abs=2e-8), label


def measured(folder, labels, voxel_nm=VOXEL_NM, block=None):
    cells = write(folder, labels, "cells", kind="label", voxel_nm=voxel_nm)
    return cf.measure(cells, features=["basic", "shape"], name="t", work=Path(folder) / "work", block=block)


@settings(max_examples=15, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_the_table_does_not_depend_on_the_grid(shape, seed, block):
    """Labels in many pieces over many blocks, beside a whole-array implementation."""
    labels = semantic(shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        plans = [measured(f"{folder}/{cut}", labels, block=cut) for cut in (None, block)]
        found = [table(plan) for plan in plans]
        assert Path(plans[0].output.path).read_bytes() == Path(plans[1].output.path).read_bytes()
    agrees(found[1], labels)


def forms():
    """Objects in which a definition may break, side by side in one volume of 14 x 16 x 70 voxels."""
    labels = np.zeros((14, 16, 70), np.uint16)
    z, y, x = np.indices((9, 9, 9)) - 4
    ball = z**2 + y**2 + x**2
    labels[3, 3, 3] = 1
    labels[3, 3, 6:12] = 2
    labels[5, 4:12, 14:20] = 3
    labels[3:12, 3:12, 21:30][(ball <= 16) & (ball >= 6)] = 4
    labels[0:4, 0:5, 31:36] = 5
    labels[3:12, 3:12, 38:44] = 6
    labels[5:9, 3:12, 40] = 0
    labels[6, 6, 38:44] = 0
    labels[2, 2, 46:49] = labels[11, 13, 50:53] = 7
    labels[7:9, 8:10, 55] = labels[9:11, 10:12, 56] = 8
    labels[2:13, 5, 60] = labels[2:13, 6, 61] = 9
    labels[13, 15, 69] = 10
    return labels


NAMES = (
    "one voxel",
    "line",
    "plane",
    "hollow ball",
    "at the border",
    "with holes",
    "two pieces",
    "voxels that touch at an edge",
    "a stair",
    "last voxel",
)


@pytest.mark.parametrize("block", [None, (5, 7, 8)], ids=str)
def test_odd_forms_have_the_numbers_of_pyradiomics(block, tmp_path):
    labels = forms()
    found = table(measured(tmp_path, labels, block=block))
    assert len(found["label"]) == len(NAMES)
    agrees(found, labels)


def test_a_rod_worked_by_hand(tmp_path):
    """Three voxels of (4, 8, 16) nm along x: diameters end in the middle of faces."""
    labels = np.zeros((3, 4, 7), np.uint8)
    labels[1, 2, 2:5] = 1
    found = {k: v[0] for k, v in table(measured(tmp_path, labels, block=(3, 4, 3))).items()}
    assert found["shape_Maximum3DDiameter"] == pytest.approx(0.048)
    assert found["shape_Maximum2DDiameterSlice"] == pytest.approx(0.048)
    assert found["shape_Maximum2DDiameterColumn"] == pytest.approx(0.048)
    # across x only the outline of one voxel is left: from its upper to its lower face
    assert found["shape_Maximum2DDiameterRow"] == pytest.approx(0.008)
    assert found["shape_VoxelVolume"] == pytest.approx(3 * 512e-9)
    # a diamond of 4 x 8 / 2 nm^2, 2 voxels long, and two half octahedra at its ends
    assert found["shape_MeshVolume"] == pytest.approx((16 * 2 * 16 + 2 * 16 * 8 / 3) * 1e-9)
    assert found["shape_MajorAxisLength"] == pytest.approx(4 * np.sqrt(2 / 3) * 0.016)
    assert found["shape_Flatness"] == found["shape_Elongation"] == 0.0


@pytest.mark.parametrize(
    "name", ["mito_instance_fib1-0-0-0", "mito_instance_fib1-1-0-3", "mito_instance_fib1-3-2-1"]
)
def test_real_mitochondria_have_the_numbers_of_pyradiomics(name, em_data, tmp_path):
    """Voxels of (15, 16, 16) nm."""
    labels = tifffile.imread(em_data / "urocell_labels" / f"{name}.tif")
    found = table(measured(tmp_path, labels, (15.0, 16.0, 16.0), block=(100, 128, 96)))
    assert found["label"] == np.unique(labels[labels > 0]).tolist()
    agrees(found, labels, (15.0, 16.0, 16.0))


def test_ids_above_2_to_the_53_keep_their_shapes(tmp_path):
    labels = np.zeros((4, 5, 6), np.uint64)
    labels[1, 1, 1:4], labels[3, 1:4, 1] = 2**63 + 1, 2**63 + 2
    found = table(measured(tmp_path, labels, block=(2, 3, 4)))
    assert found["label"] == [2**63 + 1, 2**63 + 2]
    assert found["shape_Maximum3DDiameter"] == pytest.approx([0.048, 0.024])


def test_a_volume_without_objects_has_all_columns(tmp_path):
    plan = measured(tmp_path, np.zeros((3, 4, 5), np.uint16))
    found = cf.read_table(done(plan))
    assert found.num_rows == 0
    assert set(UNITS) <= set(found.schema.names)
    assert found.schema.field("shape_SurfaceArea").metadata == {b"unit": b"micrometer^2"}
    assert found.schema.field("shape_Sphericity").metadata is None


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    labels = write(tmp_path, semantic((9, 9, 9), 3), "cells", kind="label")

    def plan(work):
        return cf.measure(labels, features=["shape"], name="t", work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path, "t/features", 1)
