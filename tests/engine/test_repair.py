"""Damage to what a run wrote is named, and repaired to the same bytes by doing just those blocks again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from payload import calls, go, plan_of, sums
from strategies import command, contents, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.store.table import read_table

MADE = ("results.ome.zarr", "tables")


def plan_in(folder: Path, work: str) -> cf.Plan:
    labels = cf.open_volume(folder / "semantic.ome.zarr")
    at = {"work": folder / work, "block": (8, 16, 16)}
    mitos = cf.label(labels, classes=["mitochondrion"], min_volume_um3=1e-6, name="mitos", **at)
    return mitos + cf.measure(mitos.output, name="table", **at)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write(folder, semantic((16, 40, 40), 3))
    go(plan_in(folder, "whole"))
    return folder


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
