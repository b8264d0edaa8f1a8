"""Ducts whose cells, radius and wall are known; sums are the same for any blocks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from strategies import contents, done, most_resident, resumed_equals_whole, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError

NM = 50.0
CLASSES = (("end", 1), ("lumen", 2), ("wall", 3))
INNER, OUTER = 12.0, 20.0


def straight(length=60, around=8, rings=3):
    """A duct along z: a lumen of 12 voxels radius, a wall of 8 of `around` cells in each of `rings`."""
    z, y, x = np.indices((length, 46, 46)).astype(float)
    y, x = y - 22.5, x - 22.5
    away = np.hypot(y, x)
    classes = np.where(away < INNER, 2, np.where(away < OUTER, 3, 0)).astype(np.uint8)
    turn = np.floor((np.arctan2(y, x) % (2 * np.pi)) / (2 * np.pi) * around)
    ring = np.floor(z * rings / length)
    cells = np.where(classes == 3, 1 + ring * around + turn, 0).astype(np.uint32)
    classes[0][classes[0] > 0] = 1
    cells[0] = 0
    return classes, cells


def bent(around=6):
    """A quarter of a ring of 50 voxels radius, in a plane: lumen of 6, wall of 4, arc of 78.5 voxels."""
    z, y, x = np.indices((26, 64, 64)).astype(float)
    flat = np.hypot(y, x)
    away = np.hypot(z - 12.5, flat - 50)
    classes = np.where(away < 6, 2, np.where(away < 10, 3, 0)).astype(np.uint8)
    turn = np.floor((np.arctan2(z - 12.5, flat - 50) % (2 * np.pi)) / (2 * np.pi) * around)
    arc = np.floor(np.arctan2(y, x) / (np.pi / 2) * 2.999)
    cells = np.where(classes == 3, 1 + arc * around + turn, 0).astype(np.uint32)
    end = (x < 1) & (classes > 0)
    # Length begins at x = 0, so the last third comes first.
    classes[end], cells[end] = 1, 0
    return classes, cells


def run(folder, classes, cells, block=(64, 80, 80), step_nm=500.0, **options):
    own = write(folder, cells, "cells", kind="label", voxel_nm=(NM,) * 3)
    seen = write(folder, classes, "classes", kind="label", classes=CLASSES, voxel_nm=(NM,) * 3)
    at = {"work": folder / "work", "block": block}
    along = cf.geodesic(seen, to="end", inside=["lumen", "wall"], name="along", **at)
    away = cf.distance(seen, to="lumen", cap_nm=1000.0, name="away", **at)
    plan = cf.duct(own, seen, along.output, away.output, lumen="lumen", step_nm=step_nm, name="duct", **at)
    done(along + away + plan)
    tables = [
        cf.read_table(folder / f"work/tables/duct{end}.parquet").to_pandas() for end in ("", "-sections")
    ]
    return tables, along, away, plan


def test_a_straight_duct(tmp_path):
    (cells, sections), *_ = run(tmp_path, *straight(), step_nm=400.0)
    assert len(cells) == 24
    assert set(cells["left_out"]) == {""}
    inner = sections[np.isfinite(sections["radius_nm"])]
    assert inner["section"].tolist() == [2, 3, 4, 5]
    # Areas of round lumens and walls of 12 and 20 voxels radius.
    np.testing.assert_allclose(inner["radius_nm"], INNER * NM, rtol=0.01)
    np.testing.assert_allclose(inner["thickness_nm"], (OUTER - INNER) * NM, rtol=0.02)
    np.testing.assert_allclose(inner["length_nm"], 400)
    np.testing.assert_allclose(inner["y_nm"], 23 * NM)
    # From the last voxel of the lumen to the last one of the wall: 8 steps, but for the roughness of both.
    np.testing.assert_allclose(cells["height_nm"], (OUTER - INNER) * NM, atol=1.2 * NM)
    assert (cells["apex_nm"] == NM).all()
    assert sections["cells"].sum() == 24
    for section in (1, 3, 6):
        ring = cells[cells["section"] == section].sort_values("order")
        assert ring["order"].tolist() == list(range(1, 9))
        labels = (ring["label"] - 1) % 8
        steps = np.diff(np.append(labels, labels.iloc[0])) % 8
        # The next in order is the neighbour, always on the same side.
        assert set(steps) in ({1}, {7})
        np.testing.assert_allclose(np.diff(ring["angle_deg"]), 45, atol=3)
    assert (cells["along_nm"][cells["label"] > 16] > 2000).all()


def test_a_bent_duct(tmp_path):
    (cells, sections), *_ = run(tmp_path, *bent())
    inner = sections[np.isfinite(sections["radius_nm"])]
    assert len(inner) >= 4
    # Paths cut the corner: what is 500 nm of them is more along the middle of the duct.
    assert inner["length_nm"].max() > 540
    np.testing.assert_allclose(inner["radius_nm"], 6 * NM, rtol=0.03)
    np.testing.assert_allclose(inner["thickness_nm"], 4 * NM, rtol=0.05)
    on_ring = np.hypot(inner["y_nm"] - NM / 2, inner["x_nm"] - NM / 2)
    np.testing.assert_allclose(on_ring, 50 * NM, rtol=0.03)
    # Cells keep their angle from ring to ring: the direction of 0 does not turn.
    rows = cells.assign(turn=(cells["label"] - 1) % 6)
    for _, same in rows.groupby("turn"):
        away = (same["angle_deg"] - same["angle_deg"].iloc[0] + 180) % 360 - 180
        assert np.abs(away).max() < 20


def test_blocks_and_an_interruption_do_not_matter(tmp_path):
    classes, cells = straight(length=24, rings=2)
    made = []
    for i, block in enumerate(((24, 46, 46), (8, 20, 30))):
        run(tmp_path / f"{i}", classes, cells, block=block, step_nm=200.0)
        made.append(contents(tmp_path / str(i) / "work" / "tables"))
    assert made[0] == made[1]
    folder = tmp_path / "0"
    volumes = [cf.open_volume(folder / f"{n}.ome.zarr") for n in ("cells", "classes")]
    maps = [cf.open_volume(folder / f"work/{n}.ome.zarr") for n in ("along", "away")]

    def make(work):
        (work / "results.ome.zarr").mkdir(parents=True)
        (work / "artefacts").mkdir(parents=True)
        at = {"lumen": 2, "step_nm": 200.0, "name": "duct", "work": work, "block": (8, 46, 46)}
        return cf.duct(*volumes, *maps, **at)

    resumed_equals_whole(make, tmp_path, "duct/sums", 1)


def test_memory_is_what_the_plan_says(tmp_path):
    classes, cells = straight()
    (_, along, away, plan) = run(tmp_path, classes, cells, block=classes.shape)
    stage = plan.maps[0]
    arrays = [cells, classes, along.output.read(), away.output.read()]
    used = most_resident(lambda: stage.function(stage.grid[0], *arrays, **stage.params))
    assert used < stage.working * cells.size


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"step_nm": 60.0}, ConfigError, "two voxels or more (100 nm)"),
        ({"lumen": "hole"}, InputError, "no class 'hole'"),
    ],
)
def test_what_has_no_answer_is_refused(tmp_path, options, error, says):
    classes, cells = straight(length=4, rings=1)
    own = write(tmp_path, cells, "cells", kind="label", voxel_nm=(NM,) * 3)
    seen = write(tmp_path, classes, "classes", kind="label", classes=CLASSES, voxel_nm=(NM,) * 3)
    length = write(tmp_path, np.ones(cells.shape, np.float32), "along", kind="image", voxel_nm=(NM,) * 3)
    at = {"lumen": 2, "step_nm": 200.0, "name": "duct", "work": tmp_path / "work"} | options
    with pytest.raises(error, match=re.escape(says)):
        cf.duct(own, seen, length, length, **at)
    with pytest.raises(InputError, match="is no map of distances"):
        cf.duct(own, seen, seen, length, lumen=2, step_nm=200.0, name="duct", work=tmp_path / "work")


def test_a_duct_that_a_mask_cuts_says_so(tmp_path):
    """A lumen of 4 x 4 voxels in a wall of 2; the mask takes a corner of the wall off along half of it."""
    classes = np.zeros((10, 10, 40), np.uint8)
    classes[1:9, 1:9], classes[3:7, 3:7] = 3, 2
    classes[..., 0] = np.where(classes[..., 0] > 0, 1, 0)
    cells = np.where(classes == 3, 1 + np.indices(classes.shape)[1] // 5, 0).astype(np.uint32)
    known = np.ones(classes.shape, np.uint8)
    known[:3, :3, 20:] = 0
    at, nm = {"work": tmp_path / "work"}, {"voxel_nm": (8.0, 8.0, 8.0)}
    mask = write(tmp_path, known, "mask", kind="label", **nm)
    seen = write(tmp_path, classes, **nm).within(mask)
    own = write(tmp_path, cells, "cells", kind="label", **nm)
    along = cf.geodesic(seen, to=1, inside=[2, 3], name="along", **at)
    away = cf.distance(seen, to=2, cap_nm=60.0, name="away", **at)
    plan = along + away + cf.duct(own, seen, along.output, away.output, lumen=2, step_nm=32.0, name="x", **at)
    found = table(plan)
    assert found["touches_border"] == [True, True]
    rows = cf.read_table(tmp_path / "work/tables/x-sections.parquet").to_pydict()
    whole = [k for k, end in enumerate(rows["to_nm"]) if rows["from_nm"][k] > 0 and end <= 19 * 8]
    cut = [k for k, start in enumerate(rows["from_nm"]) if start >= 20 * 8]
    assert not any(rows["touches_border"][k] for k in whole)
    assert all(rows["touches_border"][k] for k in cut)
    assert len(whole) >= 3
    assert len(cut) >= 3
    radius = np.sqrt(16 / np.pi) * 8
    np.testing.assert_allclose([r for r in rows["radius_nm"] if np.isfinite(r)], radius)
