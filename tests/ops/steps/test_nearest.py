"""The nearest partner of an object is the one that all pairs of voxels give, however far it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import CLASSES, VOXEL_NM, blocks, done, seeds, table, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.contacts import nearest as kernel

SHAPES = st.tuples(st.integers(1, 8), st.integers(1, 12), st.integers(1, 20))


def sparse(shape, seed, ids):
    """A few boxes of labels, far apart, and single voxels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for label in range(1, ids + 1):
        low = [int(rng.integers(n)) for n in shape]
        high = [a + 1 + int(rng.integers(min(3, n))) for a, n in zip(low, shape, strict=True)]
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
    return labels


def on_surface(labels, known):
    padded, seen = np.pad(labels, 1, mode="edge"), np.pad(known, 1)
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        for step in (-1, 1):
            differ = np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] != labels
            found |= differ & np.roll(seen, step, axis)[1:-1, 1:-1, 1:-1]
    return found


def by_all_pairs(own, other, same, surface_only=False, known=None):
    """label -> (gap, nearest label, whether it is exact)."""
    size, found = np.array(VOXEL_NM), {}
    known = np.ones(own.shape, bool) if known is None else known
    own, other = own * known, other * known
    targets, edge, hidden = np.argwhere(other), on_surface(own, known), np.argwhere(~known)
    values = other[tuple(targets.T)]
    for label in np.unique(own[edge & (own > 0)]).tolist():
        mine = np.argwhere((own == label) & edge if surface_only else own == label)
        use = values != label if same else np.ones(len(values), bool)
        between = np.maximum(np.abs(mine[:, None] - targets[use][None]) - 1, 0) * size
        gaps = np.sqrt((between**2).sum(2)).min(0) if use.any() else np.zeros(0)
        least = gaps.min(initial=np.inf)
        whom = values[use][gaps <= least + 1e-6].min(initial=255) if use.any() else 0
        whole = np.argwhere(own == label)
        ends = np.minimum(whole.min(0), np.array(own.shape) - 1 - whole.max(0)) * size
        outside = np.where(np.array(own.shape) > 1, ends, np.inf).min()
        away = np.maximum(np.abs(whole[:, None] - hidden[None]) - 1, 0) * size
        outside = min(outside, np.sqrt((away**2).sum(2)).min(initial=np.inf))
        found[label] = (least, int(whom), bool(np.isfinite(least) and least <= outside + 1e-6))
    return found


def check(got, wanted):
    assert got["label"] == sorted(wanted)
    for i, label in enumerate(got["label"]):
        gap, whom, exact = wanted[label]
        assert got["nearest_nm"][i] == pytest.approx(gap, rel=1e-12)
        if "nearest_label" in got:
            assert got["nearest_label"][i] == (whom if np.isfinite(gap) else 0)
        assert got["nearest_exact"][i] == exact


@settings(max_examples=16, deadline=None)
@example(shape=(1, 12, 1), seed=29990, block=(3, 3, 3), gap=0.0, what="i", masked="b")
@given(
    shape=SHAPES,
    seed=seeds,
    block=blocks,
    gap=st.sampled_from([0.0, 20.0]),
    what=st.sampled_from("iscn"),
    masked=st.sampled_from(["", "a", "b"]),
)
def test_the_nearest_partner_is_that_of_all_pairs(shape, seed, block, gap, what, masked):
    # Beside what a mask leaves out a voxel may be the nearest one, and no surface.
    own = sparse(shape, seed, 5)
    other = own if what == "s" else sparse(shape, seed + 1, 3 if what != "n" else 0)
    known = None
    with tempfile.TemporaryDirectory() as folder:
        a = write(folder, own, "own", kind="label")
        b = a if what == "s" else write(folder, other, "other", kind="label", classes=CLASSES)
        if masked:
            known = sparse(shape, seed + 2, 3) == 0
            mask = write(folder, known.astype(np.uint8), "mask", kind="label")
            a, b = (a.within(mask), b) if masked == "a" and what != "s" else (a, b.within(mask))
            a = b if what == "s" else a
        to = {"to": "er"} if what == "c" else {}
        found = []
        for i, size in enumerate((block, tuple(max(n, 3) for n in shape))):
            plan = cf.contacts(
                a, b, gap_nm=gap, nearest=True, name="near", work=Path(folder) / f"w{i}", block=size, **to
            )
            done(plan)
            found.append(Path(folder, f"w{i}", "tables", "near-objects.parquet").read_bytes())
        assert found[0] == found[1]
        rows = cf.read_table(Path(folder) / "w0" / "tables" / "near-objects.parquet").to_pydict()
    target = (other == 1).astype(np.uint8) if what == "c" else other
    sides = [("a", own, target)] + ([("b", target, own)] if what != "s" else [])
    for side, mine, theirs in sides:
        kept = [i for i, s in enumerate(rows["side"]) if s == side]
        check(
            {k: [v[i] for i in kept] for k, v in rows.items()},
            by_all_pairs(mine, theirs, same=what == "s", surface_only=bool(masked), known=known),
        )


@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, seed=seeds, block=blocks, masked=st.booleans())
@example(shape=(3, 4, 9), seed=0, block=(3, 3, 4), masked=True)
def test_profiles_state_the_smallest_distance_of_the_surface(shape, seed, block, masked):
    own, other, known = sparse(shape, seed, 4), sparse(shape, seed + 1, 2), None
    if shape == (3, 4, 9):
        # The class lies in the object, beside the edge of the mask: that is no surface.
        own, other = np.zeros((2, *shape), np.uint8)
        own[:, :, 2:6], other[1, 1, 5] = 1, 1
    with tempfile.TemporaryDirectory() as folder:
        a, b = write(folder, own, "own", kind="label"), write(folder, other)
        if masked:
            known = sparse(shape, seed + 2, 3) == 0
            if shape == (3, 4, 9):
                known = np.broadcast_to(np.arange(9) < 6, shape).copy()
            b = b.within(write(folder, known.astype(np.uint8), "mask", kind="label"))
        got = table(
            cf.profiles(a, b, to="er", cap_nm=18, nearest=True, name="p", work=f"{folder}/w", block=block)
        )
    wanted = by_all_pairs(own, (other == 1).astype(np.uint8), same=False, surface_only=True, known=known)
    check(got, wanted)
    for least, label in zip(got["distance_min_nm"], got["label"], strict=True):
        gap = wanted[label][0]
        assert least == (pytest.approx(gap) if gap <= 18 + 1e-6 else np.inf)


def test_without_the_wish_nothing_beyond_the_gap_is_said(tmp_path):
    own, other = np.zeros((3, 4, 20), np.uint8), np.zeros((3, 4, 20), np.uint8)
    own[1, 1, 1], own[1, 1, 9], other[1, 1, 11] = 1, 2, 1
    a, b = write(tmp_path, own, "own", kind="label"), write(tmp_path, other)
    done(cf.contacts(a, b, to="er", gap_nm=20, name="near", work=tmp_path / "w"))
    got = cf.read_table(tmp_path / "w" / "tables" / "near-objects.parquet").to_pydict()
    assert got["nearest_nm"] == [np.inf, 16.0, 16.0]
    assert got["nearest_label"] == [0, 1, 2]
    assert "nearest_exact" not in got


def test_cells_are_the_same_for_every_block_and_few():
    assert kernel.cell_side((100, 100, 100), (8.0, 8.0, 8.0)) == (16, 16, 16)
    assert kernel.cell_side((100, 1000, 1000), (40.0, 8.0, 8.0)) == (5, 27, 27)
    z, y, x = kernel.cell_side((10_000, 10_000, 10_000), (8.0, 8.0, 8.0))
    assert 1e12 / (z * y * x) < 1.1 * kernel.MOST_CELLS


def test_large_ids_have_a_nearest_partner(tmp_path):
    """Beyond 2^53 not every whole number is a float64: three objects would be one, and have no partner."""
    own, other = np.zeros((3, 4, 40), np.uint64), np.zeros((3, 4, 40), np.uint8)
    for i, x in enumerate((1, 11, 21), 1):
        own[1, 1, x] = (1 << 60) + i
    other[1, 1, 37] = 1
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    a, b = write(tmp_path, own, "own", kind="label", **at), write(tmp_path, other, **at)
    done(cf.contacts(a, b, to="er", gap_nm=8, nearest=True, name="near", work=tmp_path / "w"))
    got = cf.read_table(tmp_path / "w" / "tables" / "near-objects.parquet").to_pydict()
    assert got["label"][:3] == [(1 << 60) + i for i in (1, 2, 3)]
    assert got["nearest_nm"] == [8.0 * 35, 8.0 * 25, 8.0 * 15, 8.0 * 15]
