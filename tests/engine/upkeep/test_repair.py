"""Damage to what a run wrote is named, and repaired to the same bytes by doing just those blocks again."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from labelled_project import MADE, plan_in
from payload import calls, go, plan_of, sums
from strategies import command, contents, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.engine.stage import Fold
from chunkflow_liver.engine.upkeep.clean import clean
from chunkflow_liver.engine.upkeep.repair import damage, forget
from chunkflow_liver.engine.watch.status import status_text
from chunkflow_liver.errors import ChunkError, InputError, JournalError
from chunkflow_liver.store.create import create, is_stated
from chunkflow_liver.store.table import Arrays, read_table


def harm(path: Path, how: str, at: float) -> None:
    """Delete a file, cut it off or flip a bit in it."""
    whole = path.read_bytes()
    place = int(at * (len(whole) - 1))
    match how:
        case "deleted":
            path.unlink()
        case "cut off":
            path.write_bytes(whole[:place])
        case _:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])


@pytest.mark.parametrize("seed", range(12))
def test_whatever_was_damaged_has_its_bytes_again(project, seed):
    rng = np.random.default_rng(seed)
    work = project / f"damaged-{seed % 3}"
    plan = plan_in(project, work.name)
    go(plan)
    chunks = list((work / "results.ome.zarr/labels").rglob("c/*/*/*"))
    files = [*chunks, *work.rglob("*.npy"), *work.rglob("*.parquet"), *work.rglob("*.npz")]
    harmed = rng.permutation(sorted(files))[: rng.integers(1, 5)]
    for path in harmed:
        harm(path, ["deleted", "cut off", "flipped"][rng.integers(3)], rng.random())
    # A bit between the members of an archive of records is nothing that is read.
    assert cf.repair(plan, progress=False) or all(path.suffix == ".npz" for path in harmed)
    assert cf.damage(plan, progress=False) == []
    for made in MADE:
        assert contents(work / made) == contents(project / "whole" / made)


@pytest.mark.parametrize(
    ("key", "how", "what"),
    [
        ("0/zarr.json", "deleted", ""),
        ("0/zarr.json", "cut off", ""),
        ("0/zarr.json", "flipped", ' "shape'),
        ("0/zarr.json", "flipped", "chunk_shape"),
        ("zarr.json", "cut off", ""),
        ("zarr.json", "flipped", '"scale'),
    ],
)
def test_metadata_that_were_damaged_are_told_and_written_again(project, key, how, what):
    work = project / "metadata"
    plan = plan_in(project, work.name)
    go(plan)
    path = work / "results.ome.zarr/labels/mitos" / key
    whole = path.read_text()
    if how == "flipped":
        # Still JSON, of another shape, chunk or voxel size.
        path.write_text(re.sub(rf'({what}": [^0-9]*)\d+', r"\g<1>9", whole, count=1))
        assert path.read_text() != whole
    else:
        harm(path, how, 0.5)
    assert any(d.metadata and "/mitos" in d.what for d in cf.damage(plan, progress=False))
    assert cf.repair(plan, progress=False)
    assert cf.damage(plan, progress=False) == []
    for made in MADE:
        assert contents(work / made) == contents(project / "whole" / made)


AROUND = [
    *((name, how) for name in ("run.json", "plan.json", "products.json") for how in ("deleted", "cut off")),
    *((name, "flipped") for name in ("run.json", "products.json")),
    *(("results.ome.zarr/labels/zarr.json", how) for how in ("deleted", "cut off", "mitos", "group", "0.5")),
    *(("results.ome.zarr/zarr.json", how) for how in ("deleted", "overview", "nanometer", "group")),
    *(("results.ome.zarr/overview-0/c/0/0/0", how) for how in ("deleted", "cut off", "flipped")),
]


@pytest.mark.parametrize(("key", "how"), AROUND)
def test_what_the_results_are_listed_in_is_checked_and_written_again(project, key, how):
    """Where `how` is a word of the file, one of its letters is another one, as a flipped bit makes it."""
    work = project / "around"
    plan = plan_in(project, work.name)
    go(plan)
    path = work / key
    whole = path.read_bytes()
    if how in ("deleted", "cut off", "flipped"):
        harm(path, how, 0.5)
    else:
        path.write_bytes(whole.replace(how.encode(), how[:-1].encode() + bytes([ord(how[-1]) ^ 2]), 1))
        assert path.read_bytes() != whole
    (found,) = cf.damage(plan, progress=False)
    assert str(path) in found.what or str(path).startswith(found.what.partition(" in ")[2].partition(" ")[0])
    cf.repair(plan, progress=False)
    assert cf.damage(plan, progress=False) == []
    if path.name != "plan.json":
        # That one says when it was written.
        assert path.read_bytes() == whole
    for made in MADE:
        assert contents(work / made) == contents(project / "whole" / made)


def test_a_plan_that_nobody_knows_any_more_is_still_another_one(store, tmp_path):
    """The journal knows fingerprints, where `run.json`, which holds what they are of, is gone."""
    go(plan_of(store, tmp_path / "w"))
    (tmp_path / "w/run.json").unlink()
    with pytest.raises(JournalError, match=r"planned otherwise. How stood in .*run\.json, which is damaged"):
        go(plan_of(store, tmp_path / "w", by=2))
    go(plan_of(store, tmp_path / "w", by=2), redo=True)
    assert cf.damage(plan_of(store, tmp_path / "w", by=2), progress=False) == []


def test_classes_that_were_changed_in_the_metadata_are_damage(tmp_path):
    source = write(tmp_path, semantic((16, 40, 40), 3))
    plan = cf.label(source, classes=["mitochondrion", "er"], name="both", work=tmp_path / "w")
    named = replace(plan.maps[-1].outputs[0], classes=(("a", 1), ("b", 2)))
    create(named)
    assert is_stated(named)
    path = Path(named.url, "zarr.json")
    path.write_text(path.read_text().replace('"class": "a"', '"class": "c"'))
    assert not is_stated(named)


def test_only_damaged_blocks_are_done_again(store, tmp_path, count):
    plan = plan_of(store, tmp_path / "w")
    go(plan)
    assert cf.damage(plan, progress=False) == []
    image = plan.output if isinstance(plan.output, cf.Volume) else plan.maps[0].outputs[0]
    lost = [3, 17]
    for block in lost:
        for key in image.keys(plan.maps[0].grid[block].write):
            Path(image.url, image.path, key).unlink()
    before = len(calls(count))
    found = cf.repair(plan, progress=False)
    assert [(d.stage, d.block) for d in found] == [("out/add", block) for block in lost]
    assert "is missing" in found[0].what
    assert str(found[0]).startswith("out/add, block 3: cannot read chunk ")
    assert len(calls(count)) - before == len(lost)
    assert read_table(tmp_path / "w/out.parquet")["sum"].to_pylist() == sums(store)


def test_a_folder_without_a_run_has_nothing_to_check(store, tmp_path):
    with pytest.raises(InputError, match=r"nothing was run in .*w yet"):
        cf.damage(plan_of(store, tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_the_command_line_names_the_damage_and_mends_it(tmp_path):
    write(tmp_path, semantic((16, 40, 40), 3))
    source = {"path": "semantic.ome.zarr"}
    content = {"semantic": source, "work": "work", "label": [{"name": "mitos", "classes": ["mitochondrion"]}]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content | {"report": False}))
    code, _, told = command("run", tmp_path / "run.yaml")
    assert code == 0, told
    assert command("check", tmp_path / "run.yaml")[0] == 0
    chunk = next((tmp_path / "work/results.ome.zarr/labels/mitos/0").rglob("c/*/*/*"))
    whole = chunk.read_bytes()
    chunk.unlink()
    code, said, told = command("check", tmp_path / "run.yaml")
    assert code == 2
    assert "block 0: cannot read chunk" in said
    assert "damaged results in" in told
    assert "'repair " in told
    code, said, told = command("repair", tmp_path / "run.yaml")
    assert code == 0, told
    assert "results that were damaged, and are made anew: 1" in said
    assert chunk.read_bytes() == whole


@pytest.mark.parametrize("lost", ["table", "array", "image"])
def test_what_is_gone_is_named_by_status_and_check_with_what_makes_it_anew(project, lost):
    """`status` looks whether things are there, and reads nothing of them."""
    work = project / "gone"
    plan = plan_in(project, work.name)
    go(plan)
    before = status_text(work)
    assert "missing" not in before
    folder = next(f.output.path for f in plan.stages if isinstance(f, Fold) and isinstance(f.output, Arrays))
    path, stages = {
        "table": (work / "tables/table.parquet", "table/"),
        "array": (Path(folder), "mitos/"),
        "image": (work / "results.ome.zarr/labels/mitos/0/zarr.json", "mitos/"),
    }[lost]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    place = path.parent if lost == "image" else path
    told = status_text(work).splitlines()
    (hint,) = (line for line in told if "RUN_FILE" in line)
    assert hint.startswith(stages)
    assert hint.endswith(f"{place} is missing: 'chunkflow-liver repair RUN_FILE' makes it anew")
    (stage,) = (line for line in told if " missing " in line and "RUN_FILE" not in line)
    assert stage.split()[0] == hint.partition(":")[0]
    said = [str(entry) for entry in cf.damage(plan, progress=False)]
    assert any(str(place) in text for text in said)
    assert not any("run its plan" in text for text in said)
    assert lost == "image" or hint in said
    cf.repair(plan, progress=False)
    assert "missing" not in status_text(work)


def test_what_was_cleaned_is_not_missing(project):
    plan = plan_in(project, "cleaned")
    go(plan)
    assert clean(plan)
    assert "missing" not in status_text(project / "cleaned")


def test_who_reads_a_damaged_result_is_told_to_repair_it(tmp_path):
    """'missing_chunks: fill' would make background of it; that is for images that other programs wrote."""
    write(tmp_path, semantic((16, 40, 40), 3))
    plan = plan_in(tmp_path, "work")
    go(plan)
    labels = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/mitos")
    chunk = Path(labels.url, "0", next(labels.keys(labels.box)))
    for harmed in ("deleted", "cut off"):
        harm(chunk, harmed, 0.5)
        with pytest.raises(ChunkError) as told:
            labels.read()
        for message in (str(told.value), cf.validate(labels.url, deep=True)[0]):
            assert "missing_chunks" not in message
            assert message.endswith(
                f"it is a result of the run in {tmp_path / 'work'}: 'chunkflow-liver repair' with its run "
                "file makes what is damaged or missing anew"
            )
        forget(plan, damage(plan))
        go(plan)
        assert labels.read().any()


def test_who_reads_a_damaged_conversion_is_told_what_makes_it_anew(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(16 * 40 * 40, dtype=np.uint16).reshape(16, 40, 40))
    go(plan := cf.convert(tmp_path / "a.npy", tmp_path / "a.ome.zarr", voxel_nm=(40, 8, 8)))
    volume = plan.output
    Path(volume.url, "0", next(volume.keys(volume.box))).unlink()
    with pytest.raises(
        ChunkError, match=rf"remove {volume.url} and {volume.url}.convert, and convert its source"
    ):
        volume.read()
    shutil.rmtree(volume.url)
    shutil.rmtree(f"{volume.url}.convert")
    go(cf.convert(tmp_path / "a.npy", tmp_path / "a.ome.zarr", voxel_nm=(40, 8, 8)))
    assert volume.read()[0, 0, 39] == 39


def test_a_report_of_what_is_damaged_says_so_until_it_is_repaired(tmp_path):
    write(tmp_path, semantic((16, 40, 40), 3))
    labels = [{"name": "mitos", "classes": ["mitochondrion"]}]
    content = {"semantic": {"path": "semantic.ome.zarr"}, "work": "work", "label": labels, "report": True}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content | {"report": False}))
    assert command("run", tmp_path / "run.yaml")[0] == 0
    next((tmp_path / "work/results.ome.zarr/labels/mitos/0").rglob("c/*/*/*")).unlink()
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    page = tmp_path / "work/report.html"
    for _ in range(2):
        # A page that lacks something is not the last word, even where nothing is new.
        code, _, told = command("run", tmp_path / "run.yaml")
        assert code == 0, told
        assert re.search(
            r"\d+ parts of the report cannot be drawn, .*cannot read chunk.*'repair' makes", told
        )
        assert "cannot read chunk" in page.read_text()
    code, said, told = command("repair", tmp_path / "run.yaml")
    assert code == 0, told
    assert "made anew: 1" in said
    assert str(page) in said
    assert "cannot be drawn" not in told
    assert "cannot read chunk" not in page.read_text()
    assert "nothing is new since" in command("run", tmp_path / "run.yaml")[1]
