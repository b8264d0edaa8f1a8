"""An object in two along its pieces, which stay whole, whatever the blocks are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import blocks, command, done, resumed_equals_whole, seeds, shapes, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError
from chunkflow_liver.kernels.instances.cleaving import second_side, shared_faces
from chunkflow_liver.store.table import Table

NM = (40.0, 10.0, 20.0)


def place(z, y, x):
    return tuple((i + 0.5) * n for i, n in zip((z, y, x), NM, strict=True))


def cleave(label, new, one, other):
    return ("cleave", label, new, *place(*one), *place(*other))


def beads():
    """Object 5 of four pieces in a row, 11 to 14; 3 of one piece, and two voxels of 5 in no piece.

    Faces across x have 400 nm2: 11 and 12 meet over 4 of them, 12 and 13 over one, 13 and 14 over 3.
    """
    pieces = np.zeros((3, 4, 12), np.uint32)
    pieces[0:2, 0:2, 0:3], pieces[0:2, 0:2, 3:6], pieces[1, 1, 6:9], pieces[0:3, 1, 9:12] = 11, 12, 13, 14
    pieces[0, 1, 6:9] = pieces[2, 1, 6:9] = 13
    pieces[0, 1, 6] = pieces[2, 1, 6] = 0
    labels = np.where(pieces > 0, 5, 0).astype(np.uint16)
    labels[0, 3, 0:2] = 5
    labels[2, 3, 4:6], pieces[2, 3, 4:6] = 3, 30
    return labels, pieces


def made(folder, labels, pieces, edits, block=None):
    at = {"work": folder / "work", "block": block}
    volume = write(folder, labels, "instances", kind="label", voxel_nm=NM)
    finer = write(folder, pieces, "pieces", kind="label", voxel_nm=NM)
    return cf.edit(volume, edits, pieces=finer, table=boxes_of(folder, labels), name="edited", **at)


def boxes_of(folder, labels):
    """The columns of a table of the instances that a cleave needs."""
    ids = np.unique(labels[labels > 0])
    ends = [(np.argwhere(labels == i).min(axis=0), np.argwhere(labels == i).max(axis=0) + 1) for i in ids]
    columns = {"label": ids.astype(np.uint64)}
    for axis, name in enumerate("zyx"):
        columns |= {
            f"bbox_{name}_{of}": np.array([e[k][axis] for e in ends]) for k, of in enumerate(("min", "max"))
        }
    table = Table(str(folder / "table.parquet"))
    table.write(columns)
    return table


def test_a_chain_of_pieces_falls_apart_where_they_touch_least(tmp_path):
    labels, pieces = beads()
    wanted = np.where(np.isin(pieces, (13, 14)), 8, labels)
    for block in (None, (1, 4, 5)):
        folder = tmp_path / str(block)
        folder.mkdir()
        plan = made(folder, labels, pieces, [cleave(5, 8, (0, 0, 1), (1, 1, 10))], block)
        np.testing.assert_array_equal(done(plan).read(), wanted)
        log = cf.read_table(folder / "work/tables/edited-edits.parquet").to_pydict()
        assert (log["action"], log["other"], log["into"]) == (["cleave"], [8], [2])


def test_a_piece_goes_the_way_of_the_larger_face(tmp_path):
    """12 is between: 4 faces of 400 nm2 to 11, one to 13; from 13, 14 is nearer than 12."""
    labels, pieces = beads()
    plan = made(tmp_path, labels, pieces, [cleave(5, 8, (1, 1, 7), (0, 0, 1))])
    np.testing.assert_array_equal(done(plan).read(), np.where(np.isin(pieces, (11, 12)), 8, labels))


def test_edits_apply_one_after_the_other(tmp_path):
    """Merged, cleft, a part cleft again and one of those flooded from two places, the rest deleted."""
    labels, pieces = beads()
    edits = [
        ("merge", 5, 3),
        cleave(5, 8, (0, 0, 1), (1, 1, 10)),
        cleave(8, 9, (1, 1, 7), (1, 1, 10)),
        ("cut", 9, 10, *place(0, 1, 10), *place(2, 1, 10)),
        ("delete", 8),
        ("merge", 10, 3),
    ]
    found = done(made(tmp_path, labels, pieces, edits, (3, 4, 4))).read()
    assert (found[pieces == 13] == 0).all()
    assert (found[np.isin(pieces, (11, 12, 30))] == 3).all()
    last = found[pieces == 14].reshape(3, 3)
    assert (last[0] == 9).all()
    assert (last[2] == 3).all()


@settings(max_examples=10, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_pieces_stay_whole_and_are_all_of_the_object_whatever_the_blocks_are(shape, seed, block):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, shape).astype(np.uint8)
    pieces = rng.integers(0, 9, shape).astype(np.uint32)
    inside = np.argwhere((labels == 1) & (pieces > 0))
    ends = [tuple(i.tolist()) for i in rng.permutation(inside)]
    other = next((i for i in ends if pieces[i] != pieces[ends[0]]), None)
    if other is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        plan = made(Path(folder), labels, pieces, [cleave(1, 7, ends[0], other)], block)
        found = done(plan).read()
    one, two = (set(pieces[found == i].tolist()) for i in (1, 7))
    assert not one & two
    assert (one | two) == set(pieces[labels == 1].tolist())
    np.testing.assert_array_equal(np.where(found == 7, 1, found), labels)
    assert (found[ends[0]], found[other]) == (1, 7)
    faces = shared_faces(pieces, labels == 1, shape)
    assert two == set(second_side(faces, int(pieces[ends[0]]), int(pieces[other]), NM).tolist())


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (cleave(5, 8, (0, 0, 1), (1, 1, 2)), "both points in object 5 are in its piece 11, and pieces stay"),
        (cleave(5, 8, (0, 0, 1), (0, 3, 0)), "in no piece: the image of pieces is 0 there"),
        (cleave(3, 8, (2, 3, 4), (0, 0, 11)), r"the point \(20, 5, 230\) nm is not in object 3"),
        (cleave(5, 3, (0, 0, 1), (1, 1, 10)), r"have already: 3 \(row 1, cleave\)"),
    ],
)
def test_what_does_not_fit_the_voxels_writes_nothing(tmp_path, edit, says):
    plan = made(tmp_path, *beads(), [edit])
    with pytest.raises((InputError, RunIncompleteError), match=says):
        done(plan)
    assert not plan.output.exists()


def test_what_cannot_be_meant_is_refused(tmp_path):
    labels, pieces = beads()
    row = cleave(5, 8, (0, 0, 1), (1, 1, 10))
    volume = write(tmp_path, labels, "instances", kind="label", voxel_nm=NM)
    finer = write(tmp_path, pieces, "pieces", kind="label", voxel_nm=NM)
    at = {"name": "edited", "work": tmp_path / "work"}
    with pytest.raises(ConfigError, match="a 'cleave' needs `pieces`"):
        cf.edit(volume, [row], **at)
    with pytest.raises(ConfigError, match="a 'cleave' needs `table`"):
        cf.edit(volume, [row], pieces=finer, **at)
    with pytest.raises(ConfigError, match="row 1 of the edits"):
        cf.edit(volume, [row[:6]], pieces=finer, **at)
    with pytest.raises(ConfigError, match="new id 8 of a cleave"):
        cf.edit(volume, [("merge", 5, 8), row], pieces=finer, **at)
    other = write(tmp_path, pieces[:, :3], "other", kind="label", voxel_nm=NM)
    with pytest.raises(InputError, match="cleave needs both on the same voxels"):
        cf.edit(volume, [row], pieces=other, **at)


def test_a_broken_run_goes_on_to_the_same_bytes_also_from_the_command_line(tmp_path):
    labels, pieces = beads()
    volume = write(tmp_path, labels, "instances", kind="label", voxel_nm=NM)
    finer = write(tmp_path, pieces, "pieces", kind="label", voxel_nm=NM)
    table = boxes_of(tmp_path, labels)
    row = cleave(5, 8, (0, 0, 1), (1, 1, 10))

    def plan(work):
        at = {"name": "edited", "work": work, "block": (3, 4, 4)}
        return cf.edit(volume, [row], pieces=finer, table=table, **at)

    resumed_equals_whole(plan, tmp_path / "first", "edited/cleave-1", 1)
    file = tmp_path / "edits.csv"
    points = ",".join(str(p) for p in row[3:])
    file.write_text(f"action,label,other,z_nm,y_nm,x_nm,to_z_nm,to_y_nm,to_x_nm\ncleave,5,8,{points}\n")
    order = ("edit", volume.url, "--edits", file, "--pieces", finer.url, "--table", table.path)
    code, said, told = command(*order, "--name", "cleft", "--work", tmp_path / "work")
    assert code == 0, told
    wanted = np.where(np.isin(pieces, (13, 14)), 8, labels)
    np.testing.assert_array_equal(cf.open_volume(said.strip()).read(), wanted)
