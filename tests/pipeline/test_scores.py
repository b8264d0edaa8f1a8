"""Scores in run files: images, or those that the network of the run keeps; they reach the operations."""

from __future__ import annotations

import numpy as np
import pytest
from model_folders import write_model_folder
from run_files import planned
from scipy.ndimage import gaussian_filter
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError


@pytest.fixture
def scored(project, array, tmp_path):
    """Scores of both classes, two folds of one."""
    rng = np.random.default_rng(0)
    for name, number in (("er", 1), ("mito", 2), ("fold", 2)):
        score = np.clip(0.8 * (array == number) + rng.uniform(0, 0.2, array.shape), 0, 1)
        write(tmp_path, np.rint(255 * score).astype(np.uint8), name)
    of = {"scores": ["mito.ome.zarr", "fold.ome.zarr"]}
    project["contacts"] = [
        {"name": "mito-er", "instances": "mitos", "to": "er", "gap_nm": 10}
        | of
        | {"partner_scores": "er.ome.zarr", "correlation_nm": 20, "most_nm": 15}
    ]
    project["measure"] = [{"name": "m", "instances": "mitos", "features": ["surface"], **of}]
    project["narrowing"] = [{"name": "n", "instances": "mitos", **of}]
    return project


def test_images_of_scores_reach_the_operations(scored, tmp_path):
    done(planned(tmp_path, scored))
    mitos = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/mitos")
    classes = cf.open_volume(tmp_path / "classes.ome.zarr")
    er, *folds = (cf.open_volume(tmp_path / f"{name}.ome.zarr") for name in ("er", "mito", "fold"))
    at = {"scores": folds, "work": tmp_path / "hand"}
    boundary = cf.Boundary(correlation_nm=20, most_nm=15)
    for plan in (
        cf.contacts(
            mitos, classes, to="er", gap_nm=10, partner_scores=er, boundary=boundary, name="mito-er", **at
        ),
        cf.measure(mitos, features=["surface"], name="m", **at),
        cf.narrowing(mitos, name="n", **at),
    ):
        done(plan)
    for name in ("mito-er", "mito-er-objects", "n"):
        found, by_hand = (cf.read_table(tmp_path / f"{w}/tables/{name}.parquet") for w in ("work", "hand"))
        assert found.to_pandas().equals(by_hand.to_pandas()), name
    found, by_hand = (
        cf.read_table(tmp_path / f"{w}/tables/m.parquet").drop_columns(["class"]).to_pandas()
        for w in ("work", "hand")
    )
    assert found.equals(by_hand)
    assert set(found["boundary_source"]) <= {"folds", "half a voxel"}


def test_scores_that_no_network_keeps_are_refused(scored, tmp_path):
    entry = scored["contacts"][0]
    entry["scores_of"] = "mitochondrion"
    with pytest.raises(ConfigError, match="give either 'scores' \\(images\\) or 'scores_of'"):
        planned(tmp_path, scored)
    del entry["scores"]
    with pytest.raises(
        ConfigError,
        match="'mito-er' reads the scores of 'mitochondrion', and 'segment' keeps those of \\[\\]",
    ):
        planned(tmp_path, scored)
    assert not (tmp_path / "work").exists()


@pytest.mark.network
def test_scores_that_the_network_of_the_run_keeps_are_read(tmp_path):
    """The class is named; its image is what `segment` makes before."""
    shape, voxel_nm = (24, 40, 40), (4.0, 8.0, 16.0)
    texture = gaussian_filter(np.random.default_rng(0).normal(size=shape), (2, 2, 1))
    write(tmp_path, (110 + 600 * texture).clip(1, 255).astype(np.uint8), "raw", voxel_nm=voxel_nm)
    write_model_folder(tmp_path / "model", spacing=voxel_nm)
    entry = {"name": "c", "instances": "objects", "other": "objects", "gap_nm": 30, "scores_of": "class 1"}
    content = {
        "input": {"path": "raw.ome.zarr"},
        "work": "work",
        "segment": {"name": "cells", "model": "model", "scores": ["class 1"]},
        "label": [{"name": "objects", "classes": ["class 1"]}],
        "contacts": [entry],
        "measure": [{"name": "m", "instances": "objects", "features": ["surface"], "scores_of": "class 1"}],
    }
    done(planned(tmp_path, content))
    found = cf.read_table(tmp_path / "work/tables/m.parquet").to_pydict()
    assert "scores" in found["boundary_source"]
    objects = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/objects")
    scores = cf.open_volume(tmp_path / "work/cells-score-class-1.ome.zarr")
    hand = cf.measure(objects, features=["surface"], scores=scores, name="m", work=tmp_path / "hand")
    by_hand = cf.read_table(done(hand)).to_pydict()["boundary_nm"]
    np.testing.assert_array_equal(by_hand, found["boundary_nm"])
