"""What an error of the boundaries makes of a contact is what contacts at shifted gaps give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from strategies import VOXEL_NM, done, table, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.centreline.sections import pitch_nm


def plates(folder):
    """A slope of a class under a plate: the gap grows along x, so that every nm counts."""
    own, other = np.zeros((6, 40, 24), np.uint32), np.zeros((6, 40, 24), np.uint8)
    own[1:3, 20:24, 2:22] = 4
    for x in range(24):
        other[1:3, max(0, 18 - x // 2) : max(0, 18 - x // 2) + 2, x] = 1
    return write(folder, own, "own", kind="label"), write(folder, other)


@pytest.mark.parametrize(
    "boundary", [None, cf.Boundary(boundary_nm=4), cf.Boundary(boundary_nm=3, partner_nm=6)]
)
def test_ends_are_those_of_shifted_gaps(boundary, tmp_path):
    volumes = plates(tmp_path)
    pitch = pitch_nm(VOXEL_NM)
    known = boundary or cf.Boundary()
    off = known.between_nm(pitch)
    if boundary is None:
        assert off == pytest.approx(pitch / 2**0.5)
    at = {"to": "er", "name": "c"}
    found = table(cf.contacts(*volumes, gap_nm=40, boundary=boundary, work=tmp_path / "w", **at))
    objects = cf.read_table(tmp_path / "w/tables/c-objects.parquet").to_pydict()
    for end, gap in (("low", 40 - off), ("high", 40 + off)):
        shifted = table(cf.contacts(*volumes, gap_nm=gap, work=tmp_path / end, **at))
        for side in "ab":
            assert found[f"area_{side}_{end}_um2"] == shifted[f"area_{side}_um2"]
        alone = cf.read_table(tmp_path / end / "tables/c-objects.parquet").to_pydict()
        assert objects[f"contact_{end}_fraction"] == alone["contact_fraction"]
    assert found["area_a_low_um2"][0] < found["area_a_um2"][0] < found["area_a_high_um2"][0]
    assert found["gap_min_low_nm"] == [pytest.approx(max(0, found["gap_min_nm"][0] - off))]
    assert found["gap_min_high_nm"] == [pytest.approx(found["gap_min_nm"][0] + off)]


def test_errors_that_are_alike_over_less_are_averaged_over_the_contact(tmp_path):
    """Each side over a disc of its own area within the gap; the smallest gap is one place."""
    volumes = plates(tmp_path)
    known = cf.Boundary(boundary_nm=4, correlation_nm=20, bias_nm=-1)
    at = {"to": "er", "name": "c"}
    found = table(cf.contacts(*volumes, gap_nm=40, boundary=known, work=tmp_path / "w", **at))
    for side in "ab":
        radius = np.sqrt(np.array(found[f"area_{side}_um2"]) * 1e6 / np.pi)
        off = float(known.patch_nm(radius, pitch_nm(VOXEL_NM))[0])
        assert off < known.between_nm(pitch_nm(VOXEL_NM))
        for end, gap in (("low", 40 - off), ("high", 40 + off)):
            shifted = table(cf.contacts(*volumes, gap_nm=gap, work=tmp_path / side / end, **at))
            assert found[f"area_{side}_{end}_um2"] == shifted[f"area_{side}_um2"]
    least = found["gap_min_nm"][0] + known.between_nm(pitch_nm(VOXEL_NM))
    assert found["gap_min_high_nm"] == [pytest.approx(least)]


def test_blocks_do_not_matter(tmp_path):
    volumes = plates(tmp_path)
    boundary = cf.Boundary(boundary_nm=5, correlation_nm=30, bias_nm=1)
    at = {"to": "er", "name": "c", "gap_nm": 40, "boundary": boundary}
    for work, block in (("whole", None), ("cut", (6, 7, 24))):
        done(cf.contacts(*volumes, work=tmp_path / work, block=block, **at))
    for name in ("c", "c-objects"):
        one, two = (Path(tmp_path) / w / f"tables/{name}.parquet" for w in ("whole", "cut"))
        assert one.read_bytes() == two.read_bytes()


def test_a_contact_of_touching_objects_may_be_none(tmp_path):
    """At a gap of 0 a boundary that is off by anything is no contact."""
    volumes = plates(tmp_path)
    found = table(cf.contacts(*volumes, to="er", gap_nm=0, name="c", work=tmp_path / "w"))
    assert found["area_a_um2"][0] > 0
    assert (found["area_a_low_um2"], found["gap_min_low_nm"]) == ([0], [0])
