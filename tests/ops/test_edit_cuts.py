"""An object is cut between two places, in the order of the list, whatever the blocks are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from strategies import command, done, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.instances.edits import apply_steps
from chunkflow_liver.ops.edit.cutting import sides
from chunkflow_liver.ops.edit.lists import Edit

NM = (40.0, 10.0, 10.0)


def dumbbell():
    """Two bodies of 5 x 9 x 9 voxels, 0 to 8 and 13 to 21 in x, with a neck of one voxel; another beside."""
    labels = np.zeros((7, 11, 24), np.uint16)
    labels[1:6, 1:10, 1:10] = labels[1:6, 1:10, 14:23] = 5
    labels[3, 5, 10:14] = 5
    labels[0, 0, 0:3] = 9
    return labels


def place(z, y, x):
    return tuple((i + 0.5) * n for i, n in zip((z, y, x), NM, strict=True))


def made(tmp_path, labels, edits, block=None, name="edited"):
    volume = write(tmp_path, labels, "instances", kind="label", voxel_nm=NM)
    at = {"work": tmp_path / "work", "block": block}
    measured = cf.measure(volume, features=["basic"], name="table", **at)
    cf.run(measured)
    return volume, cf.edit(volume, edits, table=measured.output, name=name, **at)


def test_a_dumbbell_falls_apart_at_its_neck(tmp_path):
    labels = dumbbell()
    cut = ("cut", 5, 12, *place(3, 5, 4), *place(3, 5, 18))
    found = {}
    for block in (None, (3, 4, 8)):
        folder = tmp_path / str(block)
        folder.mkdir()
        _, plan = made(folder, labels, [cut], block)
        found[block] = done(plan).read()
        log = cf.read_table(folder / "work/tables/edited-edits.parquet").to_pydict()
        assert (log["action"], log["other"], log["into"]) == (["cut"], [12], [2])
    whole = found[None]
    np.testing.assert_array_equal(whole, found[(3, 4, 8)])
    np.testing.assert_array_equal(whole > 0, labels > 0)
    assert (whole[1:6, 1:10, 1:10] == 5).all()
    assert (whole[1:6, 1:10, 14:23] == 12).all()
    # The neck is shared along its length, once.
    assert np.count_nonzero(np.diff(whole[3, 5, 9:15].astype(int))) == 1
    assert (whole[0, 0, :3] == 9).all()


def test_edits_apply_one_after_the_other(tmp_path):
    """Merged, cut, a part merged with another object, the rest deleted."""
    labels = dumbbell()
    edits = [
        ("merge", 9, 5),
        ("cut", 9, 12, *place(3, 5, 4), *place(3, 5, 18)),
        ("cut", 12, 13, *place(3, 2, 18), *place(3, 8, 18)),
        ("merge", 13, 5),
        ("delete", 12),
    ]
    _, plan = made(tmp_path, labels, edits, (7, 11, 8))
    found = done(plan).read()
    assert set(np.unique(found)) == {0, 5}
    assert (found[1:6, 1:10, 1:10] == 5).all()
    assert (found[1:6, 1:3, 15:22] == 0).all()
    assert (found[1:6, 8:10, 15:22] == 5).all()
    assert (found[0, 0, :3] == 5).all()


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    labels = dumbbell()
    cut = ("cut", 5, 12, *place(3, 5, 4), *place(3, 5, 18))
    volume = write(tmp_path, labels, "instances", kind="label", voxel_nm=NM)
    table = done_table(tmp_path, volume)

    def plan(work):
        return cf.edit(volume, [cut], table=table, name="edited", work=work, block=(3, 11, 24))

    resumed_equals_whole(plan, tmp_path / "first", "edited/find", 1)
    resumed_equals_whole(plan, tmp_path / "second", "edited/apply", 1)


def done_table(tmp_path, volume):
    plan = cf.measure(volume, features=["basic"], name="table", work=tmp_path / "measured")
    cf.run(plan)
    return plan.output


def test_a_list_with_places_and_names_goes_through_the_command_line(tmp_path):
    volume = write(tmp_path, dumbbell(), "instances", kind="label", voxel_nm=NM)
    table = done_table(tmp_path, volume)
    points = ",".join(str(p) for p in (*place(3, 5, 4), *place(3, 5, 18)))
    file = tmp_path / "edits.csv"
    file.write_text(
        "action,label,other,z_nm,y_nm,x_nm,to_z_nm,to_y_nm,to_x_nm,who,when,why\n"
        f'cut,5,12,{points},ada,2026-11-30T10:00:00,"two, touching"\n'
    )
    order = ("edit", volume.url, "--edits", file, "--name", "mended", "--work", tmp_path / "work")
    code, _, told = command(*order)
    assert code == 2
    assert "a 'cut' needs `table`" in told
    assert command(*order, "--table", table.path)[0] == 0
    log = cf.read_table(tmp_path / "work/tables/mended-edits.parquet").to_pydict()
    assert (log["who"], log["why"]) == (["ada"], ["two, touching"])


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([("cut", 5, 12)], r"cut,ID,NEW_ID and two places"),
        ([("cut", 5, 5, 0, 0, 0, 1, 1, 1)], "row 1"),
        ([("cut", 5, 12, 0, 0, 0, 0, 0, 0)], "row 1"),
        ([("cut", 5, 12, 0, 0, "nan", 1, 1, 1)], "row 1"),
        ([("delete", 5), ("cut", 5, 12, 0, 0, 0, 1, 1, 1)], "which comes first"),
        ([("merge", 5, 12), ("cut", 5, 12, 0, 0, 0, 1, 1, 1)], "new id 12 of a cut"),
        ([("cut", 77, 12, 0, 0, 0, 1, 1, 1)], "has no instances .77"),
    ],
)
def test_cuts_that_cannot_be_meant_are_refused(tmp_path, edits, says):
    with pytest.raises((ConfigError, InputError), match=says):
        made(tmp_path, dumbbell(), edits)


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (
            ("cut", 5, 9, *place(3, 5, 4), *place(3, 5, 18)),
            r"ids that the instances have already: 9 \(row 1, cut\)",
        ),
        (("cut", 9, 12, *place(0, 0, 0), *place(6, 10, 23)), "is not in object 9"),
        (("cut", 5, 12, *place(3, 5, 4), *(p + 1 for p in place(3, 5, 4))), "in one voxel"),
    ],
)
def test_cuts_that_do_not_fit_the_voxels_write_nothing(tmp_path, cut, says):
    _, plan = made(tmp_path, dumbbell(), [cut])
    with pytest.raises((InputError, RunIncompleteError), match=says):
        done(plan)
    assert not plan.output.exists()


def test_a_cut_of_a_coarser_level_is_that_of_the_finest_within_one_coarse_voxel():
    """As objects are cut that are too large for the finest level."""
    labels = np.kron(dumbbell(), np.ones((2, 4, 4), np.uint16))
    nm = (20.0, 2.5, 2.5)
    points = [p for at in ((3, 5, 4), (3, 5, 18)) for p in place(*at)]
    edit = Edit("cut", 5, 12, tuple(points))
    found = []
    for factor in ((1, 1, 1), (1, 2, 2)):
        coarse = labels[:: factor[0], :: factor[1], :: factor[2]]
        size = tuple(n * f for n, f in zip(nm, factor, strict=True))
        cut = sides(coarse, Box.of(coarse.shape), size, factor, edit, 5, [])
        found.append(apply_steps(labels, (0, 0, 0), (1, 1, 1), [cut]))
        # Any box of the volume gives its part of the whole.
        part = apply_steps(labels[2:9, 8:30, 30:70], (2, 8, 30), (1, 1, 1), [cut])
        np.testing.assert_array_equal(part, found[-1][2:9, 8:30, 30:70])
    for one, (where, value) in itertools.product(found, [(slice(4, 40), 5), (slice(56, 92), 12)]):
        assert (one[2:12, 4:40, where] == value).all()
    differ = np.unique(np.nonzero(found[0] != found[1])[2])
    assert len(differ) <= 2


def test_steps_apply_in_order_and_ids_that_return_are_others():
    labels = np.array([[[1, 2, 3, 4]]], np.uint16)
    steps = [(2, 1), (1, 0), (3, 1), (4, 3), (3, 2)]
    assert apply_steps(labels, (0, 0, 0), (1, 1, 1), steps).ravel().tolist() == [0, 0, 1, 2]
