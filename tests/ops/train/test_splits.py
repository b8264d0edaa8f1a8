"""What is held out is never trained on, nor what lies near it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted_images import stored

from chunkflow_liver.config import read_training_file
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import Box
from chunkflow_liver.ops.train.sources import Given, opened
from chunkflow_liver.ops.train.splits import Split, divided
from chunkflow_liver.training.losses import IGNORE

WHOLE = Box.of((20, 48, 48))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return [stored(folder, "a"), stored(folder, "b", seed=1)]


def parts(entries, **split):
    sources = opened([Given.of(e, i) for i, e in enumerate(entries)], None, None, flat=False).sources
    rows = [source.index(3) for source in sources]
    return divided(sources, rows, Split.of(split), 3)


def known(side):
    """Masks of the labels that are seen, by source; the index counts the same voxels."""
    masks = [source.labels(WHOLE) != IGNORE for source in side.sources]
    wanted = [sum((s.labels(WHOLE) == c).sum() for s in side.sources) for c in range(3)]
    assert side.painted.total == wanted
    return masks


@pytest.mark.parametrize("gap_nm", [None, 80.0, 130.0])
def test_slabs_are_apart_by_the_gap_and_cover_all_that_is_painted(two, gap_nm):
    steps = {None: 1, 80.0: 2, 130.0: 4}[gap_nm]
    held_by_fold = []
    for part in parts(two, by="slab", folds=4, train=(0, 1, 2, 3), gap_nm=gap_nm):
        for train, held in zip(known(part.train), known(part.held), strict=True):
            a, b = (np.flatnonzero(m.any((1, 2))) for m in (train, held))
            assert len(b) == 5
            # Between the nearest slices of both sides lies the whole gap.
            assert abs(a[:, None] - b[None]).min() == steps + 1
        held_by_fold.append(known(part.held)[0])
    assert (np.sum(held_by_fold, 0) == 1).all()


def test_slabs_of_sparse_slices_hold_out_whole_slices(two):
    sparse = [two[0] | {"slices": [2, 6, 10, 14, 18]}]
    for k, part in enumerate(parts(sparse, by="slab", folds=5, train=range(5))):
        train, held = (np.flatnonzero(known(side)[0].any((1, 2))) for side in (part.train, part.held))
        assert held.tolist() == [2 + 4 * k]
        assert sorted([*train, *held]) == [2, 6, 10, 14, 18]


def test_the_split_of_the_example_fits_its_own_slices(tmp_path):
    given = read_training_file(Path(__file__).parents[3] / "configs/train_mitochondria.yaml").arguments()
    slices = given["sources"][0]["slices"]
    source = stored(tmp_path, shape=(max(slices) + 1, 16, 16)) | {"slices": slices}
    (part,) = parts([source], **given["split"])
    train, held = (
        side.sources[0].labels(Box.of((max(slices) + 1, 16, 16))) for side in (part.train, part.held)
    )
    planes = [np.flatnonzero((side != IGNORE).any((1, 2))).tolist() for side in (train, held)]
    assert planes == [[10, 60], [110]] == [list(slices[:-1]), list(slices[-1:])]


def test_too_many_folds_name_the_folds_of_the_source_with_fewest_slices(two):
    few = [two[0], two[1] | {"slices": [2, 9, 14]}]
    with pytest.raises(ConfigError, match=r"source 1 has 3 painted .* say folds: 3 and train: \[2\], take"):
        parts(few, by="slab", folds=5, train=(4,))


def test_a_slab_along_x_has_its_gap_there(two):
    (part,) = parts(two[:1], by="slab", folds=3, axis="x", gap_nm=33.0)
    train, held = (np.flatnonzero(known(side)[0].any((0, 1))) for side in (part.train, part.held))
    assert held.tolist() == list(range(32, 48))
    assert train.tolist() == list(range(29))


def test_whole_volumes_are_held_out(two):
    for k, part in enumerate(parts(two, by="volume", folds=2, train=(0, 1))):
        assert [m.any() for m in known(part.held)] == [k == 0, k == 1]
        assert [m.all() for m in known(part.train)] == [k == 1, k == 0]


def test_boxes_are_held_out_with_a_gap_on_all_sides(two):
    boxes = [[[0, 0, 0], [400, 320, 320]], [[400, 320, 320], [800, 768, 768]]]
    (part,) = parts([two[0] | {"boxes_nm": boxes}], by="box", folds=2, gap_nm=40.0)
    train, held = known(part.train)[0], known(part.held)[0]
    wanted = np.zeros(train.shape, bool)
    wanted[10:, 20:, 20:] = True
    np.testing.assert_array_equal(held, wanted)
    # The first box lies beside the second corner to corner: its last slice and three rows and columns go.
    first = np.zeros(train.shape, bool)
    first[:10, :20, :20] = True
    first[9:, 17:, 17:] = False
    np.testing.assert_array_equal(train, first)


def test_nothing_held_out(two):
    (part,) = parts(two, by="none")
    assert part.name == "all"
    assert all(m.all() for m in known(part.train))
    assert len(part.held.painted) == 0


def test_the_last_fold_is_trained_unless_others_are_named(two):
    assert [part.name for part in parts(two, folds=3)] == ["2"]
    assert [part.name for part in parts(two, folds=3, train=(0, 2))] == ["0", "2"]
