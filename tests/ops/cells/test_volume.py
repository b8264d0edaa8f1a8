"""Cells in 3D from the boundary alone: fragments united by mean score, blocks joined where they overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import done, numbered, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.labels.overlap import overlap, partition_scores
from chunkflow_liver.kernels.tissue.fragments import united

pytest.importorskip("cv2", reason="needs the extra 'cells'")
pytest.importorskip("bioimage_cpp", reason="needs the extra 'cells'")
VOXEL_NM = (16.0, 8.0, 8.0)


def one_by_one(fragments, wall, merge):
    """Pairs of groups with the lowest mean score are united until none is below `merge`."""
    pairs = {}
    for axis in range(3):
        a, b = (np.moveaxis(fragments, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
        p, q = (np.moveaxis(wall, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
        for i, j, u, v in zip(a.ravel(), b.ravel(), p.ravel(), q.ravel(), strict=True):
            if i != j and i and j:
                pairs.setdefault((min(i, j), max(i, j)), []).extend([u, v])
    groups = {int(i): {int(i)} for i in np.unique(fragments) if i}

    def mean(a, b):
        found = [s for (i, j), v in pairs.items() if (i in a and j in b) or (i in b and j in a) for s in v]
        return np.mean(found) if found else np.inf

    while True:
        keys = sorted(groups)
        best = min(
            ((mean(groups[a], groups[b]), a, b) for n, a in enumerate(keys) for b in keys[n + 1 :]),
            default=None,
        )
        if best is None or best[0] >= merge:
            break
        groups[best[1]] |= groups.pop(best[2])
    out = np.zeros(fragments.shape, int)
    for n, members in enumerate(groups.values()):
        out[np.isin(fragments, list(members))] = n + 1
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), merge=st.sampled_from([0.3, 0.5, 0.7]))
def test_fragments_are_united_by_the_mean_between_them(seed, merge):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 7, (2, 3, 3)).astype(np.uint32)
    coarse = np.unique(coarse, return_inverse=True)[1].reshape(coarse.shape) - int(0 not in coarse) + 1
    fragments = coarse.repeat(3, 1).repeat(3, 2).astype(np.uint32)
    wall = rng.random(fragments.shape).astype(np.float32)
    found = united(fragments, wall, merge)
    np.testing.assert_array_equal(numbered(found), numbered(one_by_one(fragments, wall, merge)))


def foam(shape=(24, 64, 72), seed=2, cells=14):
    """Cells between random centres, and a boundary that fades in places."""
    rng = np.random.default_rng(seed)
    at = np.stack(
        np.meshgrid(*(np.arange(n) * v for n, v in zip(shape, VOXEL_NM, strict=True)), indexing="ij"), -1
    )
    centres = rng.random((cells, 3)) * [n * v for n, v in zip(shape, VOXEL_NM, strict=True)]
    distance = np.sort(np.stack([np.linalg.norm(at - c, axis=-1) for c in centres]), axis=0)
    truth = np.argmin([np.linalg.norm(at - c, axis=-1) for c in centres], axis=0) + 1
    wall = np.exp(-(((distance[1] - distance[0]) / 30) ** 2))
    wall *= 0.75 + 0.25 * ndimage.gaussian_filter(rng.random(shape), 3)
    return truth, np.rint(255 * wall).astype(np.uint8)


AT = {"mode": "volume", "depth_nm": 20, "cap_nm": 100, "merge": 0.6}


def given_foam(folder):
    truth, wall = foam()
    return truth, {
        "interior": write(folder, np.full(truth.shape, 255, np.uint8), "interior", voxel_nm=VOXEL_NM),
        "boundary": write(folder, wall, "boundary", voxel_nm=VOXEL_NM),
    }


def test_cells_of_tiles_are_cells_of_the_volume(tmp_path):
    truth, given = given_foam(tmp_path)
    at = AT | {"work": tmp_path / "work"}
    whole = done(cf.cells(**given, name="whole", tile=(32, 64, 80), **at)).read()
    parts = done(cf.cells(**given, name="parts", tile=(16, 32, 48), **at)).read()
    for found in (whole, parts):
        assert partition_scores(overlap(found, truth))["ari"].item() > 0.95
    assert partition_scores(overlap(parts, whole))["ari"].item() > 0.99


def test_cells_do_not_depend_on_blocks_workers_or_a_pause(tmp_path):
    _, given = given_foam(tmp_path)
    at = AT | {"tile": (16, 32, 48), "name": "cells"}
    first = done(cf.cells(**given, work=tmp_path / "first", **at)).read()
    assert first.max() > 5
    for i, block in enumerate([(8, 16, 24), (24, 64, 72), (16, 48, 32)]):
        plan = cf.cells(**given, work=tmp_path / f"{i}", block=block, **at)
        if i == 1:
            # Only tiles are found; the rest is left for the run below.
            cf.run(replace(plan, stages=plan.stages[:1]), progress=False)
        if i == 2:
            with cf.cluster(workers=2) as client:
                cf.run(plan, client, progress=False, retries=0)
        np.testing.assert_array_equal(done(plan).read(), first)


def test_a_boundary_of_unknown_range_is_refused(tmp_path, listing):
    inside = write(tmp_path, np.full((4, 16, 16), 255, np.uint8), "interior", voxel_nm=VOXEL_NM)
    for dtype, error, says in (
        ("uint16", InputError, "holds uint16 voxels; interior and boundary are labels, probabilities"),
        ("bool", ConfigError, "holds bool voxels; mode 'volume' needs scores"),
    ):
        wall = write(tmp_path, np.ones((4, 16, 16), dtype), dtype, voxel_nm=VOXEL_NM)
        before = listing()
        with pytest.raises(error, match=says):
            cf.cells(inside, boundary=wall, mode="volume", name="cells", work=tmp_path / "work")
        assert listing() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"boundary": None}, "mode 'volume' needs the boundary, as an image of scores"),
        ({"slices": [0]}, "mode 'volume' has the boundary alone; leave out painted, slices and raw"),
        ({"merge": 0}, "merge is a share above 0 and up to 1, got 0"),
        ({"cap_nm": 0}, "depth_nm and cap_nm must be above 0"),
        ({"halo_nm": 8}, "halo_nm 8 is less than cap_nm 400"),
        ({"tile": (16, 0, 16)}, r"tile is three multiples of 16 voxels \(z, y, x\), got \(16, 0, 16\)"),
        ({"core": 0.5}, r"no options \['core'\] in mode 'volume'"),
    ],
)
def test_what_cannot_be_used_is_refused(change, says, tmp_path, listing):
    truth, wall = foam((4, 16, 16))
    given = {
        "interior": write(tmp_path, np.full(truth.shape, 255, np.uint8), "interior", voxel_nm=VOXEL_NM),
        "boundary": write(tmp_path, wall, "boundary", voxel_nm=VOXEL_NM),
    }
    before = listing()
    with pytest.raises(ConfigError, match=says):
        cf.cells(**{**given, "mode": "volume", "name": "cells", "work": tmp_path / "work"} | change)
    assert listing() == before
