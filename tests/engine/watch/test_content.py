"""Who paints over results is told: by the run that would go on from them, by `check`, and by `status`."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from payload import calls, go, pieces, plan_of

import chunkflow_liver as cf
from chunkflow_liver.engine.journal import read_journal
from chunkflow_liver.engine.plan import Product
from chunkflow_liver.engine.run import is_finished
from chunkflow_liver.engine.watch.content import content_sum
from chunkflow_liver.engine.watch.status import status_text
from chunkflow_liver.errors import OutputError
from chunkflow_liver.geometry import Box


def paint(image: cf.Volume, box: Box, value: int = 9) -> None:
    """As any program of zarr would."""
    array = zarr.open_array(f"{image.url}/{image.path}", mode="r+")
    array[box.slices] = value


def swap(image: cf.Volume, first: Box, second: Box) -> None:
    """Two chunks in each other's place: each of them is whole."""
    one, two = (Path(image.url, image.path, next(image.keys(box))) for box in (first, second))
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


@pytest.mark.parametrize("how", ["painted", "swapped"])
def test_results_that_somebody_changed_are_told_and_written_again(how, store, tmp_path, count):
    plan = plan_of(store, tmp_path / "w")
    go(plan)
    grid, image = plan.maps[0].grid, plan.maps[0].outputs[0]
    whole = image.read()
    assert is_finished(plan)
    assert "newer" not in status_text(tmp_path / "w")
    if how == "painted":
        paint(image, Box((1, 2, 3), (2, 3, 4)))
        changed = [0]
    else:
        swap(image, grid[3].write, grid[9].write)
        # A file keeps its time where it is renamed, as where it is copied from elsewhere.
        changed = [3, 9]
    assert cf.validate(image.url, deep=True) == []
    if how == "painted":
        assert f"{image.url}/0 has files newer than the run: 'check' tells" in status_text(tmp_path / "w")
        for call in (go, is_finished, lambda p: go(p, redo=True)):
            with pytest.raises(
                OutputError, match=r"out.ome.zarr was changed after .* block 0\), and tables say"
            ):
                call(plan)
    found = cf.damage(plan, progress=False)
    assert [entry.block for entry in found] == changed
    assert "out.ome.zarr/0 has other voxels in z" in found[0].what
    assert "'repair' writes the old ones again; copy the image first" in found[0].what
    before = len(calls(count))
    cf.repair(plan, progress=False)
    assert len(calls(count)) - before == len(changed)
    np.testing.assert_array_equal(image.read(), whole)
    assert cf.damage(plan, progress=False) == []
    assert is_finished(plan)


def test_a_work_folder_that_was_copied_is_as_it_was(store, tmp_path):
    """All its files are newer than the run; what counts is what is in them."""
    plan = plan_of(store, tmp_path / "w")
    go(plan)
    (tmp_path / "w").rename(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "w", copy_function=shutil.copyfile)
    assert "newer" in status_text(tmp_path / "w")
    assert is_finished(plan)
    paint(plan.maps[0].outputs[0], Box((0, 0, 0), (1, 1, 1)))
    with pytest.raises(OutputError, match="was changed after this run wrote it"):
        is_finished(plan)


def test_a_conversion_that_was_painted_on_is_not_written_over(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(8 * 20 * 20, dtype=np.uint16).reshape(8, 20, 20))

    def plan() -> cf.Plan:
        return cf.convert(tmp_path / "a.npy", tmp_path / "a.ome.zarr", voxel_nm=(40, 8, 8))

    go(plan())
    go(plan())
    paint(plan().output, Box((1, 2, 3), (2, 3, 4)))
    for redo in (False, True):
        with pytest.raises(
            OutputError, match=r"a.ome.zarr was changed after it was converted .block 0., and is"
        ):
            go(plan(), redo=redo)
    assert plan().output.read(Box((1, 2, 3), (2, 3, 4))) == 9


def test_labels_that_are_there_to_be_painted_may_be(store, tmp_path):
    plan = plan_of(store, tmp_path / "w")
    image = plan.maps[0].outputs[0]
    plan = dataclasses.replace(plan, products=(Product("empty labels", "out", image),))
    go(plan)
    paint(image, Box((1, 2, 3), (2, 3, 4)))
    assert is_finished(plan)
    assert cf.repair(plan, progress=False) == []
    assert image.read(Box((1, 2, 3), (2, 3, 4))) == 9
    assert "newer" not in status_text(tmp_path / "w")


def test_pieces_in_any_order_have_one_sum(store, tmp_path):
    seen = []
    for order in (0, 1):
        plan = plan_of(store, tmp_path / f"w{order}", halo=(0, 0, 0))
        stage = dataclasses.replace(plan.maps[0], function=pieces, params={"order": order}, streams=True)
        stage_only = dataclasses.replace(plan, stages=(stage,), output=stage.outputs[0])
        go(stage_only)
        assert cf.damage(stage_only, progress=False) == []
        known = read_journal(tmp_path / f"w{order}").stage(stage.name)
        seen.append([known.sums.get(block) for block in range(len(stage.grid))])
    assert seen[0] == seen[1]
    assert all(seen[0])


@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 99))
def test_the_sum_sees_every_voxel_and_the_output_it_is_of(data, seed):
    output = cf.Volume("a", "0", (9, 8, 7), "uint16", (1.0, 1.0, 1.0), chunks=(3, 4, 5))
    values = np.random.default_rng(seed).integers(0, 3, (9, 8, 7), np.uint8)
    box = Box((9, 8, 7), (18, 16, 14))
    whole = content_sum(output, output.box, values, 0)
    # As it is stored, and wherever it lies.
    assert content_sum(output, box, np.asfortranarray(values.astype(np.uint16)), 0) == whole
    assert content_sum(output, box, values, 1) != whole
    assert content_sum(output, box, values, 0, Box((0, 8, 7), (18, 16, 14))) != whole
    values[tuple(data.draw(st.integers(0, n - 1)) for n in values.shape)] += 1
    assert content_sum(output, output.box, values, 0) != whole
