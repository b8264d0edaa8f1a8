"""Surface and sphericity of objects: the areas of all their voxels, whatever the grid."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from brute_areas import voxel_areas
from hypothesis import given, settings
from solids import ellipsoid
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.contacts.areas import area_step_nm2
from chunkflow_liver.store.volume import Volume


def measured(labels, folder, *, features=("surface",), voxel_nm=VOXEL_NM, block=None, **more):
    volume = write(folder, labels, "cells", kind="label", voxel_nm=voxel_nm)
    plan = cf.measure(volume, features=features, name="t", work=f"{folder}/work", block=block, **more)
    return table(plan), plan


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_the_surface_does_not_depend_on_the_grid(shape, seed, block):
    labels = components(semantic(shape, seed, 1), 6).astype(np.uint64)
    # Ids that do not fit the 32 bits of compiled loops.
    labels[labels > 0] += 2**40
    got = []
    for cut in (None, block):
        with tempfile.TemporaryDirectory() as folder:
            found, plan = measured(labels, folder, block=cut)
            got.append(Path(plan.output.path).read_bytes())
    assert got[0] == got[1]
    area = voxel_areas(labels, VOXEL_NM)
    for label, surface in zip(found["label"], found["surface_um2"], strict=True):
        own = labels == label
        assert surface * 1e6 == pytest.approx(area[own].sum(), abs=own.sum() * area_step_nm2(VOXEL_NM))


def test_a_voxel_has_six_faces_and_the_end_of_the_volume_is_none(tmp_path):
    labels = np.zeros((5, 5, 9), np.uint8)
    labels[2, 2, 2] = 1
    # A slab through the volume: two faces of 5 x 5 voxels of 4 x 8 nm.
    labels[:, :, 5:7] = 2
    # A slab at its end: one.
    labels[:, :, 8] = 3
    found, plan = measured(labels, tmp_path, features=["basic", "surface"])
    assert found["surface_um2"] == pytest.approx([448e-6, 1600e-6, 800e-6], rel=1e-6)
    assert found["sphericity"][0] == pytest.approx(np.cbrt(np.pi) * (6 * 512) ** (2 / 3) / 448, rel=1e-6)
    assert np.isnan(found["sphericity"][1:]).all()
    units = {
        field.name: field.metadata[b"unit"] for field in cf.read_table(plan.output).schema if field.metadata
    }
    assert units["surface_um2"] == b"micrometer^2"


def test_volumes_are_off_by_a_layer_on_their_surface(tmp_path):
    """A slab of 50 voxels of (4, 8, 16) nm: 2.56e-5 um3, 1600 nm2 of surface, and half a voxel of 8 nm."""
    labels = np.zeros((5, 5, 9), np.uint8)
    labels[:, :, 5:7] = 2
    labels[2, 2, 2] = 1
    for name, options, off in (
        ("half", {}, 4.0),
        ("whole", {"boundary_nm": 3}, 1.959964 * 3),
        # What is alike nowhere leaves the bias: 3 of a root mean square of 5 nm.
        ("none", {"boundary_nm": 5, "bias_nm": 3, "correlation_nm": 0}, 1.959964 * 3),
    ):
        (tmp_path / name).mkdir()
        found, _ = measured(labels, tmp_path / name, features=["basic", "surface"], settings=options)
        layer = 1600e-6 * off * 1e-3
        assert found["volume_low_um3"][1] == pytest.approx(2.56e-5 - layer, rel=1e-5)
        assert found["volume_high_um3"][1] == pytest.approx(2.56e-5 + layer, rel=1e-5)
        # Of a single voxel less than nothing would be left.
        assert found["volume_low_um3"][0] == 0
    with pytest.raises(ConfigError, match="partner_nm and correlation_nm go with boundary_nm"):
        measured(labels, tmp_path, settings={"correlation_nm": 9})


@pytest.mark.parametrize("voxel_nm", [(8.0, 8.0, 8.0), (40.0, 8.0, 8.0), (4.0, 8.0, 16.0)])
def test_balls_are_balls_and_ellipsoids_are_not(voxel_nm, tmp_path):
    ball = ellipsoid((200.0, 200.0, 200.0), voxel_nm, np.eye(3))
    found, _ = measured(ball.astype(np.uint8), tmp_path, voxel_nm=voxel_nm)
    assert found["surface_um2"][0] == pytest.approx(4 * np.pi * 0.04, rel=0.012)
    assert found["sphericity"][0] == pytest.approx(1, abs=0.012)
    long = ellipsoid((400.0, 100.0, 100.0), voxel_nm, np.eye(3)[[2, 1, 0]])
    (tmp_path / "long").mkdir()
    found, _ = measured(long.astype(np.uint8), tmp_path / "long", voxel_nm=voxel_nm)
    # A prolate spheroid with the half axes a = 400 and b = 100: 2 pi b^2 (1 + a / (b e) asin e).
    e = np.sqrt(1 - 1 / 16)
    area = 2 * np.pi * 1e4 * (1 + 4 / e * np.arcsin(e))
    ratio = 4 * np.pi * (400.0 * 1e4) ** (2 / 3) / area
    assert found["sphericity"][0] == pytest.approx(ratio, rel=0.02)


def test_a_run_that_broke_goes_on(tmp_path):
    def make(work):
        work.mkdir(parents=True)
        volume = write(work.parent, semantic((8, 12, 12), 3))
        cells = cf.label(volume, classes=["mitochondrion"], name="mitos", work=work, block=(4, 6, 12))
        return cells + cf.measure(cells.output, features=["surface"], name="t", work=work, block=(4, 6, 12))

    resumed_equals_whole(make, tmp_path, "t/features", 2)


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    volume = write(tmp_path, np.ones((8, 12, 12), np.uint8), "cells", kind="label")
    monkeypatch.setattr(Volume, "read", lambda *_: pytest.fail("read"))
    plan = cf.measure(volume, features=["surface"], name="t", work=tmp_path / "work")
    assert {stage.name: stage.grid.low for stage in plan.maps}["t/features"] == (17, 9, 5)
