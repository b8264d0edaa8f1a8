"""Operations on real labels and images from electron microscopes, against whole-array references."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
import tifffile
from scipy import ndimage
from strategies import components, done, numbered, table, write

import chunkflow_liver as cf

VOXEL_NM = (15.0, 16.0, 16.0)
CROP = (slice(60, 188), slice(80, 240), slice(0, 150))


@pytest.fixture(scope="module")
def urocell(em_data):
    """Mitochondria and lysosomes of one UroCell crop."""
    read = {}
    for name in ("mito", "lyso"):
        read[name] = tifffile.imread(em_data / f"urocell_labels/{name}_binary_fib1-0-0-0.tif") > 0
        assert read[name].any()
    return read


def test_mitochondria_are_the_components_of_the_whole_volume(urocell, tmp_path):
    mask = urocell["mito"]
    volume = write(
        tmp_path, mask.astype(np.uint8), "mito", kind="label", classes=[("mito", 1)], voxel_nm=VOXEL_NM
    )
    plan = cf.label(volume, name="mitos", work=tmp_path / "work", block=(96, 128, 256))
    plan += cf.measure(plan.output, name="mito-table", work=tmp_path / "work", block=(96, 128, 256))
    found = table(plan)
    labels = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/mitos").read()
    np.testing.assert_array_equal(labels, numbered(cc3d.connected_components(mask, connectivity=26)))
    assert found["voxels"] == np.bincount(labels.ravel())[1:].tolist()
    assert set(found["class"]) == {"mito"}
    assert (
        cf.validate(plan.output.path.replace("tables/mito-table.parquet", "results.ome.zarr/labels/mitos"))
        == []
    )


def test_distances_and_contacts_of_mitochondria_and_lysosomes(urocell, tmp_path):
    mito, lyso = (urocell[name][CROP] for name in ("mito", "lyso"))
    classes = np.where(lyso, 2, mito.astype(np.uint8)).astype(np.uint8)
    semantic = write(tmp_path, classes, voxel_nm=VOXEL_NM, classes=[("mito", 1), ("lyso", 2)])
    at = {"work": tmp_path / "work", "block": (64, 80, 75)}
    cap_nm, gap_nm = 200.0, 120.0
    distance = cf.distance(semantic, to="lyso", cap_nm=cap_nm, name="to-lyso", **at)
    wanted = ndimage.distance_transform_edt(classes != 2, sampling=VOXEL_NM)
    np.testing.assert_allclose(done(distance).read(), np.where(wanted <= cap_nm, wanted, np.inf), rtol=1e-6)

    mitos = cf.label(semantic, classes=["mito"], name="mitos", **at)
    lysos = cf.label(semantic, classes=["lyso"], name="lysos", **at)
    plan = mitos + lysos + cf.contacts(mitos.output, lysos.output, gap_nm=gap_nm, name="sites", **at)
    found = table(plan)
    a, b = components(classes, 26, [1]), components(classes, 26, [2])
    rows = []
    surface = np.zeros(a.shape, bool)
    for axis in range(3):
        step = np.diff(a, axis=axis) != 0
        pad = [(0, 0)] * 3
        surface |= np.pad(step, [(1, 0) if i == axis else p for i, p in enumerate(pad)])
        surface |= np.pad(step, [(0, 1) if i == axis else p for i, p in enumerate(pad)])
    for label in range(1, b.max() + 1):
        # The gap between boxes of voxels is the distance between centres to the dilated object.
        grown = ndimage.binary_dilation(b == label, np.ones((3, 3, 3)))
        gap = ndimage.distance_transform_edt(~grown, sampling=VOXEL_NM)
        near = surface & (a > 0) & (gap <= gap_nm * (1 + 1e-6))
        rows += [(m, label, int((near & (a == m)).sum()), gap[a == m].min()) for m in np.unique(a[near])]
    rows.sort()
    assert len(rows) > 1
    got = [found[k] for k in ("label_a", "label_b", "voxels", "gap_min_nm")]
    np.testing.assert_allclose(np.array(got, float).T, np.array(rows, float), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "voxel_nm"),
    [
        # 17 of 76 slices: what lies between them is missing, and is told.
        ("epfl6_fibsem_multiclass/raw_z0-75.tif", (5.0, 5.0, 5.0)),
        ("cdeep3m_sbem_mito/unlabelled_z40-44_raw.tif", (40.0, 5.9, 5.9)),
    ],
)
def test_a_stack_becomes_a_valid_image(name, voxel_nm, em_data, tmp_path):
    plan = cf.convert(em_data / name, tmp_path / "raw.ome.zarr", voxel_nm=voxel_nm)
    done(plan)
    problems = cf.validate(tmp_path / "raw.ome.zarr", deep=True)
    assert all("seem to be missing between them" in problem for problem in problems)
    assert bool(problems) == name.startswith("epfl6")
    volume = cf.open_volume(tmp_path / "raw.ome.zarr")
    np.testing.assert_array_equal(volume.read(), tifffile.imread(em_data / name))
    assert (volume.voxel_nm, volume.levels > 1) == (voxel_nm, True)
    with_same_mean = cf.open_volume(volume.url, level=volume.levels - 1).read().mean()
    assert with_same_mean == pytest.approx(volume.read().mean(), rel=0.01)
