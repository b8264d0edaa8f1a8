"""Chunks that are kept change no voxel, stay within their bytes, and are decoded once."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from painted_images import SMALL, stored
from strategies import contents, done

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box
from chunkflow_liver.ops.train import kept as subject
from chunkflow_liver.ops.train.kept import Kept, planes_of

SHAPE = (20, 33, 40)
VOXELS = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)


@dataclass
class Counted:
    chunks: tuple[int, int, int] = (8, 16, 16)
    shape: tuple[int, int, int] = SHAPE
    itemsize: int = 1
    boxes: list[Box] = field(default_factory=list)

    def read(self, box):
        self.boxes.append(box)
        return VOXELS[box.slices].copy()


def boxes():
    ends = [
        st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
        st.tuples(*(st.integers(1, n) for n in SHAPE)),
    ]
    return st.tuples(*ends).map(
        lambda e: Box(e[0], tuple(min(a + b, n) for a, b, n in zip(*e, SHAPE, strict=True)))
    )


@given(
    wanted=st.lists(boxes(), max_size=6),
    most=st.sampled_from([0, 3000, 20_000, 1 << 20]),
    planes=st.sampled_from([((0, 20),), ((2, 9), (11, 15)), ()]),
    chunks=st.sampled_from([(8, 16, 16), (1, 33, 40), (20, 5, 7)]),
)
def test_what_is_read_does_not_depend_on_what_is_kept(wanted, most, planes, chunks):
    image, kept = Counted(chunks), Kept(most)
    for box in wanted:
        found = kept.read(image, box, planes)
        np.testing.assert_array_equal(found, VOXELS[box.slices])
        found[:] = 0
        assert kept.bytes == sum(part.nbytes for part in kept._parts.values()) <= most


def test_a_chunk_is_decoded_once_and_only_in_planes_that_windows_see():
    image, kept = Counted(), Kept(1 << 20)
    box = Box((3, 4, 4), (5, 20, 20))
    for _ in range(3):
        kept.read(image, box, ((2, 7),))
    assert image.boxes == [Box((2, 0, 0), (7, 32, 32))]
    kept.read(image, Box((3, 4, 4), (5, 20, 33)), ((2, 7),))
    assert image.boxes[1:] == [Box((2, 0, 32), (7, 32, 40))]


def test_an_image_may_be_seen_in_other_planes_elsewhere():
    image, kept = Counted(), Kept(1 << 20)
    for planes in (((2, 6),), ((2, 9),), ((0, 20),)):
        box = Box((2, 4, 4), (planes[0][1], 20, 20))
        np.testing.assert_array_equal(kept.read(image, box, planes), VOXELS[box.slices])


def test_chunks_that_were_not_needed_for_longest_go():
    image, kept = Counted((1, 33, 40)), Kept(10 * 33 * 40)
    plane = [Box((z, 0, 0), (z + 1, 33, 40)) for z in range(20)]
    for box in (*plane[:10], plane[0], plane[10]):
        kept.read(image, box, ((0, 20),))
    image.boxes.clear()
    kept.read(image, plane[0], ((0, 20),))
    assert not image.boxes
    kept.read(image, plane[1], ((0, 20),))
    assert image.boxes == [plane[1]]


def test_another_process_begins_with_none():
    kept = Kept(1 << 20)
    kept.read(Counted(), Box.of(SHAPE), ((0, 20),))
    one, two = pickle.loads(pickle.dumps([kept, kept]))
    assert kept.bytes
    assert (one.most, one.bytes) == (kept.most, 0)
    assert one is two


@pytest.mark.parametrize(
    ("slices", "depth", "wanted"),
    [
        ((5,), 1, ((5, 6),)),
        ((0, 10, 19), 4, ((0, 4), (7, 14), (16, 20))),
        ((5, 9), 4, ((2, 13),)),
    ],
)
def test_planes_are_those_of_windows_that_show_a_painted_slice(slices, depth, wanted):
    assert planes_of([Box((z, 0, 0), (z + 1, 9, 9)) for z in slices], depth, 20) == wanted


def test_a_training_is_the_same_whatever_is_kept(tmp_path, monkeypatch):
    entry = stored(tmp_path) | {"slices": [1, 5, 9, 13, 17]}
    models = []
    for name in ("all", "none"):
        plan = cf.train([entry], name="m", work=tmp_path / name, to=tmp_path / f"{name}-model", **SMALL)
        models.append(contents(done(plan).model / "fold_4"))
        monkeypatch.setattr(subject.Kept, "read", lambda self, image, box, planes: image.read(box))
    assert models[0] == models[1]
