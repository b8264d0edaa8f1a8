"""The report says how well blocks agreed, and shows the worst seams."""

from __future__ import annotations

import block_functions as functions
from strategies import done, write

import chunkflow_liver as cf


def test_the_page_shows_the_worst_seams_with_their_place(tmp_path):
    truth = functions.voronoi((12, 24, 24), 40, 3)
    volume = write(tmp_path, truth, name="truth", kind="label", voxel_nm=(16, 8, 8))
    plan = cf.stitch(
        volume,
        functions.wobbling,
        params={"voxels": 0.7},
        halo_nm=32.0,
        name="cells",
        work=tmp_path / "work",
        block=(6, 12, 12),
    )
    done(plan)
    page = cf.report(plan).read_text()
    rows = cf.read_table(tmp_path / "work/tables/cells-seams.parquet").to_pylist()
    worst = min(rows, key=lambda row: row["score"])
    assert f"along {worst['axis']}: score {worst['score']:.3f}" in page
    assert f"around voxel z {worst['z']}, y {worst['y']}, x {worst['x']}" in page
    assert page.count('alt="objects around the seam"') == 4


def test_a_volume_of_one_block_has_no_seams(tmp_path):
    truth = functions.voronoi((4, 8, 8), 3, 1)
    volume = write(tmp_path, truth, name="truth", kind="label")
    plan = cf.stitch(volume, functions.same, halo_nm=32.0, name="cells", work=tmp_path / "work")
    done(plan)
    assert "cross 0 of 0 seams" in cf.report(plan).read_text()
