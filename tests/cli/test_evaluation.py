"""`evaluate` from a file: tables and a page; bad files and images are refused before anything is written."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from places import ROOT
from strategies import command, refused, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.config import read_evaluation_file

SHAPE = (4, 12, 16)
CLASSES = (("er", 1), ("mito", 2))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Truths and results, good and bad, that an evaluation file may name."""
    folder = tmp_path_factory.mktemp("data")
    truth = semantic(SHAPE, 1, 2)
    named = {"kind": "label", "classes": CLASSES}
    found = truth.copy()
    found[:, :4] = 0
    for name, array, options in (
        ("truth", truth, named),
        ("found", found, named),
        ("all", np.ones(SHAPE, np.uint8), named),
        ("unnamed", found, {"kind": "label"}),
        ("other", found, {"kind": "label", "classes": (("golgi", 1),)}),
        ("small", found[:, :, :8], named),
        ("coarse", found, named | {"voxel_nm": (4.0, 8.0, 8.0)}),
        ("floats", found.astype(np.float32), {}),
        ("raw", np.full(SHAPE, 7, np.uint8), {}),
        ("raw-small", np.full((4, 12, 8), 7, np.uint8), {}),
    ):
        write(folder, array, name, **options)
    (folder / "empty.ome.zarr").mkdir()
    return folder


def evaluation(data, **changes):
    """An evaluation file that works, with changes."""
    content = {"work": "work", "truth": [truth(data)], "found": [found(data)]}
    return copy.deepcopy(content) | changes


def truth(data, name="truth", **more):
    return {"name": "gold", "labels": f"{data}/{name}.ome.zarr"} | more


def found(data, name="found", **more):
    return {"name": "net", "labels": f"{data}/{name}.ome.zarr"} | more


def network(data, **more):
    return [{"name": "net", "segment": {"model": f"{data}/gone"} | more}]


def written(folder, content):
    path = folder / "evaluate.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_two_results_against_one_truth(data, tmp_path):
    both = [found(data), found(data, "all") | {"name": "everything"}]
    content = evaluation(data, found=both, surfaces_nm=[20, 100], per_slice=True)
    content["truth"][0]["image"] = f"{data}/raw.ome.zarr"
    path = written(tmp_path, content)
    assert command("validate", path)[0] == 0
    code, said, told = command("evaluate", path, "--plan")
    assert code == 0, told
    assert "net/overlap" in said
    assert not (tmp_path / "work").exists()
    code, said, told = command("evaluate", path)
    assert code == 0, told
    for word in ("net.parquet", "everything-surfaces.parquet", "net-worst.parquet", "report.html"):
        assert word in said
    page = (tmp_path / "work/report.html").read_text()
    for part in ("Compared with the truth", "everything", "gold", "data:image/jpeg"):
        assert part in page
    assert str(tmp_path) not in page
    assert str(data) not in page


def test_objects_are_the_connected_parts_of_a_class(data, tmp_path):
    content = evaluation(data, iou=0.5, objects_of="mito", connectivity=6)
    assert command("evaluate", written(tmp_path, content))[0] == 0
    rows = cf.read_table(tmp_path / "work/tables/net-instances.parquet").to_pydict()
    at = {"work": tmp_path / "own", "name": "parts", "classes": ["mito"], "connectivity": 6}
    parts = []
    for name in ("found", "truth"):
        plan = cf.label(cf.open_volume(data / f"{name}.ome.zarr"), **{**at, "name": name})
        cf.run(plan, progress=False)
        parts.append(int(plan.output.read().max()))
    assert [rows["found"], rows["truth"]] == [[parts[0]], [parts[1]]]
    assert cf.read_table(tmp_path / "work/tables/net.parquet").num_rows == 2


def test_the_example_is_an_evaluation_file():
    given = read_evaluation_file(ROOT / "configs/evaluate.yaml")
    assert given.truth[0].slices == (10, 60, 110)
    assert given.found[0].labels == (str(ROOT / "runs/lobule-2d/results.ome.zarr/labels/organelles"),)
    for verb in ("run", "plan"):
        code, _, told = command(verb, ROOT / "configs/evaluate.yaml")
        assert code == 2
        assert "is an evaluation, not a run: 'chunkflow-liver evaluate" in told


CASES = {
    "no such file": (lambda d: None, "no run file at"),
    "a training": (lambda d: {"sources": [], "name": "x"}, "is no evaluation: it has no 'truth'"),
    "an unknown key": (lambda d: evaluation(d, trueth=[]), r"trueth: unknown key, did you mean 'truth'\?"),
    "an unknown key of a truth": (
        lambda d: evaluation(d, truth=[truth(d, ignored=1)]),
        r"truth.0.ignored: unknown key, did you mean 'ignore'\?",
    ),
    "no truth": (lambda d: evaluation(d, truth=[]), "truth: .*at least 1 item"),
    "nothing found": (lambda d: evaluation(d, found=[]), "found: .*at least 1 item"),
    "neither labels nor a network": (
        lambda d: evaluation(d, found=[{"name": "net"}]),
        "found.0: give either 'labels' .* or 'segment'",
    ),
    "labels and a network": (
        lambda d: evaluation(d, found=[found(d, segment={"model": "m"})]),
        "found.0: give either 'labels' .* or 'segment'",
    ),
    "a network without an image": (
        lambda d: evaluation(d, found=network(d)),
        "'net' segments the images of all truths, but 'gold' names no 'image'",
    ),
    "no such network": (
        lambda d: evaluation(d, truth=[truth(d, image=f"{d}/raw.ome.zarr")], found=network(d)),
        "plans.json",
    ),
    "a network in a part": (
        lambda d: evaluation(
            d,
            truth=[truth(d, image=f"{d}/raw.ome.zarr")],
            found=network(d, roi_nm=[[0, 0, 0], [8, 8, 8]]),
        ),
        "'net': all of an image is segmented; leave 'roi_nm' and 'mask' out",
    ),
    "too few label images": (
        lambda d: evaluation(d, truth=[truth(d), truth(d) | {"name": "more"}]),
        "'net' has 1 label images for 2 truths; give one for each, in the same order",
    ),
    "two of one name": (
        lambda d: evaluation(d, found=[found(d), found(d, "all")]),
        "two entries of 'found' are called 'net'; rename one of them",
    ),
    "a name that leads out": (lambda d: evaluation(d, found=[found(d) | {"name": "../x"}]), "found.0.name"),
    "an IoU below 0.5": (lambda d: evaluation(d, iou=0.3), "iou.0: .*greater than or equal to 0.5"),
    "objects without an IoU": (
        lambda d: evaluation(d, objects_of="mito"),
        "'objects_of' compares objects: say from which 'iou' on two are one",
    ),
    "objects of no class": (
        lambda d: evaluation(d, objects_of="golgi", iou=0.5),
        "has no class 'golgi'|no class 'golgi'",
    ),
    "objects of what is not painted everywhere": (
        lambda d: evaluation(d, truth=[truth(d, slices=[1])], objects_of="mito", iou=0.5),
        "'gold' is not painted everywhere, so the objects .* may be cut there; compare classes only",
    ),
    "surfaces of ids": (
        lambda d: evaluation(d, iou=0.5, surfaces_nm=[10, 100]),
        "surfaces are of classes, and 'iou' without 'objects_of' compares ids",
    ),
    "a cap below the tolerance": (
        lambda d: evaluation(d, surfaces_nm=[100, 10]),
        "a tolerance and a larger cap, in nm, got",
    ),
    "one length for surfaces": (lambda d: evaluation(d, surfaces_nm=[100]), "surfaces_nm"),
    "another connectivity": (lambda d: evaluation(d, connectivity=8), "connectivity: .*6, 18 or 26"),
    "ignored background": (
        lambda d: evaluation(d, truth=[truth(d, ignore=0)]),
        "truth.0.ignore: .*greater than or equal to 1",
    ),
    "no such slice": (
        lambda d: evaluation(d, truth=[truth(d, slices=[1, 4])]),
        "there is no slice 4 of .*truth.ome.zarr; it has 0 to 3",
    ),
    "no slices": (lambda d: evaluation(d, truth=[truth(d, slices=[])]), "truth.0.slices: .*at least 1 item"),
    "no such truth": (lambda d: evaluation(d, truth=[truth(d, "gone")]), "no such file or folder: .*gone"),
    "no such labels": (lambda d: evaluation(d, found=[found(d, "gone")]), "no such file or folder: .*gone"),
    "no such image": (
        lambda d: evaluation(d, truth=[truth(d, image=f"{d}/gone.ome.zarr")]),
        "no such file or folder: .*gone",
    ),
    "no such level": (lambda d: evaluation(d, truth=[truth(d, level=7)]), "has levels 0 to 0, not 7"),
    "an empty folder": (lambda d: evaluation(d, found=[found(d, "empty")]), "is not a zarr group"),
    "another shape": (
        lambda d: evaluation(d, found=[found(d, "small")]),
        r"\(4, 12, 8\) voxels and .*evaluate needs both on the same voxels; choose the level that matches",
    ),
    "another voxel size": (
        lambda d: evaluation(d, found=[found(d, "coarse")]),
        r"voxels of \(4.0, 8.0, 8.0\) nm and .* mend the size in the metadata of the one that is wrong",
    ),
    "an image of another shape": (
        lambda d: evaluation(d, truth=[truth(d, image=f"{d}/raw-small.ome.zarr")]),
        "errors are drawn on an image of the same voxels",
    ),
    "labels that are no integers": (
        lambda d: evaluation(d, found=[found(d, "floats")]),
        "holds float32 voxels; classes and instances must be integers",
    ),
    "labels without names": (
        lambda d: evaluation(d, found=[found(d, "unnamed")]),
        "unnamed.ome.zarr states no classes: give their numbers, as 'classes: {mitochondrion: 1}'",
    ),
    "no class in common": (
        lambda d: evaluation(d, found=[found(d, "other")]),
        "have no class name in common: .*golgi.* write one again with the names of the other",
    ),
    "objects of a class without a number": (
        lambda d: evaluation(d, found=[found(d, "unnamed")], objects_of="mito", iou=0.5, classes={"er": 1}),
        "no class 'mito'",
    ),
    "one number for two classes": (
        lambda d: evaluation(d, found=[found(d, "unnamed")], classes={"er": 1, "mito": 1}),
        "classes have numbers of their own from 1 on",
    ),
    "a class of number 0": (lambda d: evaluation(d, classes={"er": 0}), "classes.er: .*greater than"),
    "a block that is none": (lambda d: evaluation(d, block=[0, 4, 4]), "block.0: .*greater than"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_evaluations_are_refused_before_anything_is_written(case, data, tmp_path):
    make, says = CASES[case]
    content = make(data)
    path = tmp_path / "evaluate.yaml" if content is None else written(tmp_path, content)
    refused(says, "evaluate", path)
    if "truth" in (content or {}):
        refused(says, "validate", path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["found"], "found.ome.zarr is compared with what"),
        (["found", "truth", "--iou", "0.2"], "iou lies between 0.5"),
        (["found", "truth", "--ignore", "0"], "ignore is the number of voxels that are not compared"),
        (["found", "truth", "--surfaces", "50", "20"], "a tolerance and a larger cap"),
        (["found", "truth", "--iou", "0.5", "--surfaces", "5", "20"], "class by class, not with 'iou'"),
        (["found", "small"], "evaluate needs both on the same voxels"),
        (["found", "gone"], "no such file or folder: .*gone"),
        (["found", "truth", "--level", "9"], "has levels 0 to 0, not 9"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(options, says, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = [f"{data}/{name}.ome.zarr" for name in options[:2] if not name.startswith("-")]
    code, said, told = command("evaluate", *images, *options[len(images) :])
    assert (code, said) == (2, "")
    assert re.search(says, told), told
    assert list(tmp_path.iterdir()) == []


def test_options_beside_a_file_are_refused(data, tmp_path):
    path = written(tmp_path, evaluation(data))
    code, said, told = command("evaluate", path, "--iou", "0.5", "--work", tmp_path / "other")
    assert (code, said) == (2, "")
    assert "--iou, --work: the file" in told
    assert not Path(tmp_path / "work").exists()
