"""Partitions, surfaces, slices and ignored voxels of a comparison, against references on whole arrays."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score
from strategies import (
    CLASSES,
    VOXEL_NM,
    blocks,
    command,
    components,
    done,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.labels.overlap import overlap, partition_scores


def ids(array, folder, name):
    return write(folder, array.astype(np.uint32), name, kind="label")


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_scores_of_partitions_do_not_depend_on_the_grid(shape, seed, block):
    truth = components(semantic(shape, seed, 1), 6)
    rng = np.random.default_rng(seed)
    found = components((rng.random(shape) < 0.9) * (truth > 0), 6)
    with tempfile.TemporaryDirectory() as folder:
        a, b = ids(found, folder, "found"), ids(truth, folder, "truth")
        got = table(cf.evaluate(a, b, iou=[0.5, 0.8], name="e", work=f"{folder}/work", block=block))
    assert got["iou_threshold"] == [0.5, 0.8]
    np.testing.assert_equal(got["ari"][0], got["ari"][1])
    inside = truth > 0
    if inside.sum() > 1:
        wanted = adjusted_rand_score(truth[inside], found[inside])
        assert got["ari"][0] == pytest.approx(wanted, abs=1e-9)
    sizes_a, sizes_b = np.bincount(found.ravel()), np.bincount(truth.ravel())
    for i, threshold in enumerate(got["iou_threshold"]):
        matched = []
        for k in range(1, len(sizes_b)):
            for j in np.unique(found[truth == k]):
                both = ((found == j) & (truth == k)).sum()
                iou = both / (sizes_a[j] + sizes_b[k] - both)
                if j and (iou > threshold or (iou == threshold > 0.5)):
                    matched.append(iou)
        n = len(sizes_a) - 1 + len(sizes_b) - 1
        np.testing.assert_allclose(got["pq"][i], 2 * sum(matched) / n if n else np.nan)


def test_merges_and_splits_by_hand():
    """One found object over two true ones, and one true object in three found pieces of which two are "
    "large."""
    truth = np.array([[[1, 1, 1, 2, 2, 2, 0, 3, 3, 3, 3, 3, 3]]])
    found = np.array([[[7, 7, 7, 7, 7, 7, 0, 8, 8, 8, 9, 9, 6]]])
    got = partition_scores(overlap(found, truth))
    assert (got["false_merges"][0], got["false_splits"][0]) == (1, 1)
    same = partition_scores(overlap(truth, truth))
    assert [same[k][0] for k in ("ari", "vi_split", "vi_merge", "false_merges", "false_splits")] == [
        1,
        0,
        0,
        0,
        0,
    ]


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_surfaces_do_not_depend_on_the_grid(shape, seed, block):
    found, truth = semantic(shape, seed), semantic(shape, seed + 1)
    truth[:, :, : shape[2] // 4] = 9
    tolerance, cap = 9.0, 30.0
    with tempfile.TemporaryDirectory() as folder:
        a, b = write(folder, found), write(folder, truth, "truth", kind="label", classes=[("er", 1)])
        plan = cf.evaluate(
            a, b, ignore=9, surfaces_nm=(tolerance, cap), name="e", work=f"{folder}/work", block=block
        )
        done(plan)
        got = cf.read_table(plan.work / "tables" / "e-surfaces.parquet").to_pydict()
    known = truth != 9
    cross = ndimage.generate_binary_structure(3, 1)
    sides = []
    for mask in (found == 1, truth == 1):
        outside = ndimage.binary_dilation(known & ~mask, cross)
        sides.append(outside & mask & known)
    distances = []
    for mine, other in (sides, sides[::-1]):
        far = np.full(shape, np.inf)
        if other.any():
            far = ndimage.distance_transform_edt(~other, sampling=VOXEL_NM)
        distances.append(far[mine])
    pooled = np.concatenate(distances)
    if not len(pooled):
        assert np.isnan(got["surface_mean_nm"][0])
        return
    capped = np.where(pooled > cap * (1 + 1e-6), cap, pooled)
    assert got["surface_mean_nm"][0] == pytest.approx(capped.mean(), rel=1e-5)
    wanted = np.sort(capped)[int(np.ceil(0.95 * len(capped))) - 1]
    assert got["surface_p95_nm"][0] == pytest.approx(wanted, rel=1e-5)
    assert got["beyond_cap"][0] == pytest.approx((pooled > cap * (1 + 1e-6)).mean())
    shares = [np.mean(d <= tolerance) if len(d) else np.nan for d in distances]
    np.testing.assert_allclose([got["boundary_precision"][0], got["boundary_recall"][0]], shares)


def test_a_shifted_sheet_by_hand(tmp_path):
    """A sheet one voxel of 8 nm beside the true one: distances of 8 nm, within 8 but not within 7."""
    truth, found = np.zeros((4, 12, 6), np.uint8), np.zeros((4, 12, 6), np.uint8)
    truth[:, 5], found[:, 6] = 1, 1
    about = {"kind": "label", "classes": [("er", 1)]}
    a, b = write(tmp_path, found, "a", **about), write(tmp_path, truth, "b", **about)
    for tolerance, f1 in ((8.0, 1.0), (7.0, 0.0)):
        name = f"e{int(tolerance)}"
        done(cf.evaluate(a, b, surfaces_nm=(tolerance, 100), name=name, work=tmp_path / "work"))
        got = cf.read_table(tmp_path / f"work/tables/{name}-surfaces.parquet").to_pydict()
        assert (got["surface_mean_nm"], got["surface_p95_nm"], got["beyond_cap"]) == ([8.0], [8.0], [0.0])
        assert got["boundary_f1"] == [f1]


@settings(max_examples=5, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_slices_are_compared_one_by_one_and_ignored_voxels_nowhere(shape, seed, block):
    found, truth = semantic(shape, seed), semantic(shape, seed + 1)
    truth[:, : shape[1] // 3] = 9
    with tempfile.TemporaryDirectory() as folder:
        about = {"kind": "label", "classes": CLASSES}
        a, b = write(folder, found), write(folder, truth, "truth", **about)
        got = table(cf.evaluate(a, b, ignore=9, per_slice=True, name="e", work=f"{folder}/w", block=block))
        rows = cf.read_table(f"{folder}/w/tables/e-slices.parquet").to_pydict()
    known = truth != 9
    a, b = (found == 2) & known, (truth == 2) & known
    assert got["voxels_found"][1] == a.sum()
    np.testing.assert_allclose(
        got["dice"][1], 2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else np.nan
    )
    assert rows["z"] == np.repeat(np.arange(shape[0]), 3).tolist()
    for z, name, dice in zip(rows["z"], rows["class"], rows["dice"], strict=True):
        if name == "mitochondrion":
            sums = a[z].sum() + b[z].sum()
            np.testing.assert_allclose(dice, 2 * (a[z] & b[z]).sum() / sums if sums else np.nan)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"iou": [0.5, 0.2]}, "iou lies between 0.5 .* got 0.2"),
        ({"iou": []}, "iou is one value, or several"),
        ({"ignore": 0}, "ignore is the number of voxels that are not compared, from 1 on"),
        ({"surfaces_nm": (50.0, 20.0)}, "a tolerance and a larger cap"),
        ({"surfaces_nm": (5.0,)}, "a tolerance and a larger cap"),
        ({"iou": 0.5, "surfaces_nm": (5.0, 50.0)}, "class by class, not with 'iou'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, says, tmp_path, listing):
    volume = write(tmp_path, semantic((3, 4, 5), 0))
    before = listing()
    with pytest.raises(ConfigError, match=says):
        cf.evaluate(volume, volume, name="e", work=tmp_path / "work", **given)
    assert listing() == before


def test_the_command_prints_the_tables(tmp_path):
    found, truth = (write(tmp_path, semantic((4, 9, 9), i), n, kind="label", classes=[("er", 1)]) for i, n in
                    enumerate(("found", "truth")))  # fmt: skip
    work = tmp_path / "work"
    code, said, told = command(
        "evaluate", found.url, truth.url, "--work", work, "--surfaces", 20, 100, "--per-slice"
    )
    assert code == 0, told
    for word in ("dice", "surface_mean_nm", "er", "evaluation-slices.parquet"):
        assert word in said
    assert (
        command("evaluate", found.url, truth.url, "--work", work, "--name", "objects", "--iou", 0.5)[0] == 0
    )
    code, said, told = command("evaluate", found.url, f"{tmp_path}/gone.ome.zarr", "--work", work)
    assert (code, said) == (2, "")
    assert "gone.ome.zarr" in told
    assert cf.read_table(work / "tables/objects.parquet").num_rows == 1
