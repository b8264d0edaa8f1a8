"""Objects are carried through slices, out of core, to the same bits however they are cut."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import flood_propagator
import numpy as np
import pytest
from flood_propagator import flood_model

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError
from chunkflow_liver.segmenters.sam2 import backends
from chunkflow_liver.store.prompts import Prompt, write_prompts

VOXEL_NM = (40.0, 8.0, 8.0)
SHAPE = (40, 160, 200)
Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "flood", "flood_propagator:FLOOD")
    flood_propagator.loaded.clear()


def truth() -> Array:
    """Three objects: one drifts across the image, one stands and ends, one grows."""
    labels = np.zeros(SHAPE, np.uint8)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    for z in range(SHAPE[0]):
        labels[z][(y - 40) ** 2 + (x - (28 + 3.6 * z)) ** 2 < 14**2] = 1
        if z < 25:
            labels[z][(abs(y - 100) < 14) & (abs(x - 40) < 14)] = 2
        labels[z][(y - 110) ** 2 + (x - 140) ** 2 < (10 + 0.9 * z) ** 2] = 3
    return labels


def box(name: str, z: int, corners: tuple[int, ...], **more: Any) -> Prompt:
    y0, x0, y1, x1 = (8.0 * v for v in corners)
    return Prompt(name, (z + 0.5) * VOXEL_NM[0], box_nm=(y0, x0, y1, x1), **more)


PROMPTS = (
    box("drifting", 20, (26, 86, 55, 115)),
    box("ending", 10, (86, 26, 115, 55)),
    box("growing", 0, (100, 130, 121, 151)),
)


@pytest.fixture
def raw(tmp_path: Path) -> Any:
    grey = np.where(truth() > 0, 200, 40).astype(np.uint8)
    return cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=VOXEL_NM, chunks=(16, 64, 64))


def planned(raw: Any, tmp_path: Path, work: str = "w", **options: Any) -> Any:
    model = tmp_path / "model"
    if not model.exists():
        flood_model(model)
    prompts = options.pop("prompts", PROMPTS)
    kind = {"backend": "flood", "chunk": 8} | options
    return cf.propagate(raw, prompts, model=model, name="cells", work=tmp_path / work, **kind)


def carried(raw: Any, tmp_path: Path, work: str = "w", **options: Any) -> Array:
    plan = planned(raw, tmp_path, work, **options)
    cf.run(plan, progress=False)
    return plan.output.read()


def test_objects_are_found_on_all_their_slices(raw: Any, tmp_path: Path) -> None:
    plan = planned(raw, tmp_path)
    cf.run(plan, progress=False)
    found, wanted = plan.output.read(), truth()
    ids = [int(np.bincount(found[wanted == n]).argmax()) for n in (1, 2, 3)]
    assert sorted(ids) == [1, 2, 3] == np.unique(found[found > 0]).tolist()
    for n, own in zip((1, 2, 3), ids, strict=True):
        dice = 2 * np.sum((found == own) & (wanted == n)) / (np.sum(found == own) + np.sum(wanted == n))
        assert dice > 0.9, (n, dice)
    # Ids are in the raster order of first voxels.
    firsts = [int(np.flatnonzero(found == n)[0]) for n in (1, 2, 3)]
    assert firsts == sorted(firsts)


def test_tables_tell_of_every_object_and_slice(raw: Any, tmp_path: Path) -> None:
    plan = planned(raw, tmp_path)
    cf.run(plan, progress=False)
    found = plan.output.read()
    rows = cf.read_table(tmp_path / "w/tables/cells-slices.parquet").to_pandas()
    one = rows[(rows.object == "ending") & (rows.slice == 10)].iloc[0]
    inside = np.argwhere(found[10] == one.label)
    assert one.area_um2 == pytest.approx(len(inside) * 8 * 8 / 1e6)
    assert (one.centroid_y_nm, one.centroid_x_nm) == pytest.approx(tuple((inside.mean(0) + 0.5) * 8))
    assert one.z_nm == 10.5 * 40
    assert rows[rows.object == "ending"].slice.tolist() == list(range(25))
    drift = rows[rows.object == "drifting"].jump_nm.dropna()
    assert drift.mean() == pytest.approx(3.6 * 8, rel=0.1)
    objects = cf.read_table(tmp_path / "w/tables/cells-objects.parquet").to_pandas()
    assert objects.object.tolist() == ["drifting", "ending", "growing"]
    assert objects.slices.tolist() == [40, 25, 40]
    assert objects.volume_um3.tolist() == pytest.approx(
        [np.sum(found == n) * 40 * 8 * 8 / 1e9 for n in objects.label]
    )


@pytest.mark.parametrize(
    "options",
    [
        {"chunk": 1},
        {"chunk": 40},
        {"group": 1},
        {"block": (16, 64, 64)},
        {"block": (40, 160, 200)},
        {"prompts": PROMPTS[::-1]},
    ],
    ids=str,
)
def test_no_bit_depends_on_chunks_groups_and_blocks(raw: Any, tmp_path: Path, options: Any) -> None:
    np.testing.assert_array_equal(carried(raw, tmp_path), carried(raw, tmp_path, "other", **options))


def test_a_run_goes_on_where_it_was_killed(raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = carried(raw, tmp_path, "whole")
    whole = next(iter(flood_propagator.loaded.values())).steps

    class Killed(BaseException):
        pass

    carry = flood_propagator.FloodTrack.carry
    for after in (5, 40, 20):
        counter = iter(range(after))

        def stops(self: Any, seen: Any, left: Any = counter) -> Any:
            if next(left, None) is None:
                raise Killed
            return carry(self, seen)

        monkeypatch.setattr(flood_propagator.FloodTrack, "carry", stops)
        with pytest.raises(Killed):
            carried(raw, tmp_path)
    monkeypatch.setattr(flood_propagator.FloodTrack, "carry", carry)
    flood_propagator.loaded.clear()
    np.testing.assert_array_equal(carried(raw, tmp_path), wanted)
    assert next(iter(flood_propagator.loaded.values())).steps < whole - 20


def test_a_slice_is_encoded_once_for_all_objects_of_a_window(tmp_path: Path) -> None:
    grey = np.full((12, 64, 64), 40, np.uint8)
    for i in range(4):
        grey[:, 24 + 8 * (i // 2) : 30 + 8 * (i // 2), 24 + 8 * (i % 2) : 30 + 8 * (i % 2)] = 200
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=VOXEL_NM, chunks=(16, 64, 64))
    prompts = [
        box(str(i), 0, (24 + 8 * (i // 2), 24 + 8 * (i % 2), 30 + 8 * (i // 2), 30 + 8 * (i % 2)))
        for i in range(4)
    ]
    carried(raw, tmp_path, prompts=prompts)
    model = next(iter(flood_propagator.loaded.values()))
    assert (model.encoded, model.steps) == (12, 44)


def test_a_voxel_is_of_the_larger_logit_whatever_the_order(tmp_path: Path) -> None:
    grey = np.full((4, 64, 64), 40, np.uint8)
    grey[:, 16:48, 8:32] = 160
    grey[:, 16:48, 28:56] = 220
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=VOXEL_NM, chunks=(16, 64, 64))
    # Both see all bright pixels; a mask tells them apart by what they begin from.
    one, two = box("one", 0, (16, 8, 48, 56)), box("two", 0, (16, 8, 48, 56))
    found = carried(raw, tmp_path, prompts=[one, two])
    assert set(np.unique(found)) == {0, 1}
    table = cf.read_table(tmp_path / "w/tables/cells-objects.parquet").to_pandas()
    assert table.label.tolist() == [1, 0]
    assert table.conflict.tolist() == [0.0, 1.0]
    rows = cf.read_table(tmp_path / "w/tables/cells-slices.parquet").to_pandas()
    assert set(rows[rows.object == "two"].marks) == {"conflict"}


def test_limits_and_direction_are_kept(raw: Any, tmp_path: Path) -> None:
    prompts = [
        box("a", 20, (26, 86, 55, 115), start_nm=15 * 40.0, end_nm=22 * 40.0),
        box("b", 0, (100, 130, 121, 151), kind="bile duct"),
        box("b", 30, (75, 105, 145, 175), kind="bile duct"),
    ]
    carried(raw, tmp_path, prompts=prompts)
    table = cf.read_table(tmp_path / "w/tables/cells-objects.parquet").to_pandas()
    assert table[["first_z", "last_z"]].values.tolist() == [[15, 22], [0, 39]]
    carried(raw, tmp_path, "back", prompts=prompts[:1], direction="backward")
    table = cf.read_table(tmp_path / "back/tables/cells-objects.parquet").to_pandas()
    assert table[["first_z", "last_z"]].values.tolist() == [[15, 20]]


def test_points_and_labels_are_prompts(raw: Any, tmp_path: Path) -> None:
    masks = cf.write_volume(
        tmp_path / "masks.ome.zarr", truth(), voxel_nm=VOXEL_NM, chunks=(16, 64, 64), kind="label"
    )
    wanted = carried(raw, tmp_path)
    prompts = [
        Prompt("drifting", 20.5 * 40, label=1),
        Prompt("ending", 10.5 * 40, points_nm=((800.0, 320.0, True),)),
        Prompt("growing", 20.0, label=3),
    ]
    found = carried(raw, tmp_path, "w2", prompts=prompts, masks=masks)
    for n in (1, 2, 3):
        both = np.sum((found == n) & (wanted == n))
        assert both / np.sum((found == n) | (wanted == n)) > 0.85


def test_coarser_levels_are_read_where_an_object_is_large(tmp_path: Path) -> None:
    grey = np.full((6, 512, 512), 40, np.uint8)
    grey[:, 80:400, 80:400] = 200
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=(200.0, 8.0, 8.0), chunks=(16, 64, 64))
    plan = planned(raw, tmp_path, prompts=[box("large", 0, (80, 80, 400, 400))])
    assert len(plan.maps[0].inputs) > 1
    cf.run(plan, progress=False)
    inside = plan.output.read() > 0
    assert 2 * np.sum(inside & (grey > 128)) / (np.sum(inside) + np.sum(grey > 128)) > 0.9


def test_a_class_can_be_followed_instead_of_grey_values(tmp_path: Path) -> None:
    labels = cf.write_volume(
        tmp_path / "semantic.ome.zarr",
        (truth() > 0).astype(np.uint8) * 3,
        voxel_nm=VOXEL_NM,
        chunks=(16, 64, 64),
        kind="label",
        classes={"cell": 3},
    )
    found = carried(labels, tmp_path, guide="cell")
    assert sorted(np.unique(found)) == [0, 1, 2, 3]
    with pytest.raises(InputError, match="say which class is followed"):
        planned(labels, tmp_path)


def test_prompts_come_from_files(raw: Any, tmp_path: Path) -> None:
    path = write_prompts(PROMPTS, tmp_path / "prompts.tsv")
    np.testing.assert_array_equal(carried(raw, tmp_path), carried(raw, tmp_path, "w2", prompts=path))


def test_a_damaged_file_is_told(raw: Any, tmp_path: Path) -> None:
    wanted = carried(raw, tmp_path)
    shutil.rmtree(tmp_path / "w/results.ome.zarr")
    damaged = next((tmp_path / "w/artefacts/cells.tracks").rglob("forward-*.npz"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-40])
    with pytest.raises(RunIncompleteError, match="cannot read what was tracked"):
        carried(raw, tmp_path)
    damaged.write_bytes(whole)
    np.testing.assert_array_equal(carried(raw, tmp_path), wanted)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"direction": "up"}, ConfigError, "direction is one of"),
        ({"patience": 0}, ConfigError, "patience is a whole number, 1 or more"),
        ({"group": 1.5}, ConfigError, "group is a whole number"),
        ({"chunk": True}, ConfigError, "chunk is a whole number"),
        ({"limits": (9.0, 3.0)}, ConfigError, "the smaller one first"),
        ({"limits": (3.0, 9.0), "guide": "er"}, ConfigError, "give one of them"),
        ({"guide": "er"}, InputError, "a guide is a class of a label image"),
        ({"device": "gpu"}, ConfigError, "no device 'gpu'"),
        ({"backend": "sam9"}, ValueError, "nothing propagates by 'sam9'"),
        ({"speed": 3}, ConfigError, r"no options \['speed'\]"),
        ({"prompts": ()}, ConfigError, "no prompt"),
        ({"prompts": "absent.csv"}, InputError, "there is no file of prompts"),
        ({"prompts": (box("a", 40, (1, 1, 5, 5)),)}, InputError, "lies outside the image"),
        ({"prompts": (box("a", 0, (1, 1, 5, 201)),)}, InputError, "lies outside the image"),
        ({"prompts": (box("a", 0, (1, 1, 5, 5), kind="heart"),)}, InputError, "no kind of object 'heart'"),
        ({"prompts": (Prompt("a", 20.0, label=3),)}, InputError, "give the label image as masks"),
        ({"prompts_level": 9, "prompts": "x.csv"}, ConfigError, "whose voxels prompts count"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_runs(
    raw: Any, tmp_path: Path, options: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        planned(raw, tmp_path, **options)
    assert not (tmp_path / "w").exists()


def test_slices_that_hold_no_numbers_are_refused(tmp_path: Path) -> None:
    grey = np.where(truth() > 0, 200, 40).astype(np.float32)
    grey[12, 40, 60] = np.nan
    image = cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=VOXEL_NM, chunks=(16, 64, 64))
    plan = planned(image, tmp_path, limits=(0.0, 255.0))
    with pytest.raises(RunIncompleteError, match="NaN or infinite where slices are to be carried"):
        cf.run(plan, progress=False, retries=0)


def test_images_of_other_types_need_limits(tmp_path: Path) -> None:
    grey = np.where(truth() > 0, 30_000, 2_000).astype(np.uint16)
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=VOXEL_NM, chunks=(16, 64, 64))
    with pytest.raises(ConfigError, match="give limits"):
        planned(raw, tmp_path)
    assert sorted(np.unique(carried(raw, tmp_path, limits=(0.0, 40_000.0)))) == [0, 1, 2, 3]


def test_a_label_that_is_not_on_its_slice_is_told(raw: Any, tmp_path: Path) -> None:
    masks = cf.write_volume(
        tmp_path / "masks.ome.zarr", truth(), voxel_nm=VOXEL_NM, chunks=(16, 64, 64), kind="label"
    )
    with pytest.raises(RunIncompleteError, match="has no label 2 on slice 30"):
        carried(raw, tmp_path, prompts=(Prompt("a", 30.5 * 40, label=2),), masks=masks)
