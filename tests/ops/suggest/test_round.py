"""From a trained model to boxes where it errs, and back into a training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from painted_images import SMALL
from strategies import command, done

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.box_sums import Lattice, cell_sums, over_boxes

SHAPE, NM, BOX = (24, 128, 128), (40.0, 16.0, 16.0), (4, 24, 24)
CLASSES = ["mitochondrion", "nucleus"]
TRAINING = SMALL | {"window": (4, 24, 24), "features": (8, 16), "steps": 150, "epoch": 75, "seed": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A phantom with five places where the contrast faded, a model of three slices, and what it finds."""
    folder = tmp_path_factory.mktemp("round")
    done(cf.phantom(shape=SHAPE, voxel_nm=NM, seed=4, work=folder / "phantom"))
    made = cf.open_volume(folder / "phantom/raw.ome.zarr")
    truth = cf.open_volume(f"{made.url}/labels/truth")
    rng, grey = np.random.default_rng(0), made.read().astype(float)
    for _ in range(5):
        at = [int(rng.integers(0, n - s)) for n, s in zip(SHAPE, (6, 32, 32), strict=True)]
        part = tuple(slice(a, a + s) for a, s in zip(at, (6, 32, 32), strict=True))
        grey[part] = grey.mean() + 0.3 * (grey[part] - grey.mean())
    raw = cf.write_volume(folder / "raw.ome.zarr", grey.round().astype(np.uint8), voxel_nm=NM)
    source = {"image": raw.url, "labels": truth.url, "slices": [2, 12, 21]}
    training = {"split": {"by": "none"}, "name": "m", "classes": CLASSES}
    model = done(cf.train([source], work=folder / "train", **training, **TRAINING)).model
    work = folder / "runs"
    found = done(cf.segment(raw, model=model, name="s", work=work, mirroring=False, uncertainty="entropy"))
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
    return folder, work, source, right, found.read() != right


@pytest.mark.slow
def test_uncertain_boxes_hold_more_errors_than_others(run):
    _, work, _, _, wrong = run
    plan = cf.suggest(work, boxes=5, box_nm=np.multiply(NM, BOX), name="errors", work=work)
    rows = cf.read_table(done(plan)).to_pylist()
    boxes = [Box(*(tuple(r[f"{a}_{e}"] for a in "zyx") for e in ("start", "stop"))) for r in rows]
    found = np.mean([wrong[box.slices].mean() for box in boxes])
    lattice = Lattice.of(Box.of(SHAPE), BOX)
    # Boxes drawn by chance hold this share on average.
    every = over_boxes(cell_sums(wrong, Box.of(SHAPE), lattice), lattice) / np.prod(BOX)
    print(f"share of wrong voxels in suggested boxes {found:.4f}, by chance {every.mean():.4f}")
    assert found > 1.5 * every.mean()


@pytest.mark.slow
def test_what_is_painted_in_the_boxes_is_trained_on(run, tmp_path):
    folder, work, source, right, _ = run
    code, said, told = command(
        "suggest", work, "--training", folder / "train.yaml", "--boxes", 4, "--name", "next"
    )
    assert code == 0, told
    lines = said.splitlines()
    assert re.fullmatch(r"  1  \(.*\) to \(.*\) nm: uncertainty .*; \d+ nm from what is painted.*", lines[0])
    assert [Path(line).name for line in lines[4:]] == ["next.parquet", "next.tsv", "next.yaml", "next.html"]
    page = Path(lines[-1]).read_text()
    assert page.count("data:image/png") == 4 * 3
    assert str(folder) not in page
    (entry,) = yaml.safe_load((work / "next.yaml").read_text())["sources"]
    rows = cf.read_table(work / "tables/next.parquet").to_pylist()
    # Boxes are as large as the training's window.
    assert [rows[0][f"{a}_stop"] - rows[0][f"{a}_start"] for a in "zyx"] == list(BOX)
    labels = zarr.open_array(f"{entry['labels']}/0", mode="r+")
    for row in rows:
        at = tuple(slice(row[f"{a}_start"], row[f"{a}_stop"]) for a in "zyx")
        labels[at] = right[at]
    both = {"name": "m", "work": tmp_path, "classes": CLASSES, "split": {"by": "none"}}
    plan = cf.train([source, entry], **both, **TRAINING | {"steps": 2, "epoch": 2})
    output = done(plan)
    counts = [
        sum(
            int((right[tuple(slice(r[f"{a}_start"], r[f"{a}_stop"]) for a in "zyx")] == c).sum())
            for r in rows
        )
        for c in range(3)
    ]
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
