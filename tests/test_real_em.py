"""Operations on real labels and images from electron microscopes, against whole-array references."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.segmentation import expand_labels
from strategies import components, done, numbered, table, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.instances.touching.watershed import Necks, split_mask
from chunkflow_liver.kernels.labels.overlap import instance_scores, overlap

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
    np.testing.assert_array_equal(labels, numbered(cc3d.connected_components(mask, connectivity=6)))
    assert found["voxels"] == np.bincount(labels.ravel())[1:].tolist()
    assert set(found["class"]) == {"mito"}
    assert (
        cf.validate(plan.output.path.replace("tables/mito-table.parquet", "results.ome.zarr/labels/mitos"))
        == []
    )


def test_split_cuts_no_branch_and_parts_what_touches(em_data):
    """Painted mitochondria are left whole; grown by a voxel five of them are lost to neighbours, then two."""
    painted = tifffile.imread(em_data / "urocell_labels/mito_instance_fib1-0-0-0.tif").astype(np.int32)
    grown = expand_labels(painted, 1)
    necks = Necks(depth_nm=16, cap_nm=400)
    found = split_mask(painted > 0, voxel_nm=VOXEL_NM, necks=necks)
    np.testing.assert_array_equal(numbered(found), numbered(painted))
    scores = []
    for objects in (
        cc3d.connected_components(grown > 0, connectivity=6),
        split_mask(grown > 0, voxel_nm=VOXEL_NM, necks=necks),
    ):
        scores.append(float(instance_scores(overlap(objects, grown), 0.5)["f1"][0]))
    assert scores[0] < 0.94 < 0.97 < scores[1]


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
    a, b = components(classes, 6, [1]), components(classes, 6, [2])
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


def test_paths_around_mitochondria_are_between_straight_ones_and_those_of_26_neighbours(urocell, tmp_path):
    mito, lyso = (urocell[name][60:140, 80:176, 20:116] for name in ("mito", "lyso"))
    assert mito.any()
    assert lyso.any()
    classes = np.where(lyso, 2, np.where(mito, 1, 3)).astype(np.uint8)
    named = [("mito", 1), ("lyso", 2), ("rest", 3)]
    semantic = write(tmp_path, classes, voxel_nm=VOXEL_NM, classes=named)
    at = {"work": tmp_path / "work", "block": (40, 48, 48)}
    found = done(cf.geodesic(semantic, to="lyso", inside="rest", name="along", **at)).read()
    free = np.where(mito & ~lyso, -1.0, 1.0)
    paths = MCP_Geometric(free, sampling=VOXEL_NM).find_costs(np.argwhere(lyso))[0]
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(paths))
    way = np.isfinite(paths) & ~lyso
    straight = ndimage.distance_transform_edt(~lyso, sampling=VOXEL_NM)
    # Steps are whole 1024ths of the smallest side.
    assert (found[way] >= straight[way] * (1 - 5e-4)).all()
    assert (found[way] <= paths[way] * (1 + 5e-4)).all()
    # Mitochondria are in the way of some, and 98 steps are nearer to straight than 26.
    assert (found[way] / straight[way]).max() > 1.1
    assert np.median(paths[way] / straight[way]) > np.median(found[way] / straight[way])


def test_surfaces_of_neurons_are_those_that_measure_finds(em_data, tmp_path):
    labels = tifffile.imread(em_data / "fib25_medulla/sample2_neurons_gt.tif")[60:140, 60:160, 60:160]
    nm = {"voxel_nm": (10.0, 10.0, 10.0)}
    neurons = write(tmp_path, labels.astype(np.uint32), "neurons", kind="label", **nm)
    between = write(tmp_path, (labels == 0).astype(np.uint8), "between", kind="label", **nm)
    at = {"work": tmp_path / "work", "block": (40, 64, 64)}
    faces = cf.domains(neurons, between, to=1, gap_nm=0, name="faces", **at)
    plan = faces + cf.measure(neurons, features=["basic", "surface"], name="measured", **at)
    done(plan)
    found, wanted = (
        cf.read_table(tmp_path / f"work/tables/{name}.parquet").to_pandas().set_index("label")
        for name in ("faces", "measured")
    )
    assert len(found) > 10
    np.testing.assert_allclose(found["surface_um2"], wanted.loc[found.index, "surface_um2"], rtol=1e-12)
    parts = found[["1_fraction", "neighbour_fraction", "free_fraction"]].sum(axis=1)
    np.testing.assert_allclose(parts, 1)
    assert found["touches_border"].tolist() == wanted.loc[found.index, "touches_border"].tolist()


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
