"""Positions between two structures equal those of the whole arrays; planted trends are recovered."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from scipy import ndimage
from strategies import (
    VOXEL_NM,
    away_of,
    blocks,
    broken,
    contents,
    done,
    mask_of,
    most_resident,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError
from chunkflow_liver.ops.zonation.tables import sums
from chunkflow_liver.store.table import Table


def straight(folder, classes, work, **options):
    """The maps of distances to class 1 and to class 2."""
    plans = [
        cf.distance(classes, to=to, cap_nm=None, name=name, work=work, **options)
        for to, name in ((1, "portal"), (2, "central"))
    ]
    for plan in plans:
        done(plan)
    return [plan.output for plan in plans]


@settings(max_examples=12, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
@example(shape=(9, 13, 8), seed=2, block=(4, 3, 3))
def test_positions_do_not_depend_on_the_grid(shape, seed, block):
    classes, labels = semantic(shape, seed), semantic(shape, seed + 1, 5).astype(np.uint64) << 33
    with tempfile.TemporaryDirectory() as folder:
        maps = straight(folder, write(folder, classes), f"{folder}/maps")
        own = write(folder, labels, "cells", kind="label")
        plan = cf.zonation(own, maps, name="zone", work=f"{folder}/work", block=block)
        found = cf.read_table(done(plan)).to_pandas().set_index("label")
    ids = np.unique(labels[labels > 0])
    assert found.index.tolist() == ids.tolist()
    if not ((classes == 1).any() and (classes == 2).any()):
        assert (found["left_out"] == "unreached").all()
        return
    to = [ndimage.distance_transform_edt(classes != k, sampling=VOXEL_NM) for k in (1, 2)]
    means = [ndimage.mean(d, labels, ids) for d in to]
    # Distances are added as 16ths of a nm.
    for end, mean, distance in zip(("portal", "central"), means, to, strict=True):
        np.testing.assert_allclose(found[f"{end}_nm"], mean, atol=0.04)
        np.testing.assert_allclose(found[f"{end}_min_nm"], ndimage.minimum(distance, labels, ids), atol=0.04)
    both = np.add(*means)
    known = both > 0
    np.testing.assert_allclose(found["position"][known], means[0][known] / both[known], atol=0.02)
    assert found["voxels"].tolist() == [(labels == i).sum() for i in ids]


def lobule(folder):
    """Portal vessel at one end, central at the other, 60 voxels of 16 nm between; 10 cells of 6 voxels."""
    classes = np.zeros((2, 3, 62), np.uint8)
    classes[..., 0], classes[..., -1] = 1, 2
    labels = np.zeros(classes.shape, np.uint32)
    labels[..., 1:-1] = 1 + np.arange(60) // 6
    return write(folder, classes), write(folder, labels, "cells", kind="label")


def test_a_lobule_by_hand(tmp_path):
    classes, cells = lobule(tmp_path)
    maps = straight(tmp_path, classes, tmp_path / "work")
    plan = cf.zonation(cells, maps, zones=(0.2, 0.5), name="zone", work=tmp_path / "work", border=False)
    found = cf.read_table(done(plan)).to_pandas()
    # Cell k has voxels 6k + 1 .. 6k + 6: on average 6k + 3.5 steps of 16 nm from one end, 57.5 - 6k
    # from the other.
    k = np.arange(10)
    np.testing.assert_allclose(found["portal_nm"], 16 * (6 * k + 3.5))
    np.testing.assert_allclose(found["central_nm"], 16 * (57.5 - 6 * k))
    np.testing.assert_allclose(found["central_min_nm"], 16 * (55 - 6 * k))
    np.testing.assert_allclose(found["position"], (6 * k + 3.5) / 61)
    # Nothing but 8 nm of y and 4 nm of z beside it is known: outside, either vessel could be nearer.
    assert set(found["left_out"]) == {"border"}
    again = cf.zonation(cells, maps, zones=(0.2, 0.5), name="all", work=tmp_path / "work")
    found = cf.read_table(done(again)).to_pandas()
    assert found["zone"].tolist() == [1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    assert set(found["left_out"]) == {""}
    schema = cf.read_table(again.output).schema
    assert schema.field("portal_nm").metadata[b"unit"] == b"nanometer"


def objects_of(folder, slope, seed, name="mitos", shift=0.0):
    """40 objects in each of the 10 cells; `size` rises by `slope` from portal to central."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(1, 11), 40)
    position = (6 * (cell - 1) + 3.5) / 61
    size = slope * position + 0.3 * rng.normal(size=10)[cell - 1] + 0.5 * rng.normal(size=400) + shift
    form = rng.choice(["constricted-like", "intermediate", "elongated-like"], 400)
    table = Table(str(folder / f"{name}.parquet"))
    columns = {"label": np.arange(1, 401), "parent": cell, "size": size, "other": rng.normal(size=400)}
    table.write(columns | {"form": form}, {"units": {"size": "micrometer"}})
    return table


def test_a_planted_trend_is_recovered_and_nothing_else(tmp_path):
    classes, cells = lobule(tmp_path)
    maps = straight(tmp_path, classes, tmp_path / "work")
    plan = cf.zonation(
        cells,
        maps,
        ends=("portal", "central"),
        tables=objects_of(tmp_path, 2.0, 1),
        cell="parent",
        name="zone",
        work=tmp_path / "work",
    )
    done(plan)
    trends = cf.read_table(tmp_path / "work/tables/zone-trends.parquet").to_pandas().set_index("column")
    fractions = ["constricted_fraction", "intermediate_fraction", "elongated_fraction"]
    assert trends.index.tolist() == ["size", "other", *fractions]
    assert trends.loc["size", "slope_low"] < 2.0 < trends.loc["size", "slope_high"]
    assert abs(trends.loc["size", "slope"] - 2.0) < 0.4
    assert trends.loc["size", "q_value"] < 0.01
    assert (trends["p_value"].drop("size") > 0.05).all()
    assert (trends["cells"] == 10).all()
    assert (trends["objects"] == 400).all()
    zones = cf.read_table(tmp_path / "work/tables/zone-zones.parquet").to_pandas()
    size = zones[zones["column"] == "size"]
    assert size["zone"].tolist() == [1, 2, 3]
    assert size["cells"].sum() == 10
    assert size["mean"].is_monotonic_increasing
    middle = (size["from_position"] + size["to_position"]).to_numpy()
    assert ((size["low"].to_numpy() < middle) & (middle < size["high"].to_numpy())).all()
    objects = cf.read_table(tmp_path / "work/tables/zone-objects.parquet").to_pandas()
    assert objects["label"].tolist() == list(range(1, 401))
    assert objects["zone"].value_counts().sort_index().tolist() == (40 * size["cells"]).tolist()
    cell = np.repeat(np.arange(10), 40)
    np.testing.assert_allclose(objects["position"], (6 * cell + 3.5) / 61)
    sums = zones[zones["column"].isin(fractions)].groupby("zone")["mean"].sum()
    np.testing.assert_allclose(sums, 1)


def test_contacts_by_zone_are_those_of_the_objects_of_its_cells(tmp_path):
    """A table of contacts has a row for each side: joined by label to the objects, of side a."""
    classes, cells = lobule(tmp_path)
    given = objects_of(tmp_path, 0.0, 4)
    cell = np.repeat(np.arange(1, 11), 40)
    area = 0.1 * cell + np.random.default_rng(2).random(400)
    has = np.arange(400) % 5 > 0
    of_a = {"label": np.arange(1, 401)[has], "side": np.full(has.sum(), "a"), "area_um2": area[has]}
    of_b = {"label": np.arange(1, 401), "side": np.full(400, "b"), "area_um2": np.full(400, 99.0)}
    contacts = Table(str(tmp_path / "mito-er.parquet"))
    contacts.write({name: np.concatenate([of_b[name], of_a[name]]) for name in of_a})
    plan = cf.zonation(
        cells,
        straight(tmp_path, classes, tmp_path / "work"),
        ends=("portal", "central"),
        tables=[given, contacts],
        columns=["mito-er.area_um2"],
        cell="parent",
        name="zone",
        work=tmp_path / "work",
    )
    done(plan)
    zone = cf.read_table(plan.output).to_pandas().set_index("label")["zone"]
    means = np.array([area[has & (cell == c)].mean() for c in range(1, 11)])
    rows = cf.read_table(tmp_path / "work/tables/zone-zones.parquet").to_pandas().set_index("zone")
    assert set(rows["column"]) == {"mito-er.area_um2"}
    for which in (1, 2, 3):
        of = np.array([zone[c] == which for c in range(1, 11)])
        assert rows.loc[which, "mean"] == pytest.approx(means[of].mean())
        assert rows.loc[which, "objects"] == (has & of[cell - 1]).sum()
    trend = cf.read_table(tmp_path / "work/tables/zone-trends.parquet").to_pandas().iloc[0]
    assert trend["slope_low"] < 0.1 * 61 / 6 < trend["slope_high"]
    assert trend["q_value"] < 0.01


def test_polarity_within_cells(tmp_path):
    # Two cells with a canaliculus on their left and a sinusoid on their right; a wall between their paths.
    classes = np.zeros((3, 9, 30), np.uint8)
    classes[..., 0], classes[..., -1] = 1, 2
    cells = np.zeros(classes.shape, np.uint32)
    cells[:, :4, 1:-1], cells[:, 5:, 1:-1] = 1, 2
    objects = np.zeros(classes.shape, np.uint32)
    at = [(c, x) for c in (1, 2) for x in range(2, 28, 5)]
    for i, (c, x) in enumerate(at):
        objects[1, 1 if c == 1 else 7, x : x + 2] = i + 1
    own = write(tmp_path, cells, "cells", kind="label", voxel_nm=(8, 8, 8))
    seen = write(tmp_path, classes, voxel_nm=(8, 8, 8))
    mitos = write(tmp_path, objects, "mitos", kind="label", voxel_nm=(8, 8, 8))
    work = tmp_path / "work"
    maps = [
        done(cf.geodesic(own, seen, to=k, name=name, work=work)) for k, name in ((1, "bile"), (2, "blood"))
    ]
    cell, x = np.array(at).T
    table = Table(str(tmp_path / "mitos.parquet"))
    table.write({"label": np.arange(1, 13), "cell": cell, "size": 3.0 * (x + 0.5) / 29 + 100 * cell})
    plan = cf.zonation(
        mitos, maps, tables=table, cell="cell", trend="within", name="polarity", work=work, permutations=3
    )
    found = cf.read_table(done(plan)).to_pandas()
    np.testing.assert_allclose(found["position"], (x + 0.5) / 29, atol=1e-3)
    np.testing.assert_allclose(found["bile_min_nm"], 8 * x, atol=0.1)
    row = cf.read_table(work / "tables/polarity-trends.parquet").to_pylist()[0]
    assert row["slope"] == pytest.approx(3.0, abs=0.01)
    assert (row["cells"], row["objects"]) == (2, 12)
    assert row["no_test"].startswith("too few cells (2)")


def test_a_map_may_be_coarser_and_in_steps(tmp_path):
    classes, cells = lobule(tmp_path)
    coarse = write(tmp_path, classes.read()[:1, :3:3, ::2], "coarse", kind="label", voxel_nm=(8, 24, 32))
    options = cf.DistanceOptions(quantum_nm=0.5)
    maps = [
        done(cf.distance(coarse, to=k, cap_nm=2000, name=n, work=tmp_path / "work", options=options))
        for k, n in ((1, "portal"),)
    ]
    maps += straight(tmp_path, classes, tmp_path / "fine")[1:]
    found = cf.read_table(done(cf.zonation(cells, maps, name="zone", work=tmp_path / "work"))).to_pandas()
    x = np.arange(1, 61)
    wanted = (32.0 * (x // 2)).reshape(10, 6).mean(1)
    np.testing.assert_allclose(found["portal_nm"], wanted, atol=0.04)


def test_objects_that_no_path_reaches_are_left_out_of_trends(tmp_path):
    classes, cells = lobule(tmp_path)
    work = tmp_path / "work"
    maps = straight(tmp_path, classes, work)
    short = done(cf.distance(classes, to=1, cap_nm=16 * 50.0, name="short", work=work))
    plan = cf.zonation(
        cells, [short, maps[1]], tables=objects_of(tmp_path, 0, 1), cell="parent", name="zone", work=work
    )
    found = cf.read_table(done(plan)).to_pandas()
    # 49 to 54 steps: two of the six voxels of the ninth cell are within 50.
    assert found["left_out"].tolist() == [""] * 8 + ["unreached"] * 2
    assert found["zone"].tolist()[8:] == [0, 0]
    assert cf.read_table(work / "tables/zone-trends.parquet")["cells"][0].as_py() == 8


def test_it_goes_on_and_the_order_of_rows_does_not_matter(tmp_path):
    classes, cells = lobule(tmp_path)
    maps = straight(tmp_path, classes, tmp_path / "maps")
    table = objects_of(tmp_path, 1.0, 3)
    read = cf.read_table(table)
    turned = Table(str(tmp_path / "turned.parquet"))
    order = np.random.default_rng(0).permutation(400)
    turned.write({n: read.column(n).to_numpy(zero_copy_only=False)[order] for n in read.column_names})
    made = []
    for work, rows in (("a", table), ("b", turned)):
        plan = cf.zonation(
            cells, maps, tables=rows, cell="parent", name="zone", work=tmp_path / work, block=(2, 3, 16)
        )
        if work == "b":
            with pytest.raises(RunIncompleteError, match="the disk is gone"):
                done(broken(plan, "zone/sums", 2))
        done(plan)
        ends = ("", "-trends", "-zones", "-objects")
        made.append([cf.read_table(tmp_path / work / f"tables/zone{e}.parquet").to_pandas() for e in ends])
    for one, two in zip(*made, strict=True):
        assert one.equals(two)


def test_memory_is_what_the_plan_says(tmp_path):
    shape = (64, 128, 128)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2000, shape).astype(np.uint32)
    distance = rng.random(shape).astype(np.float32)
    maps = [write(tmp_path, distance, n, kind="image") for n in ("one", "two")]
    plan = cf.zonation(
        write(tmp_path, labels, "cells", kind="label"), maps, name="zone", work=tmp_path / "work", block=shape
    )
    stage = plan.maps[0]
    block = stage.grid[0]
    used = most_resident(lambda: sums(block, labels, distance, distance, **stage.params))
    assert used < stage.working * labels.size


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"zones": (0.5, 0.5)}, ConfigError, "ascend between 0 and 1"),
        ({"zones": (0.0, 0.5)}, ConfigError, "ascend between 0 and 1"),
        ({"ends": ("a", "a")}, ConfigError, "two different names"),
        ({"trend": "along"}, ConfigError, "'between' or 'within'"),
        ({"cell": "parent"}, ConfigError, "give 'tables'"),
        ({"tables": "t.parquet", "trend": "within"}, ConfigError, "needs 'cell'"),
        ({"tables": "t.parquet", "columns": ("bbox_z_min",)}, ConfigError, "say where or whose"),
        ({"level": 0.0}, ConfigError, "level must lie"),
        ({"permutations": 0}, ConfigError, "permutations must be 1"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, error, says):
    labels = write(tmp_path, np.ones((2, 2, 2), np.uint32), "cells", kind="label")
    maps = [write(tmp_path, np.ones((2, 2, 2), np.float32), n, kind="image") for n in ("one", "two")]
    with pytest.raises(error, match=re.escape(says)):
        cf.zonation(labels, maps, name="zone", work=tmp_path / "work", **options)


def test_maps_that_are_none_are_refused(tmp_path):
    labels = write(tmp_path, np.ones((2, 2, 2), np.uint32), "cells", kind="label")
    good = write(tmp_path, np.ones((2, 2, 2), np.float32), "one", kind="image")
    grey = write(tmp_path, np.ones((2, 2, 2), np.uint8), "grey", kind="image")
    other = write(tmp_path, np.ones((3, 2, 2), np.float32), "other", kind="image")
    for maps, error, says in (
        ([good], ConfigError, "give two maps, got 1"),
        ([good, grey], InputError, "no map of distances"),
        ([good, other], InputError, "on the same voxels, or the map on a coarser one"),
    ):
        with pytest.raises(error, match=says):
            cf.zonation(labels, maps, name="zone", work=tmp_path / "work")


def test_tables_of_other_cells_are_refused(tmp_path):
    classes, cells = lobule(tmp_path)
    maps = straight(tmp_path, classes, tmp_path / "work")
    table = Table(str(tmp_path / "t.parquet"))
    table.write({"label": [1, 2], "parent": [70, 80], "size": [1.0, 2.0]})
    plan = cf.zonation(cells, maps, tables=table, cell="parent", name="zone", work=tmp_path / "work")
    with pytest.raises(RunIncompleteError, match=re.escape("cells (column 'parent') of it are not those")):
        done(plan)


@settings(max_examples=4, deadline=None)
@given(seed=seeds, block=blocks)
@example(seed=4, block=(3, 4, 5))
def test_positions_are_those_of_the_voxels_that_are_known(seed, block):
    """Maps on voxels twice as large, known where the mask is at their centres; instances everywhere."""
    shape, double = (8, 10, 12), (4, 5, 6)
    classes, labels = semantic(double, seed), semantic(shape, seed + 2, 4)
    drawn = mask_of(shape, seed + 1)
    known = drawn[1::2, 1::2, 1::2]
    large = tuple(2 * v for v in VOXEL_NM)
    with tempfile.TemporaryDirectory() as folder:
        mask = write(folder, drawn.astype(np.uint8), "mask", kind="label")
        coarse = write(folder, classes, voxel_nm=large).within(mask)
        maps = [cf.distance(coarse, to=to, cap_nm=None, name=str(to), work=f"{folder}/m") for to in (1, 2)]
        given = [done(m) for m in maps]
        own = write(folder, labels, "own", kind="label")
        for work, size in (("a", block), ("b", (16, 16, 16))):
            at = {"name": "z", "work": f"{folder}/{work}", "block": size}
            found = table(cf.zonation(own, given, **at))
        assert len({repr(contents(Path(folder, w, "tables"))) for w in ("a", "b")}) == 1

    def fine(array):
        return array.repeat(2, 0).repeat(2, 1).repeat(2, 2)

    inside = fine(known)
    to = [ndimage.distance_transform_edt(~((classes == k) & known), sampling=large) for k in (1, 2)]
    exact = np.all([fine(d) <= away_of(inside) * (1 + 1e-6) for d in to], axis=0)
    labels = np.where(inside, labels, 0)
    assert found["label"] == [v for v in np.unique(labels) if v]
    assert found["voxels"] == [(labels == v).sum() for v in found["label"]]
    if all(((classes == k) & known).any() for k in (1, 2)):
        np.testing.assert_allclose(
            found["1_nm"], ndimage.mean(fine(to[0]), labels, found["label"]), atol=0.04
        )
        np.testing.assert_allclose(found["exact_fraction"], ndimage.mean(exact, labels, found["label"]))
