"""Objects that are laid together lie on no other one, and memory stays below what is planned."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import done, table, write

import chunkflow_liver as cf
from chunkflow_liver.engine.execute import peak_mib, reset_peak


def read(work, name):
    return cf.read_table(f"{work}/tables/{name}.parquet").to_pydict()


def corridor(folder):
    """Two rods of four voxels of 8 nm in a corridor of eight, before a class at its end."""
    own, classes = np.zeros((1, 3, 13), np.uint32), np.zeros((1, 3, 13), np.uint8)
    own[0, 1, 1:5], own[0, 1, 5:9] = 1, 2
    classes[:, (0, 2)], classes[0, 1, 0] = 3, 3  # walls
    classes[0, 1, 9:] = 1
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    return write(folder, own, "own", kind="label", **at), write(folder, classes, **at)


def laid(given, work, apart):
    at = {"gap_nm": 8, "cap_nm": 99, "placements": 60, "region_nm": 100, "draws": 2, "border": True}
    chance = cf.Chance(**at, apart=apart)
    return table(cf.placement(*given, to="er", avoid=["lipid"], chance=chance, name="p", work=work))


def test_objects_that_are_laid_apart_never_share_a_voxel(tmp_path):
    """One is always at the end, the other four voxels before it."""
    given, spread = corridor(tmp_path), {}
    for apart in (True, False):
        work = tmp_path / str(apart)
        found = laid(given, work, apart)
        assert found["objects"] == [2, 2]
        spread[apart] = (found["low"][1], found["high"][1])
        expected = read(work, "p-objects")["expected_nearest_nm"]
        assert expected[0] == pytest.approx(16, abs=6)
    # Alone, both may lie at either end, or anywhere between.
    assert spread[True] == pytest.approx((16, 16))
    assert spread[False][0] < 10
    assert spread[False][1] > 22


@pytest.mark.parametrize("apart", [False, True])
def test_a_plan_fits_its_estimate(apart, tmp_path):
    """A window of 8.6 Mvoxel with 60 objects: the peak above an idle process stays below the estimate."""
    # Once before, so that compiled loops are loaded.
    laid(corridor(tmp_path), tmp_path / "first", apart)
    rng = np.random.default_rng(0)
    shape = (160, 220, 240)
    own, classes = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
    for label in range(1, 61):
        z, y, x = (int(rng.integers(1, n - 30)) for n in shape)
        own[z : z + 24, y : y + 24, x : x + 24] = label
    classes[:, :, ::40] = 1
    classes[own > 0] = 0
    (tmp_path / "large").mkdir()
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    given = (
        write(tmp_path / "large", own, "own", kind="label", **at),
        write(tmp_path / "large", classes, **at),
    )
    chance = cf.Chance(placements=20, region_nm=4000, tries=50, apart=apart)
    plan = cf.placement(*given, to="er", chance=chance, name="p", work=tmp_path / "w")
    reset_peak()
    before = peak_mib()
    done(plan)
    assert peak_mib() - before < next(m for m in plan.maps if "placements" in m.name).resident / 2**20
    assert max(read(tmp_path / "w", "p-objects")["placed"]) == 20
