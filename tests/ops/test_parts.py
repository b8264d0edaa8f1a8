"""A part of a volume, a box or a mask, is to every operation what the part alone would be."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import numpy as np
import pytest
from parts import CORNERS, LAID, OPERATIONS, REGION, SHAPE, Case
from scipy import ndimage
from strategies import VOXEL_NM, done, semantic, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, JournalError
from chunkflow_liver.reports.sections.sentences import masked_share, tissue_um3
from chunkflow_liver.store.volume import Volume


def found_of(plan: Any, how: str) -> dict[str, Any]:
    """Images of the part, and tables, that a plan makes; seams are those of blocks, windows of tiles."""
    done(plan)
    found = {}
    for product in plan.products:
        if product.kind == "raw" or not str(getattr(product.handle, "url", plan.work)).startswith(
            str(plan.work)
        ):
            continue
        if isinstance(product.handle, Volume):
            image = product.handle.read()
            if how != "alone":
                rest = image.copy()
                rest[REGION.slices] = 0
                # Elsewhere distances are there, and mean nothing.
                assert name_of(product) in ("distance", "exact", "nearest") or not rest.any()
                image = image[REGION.slices]
            found[product.name] = image
        elif product.kind not in ("seam table", "worst windows"):
            found[product.name] = cf.read_table(product.handle).to_pydict()
    return found


def name_of(product: Any) -> str:
    return "nearest" if product.name.endswith("-nearest") else str(product.kind)


def same(got: dict[str, Any], wanted: dict[str, Any], shift: Any) -> None:
    """All that two runs found; places and boxes of the second lie `shift` voxels farther in the first."""
    assert list(got) == list(wanted)
    assert wanted
    for name, one in got.items():
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, wanted[name], err_msg=name)
            continue
        assert list(one) == list(wanted[name])
        for column, values in one.items():
            there = wanted[name][column]
            if not there or isinstance(there[0], str):
                assert values == there, (name, column)
                continue
            by = 0.0
            for axis, a in enumerate("zyx"):
                if column in (f"{a}_nm", f"centroid_{a}_nm"):
                    by = shift[axis] * VOXEL_NM[axis]
                elif column in (f"bbox_{a}_min", f"bbox_{a}_max") or (column, axis) == ("z", 0):
                    by = shift[axis]
            np.testing.assert_allclose(
                np.array(values, float),
                np.array(there, float) + by,
                rtol=1e-9,
                atol=1e-9,
                err_msg=f"{name} {column}",
            )


@pytest.mark.parametrize("name", [*OPERATIONS, *LAID])
def test_a_mask_that_is_a_box_is_that_box_and_that_is_the_volume_cut_out(name, tmp_path):
    case = Case(tmp_path, 3)
    runs = {}
    for how, block in (("box", (5, 7, 8)), ("mask", (4, 7, 15)), ("alone", (8, 8, 9))):
        if how == "alone" and (name in LAID or name == "network"):
            # Which voxel of a network has its turn first depends on its place in the volume.
            continue
        work = {"work": tmp_path / f"work-{how}", "block": block}
        runs[how] = found_of((OPERATIONS | LAID)[name](case.volumes(how), work), how)
    if name in LAID:
        # A box ends where objects are laid, and a mask refuses places: as likely, but not the same ones.
        for tables in runs.values():
            tables["x"] = {k: v for k, v in tables["x"].items() if k in ("what", "observed", "objects")}
            tables["x-objects"] = {
                k: v for k, v in tables["x-objects"].items() if k in ("label", "voxels", "touches_border")
            }
            assert tables["x"]["observed"]
            del tables["x-curve"]
    same(runs["mask"], runs["box"], (0, 0, 0))
    if "alone" in runs:
        same(runs["box"], runs["alone"], REGION.start)


def stairs(shape: Any) -> Any:
    """A mask that is no box."""
    z, y, x = np.indices(shape)
    return ((y + x + z < 24) & (y > 1)).astype(np.uint8)


@pytest.mark.parametrize("cap", [40.0, None])
def test_in_any_mask_flags_and_marks_are_those_of_brute_force(cap, tmp_path):
    case = Case(tmp_path, 8)
    wanted = stairs(SHAPE)
    mask = write(tmp_path, wanted, "stairs", kind="label")
    whole = {k: dataclasses.replace(v, region=None, blank=False) for k, v in case.volumes("box").items()}
    part = {k: v.within(mask) for k, v in whole.items()}
    at = {"work": tmp_path / "work", "block": (5, 7, 8)}
    plan = cf.distance(part["classes"], to="er", cap_nm=cap, name="d", **at)
    distance = done(plan).read()
    exact = next(p.handle for p in plan.products if p.kind == "exact").read()
    known = wanted > 0
    er = (case.classes == 2) & known
    padded = np.pad(~known, 1, constant_values=True)
    away = ndimage.distance_transform_edt(~padded, sampling=VOXEL_NM)[1:-1, 1:-1, 1:-1]
    truth = ndimage.distance_transform_edt(~er, sampling=VOXEL_NM)
    inside = known & (truth <= (cap or np.inf))
    np.testing.assert_allclose(distance[inside], truth[inside], rtol=1e-5)
    sure = np.minimum(truth, cap or np.inf) <= away * (1 + 1e-6)
    np.testing.assert_array_equal(exact[known] > 0, sure[known])
    rows = table(cf.measure(part["instances"], features=["basic"], name="t", **at))
    grown = ndimage.binary_dilation(padded)[1:-1, 1:-1, 1:-1]
    cut = np.unique(case.instances[known & grown])
    assert rows["label"] == [v for v in np.unique(case.instances[known]) if v]
    assert rows["touches_border"] == [v in cut for v in rows["label"]]
    assert 0 < sum(rows["touches_border"]) < len(rows["label"])
    assert plan.output.mask == mask
    again = cf.open_volume(plan.output.url)
    assert again.mask is not None
    assert (again.mask.url, again.mask.shape) == (mask.url, mask.shape)
    np.testing.assert_array_equal(again.seen(again.box), known)


def test_a_flat_object_has_its_faces_inside_of_the_mask_only(tmp_path):
    """A slab of two slices: two faces of 8 x 16 nm for every column in the mask; its cut rim has none."""
    slab = np.zeros((9, 24, 24), np.uint8)
    slab[4:6] = 1
    wanted = np.broadcast_to(stairs((1, 24, 24)), slab.shape).copy()
    volume = write(tmp_path, slab, "slab", kind="label").within(write(tmp_path, wanted, "mask", kind="label"))
    rows = table(
        cf.measure(volume, features=["surface", "basic"], name="t", work=tmp_path / "w", block=(9, 7, 8))
    )
    assert rows["surface_um2"] == pytest.approx([2 * wanted[4].sum() * 8 * 16 / 1e6], rel=1e-6)
    assert rows["touches_border"] == [True]
    assert np.isnan(rows["sphericity"]).all()


def test_a_mask_of_coarser_voxels_is_read_at_their_centres(tmp_path):
    volume = write(tmp_path, semantic((8, 8, 8), 1))
    coarse = np.zeros((4, 4, 4), np.uint8)
    coarse[1:3, :2, 2:] = 7
    mask = write(tmp_path, coarse, "coarse", kind="label", voxel_nm=tuple(2 * v for v in VOXEL_NM))
    part = volume.within(mask)
    wanted = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2) > 0
    np.testing.assert_array_equal(part.read(), np.where(wanted, volume.read(), 0))
    size = 8 * 8 * 8 * 4 * 8 * 16 / 1e9
    assert masked_share(part) == pytest.approx(8 / 64)
    assert tissue_um3(part) == pytest.approx(size * 8 / 64)
    shutil.rmtree(mask.url)
    assert np.isnan(tissue_um3(part))
    write(tmp_path, coarse, "coarse", kind="label", voxel_nm=tuple(2 * v for v in VOXEL_NM))
    both = part.within(((8, 0, 0), (20, 64, 128)))
    np.testing.assert_array_equal(both.seen(both.box).sum((1, 2)) > 0, [0, 0, 1, 1, 1, 0, 0, 0])


def test_a_run_in_another_part_is_another_run(tmp_path):
    case = Case(tmp_path, 3)
    box, at = case.volumes("box")["classes"], {"work": tmp_path / "work", "name": "x"}
    done(cf.label(box, **at))
    with pytest.raises(JournalError, match="was written by a different plan"):
        done(cf.label(dataclasses.replace(box, region=None).within(case.mask), **at))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda v: cf.flow(v["raw"], name="x", work="w"), "flow takes no .*slices are looked at whole"),
        (
            lambda v: cf.edit(v["instances"], edits=[], name="x", work="w"),
            "edit takes no .*edit the whole image",
        ),
        (
            lambda v: cf.cells(v["raw"], painted=v["instances"], name="x", work="w"),
            "cells takes no .*slices are looked at whole",
        ),
    ],
)
@pytest.mark.parametrize("how", ["box", "mask"])
def test_operations_that_need_all_of_an_image_refuse_a_part(call, says, how, tmp_path):
    with pytest.raises(ConfigError, match=says):
        call(Case(tmp_path, 3).volumes(how))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda v: cf.measure(v["instances"], features=["surroundings"], name="x", work="w"),
            "takes no mask.*what lies around objects",
        ),
    ],
)
def test_what_cannot_be_told_in_a_mask_is_refused(call, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        call(Case(tmp_path, 3).volumes("mask"))


def test_masks_and_boxes_that_cannot_be_are_refused(tmp_path):
    case = Case(tmp_path, 3)
    whole = dataclasses.replace(case.volumes("box")["classes"], region=None, blank=False)
    short = write(tmp_path, np.ones((5, 14, 15), np.uint8), "short", kind="label")
    with pytest.raises(InputError, match="covers the same extent"):
        whole.within(short)
    aside = dataclasses.replace(
        write(tmp_path, np.ones(SHAPE, np.uint8), "aside", kind="label"), origin_nm=(0.0, 8.0, 0.0)
    )
    with pytest.raises(
        InputError, match=r"aside.* begins at 4 nm along y, .* at -4 nm: a mask covers the same"
    ):
        whole.within(aside)
    with pytest.raises(InputError, match="must hold integers"):
        whole.within(write(tmp_path, np.ones(SHAPE, np.float32), "floats"))
    other = write(tmp_path, stairs(SHAPE), "other", kind="label")
    with pytest.raises(ConfigError, match="already; draw it and"):
        whole.within(case.mask).within(other)
    with pytest.raises(ConfigError, match="holds no voxel"):
        whole.within(CORNERS).within(((0, 0, 0), (3, 8, 16)))
