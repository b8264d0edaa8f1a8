"""From a trained model to boxes where it errs, and back into a training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from painted_images import SMALL
from places import ROOT
from strategies import command, done

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.box_sums import Lattice, cell_sums, over_boxes

SHAPE, NM, BOX = (24, 128, 128), (40.0, 16.0, 16.0), (4, 24, 24)
CLASSES = ["mitochondrion", "nucleus"]
TRAINING = SMALL | {"window": (4, 24, 24), "features": (8, 16), "steps": 30, "epoch": 30, "seed": 3}


def mean_share(mask, rows, box):
    """Share of a mask in suggested boxes, and that in boxes drawn by chance, on average."""
    found = [mask[voxels(row)].mean() for row in rows]
    lattice = Lattice.of(Box.of(mask.shape), box)
    every = over_boxes(cell_sums(mask, Box.of(mask.shape), lattice), lattice) / np.prod(box)
    return np.mean(found), every.mean()


def voxels(row):
    return tuple(slice(row[f"{a}_start"], row[f"{a}_stop"]) for a in "zyx")


@pytest.mark.slow
def test_uncertain_boxes_hold_several_times_the_errors_of_boxes_by_chance(tmp_path):
    """A trained network on tissue that it knows, with noise that it does not know in five places."""
    shape, box = (32, 192, 192), (4, 32, 32)
    made = done(cf.phantom(shape=shape, voxel_nm=NM, seed=4, work=tmp_path / "phantom"))
    truth = cf.open_volume(f"{made.url}/labels/truth").read()
    rng, grey, planted = np.random.default_rng(0), made.read().astype(float), np.zeros(shape, bool)
    for _ in range(5):
        at = [int(rng.integers(0, n - s)) for n, s in zip(shape, (6, 40, 40), strict=True)]
        planted[tuple(slice(a, a + s) for a, s in zip(at, (6, 40, 40), strict=True))] = True
    grey[planted] += rng.normal(0, 40, shape)[planted]
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", grey.round().clip(0, 255).astype(np.uint8), voxel_nm=NM)
    model = ROOT / "chunkflow_liver/models/phantom"
    at = {"mirroring": False, "uncertainty": "entropy", "work": tmp_path / "run"}
    wrong = done(cf.segment(raw, model=model, name="s", **at)).read() != truth
    plan = cf.suggest(
        tmp_path / "run", boxes=5, box_nm=np.multiply(NM, box), name="next", work=tmp_path / "run"
    )
    rows = cf.read_table(done(plan)).to_pylist()
    (found, chance), (hit, hit_chance) = (mean_share(mask, rows, box) for mask in (wrong, planted))
    # Seen: 0.32 of the voxels wrong where chance gives 0.08, and 0.66 planted where chance gives 0.05.
    assert found > 3 * chance
    assert hit > 8 * hit_chance


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A phantom, a model of three of its slices, and what that finds."""
    folder = tmp_path_factory.mktemp("round")
    raw = done(cf.phantom(shape=SHAPE, voxel_nm=NM, seed=4, work=folder / "phantom"))
    truth = cf.open_volume(f"{raw.url}/labels/truth")
    source = {"image": raw.url, "labels": truth.url, "slices": [2, 12, 21]}
    training = {"split": {"by": "none"}, "name": "m", "classes": CLASSES}
    model = done(cf.train([source], work=folder / "train", **training, **TRAINING)).model
    work = folder / "runs"
    done(cf.segment(raw, model=model, name="s", work=work, mirroring=False, uncertainty="entropy"))
    numbers = [dict(truth.classes)[c] for c in CLASSES]
    right = sum((i * (truth.read() == n) for i, n in enumerate(numbers, 1)), np.zeros(SHAPE, int))
    file = {
        "name": "m",
        "work": str(folder / "train"),
        "sources": [source],
        "classes": CLASSES,
        "voxel_nm": list(NM),
        "network": {"window": list(BOX), "features": [8, 16]},
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(file))
    return folder, work, source, right


@pytest.mark.slow
def test_what_is_painted_in_the_boxes_is_trained_on(run, tmp_path):
    folder, work, source, right = run
    code, said, told = command(
        "suggest",
        work,
        "--training",
        folder / "train.yaml",
        "--boxes",
        4,
        "--name",
        "next",
        "--labels",
        source["labels"],
    )
    assert code == 0, told
    lines = said.splitlines()
    assert re.fullmatch(
        r"  1  \(.*\) to \(.*\) nm: uncertainty .*; results that differ: .*; \d+ nm from what is painted.*",
        lines[0],
    )
    assert [Path(line).name for line in lines[4:]] == ["next.parquet", "next.tsv", "next.yaml", "next.html"]
    page = Path(lines[-1]).read_text()
    assert page.count("data:image/png") == 4 * 4
    assert str(folder) not in page
    (entry,) = yaml.safe_load((work / "next.yaml").read_text())["sources"]
    rows = cf.read_table(work / "tables/next.parquet").to_pylist()
    # Boxes are as large as the training's window.
    assert [rows[0][f"{a}_stop"] - rows[0][f"{a}_start"] for a in "zyx"] == list(BOX)
    labels = zarr.open_array(f"{entry['labels']}/0", mode="r+")
    for row in rows:
        labels[voxels(row)] = right[voxels(row)]
    both = {"name": "m", "work": tmp_path, "classes": CLASSES, "split": {"by": "none"}}
    plan = cf.train([source, entry], **both, **TRAINING | {"steps": 2, "epoch": 2})
    output = done(plan)
    counts = [sum(int((right[voxels(row)] == c).sum()) for row in rows) for c in range(3)]
    assert output.settings()["sources"][1]["painted_voxels"] == counts
    # The next boxes are elsewhere.
    evidence = cf.Evidence.of_run(work, painted=[source, entry])
    again = cf.suggest(evidence, boxes=4, box_nm=np.multiply(NM, BOX), name="after", work=work)
    later = cf.read_table(done(again)).to_pylist()
    apart = [
        any(r[f"{a}_start"] >= s[f"{a}_stop"] or s[f"{a}_start"] >= r[f"{a}_stop"] for a in "zyx")
        for r in rows
        for s in later
    ]
    assert sum(apart) >= 14
