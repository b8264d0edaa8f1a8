"""Displacements of a stack are images in nm, the same for any blocks; slices without an image are bridged."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import done, most_resident, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.tissue.flow import Motion, displacement

pytest.importorskip("cv2", reason="needs the extra 'cells'")
VOXEL_NM = (40.0, 8.0, 6.0)


def stack(depth=7, side=64, seed=0, step=(1.5, -1.0)):
    """Texture that moves by `step` pixels a slice."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((side + 40, side + 40)), 2)
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 255
    y, x = np.mgrid[20 : 20 + side, 20 : 20 + side].astype(float)
    planes = [
        ndimage.map_coordinates(smooth, [y - z * step[0], x - z * step[1]], order=3, mode="nearest")
        for z in range(depth)
    ]
    return np.rint(np.clip(planes, 0, 255)).astype(np.uint8)


def slice_by_slice(raw, way):
    """All displacements of a stack without blank slices, in pixels."""
    out = np.zeros((2, *raw.shape), np.float32)
    for z in range(len(raw)):
        if 0 <= z + way < len(raw):
            out[:, z] = displacement(raw[z], raw[z + way], Motion())
    return out


@settings(max_examples=5, deadline=None)
@given(depth=st.integers(1, 7), deep=st.integers(1, 8), to=st.sampled_from(["next", "previous"]))
@example(depth=7, deep=3, to="previous")
def test_flow_does_not_depend_on_the_grid(depth, deep, to):
    raw = stack(depth)
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, raw, "raw", voxel_nm=VOXEL_NM, chunks=(2, 32, 32))
        plan = cf.flow(volume, to=to, name="moved", work=f"{folder}/work", block=(deep, 1, 1))
        y, x = done(plan), plan.products[1].handle
        found = np.stack([y.read(), x.read()])
        assert y.voxel_nm == VOXEL_NM
    true = slice_by_slice(raw, 1 if to == "next" else -1) * np.array([8, 6], np.float32)[:, None, None, None]
    np.testing.assert_array_equal(found, true)


def test_displacements_are_in_nm_of_either_axis(tmp_path):
    """1.5 pixels of 8 nm along y and -1 of 6 nm along x a slice: 12 and -6 nm; back, the other way."""
    volume = write(tmp_path, stack(), "raw", voxel_nm=VOXEL_NM)
    for to, sign in (("next", 1), ("previous", -1)):
        plan = cf.flow(volume, to=to, name=to, work=tmp_path / "work")
        found = np.stack([done(plan).read(), plan.products[1].handle.read()])
        inner = found[:, 1:-1, 20:-20, 20:-20]
        assert np.abs(inner - sign * np.array([12, -6])[:, None, None, None]).max() < 2
        assert not found[:, -1 if to == "next" else 0].any()


def test_black_slices_are_bridged_and_listed(tmp_path):
    """Slices 3 and 4 are black: three steps between 2 and 5, each a third of the way."""
    raw = stack(8)
    raw[3:5] = 0
    volume = write(tmp_path, raw, "raw", voxel_nm=VOXEL_NM)
    plan = cf.flow(volume, name="moved", work=tmp_path / "work", block=(2, 64, 64))
    found = np.stack([done(plan).read(), plan.products[1].handle.read()])
    inner = found[:, 1:-1, 24:-24, 24:-24]
    assert np.abs(inner - np.array([12, -6])[:, None, None, None]).max() < 2
    rows = cf.read_table(plan.products[2].handle).to_pydict()
    assert rows["blank"] == [False, False, False, True, True, False, False, False]
    assert rows["to"] == [1, 2, 5, 5, 5, 6, 7, -1]
    assert rows["slice"] == list(range(8))
    assert max(rows["grey_after"][:2]) < 0.2 * min(rows["grey_before"][:2])
    assert abs(rows["median_y_nm"][0] - 12) < 0.5


def test_a_stack_of_black_slices_does_not_move(tmp_path):
    volume = write(tmp_path, np.zeros((3, 40, 40), np.uint8), "raw")
    plan = cf.flow(volume, name="moved", work=tmp_path / "work")
    assert not done(plan).read().any()
    assert all(cf.read_table(plan.products[2].handle).to_pydict()["blank"])


def test_sixteen_bits_are_scaled_between_limits(tmp_path):
    raw = stack()
    eight = write(tmp_path, raw, "eight")
    sixteen = write(tmp_path, raw.astype(np.uint16) * 100 + 500, "sixteen")
    found = [
        done(cf.flow(v, name=v.name, work=tmp_path / "work", **how)).read()
        for v, how in ((eight, {}), (sixteen, {"limits": (500, 26000)}))
    ]
    np.testing.assert_array_equal(*found)
    with pytest.raises(ConfigError, match="holds uint16 voxels, and flow sees 256 grey values: give limits"):
        cf.flow(sixteen, name="again", work=tmp_path / "work")


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    volume = write(tmp_path, stack(), "raw")

    def plan(work):
        return cf.flow(volume, name="moved", work=work, block=(2, 64, 64))

    resumed_equals_whole(plan, tmp_path / "run", "moved/flow", 2)


def test_memory_is_that_of_slices_whatever_their_number(tmp_path):
    raw = np.tile(stack(4, 512), (8, 1, 1))
    volume = write(tmp_path, raw, "raw", chunks=(8, 128, 128))
    plan = cf.flow(volume, name="moved", work=tmp_path / "work", block=(4, 512, 512))
    found = plan.maps[0]

    def first() -> None:
        for _ in found.function(found.grid[1], volume, **found.params):
            pass

    assert most_resident(first) <= found.resident
    short = write(tmp_path, raw[:8], "short", chunks=(8, 128, 128))
    assert cf.flow(short, name="short", work=tmp_path / "work", block=(4, 512, 512)).maps[0].task_bytes == (
        plan.maps[0].task_bytes
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"to": "up"}, "to is 'next' or 'previous', got 'up'"),
        ({"method": "tvl1"}, "flow is found by one of"),
        ({"blur": 3}, r"no options \['blur'\]; there are \['limits', 'method', 'window'\]"),
        ({"block": (0, 4, 4)}, "a block has 1 slice or more"),
    ],
)
def test_what_cannot_be_used_is_refused(options, says, tmp_path, listing):
    volume = write(tmp_path, stack(3), "raw")
    before = listing()
    with pytest.raises(ConfigError, match=says):
        cf.flow(volume, name="moved", work=tmp_path / "work", **options)
    assert listing() == before


def test_labels_do_not_flow_and_planning_reads_no_voxels(tmp_path, monkeypatch):
    labels = write(tmp_path, stack(3), "labels", kind="label")
    with pytest.raises(InputError, match="holds labels; flow is found on grey values"):
        cf.flow(labels, name="moved", work=tmp_path / "work")
    volume = write(tmp_path, stack(3), "raw")
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    assert "moved/flow" in str(cf.flow(volume, name="moved", work=tmp_path / "work"))
