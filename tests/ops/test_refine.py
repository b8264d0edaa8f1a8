"""Clean-up acts on whole objects, in a fixed order, whatever the blocks are."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

import heaps
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import VOXEL_NM, blocks, done, numbered, resumed_equals_whole, seeds, shapes, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.instances import holes, union
from chunkflow_liver.kernels.instances import smoothing as clean
from chunkflow_liver.kernels.instances.smoothing import Shapes
from chunkflow_liver.ops.refine import choosing
from chunkflow_liver.ops.refine.choosing import Keep
from chunkflow_liver.ops.steps import numbering
from chunkflow_liver.store.scratch import sorting, spill

FACES = ndimage.generate_binary_structure(3, 1)


def objects(shape, seed):
    """Blobs with holes and ragged sides; ids far apart."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), rng.choice([0.5, 1.0]))
    filled = smooth > np.quantile(smooth, rng.choice([0.15, 0.4, 0.7]))
    labels, n = ndimage.label(filled)
    cut = np.concatenate([[0], rng.choice(np.arange(1, 500), n + 1, replace=False)])
    return cut[labels + (filled & (rng.random(shape) < 0.05))].astype(np.uint16)


def ball(radius_nm):
    """Offsets within a radius, as a footprint."""
    reach = [int(radius_nm / v + 1e-9) for v in VOXEL_NM]
    grid = np.meshgrid(
        *[np.arange(-n, n + 1) * v for n, v in zip(reach, VOXEL_NM, strict=True)], indexing="ij"
    )
    return sum(g**2 for g in grid) <= radius_nm**2 * (1 + 1e-9)


def whole_opened(labels, radius_nm):
    out = np.zeros_like(labels)
    for i in np.unique(labels[labels > 0]):
        core = ndimage.binary_erosion(labels == i, ball(radius_nm), border_value=1)
        out[ndimage.binary_dilation(core, ball(radius_nm))] = i
    return out


def whole_closed(labels, radius_nm):
    pad = [(n // 2, n // 2) for n in ball(radius_nm).shape]
    claims = np.zeros(labels.shape, int)
    out = labels.copy()
    for i in np.unique(labels[labels > 0]):
        near = ndimage.binary_dilation(np.pad(labels == i, pad), ball(radius_nm))
        inside = ndimage.binary_erosion(near, ball(radius_nm), border_value=1)
        inside = inside[tuple(slice(a, a + n) for (a, _), n in zip(pad, labels.shape, strict=True))]
        claims += inside & (labels == 0)
        out[inside & (labels == 0)] = i
    return np.where(claims > 1, labels, out)


def whole_smoothed(labels, smooth_nm):
    reach = [int(smooth_nm / v + 1e-9) for v in VOXEL_NM]
    out = np.zeros_like(labels)
    for at in np.ndindex(labels.shape):
        box = labels[tuple(slice(max(0, a - n), a + n + 1) for a, n in zip(at, reach, strict=True))]
        ids, count = np.unique(box, return_counts=True)
        best = ids[count == count.max()]
        out[at] = labels[at] if labels[at] in best else best[0]
    return out


def whole_filled(labels):
    out = labels.copy()
    spaces, n = ndimage.label(labels == 0, FACES)
    for i in range(1, n + 1):
        at = spaces == i
        inner = np.zeros(labels.shape, bool)
        inner[1:-1, 1:-1, 1:-1] = True
        around = np.unique(labels[ndimage.binary_dilation(at, FACES) & ~at])
        if (at & ~inner).any() or len(around) != 1:
            continue
        out[at] = around[0]
    return out


def whole(labels, shape, keep):
    """The same on the whole array, object by object."""
    if shape.smooth_nm:
        labels = whole_smoothed(labels, shape.smooth_nm)
    if shape.open_nm:
        labels = whole_opened(labels, shape.open_nm)
    if shape.close_nm:
        labels = whole_closed(labels, shape.close_nm)
    if shape.fill_holes:
        labels = whole_filled(labels)
    out = labels.copy()
    for i in np.unique(labels[labels > 0]):
        at = np.argwhere(labels == i)
        um3 = len(at) * np.prod(VOXEL_NM) / 1e9
        span = (np.ptp(at[:, 0]) + 1) * VOXEL_NM[0]
        border = (at == 0).any() or (at == np.array(labels.shape) - 1).any()
        small, large = um3 < keep.min_volume_um3 * (1 - 1e-9), um3 > keep.max_volume_um3 * (1 + 1e-9)
        if small or large or span < keep.min_span_z_nm or (border and not keep.border):
            out[labels == i] = 0
    return numbered(out)


def refined(labels, shape, keep, block):
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, labels, "instances", kind="label")
        plan = cf.refine(volume, shapes=shape, keep=keep, name="clean", work=f"{folder}/work", block=block)
        found = done(plan).read()
        return found, cf.read_table(Path(folder) / "work" / "tables/clean-ids.parquet").to_pydict()


lengths = st.sampled_from([0.0, 8.0, 16.0, 17.9])


@settings(max_examples=25, deadline=None)
@given(
    shape=shapes,
    seed=seeds,
    block=blocks,
    change=st.builds(Shapes, smooth_nm=lengths, open_nm=lengths, close_nm=lengths, fill_holes=st.booleans()),
    keep=st.builds(
        Keep,
        min_volume_um3=st.sampled_from([0.0, 5 * 512e-9]),
        max_volume_um3=st.sampled_from([np.inf, 90 * 512e-9]),
        min_span_z_nm=st.sampled_from([0.0, 9.0]),
        border=st.booleans(),
    ),
)
@example((9, 9, 9), 5, (3, 4, 9), Shapes(fill_holes=True), Keep())
@example((9, 8, 9), 6, (4, 4, 4), Shapes(smooth_nm=16, open_nm=16, close_nm=16, fill_holes=True), Keep())
def test_clean_objects_do_not_depend_on_the_grid(shape, seed, block, change, keep):
    labels = objects(shape, seed)
    wanted = whole(labels, change, keep)
    found, table = refined(labels, change, keep, block)
    np.testing.assert_array_equal(found, wanted)
    ids, voxels = np.unique(labels[labels > 0], return_counts=True)
    assert (table["label"], table["voxels_before"]) == (ids.tolist(), voxels.tolist())
    kept = [(f, v) for f, v in zip(table["final"], table["voxels"], strict=True) if f]
    assert [v for _, v in sorted(kept)] == np.bincount(wanted.ravel())[1:].tolist()
    assert all((f == 0) == (r != "") for f, r in zip(table["final"], table["removed"], strict=True))


def test_a_hollow_ball_through_all_blocks_is_filled(tmp_path):
    """A shell with a hole that eight blocks share, inside it a second object with a hole of its own."""
    labels = np.zeros((16, 16, 16), np.uint32)
    labels[1:15, 1:15, 1:15] = 9
    labels[3:13, 3:13, 3:13] = 0
    labels[6:10, 6:10, 6:10] = 4
    labels[7:9, 7:9, 7:9] = 0
    found, table = refined(labels, Shapes(fill_holes=True), Keep(), (8, 8, 8))
    # The space between the two touches both, so it is a hole of neither.
    wanted = np.where(labels == 9, 1, 0)
    wanted[6:10, 6:10, 6:10] = 2
    np.testing.assert_array_equal(found, wanted)
    assert table["voxels"] == [64, 14**3 - 10**3]
    labels[6:10, 6:10, 6:10] = 0
    found, table = refined(labels, Shapes(fill_holes=True), Keep(), (8, 8, 8))
    assert found.sum() == 14**3
    labels[0, 5, 5] = labels[0, 0, 0] = 9
    labels[1:3, 5, 5] = 0
    labels[0, 5, 5] = 0
    found, _ = refined(labels, Shapes(fill_holes=True), Keep(), (8, 8, 8))
    assert found.sum() == (labels == 9).sum(), "a hole with a way out of the volume is none"


def test_a_hand_worked_volume_in_physical_units(tmp_path):
    """Voxels of 4 x 8 x 16 nm: 512 nm3. A plate, a block with a hole, a rod at the border."""
    labels = np.zeros((7, 5, 9), np.uint8)
    labels[1, 1:4, 1:3] = 50  # 6 voxels, one slice: 4 nm
    labels[2:5, 1:4, 4:7] = 7
    labels[3, 2, 5] = 0  # 26 voxels and a hole, 12 nm
    labels[0:6, 0, 8] = 3  # 6 voxels along z at the border, 24 nm
    keep = Keep(min_volume_um3=7 * 512e-9, min_span_z_nm=12, border=False)
    found, table = refined(labels, Shapes(fill_holes=True), keep, (4, 4, 4))
    wanted = np.zeros(labels.shape, int)
    wanted[2:5, 1:4, 4:7] = 1
    np.testing.assert_array_equal(found, wanted)
    assert table == {
        "label": [3, 7, 50],
        "final": [0, 1, 0],
        "removed": ["border", "", "small"],
        "voxels_before": [6, 26, 6],
        "voxels": [6, 27, 6],
        "span_z_nm": [24.0, 12.0, 4.0],
        "touches_border": [True, False, False],
    }
    for options, removed in [
        ({"max_volume_um3": 26 * 512e-9}, ["", "large", ""]),
        ({"min_span_z_nm": 12.1}, ["", "flat", "flat"]),
    ]:
        assert refined(labels, Shapes(fill_holes=True), Keep(**options), (4, 5, 9))[1]["removed"] == removed
    # A ball of 8 nm needs 5 voxels along z and 3 along y: the rod has 1 along y, the others 3 and 1 along z.
    found, table = refined(labels, Shapes(open_nm=8), Keep(), (4, 4, 4))
    assert (table["removed"], found.any()) == (["vanished"] * 3, False)


def test_opening_and_closing_are_those_of_scipy():
    for seed in range(8):
        labels = objects((9, 8, 7), seed)
        for radius in (4.0, 8.0, 17.0):
            np.testing.assert_array_equal(
                clean.opened(labels, radius, VOXEL_NM), whole_opened(labels, radius)
            )
            np.testing.assert_array_equal(
                clean.closed(labels, radius, VOXEL_NM), whole_closed(labels, radius)
            )


def test_objects_keep_the_class_that_they_were_found_with(tmp_path):
    array = np.zeros((4, 6, 9), np.uint8)
    array[1, 1, 1], array[1:3, 3:5, 3], array[3, 5, 6:9] = 1, 2, 3
    at = {"work": tmp_path / "work", "block": (4, 3, 9)}
    found = cf.label(write(tmp_path, array), name="all", **at)
    clean_plan = cf.refine(found.output, keep=Keep(min_volume_um3=2 * 512e-9), name="clean", **at)
    table = cf.measure(clean_plan.output, name="table", **at)
    cf.run(found + clean_plan + table, progress=False)
    rows = cf.read_table(table.output).to_pydict()
    assert (rows["class"], rows["voxels"]) == (["mitochondrion", "lipid"], [4, 3])


def test_ids_of_64_bits_are_refined(tmp_path):
    labels = np.zeros((2, 3, 4), np.uint64)
    labels[0, 0], labels[1, 2] = 2**64 - 1, 2**53 + 1
    found, table = refined(labels, Shapes(), Keep(), (2, 3, 4))
    assert table["label"] == [2**53 + 1, 2**64 - 1]
    np.testing.assert_array_equal(found, numbered((labels > 0) * np.array([1, 2])[:, None, None]))


def test_memory_of_the_driver_does_not_grow_with_the_objects(tmp_path, monkeypatch):
    """Three times the objects, holes and blocks, in the same tables of a few hundred rows."""
    for module in (choosing, numbering, union, holes):
        monkeypatch.setattr(module, "BATCH", 256)
    for module, name in ((spill, "WAITING"), (sorting, "MOST"), (numbering, "BINS")):
        monkeypatch.setattr(module, name, 256)
    refine = importlib.import_module("chunkflow_liver.ops.refine")
    monkeypatch.setattr(refine, "ROWS", 64)
    peaks = []
    for layers in (2, 6, 18):
        labels = np.zeros((4 * layers, 16, 16), np.uint16)
        # Shells of 3 x 3 x 3 voxels around one.
        ids = np.arange(layers * 16).reshape(layers, 4, 4) + 1
        labels[:] = np.kron(ids, np.pad(np.ones((3, 3, 3), int), (0, 1)))
        labels[1::4, 1::4, 1::4] = 0
        volume = write(tmp_path / str(layers), labels, "instances", kind="label")
        at = {"name": "clean", "work": tmp_path / "work", "block": (4, 8, 8)}
        find, choose = cf.refine(volume, shapes=Shapes(fill_holes=True), **at).stages[:2]
        blocks = [(b.index, find.function(b, labels[b.read.slices], **find.params).record) for b in find.grid]
        # Threads that other tests left behind allocate, too, now and then: the least of several counts.
        tries = []
        for i in range(5 if layers > 2 else 1):
            scratch = tmp_path / f"scratch-{layers}-{i}"
            scratch.mkdir()
            with heaps.peak() as highest:
                ids = choose.function(iter(blocks), **choose.params, **choose.artefacts, scratch=scratch)
                assert ids["after"].tolist() == [27] * 16 * layers
                rows = sum(len(part["label"]) for part in refine._table(iter(()), z_nm=4, ids=ids))
            assert rows == 16 * layers
            tries += highest
        peaks.append(min(tries))
    # What grows is where the pieces of each block begin, and handles of sorted parts.
    assert peaks[2] < 1.5 * peaks[1]


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, objects((9, 9, 9), 3), "instances", kind="label")

    def plan(work):
        change = Shapes(open_nm=8, fill_holes=True)
        return cf.refine(volume, shapes=change, name="clean", work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path / "first", "clean/objects", 1)
    resumed_equals_whole(plan, tmp_path / "second", "clean/apply", 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Shapes(open_nm=-1), "open_nm must be 0 or more, got -1"),
        (lambda: Shapes(smooth_nm=float("nan")), "smooth_nm must be 0 or more, got nan"),
        (lambda: Keep(min_span_z_nm=float("inf")), "min_span_z_nm must be 0 or more, got inf"),
        (
            lambda: Keep(min_volume_um3=2, max_volume_um3=1),
            "max_volume_um3 must be at least min_volume_um3, 2",
        ),
        (lambda: Keep(max_volume_um3=float("nan")), "got nan"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()


def test_intensities_are_not_refined_and_planning_reads_no_voxels(tmp_path, monkeypatch):
    floats = write(tmp_path, np.ones((3, 4, 5), np.float32), "floats")
    with pytest.raises(InputError, match="holds float32 voxels; instances must be integers"):
        cf.refine(floats, name="clean", work=tmp_path / "work")
    volume = write(tmp_path, objects((3, 4, 5), 0), "instances", kind="label")
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    assert "clean/objects" in str(cf.refine(volume, name="clean", work=tmp_path / "work"))
