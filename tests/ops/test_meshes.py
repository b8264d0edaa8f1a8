"""Meshes are closed, point outwards, do not depend on the boxes, and lie where the objects are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from skimage.measure import euler_number
from strategies import VOXEL_NM, command, components, done, seeds, semantic, shapes, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, OutputError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.kernels.shape.triangles import box_triangles, join_triangles
from chunkflow_liver.ops import meshes


def mesh_of(mask, block):
    """The mesh of a mask that ends with its array, from boxes of cells."""
    padded = np.pad(mask, 1)
    cells = BlockGrid(Box.of(tuple(n + 1 for n in mask.shape)), block)
    boxes = (b.write.grow((0, 0, 0), (1, 1, 1)) for b in cells)
    return join_triangles(box_triangles(padded[b.slices], b.start) for b in boxes)


def edges(faces):
    return [tuple(e) for f in faces.tolist() for e in zip(f, [*f[1:], f[0]], strict=True)]


def volume(points, faces):
    """Volume under a closed mesh whose faces run counterclockwise seen from outside."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=seeds, block=shapes)
def test_every_mesh_is_closed_and_the_same_for_any_boxes(shape, seed, block):
    mask = semantic(shape, seed, 1) > 0
    vertices, faces = mesh_of(mask, (99, 99, 99))
    found = mesh_of(mask, block)
    np.testing.assert_array_equal(found[0], vertices)
    np.testing.assert_array_equal(found[1], faces)
    there = edges(faces)
    assert len(set(there)) == len(there)
    assert {(b, a) for a, b in there} == set(there)
    # Every vertex lies between a voxel inside and one outside.
    assert ((vertices % 2).sum(1) == 1).all()


def test_a_voxel_is_an_octahedron_of_its_size(tmp_path):
    vertices, faces = mesh_of(np.ones((1, 1, 1), bool), (5, 5, 5))
    assert (len(vertices), len(faces)) == (6, 8)
    points = (vertices * (np.array(VOXEL_NM) / 2))[:, ::-1]
    assert volume(points, faces) == pytest.approx(4 * 8 * 16 / 6)


def read_ply(path):
    head, _, body = path.read_bytes().partition(b"end_header\n")
    counts = [int(line.split()[-1]) for line in head.decode().splitlines() if line.startswith("element")]
    points = np.frombuffer(body, "<f4", counts[0] * 3).reshape(-1, 3)
    rows = np.frombuffer(body[points.nbytes :], [("n", "u1"), ("v", "<i4", 3)])
    assert len(rows) == counts[1]
    assert set(rows["n"]) == {3}
    return points.astype(float), rows["v"]


@pytest.fixture
def run(tmp_path):
    labels = np.zeros((12, 14, 16), np.uint64)
    labels[2:7, 3:9, 1:12] = 2**60 + 1
    labels[4:6, 5:7, 3:6] = 0  # a cavity
    labels[9:, 9:, 9:] = 5  # touches the border
    volume = write(tmp_path, labels, "mitos", kind="label")
    plan = cf.measure(volume, features=["basic", "shape"], name="t", work=tmp_path / "work")
    return volume, plan, table(plan), labels


def test_meshes_lie_where_the_objects_are(run, tmp_path, monkeypatch):
    volume_, plan, found, labels = run
    paths = []
    for n, side in enumerate([(128, 128, 128), (3, 4, 5)]):
        monkeypatch.setattr(meshes, "SIDE", side)
        paths += cf.export_mesh(volume_, plan.output, tmp_path / f"meshes{n}", ids=[5, 2**60 + 1])
    assert [p.name for p in paths] == ["5.ply", f"{2**60 + 1}.ply"] * 2
    assert [p.read_bytes() for p in paths[:2]] == [p.read_bytes() for p in paths[2:]]
    for i, label in enumerate([5, 2**60 + 1]):
        points, faces = read_ply(paths[i])
        row = found["label"].index(label)
        at = np.argwhere(labels == label)[:, ::-1] * np.array(VOXEL_NM[::-1])
        np.testing.assert_allclose(points.min(0), at.min(0) - np.array(VOXEL_NM[::-1]) / 2)
        np.testing.assert_allclose(points.max(0), at.max(0) + np.array(VOXEL_NM[::-1]) / 2)
        assert volume(points, faces) / 1e9 == pytest.approx(found["shape_MeshVolume"][row], rel=1e-5)
        # V - E + F is twice the Euler number of the solid.
        euler = len(points) - len(edges(faces)) // 2 + len(faces)
        assert euler == 2 * euler_number(np.pad(labels == label, 1), 3)


def test_the_command_writes_obj(run, tmp_path):
    volume_, plan, _, _ = run
    to = tmp_path / "meshes"
    code, said, told = command("mesh", volume_.url, plan.output.path, to, "--label", 5, "--ending", ".obj")
    assert (code, said.strip()) == (0, str(to / "5.obj")), told
    lines = (to / "5.obj").read_text().splitlines()
    points = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    faces = np.array([line.split()[1:] for line in lines if line.startswith("f ")], int) - 1
    assert volume(points, faces) > 0
    assert faces.max() == len(points) - 1


def test_without_a_label_all_objects_are_written(run, tmp_path):
    volume_, plan, _, _ = run
    some, every = tmp_path / "some", tmp_path / "every"
    labels = cf.read_table(plan.output)["label"].to_pylist()
    cf.export_mesh(volume_, plan.output, some, ids=labels[1:])
    code, said, told = command("mesh", volume_.url, plan.output.path, every)
    assert code == 0, told
    assert said.split() == [str(every / f"{n}.ply") for n in labels]
    for path in some.iterdir():
        assert path.read_bytes() == (every / path.name).read_bytes()


def test_what_has_no_mesh_is_refused(run, tmp_path, listing):
    volume_, plan, _, _ = run
    other = write(tmp_path, np.zeros((12, 14, 16), np.uint32), "other", kind="label")
    grey = write(tmp_path, np.zeros((12, 14, 16), np.float32), "grey")
    bare = done(cf.measure(volume_, features=["surroundings"], name="bare", work=tmp_path / "work"))
    before = listing()
    to = tmp_path / "meshes"
    with pytest.raises(ConfigError, match=r"no meshes of kind '.stl'; there are \['.ply', '.obj'\]"):
        cf.export_mesh(volume_, plan.output, to, ids=[5], ending=".stl")
    with pytest.raises(ConfigError, match="give the ids"):
        cf.export_mesh(volume_, plan.output, to, ids=[])
    with pytest.raises(InputError, match=r"the table has no instances \[6, -1\]"):
        cf.export_mesh(volume_, plan.output, to, ids=[5, 6, -1])
    with pytest.raises(InputError, match=r"no columns \['bbox_z_min'"):
        cf.export_mesh(volume_, bare, to, ids=[5])
    with pytest.raises(InputError, match="holds float32 voxels; instances must be integers"):
        cf.export_mesh(grey, plan.output, to, ids=[5])
    assert listing() == before
    with pytest.raises(InputError, match="no voxels of instance 5 at z 9:12, y 9:14, x 9:16"):
        cf.export_mesh(other, plan.output, to, ids=[5])
    (to / "5.ply").write_text("mine")
    with pytest.raises(OutputError, match=r"5\.ply exists"):
        cf.export_mesh(volume_, plan.output, to, ids=[5])
    assert (to / "5.ply").read_text() == "mine"


def test_the_instances_of_a_run_have_closed_meshes(tmp_path):
    labels = components(semantic((9, 9, 9), 5, 1), 26).astype(np.uint32)
    volume_ = write(tmp_path, labels, "mitos", kind="label")
    plan = cf.measure(volume_, name="t", work=tmp_path / "work")
    ids = table(plan)["label"][:5]
    for path in cf.export_mesh(volume_, plan.output, tmp_path / "meshes", ids=ids):
        there = edges(read_ply(path)[1])
        assert {(b, a) for a, b in there} == set(there)
