"""The instance table holds the same bytes for every grid, and the numbers that the whole array gives."""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from skimage.measure import regionprops
from strategies import (
    VOXEL_NM,
    blocks,
    components,
    done,
    most_resident,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Block, Box
from chunkflow_liver.kernels.features.basic import block_sums, describe
from chunkflow_liver.kernels.features.groups import Settings, View
from chunkflow_liver.ops.measure import table as joining
from chunkflow_liver.ops.measure.groups import GROUPS
from chunkflow_liver.store.volume import Volume

COLUMNS = {
    "label": pa.uint64(),
    "class": pa.string(),
    "voxels": pa.int64(),
    "volume_um3": pa.float64(),
    **{f"centroid_{a}_nm": pa.float64() for a in "zyx"},
    **{f"bbox_{a}_{end}": pa.int64() for end in ("min", "max") for a in "zyx"},
    **{f"axis_{k}_nm": pa.float64() for k in ("major", "middle", "minor")},
    **{f"major_{a}": pa.float64() for a in "zyx"},
    "intensity_mean": pa.float64(),
    "intensity_sd": pa.float64(),
    "intensity_min": pa.uint16(),
    "intensity_max": pa.uint16(),
    "touches_border": pa.bool_(),
}


def images(shape, seed):
    raw = np.random.default_rng(seed + 1).integers(0, 60000, shape, dtype=np.uint16)
    return components(semantic(shape, seed, 1), 26).astype(np.uint32), raw


def whole(labels, raw):
    """The table by scikit-image and NumPy on the whole array."""
    size = np.array(VOXEL_NM)
    rows = []
    for region in regionprops(labels, intensity_image=raw, spacing=VOXEL_NM):
        points = region.coords * size
        values = np.linalg.eigvalsh(np.cov(points.T, bias=True)) if len(points) > 1 else np.zeros(3)
        low, high = region.bbox[:3], region.bbox[3:]
        border = any(n > 1 and (a == 0 or b == n) for a, b, n in zip(low, high, labels.shape, strict=True))
        inside = raw[tuple(region.coords.T)].astype(float)
        rows.append(
            [
                region.label,
                len(points),
                region.area / 1e9,
                *(np.array(region.centroid) + size / 2),
                *low,
                *high,
                *(4 * np.sqrt(np.maximum(values[::-1], 0))),
                inside.mean(),
                inside.std(),
                inside.min(),
                inside.max(),
                border,
            ]
        )
    return rows


@settings(max_examples=15, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
@example(shape=(11, 15, 8), seed=2, block=(5, 7, 3))
def test_the_table_does_not_depend_on_the_grid(shape, seed, block):
    labels, raw = images(shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        instances, image = write(folder, labels, "cells", kind="label"), write(folder, raw, "raw")
        got = []
        for name, cut in (("whole", None), ("cut", block)):
            plan = cf.measure(instances, raw=image, name="cells-table", work=f"{folder}/{name}", block=cut)
            found = table(plan)
            got.append(Path(plan.output.path).read_bytes())
    assert got[0] == got[1]
    directions = [found.pop(f"major_{a}") for a in "zyx"]
    assert set(found.pop("class")) <= {""}
    np.testing.assert_allclose(
        np.array(list(found.values()), float).T.reshape(-1, len(found)),
        np.array(whole(labels, raw), float).reshape(-1, len(found)),
        rtol=1e-9,
        atol=1e-6,
    )
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1.0)


def test_a_rod_worked_by_hand(tmp_path):
    """Six voxels along x, over two blocks: mean of 0..5, variance 35/12, in voxels of 16 nm."""
    array = np.zeros((3, 4, 10), np.uint8)
    array[1, 2, 2:8] = 2
    raw = np.zeros(array.shape, np.uint16)
    raw[1, 2, 2:8] = [10, 10, 10, 20, 20, 20]
    at = {"work": tmp_path / "work", "block": (3, 4, 5)}
    rods = cf.label(write(tmp_path, array), name="rods", **at)
    plan = rods + cf.measure(rods.output, raw=write(tmp_path, raw, "raw"), name="rod-table", **at)
    found = {k: v[0] for k, v in table(plan).items()}
    assert found.pop("axis_major_nm") == pytest.approx(4 * np.sqrt(35 / 12) * 16)
    assert found.pop("volume_um3") == pytest.approx(6 * 512e-9)
    assert found == {
        "label": 1,
        "class": "mitochondrion",
        "voxels": 6,
        "centroid_z_nm": 6.0,
        "centroid_y_nm": 20.0,
        "centroid_x_nm": 80.0,
        "bbox_z_min": 1,
        "bbox_y_min": 2,
        "bbox_x_min": 2,
        "bbox_z_max": 2,
        "bbox_y_max": 3,
        "bbox_x_max": 8,
        "axis_middle_nm": 0.0,
        "axis_minor_nm": 0.0,
        "major_z": 0.0,
        "major_y": 0.0,
        "major_x": 1.0,
        "intensity_mean": 15.0,
        "intensity_sd": 5.0,
        "intensity_min": 10,
        "intensity_max": 20,
        "touches_border": False,
    }


@pytest.mark.parametrize("filled", [True, False])
def test_the_columns_have_their_types_with_and_without_instances(filled, tmp_path):
    array = np.full((4, 5, 6), 2 * filled, np.uint8)
    raw = write(tmp_path, array.astype(np.uint16), "raw")
    cells = cf.label(write(tmp_path, array), name="cells", work=tmp_path / "work")
    table = cells + cf.measure(cells.output, raw=raw, name="t", work=tmp_path / "work", block=(3, 5, 6))
    found = cf.read_table(done(table))
    assert {f.name: f.type for f in found.schema} == COLUMNS
    assert list(COLUMNS) == found.schema.names
    assert found.num_rows == filled
    assert found.schema.field("volume_um3").metadata == {b"unit": b"micrometer^3"}
    assert ("raw", "raw") in {(product.kind, product.name) for product in table.products}
    told = json.loads(found.schema.metadata[b"chunkflow_liver"])
    assert told["operation"] == "measure"
    assert told["version"] == importlib.metadata.version("chunkflow-liver")
    like = {"path": "0", "shape": [4, 5, 6], "voxel_nm": [4.0, 8.0, 16.0], "origin_nm": [0.0, 0.0, 0.0]}
    images = ("results.ome.zarr/labels/cells", "raw.ome.zarr")
    assert told["inputs"] == [{"image": image, **like} for image in images]


def test_without_an_image_the_intensities_are_left_out(tmp_path):
    labels, _ = images((1, 9, 8), 5)
    plan = cf.measure(
        write(tmp_path, labels, "cells", kind="label"), name="t", work=tmp_path / "work", block=(1, 4, 3)
    )
    found = table(plan)
    assert list(found) == [c for c in COLUMNS if not c.startswith("intensity")]
    assert found["voxels"] == np.bincount(labels.ravel())[1:].tolist()


def test_instances_from_elsewhere_do_not_borrow_classes(tmp_path):
    """A table of foreign ids that go beyond those of the work folder's instances of the same name."""
    array = np.zeros((3, 4, 5), np.uint8)
    array[1, 1, 1] = 1
    done(cf.label(write(tmp_path, array), name="cells", work=tmp_path / "work"))
    foreign = write(tmp_path, (array * 9).astype(np.uint32), "cells", kind="label")
    assert table(cf.measure(foreign, name="t", work=tmp_path / "work"))["class"] == [""]
    fewer = write(tmp_path / "elsewhere", array, "cells", kind="label")
    assert table(cf.measure(fewer, name="u", work=tmp_path / "work"))["class"] == [""]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_intensities_that_are_no_numbers_are_refused_under_objects_only(value, tmp_path):
    labels, raw = np.zeros((2, 3, 4), np.uint8), np.ones((2, 3, 4), np.float32)
    labels[0, :, :2], labels[1, :, 2:], raw[0, 0, 3] = 5, 7, value
    cells, work = write(tmp_path, labels, "cells", kind="label"), tmp_path / "work"
    beside = cf.measure(cells, raw=write(tmp_path, raw, "beside"), name="t", work=work)
    assert table(beside)["intensity_mean"] == [1, 1]
    raw[1, 1, 3] = value
    under = cf.measure(cells, raw=write(tmp_path, raw, "under"), name="u", work=work)
    with pytest.raises(
        Exception,
        match=r"object 7 holds intensities that are not finite \(or above 3.4e38\), one of 1 objects",
    ):
        done(under)


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    array = semantic((9, 9, 9), 3)
    classes, raw = write(tmp_path, array), write(tmp_path, array.astype(np.uint16), "raw")

    def plan(work):
        at = {"work": work, "block": (3, 9, 9)}
        cells = cf.label(classes, name="cells", **at)
        return cells + cf.measure(cells.output, raw=raw, name="cell-table", **at)

    resumed_equals_whole(plan, tmp_path, "cell-table/sums", 1)


def test_what_cannot_be_measured_is_refused(tmp_path, listing):
    labels, raw = images((4, 5, 6), 0)
    cells = write(tmp_path, labels, "cells", kind="label")
    smaller = write(tmp_path, raw[:3], "smaller")
    at = {"name": "t", "work": tmp_path / "work"}
    before = listing()
    with pytest.raises(ConfigError, match=r"no features \['colour'\]; there are \['basic', 'shape'"):
        cf.measure(cells, features=["basic", "colour"], **at)
    with pytest.raises(
        ConfigError, match=r"no feature settings \['width'\]; there are \['bin_width', 'bin_count'"
    ):
        cf.measure(cells, settings={"width": 3}, **at)
    with pytest.raises(ConfigError, match=r"bin_width must be positive and finite, got 0"):
        cf.measure(cells, settings={"bin_width": 0}, **at)
    with pytest.raises(ConfigError, match=r"bin_count must be 1 or more, got 0"):
        cf.measure(cells, settings={"bin_count": 0}, **at)
    with pytest.raises(InputError, match=r"\(3, 5, 6\) voxels .* \(4, 5, 6\): measure needs both"):
        cf.measure(cells, raw=smaller, **at)
    floats = cells.like(f"{tmp_path}/floats", dtype="float32", kind="image")
    with pytest.raises(InputError, match="holds float32 voxels; instances must be integers"):
        cf.measure(floats, **at)
    with pytest.raises(InputError, match="not usable as a folder name"):
        cf.measure(cells, name="a/b", work=tmp_path / "work")
    assert listing() == before


@pytest.mark.parametrize("feature", ["shape", "firstorder", "morphology", "surface"])
def test_a_block_of_small_touching_objects_fits_its_estimate(feature):
    """Cubes of 8 voxels in half of the volume, cut by the block, under floats."""
    z, y, x = np.indices((96, 96, 96)) // 8
    labels = ((z + y + x) % 2 * (1 + x + 12 * (y + 12 * z))).astype(np.uint32)
    raw = np.random.default_rng(0).random(labels.shape, np.float32)
    objects = describe(block_sums(labels, raw), VOXEL_NM, labels.shape)
    objects["bbox_z_max"] = objects["bbox_z_max"] + 1
    box = Box.of(labels.shape)
    at = (Block(0, (0, 0, 0), box, box, box), labels, raw, objects, VOXEL_NM, Settings())
    peak = most_resident(lambda: GROUPS[feature].sums(View(*at)))
    assert peak <= GROUPS[feature].needs(Settings(), "float32") * labels.size


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("uint8", {}), ("uint16", {}), ("float32", {}), ("uint8", {"bin_count": 32, "distances": (1, 2)})],
)
def test_noise_of_many_gray_levels_fits_the_estimate(kind, settings):
    """Cubes of 24 voxels fill the block; every pair of gray levels may be one of its own."""
    k, side = 3, 24
    labels = np.kron(np.arange(1, k**3 + 1).reshape(k, k, k), np.ones((side,) * 3)).astype(np.uint32)
    raw = (np.random.default_rng(0).random(labels.shape) * (255 if kind == "uint8" else 60000)).astype(kind)
    objects = describe(block_sums(labels, raw), VOXEL_NM, labels.shape)
    box, chosen = Box.of(labels.shape), Settings(**settings)
    at = (Block(0, (0, 0, 0), box, box, box), labels, raw, objects, VOXEL_NM, chosen)
    groups = [GROUPS[name] for name in ("firstorder", "glcm", "gldm", "ngtdm")]

    def work():
        view = View(*at)
        return [group.sums(view) for group in groups]

    needed = max(group.needs(chosen, kind) for group in groups) * labels.size
    assert most_resident(work) <= needed + max(group.fixed for group in groups)


@pytest.mark.parametrize("kind", [None, np.uint8, np.uint16, np.float32])
def test_sums_keep_to_the_memory_that_was_stated(kind, tmp_path):
    """Cubes of 24 voxels fill the block: there is no more tissue than that."""
    labels = np.kron(np.arange(1, 65).reshape(4, 4, 4), np.ones((24, 24, 24))).astype(np.uint32)
    raw = None if kind is None else (np.random.default_rng(0).random(labels.shape) * 250).astype(kind)
    cells = write(tmp_path, labels, "cells", kind="label")
    image = None if raw is None else write(tmp_path, raw, "raw")
    stage = cf.measure(cells, raw=image, name="t", work=tmp_path / "work").maps[0]
    peak = most_resident(lambda: block_sums(labels, raw))
    assert peak <= stage.working * labels.size + stage.resident


def test_planning_reads_no_voxels(tmp_path, monkeypatch):
    labels, raw = images((4, 5, 6), 0)
    cells, image = write(tmp_path, labels, "cells", kind="label"), write(tmp_path, raw, "raw")

    def read(self, box=None):
        raise AssertionError("voxels were read")

    monkeypatch.setattr(Volume, "read", read)
    plan = cf.measure(
        cells, raw=image, features=["basic", "shape", "firstorder"], name="t", work=tmp_path / "work"
    )
    assert [stage.name for stage in plan.stages] == ["t/sums", "t/objects", "t/features", "t/table"]


def test_objects_are_described_as_soon_as_they_are_complete(tmp_path, monkeypatch):
    """With room for few rows the table is made in many portions; its bytes are the same."""
    labels, raw = semantic((12, 11, 10), 2), images((12, 11, 10), 2)[1]
    labels[1::3] *= 7
    cells, image = write(tmp_path, labels, "cells", kind="label"), write(tmp_path, raw, "raw")
    portions = []

    def count(sums, label):
        portions.append(len(label))
        return split(sums, label)

    split = joining._split
    monkeypatch.setattr(joining, "_split", count)
    found = []
    for rows in (joining.ROWS, 1):
        monkeypatch.setattr(joining, "ROWS", rows)
        plan = cf.measure(
            cells, raw=image, features=list(GROUPS), name="t", work=tmp_path / str(rows), block=(3, 6, 4)
        )
        portions.clear()
        found.append(Path(done(plan).path).read_bytes())
    assert found[0] == found[1]
    assert len(portions) > 5 * len(GROUPS)


def test_a_work_folder_with_tables_of_foreign_labels_may_be_moved(tmp_path):
    foreign = cf.write_volume(
        tmp_path / "a.ome.zarr", np.eye(4, dtype=np.uint8)[None], voxel_nm=(8, 8, 8), kind="label"
    )
    cf.run(cf.measure(foreign, name="a-table", work=tmp_path / "one"), progress=False)
    (tmp_path / "one").rename(tmp_path / "two")
    plan = cf.measure(foreign, name="a-table", work=tmp_path / "two")
    written = Path(plan.output.path).stat().st_mtime_ns
    cf.run(plan, progress=False)
    assert Path(plan.output.path).stat().st_mtime_ns == written
