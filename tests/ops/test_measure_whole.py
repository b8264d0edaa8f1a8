"""Whole objects are described once each, wherever blocks cut them, and too large ones are named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    done,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.features.groups import WholeGroup
from chunkflow_liver.ops import measure as op
from chunkflow_liver.ops.measure.groups import WHOLE
from chunkflow_liver.store.volume import Volume


def seen(crop):
    """What a group was given, as numbers."""
    assert crop.mask.shape == crop.box.shape == crop.raw.shape
    assert crop.voxel_nm == VOXEL_NM
    return {
        "grey": crop.raw.sum(),
        "grey_inside": crop.raw[crop.mask].sum(),
        "limit": crop.settings.crop_voxels,
    }


@pytest.fixture(scope="module", autouse=True)
def group():
    with pytest.MonkeyPatch.context() as patch:
        columns = {"grey": "int64", "grey_inside": "int64", "limit": "float64"}
        patch.setitem(WHOLE, "seen", WholeGroup(seen, columns, image=True))
        patch.setattr(op, "FEATURES", (*op.FEATURES, "seen"))
        yield


def images(shape, seed):
    raw = np.random.default_rng(seed + 1).integers(0, 60000, shape, dtype=np.uint16)
    return components(semantic(shape, seed, 1), 26).astype(np.uint32) * 3, raw


def plan(labels, raw, work, block=None, **options):
    instances, image = write(work, labels, "cells", kind="label"), write(work, raw, "raw")
    features = options.pop("features", ["seen"])
    return cf.measure(
        instances,
        raw=image,
        features=features,
        name="cells-table",
        work=f"{work}/work",
        block=block,
        **options,
    )


@settings(max_examples=8, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_every_object_is_seen_whole_and_once_for_any_grid(shape, seed, block):
    labels, raw = images(shape, seed)
    got = []
    for cut in (None, block):
        with tempfile.TemporaryDirectory() as folder:
            made = plan(labels, raw, folder, cut)
            found = table(made)
            got.append(Path(made.output.path).read_bytes())
    assert got[0] == got[1]
    ids = np.unique(labels[labels > 0])
    boxes = ndimage.find_objects(labels)
    assert found["label"] == ids.tolist()
    assert found["grey"] == [int(raw[boxes[n - 1]].astype(int).sum()) for n in ids]
    assert found["grey_inside"] == [int(raw[labels == n].astype(int).sum()) for n in ids]
    assert list(found) == ["label", "class", "grey", "grey_inside", "limit"]


def test_objects_above_the_limit_are_refused_by_name(tmp_path):
    labels = np.zeros((4, 6, 8), np.uint32)
    labels[0, 0, :5], labels[2:, 3:, 2:] = 7, 9
    made = plan(labels, labels.astype(np.uint16), tmp_path, settings={"crop_voxels": 35})
    with pytest.raises(
        InputError, match=r"bounding boxes of 9 \(36 voxels\) have more voxels than crop_voxels = 35"
    ):
        done(made)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"settings": {"crop_voxels": 0}}, "crop_voxels must be 1 or more, got 0"),
        ({"settings": {"crop": 1}}, r"no feature settings \['crop'\]; there are"),
    ],
)
def test_impossible_settings_are_refused(options, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        plan(*images((4, 4, 4), 1), tmp_path, **options)


def test_an_image_that_is_needed_is_asked_for(tmp_path):
    instances = write(tmp_path, images((4, 4, 4), 1)[0], "cells", kind="label")
    with pytest.raises(
        ConfigError, match=r"features \['seen'\] measure intensities: give the image as 'raw'"
    ):
        cf.measure(instances, features=["seen"], name="t", work=tmp_path / "work")


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    labels, raw = images((8, 12, 12), 1)

    def make(work):
        instances = write(work.parent, labels, "cells", kind="label")
        image = write(work.parent, raw, "raw")
        at = {"name": "t", "work": work, "block": (4, 6, 12)}
        cells = cf.label(write(work.parent, (labels > 0).astype(np.uint8)), name="found", work=work)
        return cells + cf.measure(instances, raw=image, features=["basic", "seen"], **at)

    resumed_equals_whole(make, tmp_path, "t/whole", 2)


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    monkeypatch.setattr(Volume, "read", lambda *_: pytest.fail("read"))
    made = plan(*images((8, 12, 12), 1), tmp_path)
    whole = next(s for s in made.maps if s.name == "cells-table/whole")
    # The object with its image, and what a block's objects are cut from.
    assert whole.task_bytes > 8 * 12 * 12 * (4 + 2 + 1 + 12)


def test_no_objects_are_no_rows(tmp_path):
    found = table(plan(np.zeros((4, 4, 4), np.uint32), np.zeros((4, 4, 4), np.uint16), tmp_path))
    assert found == {name: [] for name in ("label", "class", "grey", "grey_inside", "limit")}
