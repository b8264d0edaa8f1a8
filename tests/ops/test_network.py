"""Networks: known tubes are found, and the same bytes come of any blocks, workers and history."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from strategies import contents, done, mask_of, resumed_equals_whole, seeds, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.phantom.tubes import Tubes, lattice, paint_tubes
from chunkflow_liver.ops.network.tables import TABLES

ISO = (8.0, 8.0, 8.0)


def painted(folder, tubes, shape, voxel_nm, name="tubes"):
    mask = paint_tubes(tubes, Box.of(shape), voxel_nm).astype(np.uint8)
    return write(folder, mask, name, kind="label", voxel_nm=voxel_nm, classes=[("sinusoid", 1)])


def read(work, end=""):
    return {k: np.array(v) for k, v in cf.read_table(f"{work}/tables/n{end}.parquet").to_pydict().items()}


def summary(work):
    rows = read(work, "-summary")
    return {(w, o): v for w, o, v in zip(rows["what"], rows["of"], rows["value"], strict=True)}


def matched(tubes, work):
    """Node of each true node, and row of the branch of each tube, -1 for none."""
    nodes, rows = read(work, "-nodes"), read(work)
    place = np.stack([nodes[f"{a}_nm"] for a in "zyx"], 1)
    found = nodes["node"][cKDTree(place).query(tubes.nodes_nm)[1]]
    of = {tuple(sorted(e)): i for i, e in enumerate(zip(rows["start"], rows["stop"], strict=True))}
    return found, np.array([of.get(tuple(sorted(e)), -1) for e in found[tubes.ends].tolist()]), nodes, rows


@pytest.mark.parametrize(
    ("voxel_nm", "radii", "spacing", "seed"),
    [(ISO, (3, 6), 42, 5), (ISO, (5, 8), 56, 2), ((10.0, 8.0, 8.0), (4, 7), 46, 3)],
    ids=["thin", "thick", "anisotropic"],
)
def test_lengths_radii_angles_and_degrees_of_known_tubes(voxel_nm, radii, spacing, seed, tmp_path):
    """Lengths within a voxel, radii within a quarter, angles within 3 degrees; every degree right."""
    shape = (150, 190, 190)
    wide = (8.0 * radii[0], 8.0 * radii[1])
    tubes = lattice(shape, voxel_nm, spacing_nm=8.0 * spacing, radii_nm=wide, seed=seed)
    volume = painted(tmp_path, tubes, shape, voxel_nm)
    done(cf.network(volume, classes="sinusoid", widest_nm=2.6 * wide[1], name="n", work=tmp_path / "w"))
    found, at, nodes, rows = matched(tubes, tmp_path / "w")
    degree = dict(zip(nodes["node"], nodes["degree"], strict=True))
    assert [degree[n] for n in found] == tubes.degree.tolist()
    assert (len(nodes["node"]), len(rows["branch"])) == (len(tubes.nodes_nm), len(tubes.ends))
    assert (at >= 0).all()
    voxel = max(voxel_nm)
    error = np.abs(rows["length_nm"][at] - tubes.length_nm)
    assert np.quantile(error, 0.95) < voxel
    assert error.max() < 1.5 * voxel
    assert np.abs(rows["radius_mean_nm"][at] - tubes.radius_nm).max() < 0.25 * voxel
    # Where tubes meet there is room for the widest.
    widest = np.zeros(len(found))
    np.maximum.at(widest, tubes.ends, tubes.radius_nm[:, None])
    ball = dict(zip(nodes["node"], nodes["radius_nm"], strict=True))
    room = [ball[n] - r for n, r, d in zip(found, widest, tubes.degree, strict=True) if d > 2]
    assert min(room) > -0.25 * voxel
    np.testing.assert_allclose(rows["tortuosity"], 1, atol=0.02)
    ways = {}
    for tube, row in enumerate(at):
        for end in (0, 1):
            here, there = tubes.nodes_nm[tubes.ends[tube, [end, 1 - end]]]
            ways[found[tubes.ends[tube, end]], row + 1] = (there - here) / np.linalg.norm(there - here)
    angles = read(tmp_path / "w", "-angles")
    off = []
    for node, one, two, degrees in zip(*angles.values(), strict=True):
        cosine = ways[node, one] @ ways[node, two]
        off.append(degrees - math.degrees(math.acos(np.clip(cosine, -1, 1))))
    assert len(off) > 10
    assert np.quantile(np.abs(off), 0.99) < 3


def test_a_fork_worked_by_hand(tmp_path):
    """Voxels of (10, 8, 8) nm; arms of 400, 300 and 250 nm at 90 and 120 degrees, 24 nm wide to each side."""
    middle = np.array([300.0, 404.0, 404.0])
    arms = np.array([[0, 400, 0], [0, -150, 150 * 3**0.5], [250, 0, 0]])
    tubes = Tubes(
        np.concatenate([middle[None], middle + arms]), np.array([[0, 1], [0, 2], [0, 3]]), np.full(3, 44.0)
    )
    volume = painted(tmp_path, tubes, (62, 112, 104), (10.0, 8.0, 8.0))
    done(cf.network(volume, widest_nm=100, name="n", work=tmp_path / "w"))
    _, at, nodes, rows = matched(tubes, tmp_path / "w")
    np.testing.assert_allclose(rows["length_nm"][at], [400, 300, 250], atol=10)
    np.testing.assert_allclose(rows["radius_mean_nm"][at], 44, atol=2)
    np.testing.assert_allclose(sorted(read(tmp_path / "w", "-angles")["angle_deg"]), [90, 90, 120], atol=1.5)
    assert sorted(nodes["degree"]) == [1, 1, 1, 3]
    # Three tubes of 44 nm: their axes meet in a ball that is as wide, and in the corners between them wider.
    assert 43 < nodes["radius_nm"][nodes["degree"] == 3][0] < 50
    assert rows["kind"].tolist() == ["end"] * 3
    of = summary(tmp_path / "w")
    assert of["volume", "looked at"] == pytest.approx(0.62 * 0.896 * 0.832)
    voxels = int(volume.read().sum())
    assert of["share of the volume", "tubes"] == pytest.approx(voxels / (62 * 112 * 104))
    assert of["length", "per volume"] == pytest.approx(
        rows["length_nm"].sum() / 1000 / (0.62 * 0.896 * 0.832)
    )
    network = read(tmp_path / "w", "-networks")
    assert {k: v.tolist() for k, v in network.items() if k not in ("length_nm",)} == {
        "network": [1],
        "nodes": [4],
        "branch_points": [1],
        "ends": [3],
        "branches": [3],
        "loops": [0],
        "length_share": [1.0],
        "mean_degree": [1.5],
        "touches_border": [False],
    }


def blobs(shape, seed):
    """Random lumps and threads, with tunnels and cavities."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(0.6, 2.0), mode="wrap")
    return (field > np.quantile(field, rng.uniform(0.5, 0.9))).astype(np.uint8)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 24), st.integers(4, 30), st.integers(4, 40)),
    block=st.tuples(st.integers(3, 12), st.integers(5, 14), st.integers(5, 20)),
    widest=st.sampled_from([20.0, 60.0, 130.0]),
    masked=st.booleans(),
)
def test_tables_are_the_same_bytes_for_any_blocks(seed, shape, block, widest, masked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("n")
    volume = write(folder, blobs(shape, seed), "blobs", kind="label", voxel_nm=(10.0, 8.0, 8.0))
    if masked:
        known = mask_of(shape, seed).astype(np.uint8)
        volume = volume.within(write(folder, known, "mask", kind="label", voxel_nm=(10.0, 8.0, 8.0)))
    for work, cut in (("whole", shape), ("cut", block)):
        done(cf.network(volume, widest_nm=widest, name="n", work=folder / work, block=cut))
    assert contents(folder / "whole" / "tables") == contents(folder / "cut" / "tables")


def test_the_same_bytes_of_two_workers(tmp_path):
    volume = write(tmp_path, blobs((16, 30, 30), 7), "blobs", kind="label", voxel_nm=ISO)
    plans = [
        cf.network(volume, widest_nm=80, name="n", work=tmp_path / work, block=(16, 16, 16))
        for work in ("a", "b")
    ]
    done(plans[0])
    with cf.cluster(workers=2) as client:
        cf.run(plans[1], client, progress=False, retries=0)
    assert contents(tmp_path / "a" / "tables") == contents(tmp_path / "b" / "tables")


@pytest.mark.parametrize("stage", ["n/depth", "n/thinning-1", "n/parts"])
def test_run_goes_on_where_it_stopped(stage, tmp_path):
    volume = write(tmp_path, blobs((16, 30, 30), 3), "blobs", kind="label", voxel_nm=ISO)

    def make(work):
        return cf.network(volume, widest_nm=60, name="n", work=work, block=(16, 16, 32))

    resumed_equals_whole(make, tmp_path, stage, 1)


@pytest.mark.parametrize(("seed", "masked"), [(0, False), (1, False), (2, False), (1, True)])
def test_networks_and_loops_are_those_of_the_object(seed, masked, tmp_path):
    """Thinning loses and joins nothing: parts and Euler number are those of the voxels, counted by others."""
    import cc3d
    from scipy import ndimage
    from skimage.measure import euler_number

    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((30, 40, 40)), 1.2 + seed)
    mask = field > np.quantile(field, 0.7)
    volume = write(tmp_path, mask.astype(np.uint8), "blobs", kind="label", voxel_nm=ISO)
    if masked:
        known = mask_of(mask.shape, seed)
        volume = volume.within(write(tmp_path, known.astype(np.uint8), "mask", kind="label", voxel_nm=ISO))
        mask &= known
    keep = cf.Tidy(spur=0, unite=0, touch=0)
    done(cf.network(volume, widest_nm=200, tidy=keep, name="n", work=tmp_path / "w", block=(16, 16, 16)))
    networks, of = read(tmp_path / "w", "-networks"), summary(tmp_path / "w")
    assert len(networks["network"]) == cc3d.connected_components(mask, connectivity=26).max()
    assert of["Euler number", "voxels"] == euler_number(mask, 3)
    assert of["count", "loops inside a node"] == of["count", "spurs taken off"] == 0
    if seed and not masked:
        # Without cavities, and without tunnels so narrow that all voxels round them are of one node.
        assert of["Euler number", "network"] == of["Euler number", "voxels"]


def test_a_ring_has_one_loop_and_its_length(tmp_path):
    z, y, x = np.ogrid[:20, :90, :90]
    ring = np.hypot(z - 9.5, np.hypot(y - 44.5, x - 44.5) - 30) < 4
    volume = write(tmp_path, ring.astype(np.uint8), "ring", kind="label", voxel_nm=ISO)
    done(cf.network(volume, widest_nm=80, name="n", work=tmp_path / "w", block=(20, 32, 48)))
    rows = read(tmp_path / "w")
    assert rows["kind"].tolist() == ["loop"]
    assert rows["length_nm"][0] == pytest.approx(2 * math.pi * 30 * 8, rel=0.01)
    assert math.isnan(rows["tortuosity"][0])
    assert read(tmp_path / "w", "-networks")["loops"].tolist() == [1]


@pytest.mark.parametrize("way", [(0, 0, 1), (0.2, 0.3, 1)])
def test_a_tube_through_the_volume_ends_at_its_border(way, tmp_path):
    """As long as its axis is between the two faces, wherever it goes through them."""
    middle, way = np.array([161.0, 165.0, 318.0]), np.array(way, float)
    tubes = Tubes(np.stack([middle - 600 * way, middle + 600 * way]), np.array([[0, 1]]), np.array([40.0]))
    volume = painted(tmp_path, tubes, (40, 41, 80), ISO)
    done(cf.network(volume, widest_nm=100, name="n", work=tmp_path / "w", block=(40, 41, 32)))
    nodes, rows = read(tmp_path / "w", "-nodes"), read(tmp_path / "w")
    assert nodes["touches_border"].tolist() == [True, True]
    assert rows["touches_border"].tolist() == [True]
    assert rows["kind"].tolist() == ["alone"]
    assert rows["length_nm"][0] == pytest.approx(640 * np.linalg.norm(way), abs=2)
    np.testing.assert_allclose(nodes["radius_nm"], 40, atol=4)
    assert rows["radius_min_nm"][0] > 36
    assert summary(tmp_path / "w")["count", "ends at the border"] == 2


@pytest.mark.parametrize("steep", [0.0, 0.5, 1.0])
def test_a_tube_that_a_mask_cuts_ends_at_its_edge(steep, tmp_path):
    """A tube along x of 5 voxels radius, cut straight or aslant: its line ends there, within a voxel."""
    z, y, x = np.indices((31, 31, 100)).astype(float)
    tube = np.hypot(z - 15, y - 15.3) < 5
    known = (x + steep * (y - 15.3) < 70) & (x > 20)
    mask = write(tmp_path, known.astype(np.uint8), "mask", kind="label", voxel_nm=ISO)
    volume = write(tmp_path, tube.astype(np.uint8), "tube", kind="label", voxel_nm=ISO).within(mask)
    for work, block in (("w", (31, 31, 100)), ("cut", (16, 16, 32))):
        done(cf.network(volume, widest_nm=100, name="n", work=tmp_path / work, block=block))
    assert contents(tmp_path / "w" / "tables") == contents(tmp_path / "cut" / "tables")
    nodes, rows, points = (read(tmp_path / "w", end) for end in ("-nodes", "", "-points"))
    assert nodes["touches_border"].tolist() == [True, True]
    assert rows["touches_border"].tolist() == [True]
    # On the axis what is known is the voxels 21 to 69.
    assert np.sort(nodes["x_nm"]) == pytest.approx([21 * 8, 70 * 8], abs=10)
    np.testing.assert_allclose(points["y_nm"], (15.3 + 0.5) * 8, atol=8)
    np.testing.assert_allclose(points["radius_nm"][1:-1], 5 * 8, atol=4)
    np.testing.assert_allclose(points["radius_nm"], 5 * 8, atol=8)
    of = summary(tmp_path / "w")
    assert of["count", "ends at the border"] == 2
    assert of["volume", "looked at"] == pytest.approx(known.sum() * 512 / 1e9)


@pytest.mark.parametrize(("first", "border"), [(0, True), (2, False)])
def test_a_lump_that_the_volume_cuts_touches_its_border(first, border, tmp_path):
    """Its middle is far from there, and what is too wide has no ball."""
    mask = np.zeros((24, 24, 48), np.uint8)
    mask[first:22, 2:22, 2:46] = 1
    volume = write(tmp_path, mask, "lump", kind="label", voxel_nm=ISO)
    done(cf.network(volume, widest_nm=16, name="n", work=tmp_path / "w", block=(12, 24, 24)))
    nodes = read(tmp_path / "w", "-nodes")
    lump = int(nodes["voxels"].argmax())
    assert not nodes["resolved"][lump]
    assert nodes["touches_border"][lump] == border
    assert read(tmp_path / "w", "-networks")["touches_border"].tolist() == [border]


def strands(folder, *, thick):
    """Two lumps that tubes lead to, between them a strand of one voxel and, or not, one of three."""
    z, y, x = np.ogrid[:24, :40, :74]
    mask = np.hypot(np.hypot(z - 11.5, y - 27.5), np.minimum(abs(x - 24), abs(x - 48))) < 10.5
    mask[9:15, 25:31, :20] = mask[9:15, 25:31, 52:] = mask[9:15, :20, 22:27] = mask[9:15, :20, 46:51] = True
    mask[11:12, 23:24, 24:48] = True
    mask[10:13, 31:34, 24:48] |= thick
    return write(folder, mask.astype(np.uint8), "strands", kind="label", voxel_nm=ISO)


def test_two_strands_between_two_lumps_are_two_branches_each_as_wide_as_it_is(tmp_path):
    """All of both lies near to their nodes; none is only the straight line between these."""
    volume = strands(tmp_path, thick=True)
    done(cf.network(volume, widest_nm=180, tidy=cf.Tidy(touch=0), name="n", work=tmp_path / "w"))
    rows = read(tmp_path / "w")
    two = np.flatnonzero(rows["kind"] == "inner")
    assert len(two) == 2
    assert len(set(rows["start"][two])) == len(set(rows["stop"][two])) == 1
    np.testing.assert_allclose(sorted(rows["radius_min_nm"][two]), [8, 16], atol=3)
    assert summary(tmp_path / "w")["count", "loops"] == 1


@pytest.mark.parametrize(("thick", "parted", "radius"), [(True, 1, 16), (False, 0, 8)])
def test_where_tubes_only_touch_they_are_parted_but_what_is_one_stays_one(thick, parted, radius, tmp_path):
    done(cf.network(strands(tmp_path, thick=thick), widest_nm=180, name="n", work=tmp_path / "w"))
    rows, of = read(tmp_path / "w"), summary(tmp_path / "w")
    np.testing.assert_allclose(rows["radius_min_nm"][rows["kind"] == "inner"], [radius], atol=3)
    assert of["count", "branches where tubes only touched"] == parted
    assert (of["count", "networks"], of["count", "loops"]) == (1, 0)


def test_what_is_wider_than_asked_for_is_a_node_that_says_so(tmp_path):
    z, y, x = np.ogrid[:40, :40, :100]
    mask = (np.sqrt((z - 20) ** 2 + (y - 20) ** 2 + (x - 25) ** 2) < 16) | (
        (np.hypot(z - 20, y - 20) < 4) & (x > 25) & (x < 90)
    )
    volume = write(tmp_path, mask.astype(np.uint8), "lump", kind="label", voxel_nm=ISO)
    done(cf.network(volume, widest_nm=96, name="n", work=tmp_path / "w"))
    nodes = read(tmp_path / "w", "-nodes")
    assert (~nodes["resolved"]).sum() == 1
    assert summary(tmp_path / "w")["count", "nodes wider than asked for"] == 1


def test_nothing_makes_empty_tables(tmp_path):
    volume = write(tmp_path, np.zeros((4, 8, 8), np.uint8), "none", kind="label", voxel_nm=ISO)
    done(cf.network(volume, widest_nm=50, name="n", work=tmp_path / "w", block=(4, 4, 8)))
    assert [len(next(iter(read(tmp_path / "w", end).values()))) for end in TABLES[:-1]] == [0] * 5
    assert summary(tmp_path / "w")["share of the volume", "tubes"] == 0


def test_one_instance_and_all(tmp_path):
    mask = np.zeros((12, 20, 40), np.uint32)
    mask[4:7, 4:7, 3:37] = 5
    mask[4:7, 13:16, 3:37] = 9
    volume = write(tmp_path, mask, "ids", kind="label", voxel_nm=ISO)
    for work, ids, many in (("one", 9, 1), ("all", None, 2)):
        done(cf.network(volume, classes=ids, widest_nm=40, name="n", work=tmp_path / work))
        assert len(read(tmp_path / work)["branch"]) == many


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"widest_nm": 12}, ConfigError, "two voxels or more, 16 nm here"),
        ({"widest_nm": math.inf}, ConfigError, "give the width of the widest tube"),
        ({"tidy": cf.Tidy(spur=-1)}, ConfigError, "spur, unite and touch must be 0 or more"),
        ({"classes": []}, ConfigError, "named once each"),
        ({"classes": [1, "sinusoid"]}, ConfigError, "named once each"),
        ({"classes": "duct"}, InputError, "has no class 'duct'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(options, error, says, tmp_path):
    volume = write(
        tmp_path, np.ones((4, 8, 8), np.uint8), "t", kind="label", voxel_nm=ISO, classes=[("sinusoid", 1)]
    )
    with pytest.raises(error, match=says):
        cf.network(volume, **{"widest_nm": 50.0} | options, name="n", work=tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_an_image_is_no_label_image(tmp_path):
    volume = write(tmp_path, np.ones((4, 8, 8), np.float32), "f", voxel_nm=ISO)
    with pytest.raises(InputError, match="must be integers"):
        cf.network(volume, widest_nm=50, name="n", work=tmp_path / "w")


def test_planning_reads_no_voxels_and_tells_of_long_voxels(tmp_path, monkeypatch):
    volume = write(tmp_path, np.ones((4, 8, 8), np.uint8), "t", kind="label", voxel_nm=(40.0, 8.0, 8.0))
    monkeypatch.setattr(type(volume), "read", lambda *_: pytest.fail("read"))
    plan = cf.network(volume, widest_nm=100, name="n", work=Path(tmp_path) / "w")
    assert "no line is finer than the longest side" in str(plan)
