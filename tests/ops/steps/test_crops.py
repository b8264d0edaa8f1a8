"""Every object has one box and one owner, whatever the grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage
from strategies import blocks, broken, components, counted, done, seeds, semantic, shapes, write

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import RunIncompleteError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.labels.extents import block_extents, merge_extents
from chunkflow_liver.ops.steps.crops import extents, owned


def plan(volume, work, block=None):
    stages, objects = extents(volume, name="mitos", work=work, block=block)
    return Plan(stages, work, objects)


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_extents_are_those_of_scipy_for_any_grid(shape, seed, block):
    labels = components(semantic(shape, seed), 26)
    parts = [block_extents(labels[b.write.slices], b.write.start) for b in BlockGrid(Box.of(shape), block)]
    found = merge_extents(reversed(parts))
    wanted = ndimage.find_objects(labels)
    assert found["label"].tolist() == list(range(1, len(wanted) + 1))
    assert found["label"].dtype == np.uint64
    assert found["low"].tolist() == [[s.start for s in w] for w in wanted]
    assert found["high"].tolist() == [[s.stop for s in w] for w in wanted]
    assert found["voxels"].tolist() == np.bincount(labels.ravel())[1:].tolist()


GRIDS = [(4, 16, 16), (8, 6, 9), (20, 30, 29)]


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(GRIDS, 2)))
def test_every_object_is_owned_once_for_any_grid(first, second, tmp_path):
    labels = components(semantic((20, 30, 29), 4), 6).astype(np.uint32)
    volume = write(tmp_path, labels, "mitos", kind="label")
    objects = done(plan(volume, tmp_path / "work", first))
    found = [pair for b in BlockGrid(volume.box, second) for pair in owned(b, objects)]
    boxes = {
        n: Box(*zip(*((s.start, s.stop) for s in w), strict=True))
        for n, w in enumerate(ndimage.find_objects(labels), 1)
    }
    assert len(found) == labels.max()
    assert dict(found) == boxes


def test_an_object_belongs_to_the_block_of_its_centre(tmp_path):
    labels = np.zeros((4, 6, 8), np.uint32)
    labels[1, 1:3, 1:8] = 7
    volume = write(tmp_path, labels, "mitos", kind="label")
    objects = done(plan(volume, tmp_path / "work"))
    owners = [[n for n, _ in owned(b, objects)] for b in BlockGrid(volume.box, (4, 6, 4))]
    assert owners == [[], [7]]


def test_a_broken_run_goes_on_to_the_same_boxes(tmp_path):
    labels = components(semantic((8, 12, 12), 1), 26).astype(np.uint32)
    volume = write(tmp_path, labels, "mitos", kind="label")
    parts = plan(volume, tmp_path / "work", (4, 6, 12))
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(parts, "mitos/extents", 2))
    calls: list[int] = []
    objects = done(counted(parts, "mitos/extents", calls))
    assert calls == [2]
    assert len(objects["label"]) == labels.max()


def test_no_objects_are_no_rows(tmp_path):
    volume = write(tmp_path, np.zeros((4, 4, 4), np.uint32), "mitos", kind="label")
    objects = done(plan(volume, tmp_path / "work"))
    assert len(objects["label"]) == 0
    assert list(owned(BlockGrid(volume.box, (4, 4, 4))[0], objects)) == []
