"""Objects by depth and steepness are those that `split` makes there, and the page shows their necks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from solids import NM, balls
from strategies import command, done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, MemoryBudgetError
from chunkflow_liver.kernels.instances.touching.depths import suggested_depth

SHAPE = (12, 24, 60)
ALL = cf.Box((0, 0, 0), SHAPE)


def planned(folder, **options):
    """Three balls in a row, of which two meet broadly, and one alone."""
    mask = balls(SHAPE, [(5, 10, 8), (5, 10, 20), (5, 10, 34), (6, 12, 52)], 60.0)
    volume = write(folder, mask.astype(np.uint8), voxel_nm=NM)
    at = {"depth_nm": 8, "cap_nm": 64, "classes": [1], "name": "parts", "work": f"{folder}/work"}
    return cf.split(volume, **at | options)


@pytest.mark.parametrize("options", [{}, {"steepness": 0.0}, {"contact": 0.5}], ids=str)
def test_objects_at_each_depth_are_those_of_split(tmp_path, options):
    found = cf.depths(planned(tmp_path, **options), ALL, name="parts")
    assert (np.diff(found.depth_nm) > 0).all()
    for i in (0, 10, 20, 30, 39):
        at = {"depth_nm": float(found.depth_nm[i]), "work": tmp_path / str(i)}
        assert done(planned(tmp_path / f"m{i}", **options | at)).read().max() == found.objects[i]
    assert found.objects[0] >= found.objects[-1]


def test_objects_at_each_steepness_are_those_of_split_and_labels_are_theirs(tmp_path):
    found = cf.depths(planned(tmp_path), ALL, name="parts")
    assert found.steepness.tolist() == [0, 0.3, 0.45, 0.6, 0.75]
    for steepness, objects in zip(found.steepness.tolist(), found.objects_steep.tolist(), strict=True):
        other = done(
            planned(tmp_path / f"m{steepness}", steepness=steepness, work=tmp_path / f"{steepness}")
        ).read()
        assert other.max() == objects == found.labels[steepness].max()
        np.testing.assert_array_equal(found.labels[steepness] > 0, other > 0)
    assert len(found.place_nm) == len(found.half_nm) == len(found.steepest) > 0


def test_a_neck_is_where_two_balls_meet(tmp_path):
    """Centres of the balls at voxels 8 and 20 along x, of 8 nm: they meet in the middle, at 14.5 voxels."""
    mask = balls(SHAPE, [(5, 10, 8), (5, 10, 20)], 60.0)
    volume = write(tmp_path, mask.astype(np.uint8), voxel_nm=NM)
    plan = cf.split(volume, classes=[1], depth_nm=8, cap_nm=64, name="parts", work=tmp_path / "w")
    found = cf.depths(plan, ALL, name="parts")
    sure = found.deepest_nm == found.deepest_nm.max()
    middle = (np.array([5, 10, 14]) + 0.5) * NM
    assert np.abs(found.place_nm[sure] - middle).max() <= max(NM)
    # Its half-width is that of the section: what is deeper by more than the balls are, is no neck.
    assert (found.half_nm[sure] + found.deepest_nm[sure] <= 64).all()


def test_the_longest_range_without_a_change_is_suggested():
    depths = np.array([2.0, 4, 8, 16, 32, 64, 128])
    assert suggested_depth(depths, np.array([90, 40, 7, 7, 7, 5, 5]), 3) == (8, 32)
    assert suggested_depth(depths, np.array([7, 7, 7, 7, 6, 5, 4]), 3) == (4, 16)
    assert suggested_depth(depths, np.array([9, 8, 7, 6, 5, 4, 3]), 3) is None
    assert suggested_depth(depths, np.array([9, 8, 7, 6, 5, 4, 3]), 1000) is None


def test_the_page_says_and_shows_it(tmp_path):
    source = planned(tmp_path)
    (tmp_path / "run.yaml").write_text(
        f"semantic: {{path: {source.products[0].handle.url.rsplit('/work', 1)[0]}/semantic.ome.zarr, "
        f"classes: {{mito: 1}}}}\nwork: {tmp_path}/w2\n"
        "split:\n  - {name: parts, classes: [mito], depth_nm: 8, cap_nm: 64}\n"
    )
    box = [str(n) for pair in zip((0, 0, 0), SHAPE, strict=True) for n in pair]
    page = tmp_path / "necks.html"
    code, said, told = command("necks", tmp_path / "run.yaml", "parts", "--box", *box, "--to", page)
    assert (code, told) == (0, "")
    assert "parts: depth_nm 8, steepness 0.6, cap_nm 64, connectivity 6" in said
    assert "nothing changes: " in said
    text = page.read_text()
    assert text.count("data:image/png") >= 1
    assert "<svg" in text
    assert not Path(tmp_path / "w2").exists()


def test_what_cannot_be_looked_at_is_refused(tmp_path, monkeypatch):
    plan = planned(tmp_path)
    with pytest.raises(ConfigError, match="finds no instances 'others' with split"):
        cf.depths(plan, ALL, name="others")
    with pytest.raises(ConfigError, match="is not inside the"):
        cf.depths(plan, cf.Box((0, 0, 0), (13, 24, 24)), name="parts")
    slices = planned(tmp_path / "s", mode="slices", work=tmp_path / "slices")
    with pytest.raises(ConfigError, match="takes slices apart one by one"):
        cf.depths(slices, ALL, name="parts")
    monkeypatch.setattr("chunkflow_liver.ops.steps.whole_box.worker_memory", lambda _: 1.0)
    with pytest.raises(MemoryBudgetError, match="choose a smaller box"):
        cf.depths(plan, ALL, name="parts")
