"""A run file is told all that is wrong with it, with the line, before anything is written."""

from __future__ import annotations

import re

import numpy as np
import pytest
from strategies import command, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.pipeline import plan_run
from chunkflow_liver.store import images
from chunkflow_liver.store.images import numbers_absent
from chunkflow_liver.store.table import Table
from chunkflow_liver.validation import validate_run

RUN = """\
input: {path: raw.ome.zarr}
work: work
semantic:
  path: semantic.ome.zarr
  classes:
    er: 1
    mitochondrion: 2
label:
  - {name: mitos, classes: [mitochondrion]}
  - {name: er-parts, classes: [er]}
distance:
  - name: er-distance
    to: er
    cap_nm: 50
evaluate:
  - {name: check, found: er-parts, truth: semantic.ome.zarr, iou: 0.5}
"""


@pytest.fixture
def run_file(tmp_path):
    array = np.random.default_rng(0).integers(0, 3, (4, 12, 9), dtype=np.uint8)
    write(tmp_path, array.astype(np.uint16), "raw")
    write(tmp_path, array)
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path / "run.yaml"


def change(run_file, *pairs):
    text = run_file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    run_file.write_text(text)


def test_a_good_run_file_has_no_problem(run_file, listing):
    before = listing()
    assert validate_run(run_file, deep=True).problems == ()
    assert validate_run(run_file).stages == len(plan_run(cf.read_run_file(run_file)).stages)
    assert listing() == before


def test_one_mistake_does_not_hide_another(run_file, listing):
    """What needs something refused is passed over; all else is told with its place and line."""
    change(
        run_file,
        ("[mitochondrion]", "[golgi]"),
        ("to: er", "to: nucleus"),
        ("truth: semantic", "truth: nowhere"),
    )
    change(run_file, ("evaluate:", "measure:\n  - {name: table, instances: mitos}\nevaluate:"))
    before = listing()
    first, second, third = validate_run(run_file).problems
    assert re.fullmatch(r"label\.0: .* has no class 'golgi'; it has .* \(line 9\)", first)
    assert re.fullmatch(r"distance\.0: .* has no class 'nucleus'; .* \(line 12\)", second)
    assert re.fullmatch(r"evaluate\.0: no such file or folder: .*nowhere.ome.zarr \(line 18\)", third)
    with pytest.raises(ConfigError, match=r"run.yaml has 3 problem\(s\): label.0.*; distance.0.*; evaluate"):
        plan_run(cf.read_run_file(run_file))
    for verb in ("validate", "plan", "run"):
        code, said, told = command(verb, run_file)
        assert (code, said) == (2, "")
        assert [line.split(": ")[1] for line in told.splitlines()] == ["label.0", "distance.0", "evaluate.0"]
    assert listing() == before


def test_names_that_do_not_fit_are_told_together(run_file):
    change(
        run_file,
        ("name: er-parts", "name: mitos"),
        ("evaluate:", "measure:\n  - {name: t, instances: x}\nevaluate:"),
    )
    assert validate_run(run_file).problems == (
        "label.1: two label images are called 'mitos'; rename one of them (line 10)",
        "measure.0.instances: 't' refers to instances 'x'; the run makes ['mitos']; bring your "
        "own by an entry {name: ..., path: ...} under 'existing' (line 16)",
        "evaluate.0: 'check' compares 'er-parts'; this run makes ['mitos', 'semantic'] (line 18)",
    )


def test_features_that_there_are_not_are_told_with_the_rest(run_file):
    change(
        run_file,
        ("to: er", "to: ER"),
        ("evaluate:", "measure:\n  - {name: t, instances: x, features: [basic, shapes]}\nevaluate:"),
    )
    features, to = validate_run(run_file).problems
    assert re.match(
        r"measure.0: no features \['shapes'\], did you mean 'shape'\? there are \['basic'", features
    )
    assert features.endswith("(line 16)")
    assert re.fullmatch(r"distance.0: .*has no class 'ER'; it has \['er', .*\(line 12\)", to)


def test_a_class_that_there_is_not_is_told_where_the_instances_were_refused(run_file):
    near = "contacts:\n  - {name: near, instances: mitos, to: ER, gap_nm: 10}\nevaluate:"
    change(run_file, ("[mitochondrion]", "[golgi]"), ("evaluate:", near))
    label, contacts = validate_run(run_file).problems
    assert label.startswith("label.0: ")
    assert re.fullmatch(r"contacts.0: .*has no class 'ER'; it has \['er', .*\(line 16\)", contacts)


def test_an_image_that_cannot_be_read_is_one_problem(run_file):
    change(run_file, ("path: raw", "path: nowhere"))
    assert len(problems := validate_run(run_file).problems) == 1
    assert re.fullmatch(r"input: no such file or folder: .*nowhere.ome.zarr \(line 1\)", problems[0])


def test_too_little_disk_is_told(run_file, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    (problem,) = validate_run(run_file).problems
    assert "GiB free; choose another work folder or fewer outputs" in problem


def test_a_class_number_that_no_voxel_has_is_told(run_file):
    change(run_file, ("mitochondrion: 2", "mitochondrion: 200\n    outside: 3"))
    assert validate_run(run_file).problems == ()
    first, second = validate_run(run_file, deep=True).problems
    assert re.fullmatch(
        r"semantic\.classes\.mitochondrion: no voxel of .*semantic.ome.zarr has the class number 200; "
        r"there are 1, 2 \(line 7\)",
        first,
    )
    assert re.fullmatch(r"semantic\.classes\.outside: .* class number 3; there are 1, 2 \(line 8\)", second)
    assert command("validate", run_file)[0] == 0
    assert command("validate", run_file, "--deep")[0] == 2


def test_background_may_be_missing(tmp_path):
    volume = write(tmp_path, np.full((4, 12, 9), 2, np.uint8))
    assert numbers_absent(volume, [0, 2])[0] == set()
    assert numbers_absent(volume, [0, 1, 2]) == ({1}, [2])


def test_a_damaged_chunk_of_any_image_that_is_read_is_told(run_file, tmp_path):
    chunk = next(p for p in sorted((tmp_path / "raw.ome.zarr/0/c").rglob("*")) if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-20])
    assert validate_run(run_file).problems == ()
    (problem,) = validate_run(run_file, deep=True).problems
    assert re.match(r".*raw.ome.zarr: cannot read chunk", problem)


def test_an_image_says_which_of_its_classes_have_no_voxel(tmp_path):
    volume = write(tmp_path, np.full((4, 12, 9), 2, np.uint8))
    code, said, _ = command("validate", volume.url, "--deep")
    assert code == 0
    assert "no voxel of ['er', 'lipid'], no problem found" in said
    assert "no voxel" not in command("validate", volume.url)[1]


def test_an_image_of_instances_says_how_many_ids_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MANY", 30)
    ids = np.arange(4 * 12 * 9, dtype=np.uint64).reshape(4, 12, 9) + 2**60
    ids[0, 0, :5] = 0
    volume = write(tmp_path, ids, "ids", kind="label", chunks=(1, 5, 4))
    code, said, _ = command("validate", volume.url, "--deep")
    assert (code, f"label image, 427 ids, largest {2**60 + 431}, (4, 12, 9) voxels" in said) == (0, True)
    assert "label image, instances or classes without names, (4" in command("validate", volume.url)[1]
    np.testing.assert_array_equal(images.numbers_in(volume), np.unique(ids)[1:])
    few = write(tmp_path, (ids % 4).astype(np.uint8), "few", kind="label")
    assert "label image, 3 ids or class numbers: 1, 2, 3, (4" in command("validate", few.url, "--deep")[1]


def test_mistakes_of_every_kind_are_told_together(run_file, listing):
    """A missing key, an unknown one, names that do not fit, files that are not there: each with its line."""
    change(
        run_file,
        ("work: work\n", ""),
        ("label:\n  - {name: mitos, classes: [mitochondrion]}", "label:\n  - {name: mitos, colour: red}"),
        ("classes: [er]", "classes: [golgi]"),
        ("    cap_nm: 50\n", "    cap_mn: 50\n  - {name: d, to: nucleus, cap_nm: 50}\n"),
        ("evaluate:", "measure:\n  - {name: t, instances: mitos}\n  - {name: u, instances: x}\nevaluate:"),
        ("truth: semantic", "truth: nowhere"),
    )
    before = listing()
    told = validate_run(run_file).problems
    assert [p.split(":")[0] for p in told] == [
        "work",
        "label.0.colour",
        "distance.0.cap_nm",
        "distance.0.cap_mn",
        "measure.1.instances",
        "label.1",
        "distance.1",
        "evaluate.0",
    ]
    ends = [re.search(r"\(line (\d+)\)$", p) for p in told]
    assert [int(e[1]) if e else 0 for e in ends] == [0, 8, 11, 13, 17, 9, 14, 19]
    assert listing() == before


@pytest.mark.parametrize(("key", "more"), [("input", {"evaluate"}), ("semantic", {"evaluate"})])
def test_what_needs_a_broken_image_is_not_told(run_file, key, more):
    change(run_file, ("truth: semantic", "truth: nowhere"))
    change(run_file, (f"{key}:", f"{key}:\n  colour: red\n#") if key == "input" else ("  path:", "  pth:"))
    assert {p.split(":")[0].split(".")[0] for p in validate_run(run_file).problems} == {key} | more


SEVERAL = """\
input: {path: nowhere.ome.zarr}
work: work
block: {z: 16, y: 16, x: 16}
semantic: {path: nothing.ome.zarr}
label:
  name: mitos
  classes: [mitochondrion]
measure:
  - {name: t, instances: mitoz, features: basic}
  - {name: u, instances: mitoz}
existing: 3
"""


def test_mistakes_of_form_do_not_hide_those_of_names_and_files(run_file):
    run_file.write_text(SEVERAL)
    told = validate_run(run_file).problems
    one = "a list of entries is wanted, got one entry; write '- ' before it, as in '- name: ...'"
    assert told[:4] == (
        f"label: {one} (line 5)",
        "block: a list in brackets of three numbers, z, y, x is wanted, got keys and values (line 3)",
        "existing: a list in brackets is wanted, got a number (3) (line 11)",
        "measure.0.features: a list in brackets is wanted, got a text ('basic') (line 9)",
    )
    assert [re.sub(r"/\S*/", "", p) for p in told[4:]] == [
        "input: no such file or folder: nowhere.ome.zarr (line 1)",
        "semantic: no such file or folder: nothing.ome.zarr (line 4)",
    ]
    change(run_file, ("existing: 3", ""))
    # Now all names are known, and one that nothing has is a mistake.
    assert any(
        "'u' refers to instances 'mitoz'; the run makes ['mitos']" in p
        for p in validate_run(run_file).problems
    )


def test_a_model_that_is_not_there_is_told_beside_an_image_that_is_not(run_file):
    pytest.importorskip("torch")
    run_file.write_text("input: {path: nowhere.ome.zarr}\nwork: w\nsegment: {model: no-model}\n")
    image, model = validate_run(run_file).problems
    assert "nowhere.ome.zarr" in image
    assert re.match(r"segment: .*no-model", model)


def test_edits_of_objects_that_there_are_not_are_told_with_their_row(tmp_path):
    """Of instances that the run made, of a table, and of foreign instances where all is read."""
    array = np.zeros((1, 2, 9), np.uint8)
    array[0, 0] = [2, 2, 0, 2, 0, 2, 0, 0, 2]
    write(tmp_path, array)
    text = """\
work: work
semantic: {path: semantic.ome.zarr, classes: {mitochondrion: 2}}
label:
  - {name: mitos, classes: [mitochondrion]}
"""
    (tmp_path / "run.yaml").write_text(text)
    (tmp_path / "edits.csv").write_text("action,label,other\nmerge,1,2\ndelete,5\nmerge,77,3\n")
    entry = "edit:\n  - {name: edited, instances: mitos, edits: edits.csv}\n"
    (tmp_path / "edited.yaml").write_text(text + entry)
    # Nothing is known of instances that are not made yet.
    assert validate_run(tmp_path / "edited.yaml", deep=True).problems == ()
    cf.run(plan_run(cf.read_run_file(tmp_path / "run.yaml")), progress=False)
    (problem,) = validate_run(tmp_path / "edited.yaml").problems
    wanted = "does not have: 5 (row 2, delete), 77 (row 3, merge) (line 6)"
    assert problem.startswith(f"edit.0.edits: {tmp_path}/edits.csv names ids that 'mitos', as it is in")
    assert problem.endswith(wanted)
    code, _, told = command("validate", tmp_path / "edited.yaml")
    assert code == 2
    assert "5 (row 2, delete), 77 (row 3, merge)" in " ".join(told.split())
    foreign = "existing:\n  - {name: mitos, path: work/results.ome.zarr/labels/mitos}\n" + entry
    (tmp_path / "foreign.yaml").write_text("work: other\n" + foreign)
    assert validate_run(tmp_path / "foreign.yaml").problems == ()
    (problem,) = validate_run(tmp_path / "foreign.yaml", deep=True).problems
    assert "labels/mitos does not have: 5 (row 2, delete), 77 (row 3, merge)" in problem
    Table(str(tmp_path / "table.parquet")).write({"label": np.array([1, 2, 3, 5], np.uint64)})
    (tmp_path / "foreign.yaml").write_text(
        "work: other\n" + foreign.replace("csv}", "csv, table: table.parquet}")
    )
    (problem,) = validate_run(tmp_path / "foreign.yaml").problems
    assert "table.parquet does not have: 77 (row 3, merge)" in problem
    (tmp_path / "edits.csv").write_text("action,label,other\nmerge,1,2\ndelete,4\n")
    assert validate_run(tmp_path / "edited.yaml", deep=True).problems == ()
