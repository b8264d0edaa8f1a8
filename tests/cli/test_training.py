"""`train` from a file: a model and a page; bad files, images and labels are refused before anything is "
"written."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from painted import blobs
from painted_images import SMALL, stored
from strategies import command, refused

import chunkflow_liver as cf

NETWORK = {k: SMALL[k] for k in ("window", "features", "convolutions")}
STEPS = {k: v for k, v in SMALL.items() if k not in NETWORK}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images and labels, good and bad, that a training file may name."""
    folder = tmp_path_factory.mktemp("data")
    grey, classes = blobs((20, 48, 48))
    stored(folder, "good")
    stored(folder, "short", shape=(20, 48, 40))
    stored(folder, "coarse", voxel_nm=(40.0, 8.0, 8.0))
    stored(folder, "ids", classes=np.arange(classes.size, dtype=np.uint32).reshape(classes.shape), named=())
    cf.write_volume(folder / "float-labels.ome.zarr", grey.astype(np.float32), voxel_nm=(40, 16, 16))
    stored(folder, "unnamed", named=())
    np.save(folder / "grey.npy", grey)
    (folder / "notes.txt").write_text("painted on Monday")
    half = classes.copy()
    half[:10][half[:10] == 2] = 0
    stored(folder, "half", classes=half)
    return folder


def training(data, **changes):
    """A training file that works, with changes."""
    content = {
        "name": "m",
        "work": "work",
        "sources": [source(data, "good")],
        "network": {k: list(v) if isinstance(v, tuple) else v for k, v in NETWORK.items()},
        "training": dict(STEPS),
        "split": {"by": "slab", "folds": 5},
    }
    return copy.deepcopy(content) | changes


def source(data, name, labels=None, **more):
    entry = {"image": f"{data}/{name}-raw.ome.zarr", "labels": f"{data}/{labels or name}-labels.ome.zarr"}
    return entry | more


def masks(data, name):
    """Masks of two classes that overlap everywhere."""
    path = f"{data}/{name}-labels.ome.zarr"
    return {"image": f"{data}/{name}-raw.ome.zarr", "masks": {"dark": path, "bright": path}}


def written(folder, content):
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_training_from_a_file(data, tmp_path):
    path = written(tmp_path, training(data))
    code, said, told = command("train", path, "--plan")
    assert code == 0, told
    assert "8 steps of 2 windows" in said
    assert not (tmp_path / "work").exists()
    code, said, told = command("train", path)
    assert code == 0, told
    assert "step 8 of 8, loss" in told
    model, page = said.split()
    assert Path(model).joinpath("plans.json").exists()
    text = Path(page).read_text()
    for part in ("Dice 0.", "What was held out", "z 16:20", "data:image/png", "good-labels.ome.zarr", "<svg"):
        assert part in text
    assert str(tmp_path) not in text
    again = command("train", path)
    assert again[0] == 0
    assert "step 8 of 8" not in again[2]
    # Other settings are not mixed with what is there.
    changed = training(data)
    changed["training"]["rate"] = 0.02
    code, _, told = command("train", written(tmp_path, changed))
    assert code == 2
    assert "0.02" in told
    assert command("train", path, "--redo")[0] == 0


def test_a_training_file_is_no_run_file():
    path = Path(__file__).parents[2] / "configs/train_mitochondria.yaml"
    for verb in ("run", "plan"):
        code, _, told = command(verb, path)
        assert code == 2
        assert "is a training, not a run: 'chunkflow-liver train" in told


@pytest.mark.parametrize("name", ["liver_organelles", "existing_instances"])
def test_a_run_file_is_no_training_file(name):
    path = Path(__file__).parents[2] / f"configs/{name}.yaml"
    code, _, told = command("train", path)
    assert code == 2
    assert told == f"error: {path} is a run, not a training: 'chunkflow-liver run {path}' is for it\n"


def test_the_example_is_a_training_file():
    from chunkflow_liver.config import read_training_file

    found = read_training_file(Path(__file__).parents[2] / "configs/train_mitochondria.yaml")
    arguments = found.arguments()
    assert arguments["window"] == (4, 192, 192)
    assert arguments["split"]["gap_nm"] == 80


def fine_tuned(data, **changes):
    return training(data, fine_tune=f"{data}/no-model", network={}, **changes)


CASES = {
    "no such file": (lambda d: None, "no run file at"),
    "unknown key": (lambda d: training(d, sorces=[]), r"sorces: unknown key, did you mean 'sources'\?"),
    "unknown setting": (
        lambda d: training(d, training={"step": 3}),
        r"training.step: unknown key, did you mean 'steps'\?",
    ),
    "no sources": (lambda d: training(d, sources=[]), "sources: .*at least 1 item"),
    "no window": (lambda d: training(d, network={"network": "pyramid"}), "'pyramid' needs a 'window'"),
    "no such network": (lambda d: training(d, network=NETWORK | {"network": "vgg"}), "no network 'vgg'"),
    "no such preset": (lambda d: training(d, network={"preset": "huge"}), "no preset 'huge'"),
    "a preset of another network": (
        lambda d: training(d, network={"preset": "m", "network": "pyramid"}),
        "a preset plans nnU-Net's networks, not 'pyramid'",
    ),
    "other dimensions": (
        lambda d: training(d, network=NETWORK | {"dimensions": 2}),
        r"a window of \(4, 16, 16\) voxels has 3 dimensions, not 2",
    ),
    "too deep": (
        lambda d: training(d, network=NETWORK | {"features": [2] * 7}),
        "can be halved for .* stages, not for 7",
    ),
    "no such loss": (lambda d: training(d, training={"loss": "focal"}), "no loss 'focal'"),
    "rate": (lambda d: training(d, training={"rate": 7}), "training.rate: .*less than or equal to 1"),
    "no such split": (lambda d: training(d, split={"by": "chance"}), "a split is by one of .*got 'chance'"),
    "no gap": (lambda d: training(d, split={"gap_nm": 0}), "split.gap_nm: .*greater than 0"),
    "no such fold": (lambda d: training(d, split={"train": [5]}), "from 0 to 4, because .* got .5."),
    "too few volumes": (
        lambda d: training(d, split={"by": "volume", "folds": 2}),
        "by volume in 2 folds needs as many sources, got 1; paint more",
    ),
    "too few boxes": (
        lambda d: training(d, split={"by": "box", "folds": 2}),
        "by box in 2 folds needs as many painted boxes or slices, got 1",
    ),
    "too few slices": (
        lambda d: training(d, sources=[source(d, "good", slices=[1, 2])]),
        r"has 2 painted planes along z, too few for slabs of 5 folds; say folds: 2 and train: \[1\]",
    ),
    "a gap that leaves nothing": (
        lambda d: training(d, split={"gap_nm": 4000}),
        "fold 4: nothing is left that could be trained on",
    ),
    "no image": (lambda d: training(d, sources=[source(d, "gone")]), "source 0: .*gone-raw.ome.zarr"),
    "another shape": (
        lambda d: training(d, sources=[source(d, "good", "short")]),
        r"source 0: along x the image .* is 768 nm long \(48 voxels of 16 nm\) and the labels .* 640 nm",
    ),
    "another voxel size": (
        lambda d: training(d, sources=[source(d, "good", "coarse")]),
        "source 0: along y the image .* is 768 nm long .*mend the voxel size of the wrong one",
    ),
    "labels that are no integers": (
        lambda d: training(
            d, sources=[source(d, "good") | {"labels": f"{d}/float-labels.ome.zarr"}], classes={"a": 1}
        ),
        "holds float32 voxels; labels must be integers",
    ),
    "raw ids": (
        lambda d: training(d, sources=[source(d, "good", "ids")], classes={"mito": 1}),
        "holds the numbers 2, 3, .* which are no classes; .*instances_of: <class>",
    ),
    "labels without names": (
        lambda d: training(d, sources=[source(d, "good", "unnamed")]),
        "states no classes: name them, with their numbers",
    ),
    "a class that the labels do not state": (
        lambda d: training(d, classes=["golgi"]),
        "has no class 'golgi'; it states 'bright', 'dark'",
    ),
    "a class that nobody painted": (
        lambda d: training(d, classes={"dark": 1, "bright": 2, "golgi": 7}),
        "no painted voxel of any source is of 'golgi'; painted are background .*, dark 8855 voxels",
    ),
    "a class that is held out altogether": (
        lambda d: training(d, sources=[source(d, "good", "half")], split={"folds": 2}),
        "fold 1: all painted voxels of .'bright'. are held out or lie in the gap",
    ),
    "one number for two classes": (
        lambda d: training(d, classes={"dark": 1, "bright": 1}),
        "classes have numbers of their own from 1 on",
    ),
    "ignored background": (
        lambda d: training(d, sources=[source(d, "good", ignore=0)]),
        "ignore is 0, the number of the background",
    ),
    "no such slice": (
        lambda d: training(d, sources=[source(d, "good", slices=[3, 20])]),
        "source 0: there is no slice 20 .*it has 0 to 19",
    ),
    "a box outside": (
        lambda d: training(d, sources=[source(d, "good", boxes_nm=[[[0, 0, 0], [900, 768, 768]]])]),
        r"reaches outside of the image, which goes from \(0, 0, 0\) to \(800.0, 768.0, 768.0\) nm",
    ),
    "instances of no class": (
        lambda d: training(d, sources=[source(d, "good", instances_of="golgi")]),
        "instances_of names 'golgi', which is not among the classes",
    ),
    "neither labels nor masks": (
        lambda d: training(d, sources=[{"image": f"{d}/good-raw.ome.zarr"}]),
        "source 0 needs either 'labels' .* or 'masks' .*; it has none",
    ),
    "a file without a voxel size": (
        lambda d: training(d, sources=[source(d, "good") | {"image": f"{d}/grey.npy"}]),
        "source 0: .*grey.npy does not state a voxel size; give it in nm",
    ),
    "a file of no known format": (
        lambda d: training(d, sources=[source(d, "good") | {"image": f"{d}/notes.txt"}]),
        "source 0: .*notes.txt is in no format that can be converted",
    ),
    "masks that overlap": (
        lambda d: training(d, sources=[masks(d, "good")], classes=["dark", "bright"]),
        "the masks of 'dark' and 'bright' overlap, first at .* say 'regions: true'",
    ),
    "a class without a mask": (
        lambda d: training(d, sources=[masks(d, "good")], classes=["dark", "bright", "er"]),
        "has masks of .* and none of .'er'.: what has no mask would count as background",
    ),
    "regions that no label can tell": (
        lambda d: training(d, regions=True),
        "which no label image can tell: give masks, or numbers of several classes",
    ),
    "channels of another shape": (
        lambda d: training(
            d, sources=[source(d, "good") | {"image": [f"{d}/{n}-raw.ome.zarr" for n in ("good", "short")]}]
        ),
        "channels of source 0 must lie on the same voxels",
    ),
    "a search of what cannot be searched": (
        lambda d: training(d, trials=4, search={"seed": [1, 2]}),
        r"a search is over some of .*, got \['seed'\]",
    ),
    "trials that nothing is held out for": (
        lambda d: training(d, trials=4, split={"by": "none"}),
        "trials are compared by what is held out",
    ),
    "no such voxel size": (
        lambda d: training(d, voxel_nm=[40, 64, 64]),
        "the nearest to .* nm is 4 times off, wanted at most 1.5",
    ),
    "slices at another z": (
        lambda d: training(d, sources=[source(d, "good", slices=[1, 5, 9])], voxel_nm=[50, 16, 16]),
        "single ones would be lost; choose a voxel_nm with 40 first",
    ),
    "no model to begin with": (fine_tuned, "there is no .*plans.json"),
    "another network than that of the model": (
        lambda d: fine_tuned(d) | {"network": {"features": [4, 8]}},
        r"fine-tuning takes \['features'\] over from the model",
    ),
    "no such device": (lambda d: training(d, training={"device": "tpu"}), "tpu"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_trainings_are_refused_before_anything_is_written(case, data, tmp_path):
    make, says = CASES[case]
    content = make(data)
    path = tmp_path / "train.yaml" if content is None else written(tmp_path, content)
    refused(says, "train", path)


def test_paths_of_channels_and_masks_are_taken_from_the_folder_of_the_file(data, tmp_path):
    from chunkflow_liver.config import read_training_file

    entry = {"image": ["a.tif", "/b.tif"], "masks": {"dark": "dark.tif"}, "voxel_nm": [40, 16, 16]}
    content = training(data, sources=[entry], classes={"dark": [1, 2], "bright": 2}, trials=3)
    given = read_training_file(written(tmp_path, content)).arguments()
    assert given["sources"] == [
        {
            "image": (f"{tmp_path}/a.tif", "/b.tif"),
            "masks": {"dark": f"{tmp_path}/dark.tif"},
            "voxel_nm": (40, 16, 16),
        }
    ]
    assert given["classes"] == {"dark": (1, 2), "bright": 2}
    assert given["trials"] == 3


def test_a_folder_that_no_training_made_is_not_replaced(data, tmp_path):
    (tmp_path / "mine").mkdir()
    path = written(tmp_path, training(data, to="mine"))
    code, _, told = command("train", path)
    assert code == 2
    assert "exists, and no training made it" in told
    assert list((tmp_path / "mine").iterdir()) == []
    assert not (tmp_path / "work").exists()


def test_a_training_that_breaks_says_what_to_do(data, tmp_path):
    content = training(data)
    flat = cf.write_volume(
        tmp_path / "flat.ome.zarr", np.full((20, 48, 48), 7, np.uint8), voxel_nm=(40, 16, 16)
    )
    content["sources"][0]["image"] = flat.url
    code, _, told = command("train", written(tmp_path, content))
    assert code == 6
    assert "has the one value 7 everywhere: no image" in told
    assert json.loads((tmp_path / "work/failed.json").read_text())["stage"] == "m/fit"
