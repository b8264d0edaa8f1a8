"""A phantom is made block by block with its truth, and does not depend on the blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from strategies import contents, done, resumed_equals_whole

import chunkflow_liver as cf
from chunkflow_liver.errors import ChunkflowLiverError, JournalError, OutputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.phantom.volume import Phantom, render

SIZE = {"shape": (20, 70, 60), "voxel_nm": (40.0, 16.0, 16.0), "seed": 4}


def read(work, name=""):
    return cf.open_volume(Path(work) / "raw.ome.zarr" / name).read()


@pytest.mark.parametrize("block", [None, (10, 14, 60), (5, 35, 20)], ids=str)
def test_the_voxels_are_those_of_the_whole_phantom(block, tmp_path):
    plan = cf.phantom(**SIZE, work=tmp_path, block=block)
    raw = done(plan)
    wanted = render(Phantom(SIZE["shape"], SIZE["voxel_nm"], SIZE["seed"], 1.0), Box.of(SIZE["shape"]))
    np.testing.assert_array_equal(raw.read(), wanted.raw)
    np.testing.assert_array_equal(read(tmp_path, "labels/truth"), wanted.semantic)
    np.testing.assert_array_equal(read(tmp_path, "labels/truth-mitos"), wanted.instances)
    truth = cf.read_table(tmp_path / "tables/truth.parquet")
    assert set(np.unique(wanted.instances)) - {0} <= set(truth["label"].to_pylist())
    for name in ("", "labels/truth", "labels/truth-mitos"):
        assert cf.validate(raw.url + "/" + name, deep=True) == []


def test_sides_may_be_lists(tmp_path):
    made = [
        cf.phantom(shape=kind((8, 16, 16)), voxel_nm=kind((40.0, 16.0, 16.0)), work=tmp_path / kind.__name__)
        for kind in (list, tuple)
    ]
    for plan in made:
        cf.run(plan, progress=False)
    np.testing.assert_array_equal(made[0].output.read(), made[1].output.read())


def test_a_phantom_that_exists_is_gone_on_with(tmp_path):
    done(cf.phantom(**SIZE, work=tmp_path))
    before = contents(tmp_path / "raw.ome.zarr")
    done(cf.phantom(**SIZE, work=tmp_path))
    assert contents(tmp_path / "raw.ome.zarr") == before
    with pytest.raises(JournalError, match="seed = 4 there and 5 in this plan"):
        done(cf.phantom(**SIZE | {"seed": 5}, work=tmp_path))
    assert contents(tmp_path / "raw.ome.zarr") == before


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    def plan(work):
        return cf.phantom(**SIZE, work=work, block=(10, 70, 60))

    resumed_equals_whole(plan, tmp_path, "phantom/render", 1)
    whole, parts = (contents(tmp_path / run / "work/raw.ome.zarr") for run in "ab")
    assert whole == parts


def test_another_image_is_not_written_over(tmp_path):
    image = tmp_path / "raw.ome.zarr"
    image.mkdir()
    (image / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="exists and was not written by chunkflow_liver"):
        done(cf.phantom(**SIZE, work=tmp_path))
    assert contents(image) == {k.removeprefix("raw.ome.zarr/"): v for k, v in before.items()}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shape": (0, 4, 4)}, "a phantom needs at least one voxel per axis"),
        ({"voxel_nm": (0, 16, 16)}, "a phantom needs voxel sizes above 0 nm"),
        ({"mitochondria": 0}, "a phantom needs at least one mitochondrion, got 0"),
        ({"mitochondria": 5000}, "5000 mitochondria do not fit into this phantom: there is room for "),
    ],
)
def test_impossible_phantoms_are_refused(options, says, tmp_path, listing):
    before = listing()
    with pytest.raises(ChunkflowLiverError, match=says):
        cf.phantom(**SIZE | options, work=tmp_path / "work")
    assert listing() == before
