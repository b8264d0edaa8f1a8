"""Windows from storage are those of the whole arrays; what nobody painted is never background."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from painted import VOXEL_NM, blobs
from painted_images import stored
from scipy import ndimage

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.statistics import block_statistics, summarise
from chunkflow_liver.ops.train.sources import Given, opened
from chunkflow_liver.training.losses import IGNORE

WHOLE = Box.of((20, 48, 48))


def source(entry, *, classes=None, voxel_nm=None, flat=False):
    made = opened([Given.of(entry, 0)], classes, voxel_nm, flat=flat)
    grey = cf.open_volume(entry["image"]).read()
    return made.sources[0].normalised_by(summarise(block_statistics(grey))), made.names


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("painted"))


def test_a_window_is_that_of_the_whole_image(entry):
    made, names = source(entry)
    grey, classes = blobs((20, 48, 48))
    assert names == ("dark", "bright")
    wanted = (grey - grey.mean()) / grey.std()
    np.testing.assert_allclose(made.image(WHOLE)[0], wanted, atol=1e-5)
    box = Box((3, 5, 7), (9, 30, 40))
    np.testing.assert_array_equal(made.image(box), made.image(WHOLE)[(slice(None), *box.slices)])
    np.testing.assert_array_equal(made.labels(box), classes[box.slices])


@settings(max_examples=8, deadline=None)
@given(
    slices=st.sets(st.integers(0, 19), min_size=1, max_size=6),
    corner=st.tuples(st.integers(0, 10), st.integers(0, 30), st.integers(0, 30)),
)
def test_only_painted_voxels_have_labels_and_the_index_counts_each_once(entry, slices, corner):
    size = (5, 9, 13)
    nm = [[a * v for a, v in zip(corner, VOXEL_NM, strict=True)]]
    nm.append([(a + n) * v for a, n, v in zip(corner, size, VOXEL_NM, strict=True)])
    made, _ = source(entry | {"slices": sorted(slices), "boxes_nm": [nm]})
    _, classes = blobs((20, 48, 48))
    wanted = np.full(classes.shape, IGNORE, np.int16)
    wanted[sorted(slices)] = classes[sorted(slices)]
    box = Box(corner, tuple(a + n for a, n in zip(corner, size, strict=True)))
    wanted[box.slices] = classes[box.slices]
    np.testing.assert_array_equal(made.labels(WHOLE), wanted)
    count, times = np.zeros(3, int), np.zeros(classes.shape, int)
    for start, stop, counts in made.index(3):
        part = Box(start, stop)
        times[part.slices] += 1
        count += counts
    assert times.max() == 1
    assert (times[wanted != IGNORE] == 1).all()
    np.testing.assert_array_equal(count, [(wanted == c).sum() for c in range(3)])


def test_an_ignored_number_is_not_painted(tmp_path):
    _, classes = blobs((20, 48, 48))
    classes[:, :10] = 255
    made, _ = source(stored(tmp_path, classes=classes) | {"ignore": 255})
    np.testing.assert_array_equal(made.labels(WHOLE) == IGNORE, classes == 255)


def test_ids_of_objects_are_one_class(tmp_path):
    _, classes = blobs((20, 48, 48))
    ids, _ = ndimage.label(classes == 1)
    entry = stored(tmp_path, classes=ids.astype(np.uint32))
    made, names = source(entry | {"instances_of": "bright"}, classes=["dark", "bright"])
    np.testing.assert_array_equal(made.labels(WHOLE), 2 * (classes == 1))
    assert names == ("dark", "bright")
    wrong, _ = source(entry, classes={"dark": 1})
    with pytest.raises(InputError, match=r"holds the numbers .* are no classes; .*instances_of: <class>"):
        wrong.index(2)


def test_a_coarser_level_is_that_of_the_pyramid(tmp_path):
    entry = stored(tmp_path, shape=(4, 300, 96))
    made, _ = source(entry, voxel_nm=(40, 32, 32))
    level = cf.open_volume(entry["image"], level=1)
    assert (made.raws[0].level, made.truth.level, made.shape) == (1, 1, level.shape)
    np.testing.assert_array_equal(
        made.labels(Box.of(made.shape)), cf.open_volume(entry["labels"], level=1).read()
    )


def test_other_voxel_sizes_are_resampled_as_the_model_sees_them_later(tmp_path):
    """By nnU-Net's own resampling of the whole image, and the nearest label."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    entry = stored(tmp_path, voxel_nm=(20.0, 16.0, 16.0))
    made, _ = source(entry, voxel_nm=(20, 20, 20))
    grey, classes = blobs((20, 48, 48))
    assert made.shape == (20, 38, 38)
    wanted = resample_data_or_seg_to_shape(
        grey[None].astype(np.float32), made.shape, (20, 16, 16), (20, 20, 20), is_seg=False, order=3
    )[0]
    found = made.image(Box.of(made.shape))[0] * made.sd[0] + made.mean[0]
    np.testing.assert_allclose(found, wanted, atol=0.02)
    box = Box((2, 3, 4), (9, 20, 30))
    np.testing.assert_allclose(made.image(box)[0] * made.sd[0] + made.mean[0], wanted[box.slices], atol=0.02)
    at = np.floor((np.arange(38) + 0.5) * 48 / 38).astype(int)
    np.testing.assert_array_equal(made.labels(Box.of(made.shape)), classes[:, at][:, :, at])
    np.testing.assert_array_equal(made.labels(box), made.labels(Box.of(made.shape))[box.slices])


def test_labels_with_one_level_go_with_a_coarser_image(tmp_path):
    _, classes = blobs((6, 300, 96))
    entry = stored(tmp_path, shape=(6, 300, 96))
    attributes = Path(entry["labels"]) / "zarr.json"
    content = json.loads(attributes.read_text())
    scales = content["attributes"]["ome"]["multiscales"][0]
    scales["datasets"] = scales["datasets"][:1]
    attributes.write_text(json.dumps(content))
    made, _ = source(entry | {"slices": [4]}, voxel_nm=(40, 32, 32))
    labels = made.labels(Box.of(made.shape))
    assert (labels[[0, 5]] == IGNORE).all()
    np.testing.assert_array_equal(labels[4], classes[4, 1::2, 1::2])


def test_slices_lost_in_coarser_levels_name_the_levels_that_keep_them(tmp_path):
    """Planes of isotropic voxels: the level that is nearest in the plane has half the slices."""
    entry = stored(tmp_path, voxel_nm=(5, 5, 5), shape=(20, 300, 96)) | {"slices": [4, 9]}
    wanted = r"single ones would be lost.*with 5 first.*that has all slices: \(5\.0, 5\.0, 5\.0\)$"
    with pytest.raises(ConfigError, match=wanted):
        source(entry, voxel_nm=(5, 10, 10), flat=True)


def test_the_source_needs_no_memory_for_what_is_not_read(entry, monkeypatch):
    """Of a box, only the chunks that it meets are read."""
    made, _ = source(entry)
    seen = []
    kept = cf.Volume.read

    def watched(self, box=None):
        seen.append(box)
        return kept(self, box)

    monkeypatch.setattr(cf.Volume, "read", watched)
    made.image(Box((0, 0, 0), (4, 16, 16)))
    made.labels(Box((0, 0, 0), (4, 16, 16)))
    assert seen == [Box((0, 0, 0), (4, 16, 16))] * 2
