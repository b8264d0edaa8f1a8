"""After edits only blocks that they touch are done again, and the bytes are those of a run from scratch."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from functools import reduce
from importlib import import_module
from operator import add
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import contents, done, seeds, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.engine.pyramid import Finer
from chunkflow_liver.engine.unchanged import taking
from chunkflow_liver.engine.unchanged.pairing import paired
from chunkflow_liver.engine.unchanged.touched import boxes_of, differing_rows, reading
from chunkflow_liver.engine.upkeep.clean import clean
from chunkflow_liver.engine.upkeep.repair import damage, repair
from chunkflow_liver.errors import RunIncompleteError
from chunkflow_liver.geometry import BlockGrid, Box
from chunkflow_liver.ops.steps.levels import Repeated
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume

FEATURES = ["basic", "firstorder", "shape", "skeleton"]


def operations(instances, classes, raw, name, at, few=False):
    """One operation of every kind of stage: sums, halos, images, and, but for `few`, whole objects."""
    found = [
        cf.measure(instances, raw=raw, features=FEATURES[: 2 if few else None], name=f"{name}-table", **at),
        cf.distance(instances, cap_nm=20, name=f"{name}-distance", **at),
        cf.contacts(instances, classes, to="er", gap_nm=12, name=f"{name}-er", **at),
    ]
    if few:
        return found
    return [
        *found,
        cf.measure(instances, features=["morphology"], name=f"{name}-form", **at),
        cf.contacts(instances, instances, gap_nm=12, name=f"{name}-self", **at),
        cf.narrowing(instances, er=classes, near=cf.Near(to="er"), name=f"{name}-narrow", **at),
    ]


def scene(folder, seed, shape=(12, 18, 18)):
    rng = np.random.default_rng(seed)
    classes = np.where(rng.random(shape) < 0.05, 1, 0).astype(np.uint8)
    for _ in range(14):
        z, y, x = (int(rng.integers(0, n - 3)) for n in shape)
        classes[z : z + 3, y : y + 4, x : x + 3] = 2
    at = {"work": f"{folder}/work"}
    raw = write(folder, rng.integers(0, 200, shape).astype(np.uint8), "raw")
    return write(folder, classes), raw, at


def edits_of(instances, seed):
    """Some of everything that needs no places."""
    ids = np.random.default_rng(seed).permutation(np.unique(instances[instances > 0])).tolist()
    rows = [("delete", i) for i in ids[:1]] + [("split", i) for i in ids[1:2]]
    return rows + ([("merge", *ids[2:4])] if len(ids) > 3 else [])


@pytest.fixture
def taken(monkeypatch):
    """Blocks that each stage took over, as a run goes on."""
    found: dict[str, int] = {}
    take_over = taking.take_over

    def noted(pairs, stage, journal):
        found[stage.name] = take_over(pairs, stage, journal)
        return found[stage.name]

    # The package gives its function 'run' the name of this module.
    monkeypatch.setattr(import_module("chunkflow_liver.engine.run"), "take_over", noted)
    return found


def both(classes, raw, at, edits, block, few=False):
    """A run, the same with edited instances beside it, and the latter in a folder of its own."""
    at = at | {"block": block}
    mitos = cf.label(classes, classes=["mitochondrion"], name="mitos", **at)
    first = reduce(add, operations(mitos.output, classes, raw, "a", at, few), mitos)
    edited = cf.edit(mitos.output, edits, name="edited", **at)
    later = operations(edited.output, classes, raw, "b", at, few)
    return first, first + reduce(add, later, edited), mitos + reduce(add, later, edited)


def results(work):
    """Tables and images of what was edited, by name."""
    found = {f"table {p.name}": p.read_bytes() for p in Path(work, "tables").glob("b-*")}
    for image in [Path(work, "results.ome.zarr/labels/edited"), *Path(work).rglob("b-distance*")]:
        if image.is_dir():
            found |= {f"{image.name} {k}": v for k, v in contents(image).items() if "zarr.json" not in k}
    return found


@settings(max_examples=3, deadline=None)
@given(seed=seeds, block=st.tuples(*[st.sampled_from((5, 7, 8, 14))] * 3))
def test_what_is_taken_over_is_what_would_have_been_made(seed, block):
    with tempfile.TemporaryDirectory() as folder:
        classes, raw, at = scene(folder, seed, (10, 14, 14))
        ids = done(cf.label(classes, classes=["mitochondrion"], name="ids", work=f"{folder}/ids")).read()
        edits = edits_of(ids, seed)
        first, then, _ = both(classes, raw, at, edits, block, few=True)
        done(first)
        done(then)
        _, _, alone = both(classes, raw, {"work": f"{folder}/alone"}, edits, block, few=True)
        done(alone)
        one, two = results(f"{folder}/work"), results(f"{folder}/alone")
        assert one.keys() == two.keys()
        assert len([name for name in one if name.startswith("table")]) == 4
        assert [name for name in one if one[name] != two[name]] == []


def far_apart(folder, shape=(4, 8, 96), first=2):
    """Three objects of a class, in the first, fifth and last of six blocks of 16 voxels along x."""
    classes = np.zeros(shape, np.uint8)
    for x in (first, 66, 90):
        classes[1:3, 2:6, x : x + 4] = 2
    classes[0, 0, ::7] = 1
    raw = write(folder, semantic(shape, 3, 200), "raw")
    return write(folder, classes), raw, {"work": f"{folder}/work"}


def test_each_stage_does_again_the_blocks_that_edits_touch_and_their_neighbours(tmp_path, taken):
    """Hand-worked: object 1, at the end of block 0 of 6, is deleted; 12 and 20 nm are 1 and 2 voxels."""
    classes, raw, at = far_apart(tmp_path, first=12)
    first, then, _ = both(classes, raw, at, [("delete", 1)], (4, 8, 16))
    done(first)
    assert set(taken.values()) == {0}
    assert "edited/apply: blocks that no edit touches are taken over from mitos" in str(then)
    done(then)
    found = {name: taken[name] for name in taken if name.startswith(("b-", "edited"))}
    assert found["edited/apply"] == 5
    assert found["b-table/sums"] == found["b-form/features"] == 5
    assert found["b-distance/distance"] == found["b-er/contacts"] == found["b-self/contacts"] == 4
    # Whole objects: the block that owned the one that is gone.
    assert found["b-table/whole"] == found["b-narrow/narrowings"] == 5
    # The shape reads one voxel after a block, and none before.
    assert found["b-table/features"] == 5
    table = cf.read_table(tmp_path / "work/tables/b-table.parquet").to_pydict()
    assert table["label"] == [2, 3]
    assert table["class"] == ["mitochondrion"] * 2


@pytest.mark.parametrize(
    ("first", "wanted"),
    [
        (2, {"b-table/features + b-distance/distance: 6 of 6": 5}),
        (12, {"b-table/features + b-distance/distance: 1 of 1": 0, "b-distance/distance: 1 of 1": 0}),
    ],
)
def test_the_log_counts_the_blocks_of_each_portion_of_a_pass(tmp_path, caplog, first, wanted):
    """Object 1, in block 0 of 6, is deleted: block 1 reads voxel 15 for distances, none for features."""
    classes, _, at = far_apart(tmp_path, first=first)
    mitos = cf.label(classes, classes=2, name="mitos", block=(4, 8, 16), **at)
    edited = cf.edit(mitos.output, [("delete", 1)], name="edited", block=(4, 8, 16), **at)

    def followed(instances, name):
        along = {"name": f"{name}-table", "features": ["basic", "shape"], "block": (4, 8, 16)} | at
        far = {"name": f"{name}-distance", "cap_nm": 12, "block": (4, 8, 16)} | at
        return cf.measure(instances, **along) + cf.distance(instances, **far)

    before = mitos + followed(mitos.output, "a")
    done(before)
    with caplog.at_level("INFO"):
        cf.run(before + edited + followed(edited.output, "b"))
    found = {}
    for text in caplog.messages:
        name, _, rest = text.partition(" blocks in ")
        there = re.search(r"(\d+) were there before", rest)
        found[name] = int(there[1]) if there else 0
    wanted = {"edited/apply: 6 of 6": 5} | wanted
    assert {name: found.get(name) for name in wanted} == wanted


def test_a_run_that_broke_while_it_took_over_goes_on(tmp_path, monkeypatch):
    classes, raw, at = scene(tmp_path, 5)
    block = (4, 6, 6)
    first, then, _ = both(classes, raw, at, [("delete", 2), ("merge", 3, 5)], block)
    done(first)
    copied, calls = taking.copy_units, []

    def stop(*given):
        calls.append(given)
        if len(calls) == 20:
            raise OSError("the disk is gone")
        return copied(*given)

    monkeypatch.setattr(taking, "copy_units", stop)
    with pytest.raises(OSError, match="the disk is gone"):
        done(then)
    monkeypatch.undo()
    done(then)
    _, _, alone = both(classes, raw, {"work": tmp_path / "alone"}, [("delete", 2), ("merge", 3, 5)], block)
    done(alone)
    assert results(tmp_path / "work") == results(tmp_path / "alone")


def test_a_longer_list_is_applied_to_what_was_there_before_all_edits(tmp_path, taken):
    classes, raw, at = far_apart(tmp_path)
    first, then, _ = both(classes, raw, at, [("delete", 1)], (4, 8, 16))
    done(first)
    done(then)
    _, more, _ = both(classes, raw, at, [("delete", 1), ("delete", 3)], (4, 8, 16))
    cf.run(more, progress=False, redo=True)
    assert taken["edited/apply"] == 4
    assert cf.read_table(tmp_path / "work/tables/b-table.parquet")["label"].to_pylist() == [2]
    assert cf.read_table(tmp_path / "work/tables/a-table.parquet")["label"].to_pylist() == [1, 2, 3]


def test_nothing_is_taken_over_from_what_was_cleaned_or_is_not_done(tmp_path, taken):
    classes, raw, at = far_apart(tmp_path)
    first, then, alone = both(classes, raw, at, [("delete", 1)], (4, 8, 16))
    done(first)
    clean(first)
    done(alone)
    assert taken["b-table/sums"] == taken["b-distance/distance"] == 0
    before = results(tmp_path / "work")
    done(then)
    assert results(tmp_path / "work") == before


def test_other_settings_or_voxels_are_not_taken_over(tmp_path):
    classes, raw, at = far_apart(tmp_path)
    _, then, _ = both(classes, raw, at, [("delete", 1)], (4, 8, 16))
    assert set(paired(then.stages).before) >= {"b-er/contacts", "b-table/sums", "b-distance/distance"}

    def changed(name, **how):
        stages = [replace(s, **how) if s.name == name else s for s in then.stages]
        return name in paired(stages).before

    far = then.stages[[s.name for s in then.stages].index("b-er/contacts")]
    assert not changed("b-er/contacts", params={**far.params, "gap_nm": 13.0})
    assert not changed("b-er/contacts", inputs=(far.inputs[0], replace(far.inputs[1], url="elsewhere")))
    assert not changed("b-er/contacts", streams=True)
    assert not changed("b-table/sums", device="cuda")


def test_rows_that_differ_are_found_by_label(tmp_path):
    def arrays(name, **columns):
        made = Arrays(str(tmp_path / name))
        made.write(columns)
        return made

    one = arrays("one", label=[3, 1, 2], low=[[0, 0], [1, 1], [2, 2]], mean=[np.nan, 1.0, 2.0], of=["a"])
    two = arrays("two", label=[1, 3, 9], low=[[1, 1], [0, 5], [2, 2]], mean=[1.0, np.nan, 2.0], of=["a"])
    assert differing_rows(one, two).tolist() == [2, 3, 9]
    assert differing_rows(one, arrays("three", label=[3, 1, 2])) is None
    other = arrays("four", label=[1, 3, 9], low=[[1, 1], [0, 0], [2, 2]], mean=[1.0, np.nan, 2.0], of=["b"])
    assert differing_rows(one, other) is None
    none = arrays("five", label=[7], low=[[1, 1]], mean=[1.0], of=["a"])
    assert differing_rows(one, none).tolist() == [1, 2, 3, 7]


def test_a_damaged_chunk_is_not_taken_over_unseen(tmp_path):
    """Copied as bytes it stays damaged, and whoever reads it is told."""
    classes, raw, at = far_apart(tmp_path)
    first, then, _ = both(classes, raw, at, [("delete", 1)], (4, 8, 16))
    mitos = done(first) and cf.open_volume(tmp_path / "work/results.ome.zarr/labels/mitos")
    key = list(mitos.keys(mitos.box))[-1]
    file = Path(mitos.url, mitos.path, key)
    file.write_bytes(file.read_bytes()[:-3] + b"abc")
    with pytest.raises(RunIncompleteError, match="cannot read chunk"):
        done(then)


def chain(classes, at, edits):
    """What is made of results of an edited image: ids numbered anew, levels of those, tables of those."""
    mitos = cf.label(classes, classes=["mitochondrion"], name="mitos", **at)
    edited = cf.edit(mitos.output, edits, name="edited", **at)
    plan = mitos
    for name, source in (("a", mitos), ("b", edited)):
        clean_ones = cf.refine(source.output, name=f"{name}-clean", **at)
        measured = cf.measure(clean_ones.output, features=["basic"], name=f"{name}-table", **at)
        sites = cf.contacts(source.output, classes, to="er", gap_nm=60, sites=True, name=f"{name}-er", **at)
        plan = plan + (edited if name == "b" else mitos) + clean_ones + measured + sites
        if name == "a":
            first = plan
    return first, plan


def test_what_is_made_of_ids_that_were_numbered_anew_is_made_anew(tmp_path):
    """Object 1 goes, and `refine` numbers all others by one less: no block of its table is as it was."""
    classes, _, at = far_apart(tmp_path)
    at |= {"block": (4, 8, 16)}
    first, then = chain(classes, at, [("delete", 1)])
    done(first)
    done(then)
    _, alone = chain(classes, at | {"work": tmp_path / "alone"}, [("delete", 1)])
    done(alone)
    one, two = (cf.read_table(tmp_path / w / "tables/b-table.parquet").to_pydict() for w in ("work", "alone"))
    assert one == two
    assert (one["label"], one["voxels"]) == ([1, 2], [32, 32])
    for image in ("b-clean", "b-er"):
        places = [tmp_path / w / "results.ome.zarr/labels" / image for w in ("work", "alone")]
        for level in range(cf.open_volume(places[0]).levels):
            a, b = (cf.open_volume(place, level=level).read() for place in places)
            np.testing.assert_array_equal(a, b)


def test_records_that_lie_there_from_before_are_not_trusted(tmp_path):
    """Both done again with other ids; then a file of records is damaged, and repaired."""
    classes, _, at = far_apart(tmp_path)
    at |= {"block": (4, 8, 16)}

    def plans(smallest):
        mitos = cf.label(classes, classes=["mitochondrion"], min_volume_um3=smallest, name="mitos", **at)
        edited = cf.edit(mitos.output, [("delete", 1)], name="edited", **at)
        tables = [
            cf.measure(of.output, features=["basic"], name=name, **at)
            for name, of in (("a", mitos), ("b", edited))
        ]
        return mitos + tables[0], mitos + tables[0] + edited + tables[1]

    first, then = plans(0.0)
    done(first)
    done(then)
    before = cf.read_table(tmp_path / "work/tables/b.parquet").to_pydict()
    file = next((tmp_path / "work/records/b.sums").glob("taken-*"))
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])
    assert len(damage(then, progress=False)) > 0
    repair(then, progress=False)
    assert damage(then, progress=False) == []
    assert file.read_bytes() == good
    assert cf.read_table(tmp_path / "work/tables/b.parquet").to_pydict() == before
    classes.write(classes.box, np.where(classes.read() == 2, 2, 0).astype(np.uint8))
    array = classes.read()
    array[1:3, 2:6, 30:34] = 2
    classes.write(classes.box, array)
    cf.run(then, progress=False, redo=True)
    found = cf.read_table(tmp_path / "work/tables/b.parquet").to_pydict()
    assert (found["label"], found["voxels"]) == ([2, 3, 4], [32] * 3)
    assert found["centroid_x_nm"][0] == pytest.approx(32 * 16)


def test_levels_are_read_where_they_lie():
    """24 voxels in a row, 12 of half the resolution: the last of three blocks differs, or one voxel."""
    fine = Volume("f", "0", (1, 1, 24), "uint8", (1.0, 1.0, 1.0), (1, 1, 8))
    coarse = Volume("c", "1", (1, 1, 12), "uint8", (1.0, 1.0, 2.0), (1, 1, 4))
    differs = np.array([[[False, False, True]]])

    def touched(source, volume, side, of, at=None):
        stage = SimpleNamespace(grid=BlockGrid(Box.of(source.shape), (1, 1, side)))
        maker = SimpleNamespace(grid=BlockGrid(volume.box, (1, 1, of)), factor=lambda _: (1, 1, 1))
        boxes = boxes_of(maker, differs)
        if at is not None:
            boxes = (np.array([[0, 0, at]]), np.array([[1, 1, at + 1]]))
        return np.flatnonzero(reading(stage, source, volume, maker, boxes)).tolist()

    assert touched(fine, fine, 6, 8) == [2, 3]
    assert touched(Repeated(coarse, (1, 1, 2), fine.shape), coarse, 4, 4) == [4, 5]
    assert touched(Finer(fine, (1, 1, 2), coarse.shape), fine, 3, 8) == [2, 3]
    assert touched(fine, fine, 6, 8, at=17) == [2]
    assert touched(fine, fine, 6, 8, at=18) == [3]
    assert touched(Repeated(coarse, (1, 1, 2), fine.shape), coarse, 4, 4, at=9) == [4]
    assert touched(Finer(fine, (1, 1, 2), coarse.shape), fine, 3, 8, at=23) == [3]
    # Who does not say what it reads may read anything.
    assert touched(SimpleNamespace(volume=fine, shape=fine.shape), fine, 8, 8) == [0, 1, 2]
