"""Edits relabel what they name, and nothing else, whatever the blocks are."""

from __future__ import annotations

import itertools
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage
from strategies import blocks, command, done, resumed_equals_whole, seeds, shapes, write

import chunkflow_liver as cf
from chunkflow_liver.engine.watch.status import status_text
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError


def scattered(shape, seed):
    """Objects in many parts, and finer pieces (with background) on the same voxels."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(np.arange(1, 90), 6, replace=False)
    labels = np.where(rng.random(shape) < 0.5, rng.choice(ids, shape), 0).astype(np.uint16)
    return labels, rng.integers(0, 4, shape).astype(np.uint32)


def whole(labels, pieces, edits):
    """The same row by row on the whole array."""
    out = labels.astype(np.int64)
    last = int(labels.max())
    group = {i: i for row in edits if row[0] == "merge" for i in row[1:]}
    for action, a, *b in edits:
        if action == "merge":
            joined = {group[a], group[b[0]]}
            group = {i: min(joined) if g in joined else g for i, g in group.items()}
        if action == "delete":
            out[labels == a] = 0
    for i, g in group.items():
        out[labels == i] = g
    for kind in ("split", "divide"):
        for a in sorted(row[1] for row in edits if row[0] == kind):
            if kind == "split":
                parts, n = ndimage.label(labels == a)
                masks = [parts == i + 1 for i in range(n)]
                masks.sort(key=lambda m: np.flatnonzero(m)[0])
            else:
                masks = [(labels == a) & (pieces == i) for i in np.unique(pieces[labels == a])]
            largest = max(range(len(masks)), key=lambda i: masks[i].sum())
            for i, mask in enumerate(masks):
                if i != largest:
                    last += 1
                    out[mask] = last
    return out


@settings(max_examples=30, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
def test_edits_do_not_depend_on_the_grid(shape, seed, block):
    labels, pieces = scattered(shape, seed)
    ids = np.random.default_rng(seed + 1).permutation(np.unique(labels[labels > 0])).tolist()
    edits = [("split", i) for i in ids[:1]] + [("divide", i) for i in ids[1:2]]
    edits += [("delete", i) for i in ids[2:3]]
    edits += [("merge", a, b) for a, b in itertools.pairwise(ids[3:])]
    if not edits:
        return
    with tempfile.TemporaryDirectory() as folder:
        volume = write(folder, labels, "instances", kind="label")
        finer = write(folder, pieces, "pieces", kind="label")
        plan = cf.edit(volume, edits, pieces=finer, name="edited", work=f"{folder}/work", block=block)
        found = done(plan).read()
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, whole(labels, pieces, edits))


def test_a_hand_worked_list_through_the_command_line(tmp_path):
    """A rod of 3 + 2 voxels over two blocks is split, two objects are merged, one goes, one stays."""
    labels = np.zeros((2, 3, 12), np.uint8)
    labels[0, 0, 0:3] = labels[0, 0, 6:8] = 40
    labels[0, 2, 0:4], labels[1, 2, 6:9] = 7, 3
    labels[1, 0, 10], labels[1, 1, 0] = 9, 8
    volume = write(tmp_path, labels, "instances", kind="label", chunks=(2, 3, 4))
    file = tmp_path / "edits.csv"
    file.write_text("action,label,other\nsplit,40,\nmerge,7,3\n\ndelete,9\n")
    order = ("edit", volume.url, "--edits", file, "--name", "corrected", "--work", tmp_path / "work")
    code, said, told = command(*order)
    assert (code, said.strip()) == (0, str(tmp_path / "work" / "results.ome.zarr/labels/corrected")), told
    wanted = labels.copy()
    wanted[0, 0, 6:8], wanted[0, 2, 0:4], wanted[1, 0, 10] = 41, 3, 0
    np.testing.assert_array_equal(cf.open_volume(said.strip()).read(), wanted)
    log = cf.read_table(tmp_path / "work/tables/corrected-edits.parquet").to_pydict()
    assert log == {
        "row": [1, 2, 3],
        "action": ["split", "merge", "delete"],
        "label": [40, 7, 9],
        "other": [0, 3, 0],
        "voxels": [5, 4, 1],
        "into": [2, 3, 0],
    }
    file.write_text("action,label\ndelete,8\n")
    code, _, told = command(*order)
    assert code == 2
    assert "was written by a different plan" in told
    assert command(*order, "--redo")[0] == 0
    np.testing.assert_array_equal(cf.open_volume(said.strip()).read(), np.where(labels == 8, 0, labels))


def test_what_label_parts_split_parts_too(tmp_path):
    """Two mitochondria that meet by an edge, under one id of another program; across blocks, too."""
    mask = np.zeros((4, 6, 8), np.uint8)
    mask[:2, :3, :4], mask[2:, 3:, :4], mask[2:, 3:, 4:] = 1, 1, 1
    volume = write(tmp_path, mask, "mask", kind="label")
    at = {"work": tmp_path / "work", "block": (2, 3, 4)}
    found = done(cf.edit(volume, [("split", 1)], name="edited", **at)).read()
    # The larger part keeps the id of both, 1; `label` numbers by first voxels.
    parts = done(cf.label(volume, classes=[1], name="parts", **at)).read()
    np.testing.assert_array_equal(found, np.array([0, 2, 1])[parts])
    assert found.max() == 2


def test_an_object_is_divided_by_the_ids_that_it_had_before(tmp_path):
    before = np.zeros((4, 4, 8), np.uint32)
    before[1, 1, 0:5], before[1, 1, 5:7], before[3, 3, 1] = 1, 2, 3
    merged = np.where(before == 2, 1, before).astype(np.uint32)
    merged[1, 1, 7] = 1
    at = {"work": tmp_path / "work", "block": (4, 4, 4)}
    volume = write(tmp_path, merged, "merged", kind="label")
    finer = write(tmp_path, before, "before", kind="label")
    found = done(cf.edit(volume, [("divide", 1)], pieces=finer, name="again", **at)).read()
    wanted = np.where(before == 2, 5, merged)
    wanted[1, 1, 7] = 4
    np.testing.assert_array_equal(found, wanted)


def test_ids_of_64_bits_are_edited(tmp_path):
    labels = np.array([[[2**53, 2**53 + 1, 0, 2**53 + 1, 2**63]]], np.uint64)
    volume = write(tmp_path, labels, "instances", kind="label")
    edits = [("split", 2**53 + 1), ("merge", 2**53, 2**63)]
    found = done(cf.edit(volume, edits, name="edited", work=tmp_path / "work")).read()
    assert found.ravel().tolist() == [2**53, 2**53 + 1, 0, 2**63 + 1, 2**53]


def test_the_largest_id_there_is_stays_and_takes_no_new_one_after_it(tmp_path):
    labels = np.array([[[2**64 - 1, 0, 3, 0, 3]]], np.uint64)
    volume = write(tmp_path, labels, "instances", kind="label")
    found = done(cf.edit(volume, [("delete", 3)], name="fewer", work=tmp_path / "work")).read()
    assert found.ravel().tolist() == [2**64 - 1, 0, 0, 0, 0]
    with pytest.raises(
        (InputError, RunIncompleteError), match=f"new id would be {2**64}, which uint64 cannot hold"
    ):
        done(cf.edit(volume, [("split", 3)], name="more", work=tmp_path / "work"))


def test_ids_that_are_not_there_or_do_not_fit_stop_the_run_before_it_writes(tmp_path):
    labels = np.zeros((1, 1, 9), np.uint8)
    labels[0, 0, ::2] = 255
    volume = write(tmp_path, labels, "instances", kind="label")
    for edits, says in [
        (
            [("delete", 12), ("merge", 255, 77)],
            r"name ids that the instances do not have: 12 \(row 1, delete\), 77 \(row 2, merge\)",
        ),
        ([("split", 255)], "the largest new id would be 259, which uint8 cannot hold"),
        ([("delete", i) for i in range(1, 15)], r"1 \(row 1, delete\), .*, 10 \(row 10, delete\) and 4 more"),
    ]:
        plan = cf.edit(volume, edits, name="edited", work=tmp_path / f"{len(edits)}")
        with pytest.raises((InputError, RunIncompleteError), match=says):
            done(plan)
        assert not plan.output.exists()


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    labels, _ = scattered((9, 9, 9), 3)
    volume = write(tmp_path, labels, "instances", kind="label")
    ids = np.unique(labels)[1:].tolist()

    def plan(work):
        edits = [("split", ids[0]), ("merge", ids[1], ids[2])]
        return cf.edit(volume, edits, name="edited", work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path / "first", "edited/find", 1)
    resumed_equals_whole(plan, tmp_path / "second", "edited/apply", 2)


@pytest.mark.parametrize(
    ("edits", "error", "says"),
    [
        ([], ConfigError, "the edits hold no row"),
        ([("join", 1, 2)], ConfigError, "row 1 of the edits is"),
        ([("split", 1), ("merge", 1)], ConfigError, "row 2 of the edits is .*wanted is merge,ID,ID"),
        ([("split", 0)], ConfigError, "with IDs from 1"),
        ([("split", "1.5")], ConfigError, "row 1"),
        ([("split", -3)], ConfigError, "with IDs from 1"),
        (
            [("split", 2), ("merge", 1, 2)],
            ConfigError,
            "split, divide or delete 2 and name it in another row",
        ),
        ([("delete", 2), ("delete", 2)], ConfigError, "which comes first"),
        ([("divide", 2)], ConfigError, "needs `pieces`"),
        ("nowhere.csv", InputError, "no list of edits at nowhere.csv"),
    ],
)
def test_edits_that_cannot_be_meant_are_refused(edits, error, says, tmp_path, listing):
    volume = write(tmp_path, scattered((3, 4, 5), 0)[0], "instances", kind="label")
    before = listing()
    with pytest.raises(error, match=says):
        cf.edit(volume, edits, name="edited", work=tmp_path / "work")
    assert listing() == before


def test_other_files_other_shapes_and_planning(tmp_path, monkeypatch):
    volume = write(tmp_path, scattered((3, 4, 5), 0)[0], "instances", kind="label")
    finer = write(tmp_path, scattered((3, 4, 6), 0)[1], "pieces", kind="label")
    with pytest.raises(InputError, match="divide needs both on the same voxels"):
        cf.edit(volume, [("divide", 1)], pieces=finer, name="edited", work=tmp_path / "work")
    file = tmp_path / "table.csv"
    file.write_text("id,what\n3,merge\n")
    with pytest.raises(ConfigError, match="must begin with the line 'action,label,other'"):
        cf.edit(volume, file, name="edited", work=tmp_path / "work")
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    assert "edited/find" in str(cf.edit(volume, [("delete", 1)], name="edited", work=tmp_path / "work"))


def test_a_result_of_the_run_is_not_replaced_by_edits_of_it(tmp_path):
    """Also where the work is to be redone: what the edits were made from would be gone."""
    at = {"work": tmp_path / "work"}
    classes = write(tmp_path, np.ones((2, 3, 4), np.uint8), "classes", kind="label")
    mitos = done(cf.label(classes, classes=1, name="mitos", **at))
    other = write(tmp_path, np.full((2, 3, 4), 5, np.uint8), "other", kind="label")
    edits = tmp_path / "edits.csv"
    edits.write_text("action,label\ndelete,5\n")
    order = ("edit", other.url, "--edits", edits, "--name", "mitos", "--work", tmp_path / "work")
    before = (tmp_path / "work/run.json").read_bytes()
    for redo in ((), ("--redo",)):
        code, _, told = command(*order, *redo)
        assert code == 2
        assert "mitos.instances is a result of this run" in told
        assert "choose another name" in told
    assert (tmp_path / "work/run.json").read_bytes() == before
    assert (mitos.read() == 1).all()


def test_the_status_after_an_edit_tells_of_the_run_before_it_too(tmp_path):
    at = {"work": tmp_path / "work"}
    classes = write(tmp_path, np.ones((2, 3, 4), np.uint8), "classes", kind="label")
    first = cf.label(classes, classes=1, name="mitos", **at)
    mitos = done(first)
    edited = cf.edit(mitos, [("delete", 1)], name="edited", **at)
    done(edited)
    lines = status_text(tmp_path / "work").splitlines()
    names = [stage.name for plan in (first, edited) for stage in plan.stages]
    assert [line.split()[:2] for line in lines] == [[name, "done"] for name in names]
    # What is to be made anew is told where it stands now.
    cf.run(cf.edit(mitos, [("class", 1, "er")], name="edited", **at), progress=False, redo=True)
    assert [line.split()[0] for line in status_text(tmp_path / "work").splitlines()] == names


def test_objects_keep_their_class_and_get_another(tmp_path):
    """A mitochondrion is split, the parts keep its class; a lipid becomes ER, another what nobody knew."""
    classes = np.zeros((1, 2, 11), np.uint8)
    classes[0, 0] = [2, 2, 0, 3, 0, 3, 0, 3, 0, 2, 2]
    named = write(tmp_path, classes)
    at = {"work": tmp_path / "work"}
    found = done(cf.label(named, name="all", **at))
    ids = found.read()[0, 0]
    assert ids.tolist() == [1, 1, 0, 2, 0, 3, 0, 4, 0, 5, 5]
    rows = [("merge", 1, 5), ("class", 2, "er"), ("class", 3, "vacuole"), ("class", 5, "1")]
    edited = done(cf.edit(found, rows, name="edited", **at))
    table = cf.read_table(done(cf.measure(edited, features=["basic"], name="table", **at))).to_pydict()
    assert dict(zip(table["label"], table["class"], strict=True)) == {
        1: "er",
        2: "er",
        3: "vacuole",
        4: "lipid",
    }
    again = done(cf.edit(edited, [("split", 1), ("class", 4, 2)], name="again", **at))
    table = cf.read_table(done(cf.measure(again, features=["basic"], name="more", **at))).to_pydict()
    wanted = {1: "er", 2: "er", 3: "vacuole", 4: "mitochondrion", 5: "er"}
    assert dict(zip(table["label"], table["class"], strict=True)) == wanted
    log = cf.read_table(tmp_path / "work/tables/again-edits.parquet").to_pydict()
    assert (log["class"], log["into"]) == (["", "2"], [2, 4])


def test_instances_of_nobody_knows_whom_get_classes(tmp_path):
    labels = np.array([[[7, 7, 0, 9]]], np.uint16)
    volume = write(tmp_path, labels, "instances", kind="label")
    at = {"work": tmp_path / "work"}
    fewer = done(cf.edit(volume, [("delete", 7)], name="fewer", **at))
    table = cf.read_table(done(cf.measure(fewer, features=["basic"], name="rest", **at))).to_pydict()
    assert (table["label"], table["class"]) == ([9], [""])
    edited = done(cf.edit(volume, [("class", 9, "vacuole")], name="edited", **at))
    table = cf.read_table(done(cf.measure(edited, features=["basic"], name="table", **at))).to_pydict()
    assert table["class"] == ["", "vacuole"]
    far = write(tmp_path, labels.astype(np.uint64) << np.uint64(40), "far", kind="label")
    with pytest.raises(InputError, match="number the instances anew with refine first"):
        done(cf.edit(far, [("class", 9 << 40, "vacuole")], name="other", **at))


def test_tables_of_another_run_that_are_out_of_date_are_set_aside_and_said(tmp_path, caplog):
    """The page's command makes the edited image anew; what a run file measured on it waits for that file."""
    labels = np.zeros((4, 8, 16), np.uint32)
    labels[1:3, 2:6, 2:6], labels[1:3, 2:6, 9:13] = 1, 2
    volume = write(tmp_path, labels, "ids", kind="label")
    at = {"name": "edited", "work": tmp_path / "work"}
    made = cf.edit(volume, [("delete", 1)], **at)
    measured = cf.measure(made.output, features=["basic"], name="after", work=tmp_path / "work")
    cf.run(made + measured, progress=False)
    table, aside = tmp_path / "work/tables/after.parquet", tmp_path / "work/outdated"
    again = cf.edit(volume, [("delete", 2)], **at)
    cf.run(again, redo=True, progress=False)
    assert "so out of date: after; they lie in" in caplog.text
    assert not table.exists()
    assert (aside / "after.parquet").exists()
    cf.run(
        again + cf.measure(again.output, features=["basic"], name="after", work=tmp_path / "work"),
        redo=True,
        progress=False,
    )
    assert cf.read_table(table).to_pydict()["label"] == [1]
    assert not aside.exists()
