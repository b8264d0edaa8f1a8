"""A run file says what is wrong with it: every problem, with its place, before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

import chunkflow_liver as cf
from chunkflow_liver.config import parse
from chunkflow_liver.errors import ConfigError

GOOD = """
input: {path: raw.ome.zarr, level: 1}
work: runs/one
block: [32, 64, 64]
semantic: {path: /data/classes.ome.zarr}
label:
  - {name: mitos, classes: [mitochondrion, 2], min_volume_um3: 0.005}
measure:
  - {name: mito-table, instances: mitos}
distance:
  - {name: er-distance, to: er, cap_nm: 500}
contacts:
  - {name: mito-er, instances: mitos, to: er, gap_nm: 30}
  - {name: mito-mito, instances: mitos, other: mitos, gap_nm: 0}
evaluate:
  - {name: check, found: mitos, truth: truth.ome.zarr, iou: 0.5}
"""


def read(folder: Path, text: str):
    (folder / "run.yaml").write_text(text)
    return cf.read_run_file(folder / "run.yaml")


def test_relative_paths_are_taken_from_the_folder_of_the_file(tmp_path):
    found = read(tmp_path, GOOD)
    assert found.input.path == str(tmp_path / "raw.ome.zarr")
    assert found.work == str(tmp_path / "runs/one")
    assert found.semantic.path == "/data/classes.ome.zarr"
    assert found.evaluate[0].truth == str(tmp_path / "truth.ome.zarr")
    own = read(tmp_path, "work: w\nexisting: [{name: cells, path: cells.ome.zarr}]\n")
    assert (own.existing[0].path, own.input) == (str(tmp_path / "cells.ome.zarr"), None)
    assert found.label[0].classes == ("mitochondrion", 2)
    assert found.block == (32, 64, 64)


def test_addresses_and_models_keep_their_meaning(tmp_path):
    found = read(tmp_path, "input: {path: 's3://bucket/raw'}\nwork: w\nsegment: {model: ../models/m}\n")
    assert found.input.path == "s3://bucket/raw"
    assert found.segment.model == str(tmp_path.parent / "models/m")
    assert (found.segment.name, found.segment.device, found.report) == ("semantic", "cpu", True)


def test_a_parameter_file_of_an_engine_lies_beside_the_run_file(tmp_path):
    entries = """
  - {name: a, instances: mitos, features: [glcm], settings: {bin_width: 10}}
  - {name: b, instances: mitos, engine: pyradiomics, settings: params.yaml}"""
    text = GOOD.replace("\n  - {name: mito-table, instances: mitos}", entries)
    found = read(tmp_path, text).measure
    assert found[0].settings == {"bin_width": 10}
    assert found[1].settings == str(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "name",
    sorted(
        p.name for p in (ROOT / "configs").glob("*.yaml") if not p.name.startswith(("train_", "evaluate"))
    ),
)
def test_the_examples_can_be_read(name):
    found = cf.read_run_file(ROOT / "configs" / name)
    assert found.label or found.existing or found.propagate or found.cells or found.network


BAD = {
    "a key with a slip": (
        ("cap_nm: 500", "cap_mn: 500"),
        "distance.0.cap_mn: unknown key, did you mean 'cap_nm'",
    ),
    "a key of another planet": (("work:", "wobble: 1\nwork:"), "wobble: unknown key; known are .*'input'"),
    "a missing key": (("work: runs/one\n", ""), "work: Field required"),
    "a key twice": (("work: runs/one", "work: a\nwork: b"), "line 4: the key 'work' appears twice"),
    "a key twice, deeper": (("level: 1", "level: 1, level: 2"), "line 2: the key 'level' appears twice"),
    "an alias": (("level: 1", "level: &x 1, channel: *x"), "line 2: anchors and aliases are not allowed"),
    "a python tag": (
        ("level: 1", "level: !!python/object/apply:os.getcwd []"),
        "could not determine a construct",
    ),
    "a list as a key": (
        ("work: runs/one", "? [a, b]\n: 1\nwork: w"),
        "found unhashable key",
    ),
    "no YAML": (("work: runs/one", "work: [1"), "not a usable run file: while parsing"),
    "a date that is none": (("level: 1", "level: 2020-99-99"), "not a usable run file: month must be"),
    "an endless number": (("level: 1", "level: " + "9" * 5000), "not a usable run file: .*4300 digits"),
    "endless depth": (
        ("level: 1", "level: " + "[" * 5000 + "]" * 5000),
        "nested too deeply to be a run file",
    ),
    "a list": ((GOOD, "[1, 2]"), "must hold keys and values, got list"),
    "nothing": ((GOOD, ""), "must hold keys and values, got NoneType"),
    "a block of two": (("[32, 64, 64]", "[32, 64]"), r"block.2: Field required|block: .*3 items"),
    "a block of zero": (("[32, 64, 64]", "[32, 0, 64]"), "block.1: .*greater than or equal to 1"),
    "a negative gap": (("gap_nm: 30", "gap_nm: -30"), "contacts.0.gap_nm: .*greater than or equal to 0"),
    "a gap of NaN": (("gap_nm: 30", "gap_nm: .nan"), "contacts.0.gap_nm: .*finite number"),
    "an endless cap": (("cap_nm: 500", "cap_nm: .inf"), "distance.0.cap_nm: .*finite number"),
    "a length with a unit": (
        ("cap_nm: 500", "cap_nm: 500 nm"),
        "distance.0.cap_nm: .*valid number.*, write 500 ",
    ),
    "a length in another unit": (
        ("cap_nm: 500", "cap_nm: 0.5 um"),
        r"cap_nm: .*as a number \(got '0.5 um'\)",
    ),
    "a block of one number": (
        ("[32, 64, 64]", "256"),
        r"block: a list in brackets of three numbers, z, y, x is wanted, got a number \(256\)",
    ),
    "a name that is a path": (("name: mitos,", "name: ../mitos,"), "label.0.name: .*match pattern"),
    "another connectivity": (
        ("min_volume_um3: 0.005", "connectivity: 8"),
        "label.0.connectivity: .*6, 18 or 26",
    ),
    "unknown instances": (
        ("instances: mitos}", "instances: nuclei}"),
        r"'mito-table' refers to instances 'nuclei'; the run makes \['mitos'\]",
    ),
    "no partner": (("to: er, gap_nm", "gap_nm"), "contacts.0: give either 'to' .a class. or 'other'"),
    "two partners": (("to: er, gap", "to: er, other: mitos, gap"), "contacts.0: give either 'to'"),
    "no classes at all": (("semantic:", "#"), "give either 'segment' .a network. or 'semantic'"),
    "an IoU that is no match": (("iou: 0.5", "iou: 0.3"), "evaluate.0.iou.0: .*greater than or equal to 0.5"),
    "a network and classes": (
        ("label:", "segment: {model: m}\nlabel:"),
        "give either 'segment' .*'semantic' .*, not both",
    ),
    "a network and no image": (
        ("input: {path: raw.ome.zarr, level: 1}", "segment: {model: m}"),
        "segment: this needs 'input', the image",
    ),
    "results into no image": (
        ("input: {path: raw.ome.zarr, level: 1}", "into_source: true"),
        "into_source: this needs 'input', the image",
    ),
    "a function and no image": (
        (
            "input: {path: raw.ome.zarr, level: 1}",
            "stitch: [{name: found, function: 'a:b', allow_code: true}]",
        ),
        r"stitch.0: this needs 'input', the image \(line 2\)",
    ),
    "own instances named twice": (
        ("label:", "existing: [{name: mitos, path: p}]\nlabel:"),
        "label.0: two label images are called 'mitos'; rename one of them",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_run_file_is_refused_with_the_place(case, tmp_path, listing):
    (old, new), says = BAD[case]
    assert old in GOOD
    (tmp_path / "run.yaml").write_text(GOOD.replace(old, new, 1))
    before = listing()
    with pytest.raises(ConfigError, match=says) as caught:
        cf.read_run_file(tmp_path / "run.yaml")
    assert "run.yaml" in str(caught.value)
    assert listing() == before


def test_all_problems_are_told_at_once(tmp_path):
    text = (
        GOOD.replace("cap_nm", "cap_mn").replace("gap_nm: 30", "gap_nm: -1").replace("level: 1", "level: -1")
    )
    with pytest.raises(ConfigError, match=r"has 4 problem\(s\): input.level: .*; distance.0.*; contacts.0"):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no run file at .*nowhere\.yaml"):
        cf.read_run_file(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="no run file at"):
        cf.read_run_file(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match=r"binary.yaml is not a usable run file: .*codec"):
        cf.read_run_file(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(ConfigError, match="has 1048577 bytes; a run file has at most 1048576"):
        cf.read_run_file(tmp_path / "huge.yaml")


def test_two_results_of_one_name_are_refused(tmp_path):
    twice = GOOD.replace("distance:\n", "  - {name: mitos, instances: mitos}\ndistance:\n")
    assert read(tmp_path, twice).measure[1].name == "mitos"  # a table and an image may share a name
    with pytest.raises(ConfigError, match="two tables are called 'mito-er'"):
        read(tmp_path, GOOD.replace("mito-table", "mito-er"))
    with pytest.raises(ConfigError, match="two label images are called 'semantic'"):
        read(tmp_path, "input: {path: r}\nwork: w\nsegment: {model: m}\nlabel: [{name: semantic}]\n")
    with pytest.raises(ConfigError, match="two label images are called 'er-distance-exact'"):
        read(
            tmp_path,
            GOOD.replace("name: mitos,", "name: er-distance-exact,").replace(
                ": mitos", ": er-distance-exact"
            ),
        )


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["input", "path", "work", "label", "name", "x"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_content_is_read_or_refused_in_our_words(content):
    if not isinstance(content, dict):
        return
    with pytest.raises(ConfigError, match=r"the file has \d+ problem"):
        parse({**content, "segment": {}}, Path("/nowhere"), "the file")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    """Not a folder of that name beside the run file."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    content = {"work": "~/runs", "semantic": {"path": "a~.ome.zarr"}, "label": [{"name": "a"}]}
    found = parse(content, tmp_path, "run.yaml")
    assert found.work == str(tmp_path / "home/runs")
    assert found.semantic is not None
    assert found.semantic.path == str(tmp_path / "a~.ome.zarr")
