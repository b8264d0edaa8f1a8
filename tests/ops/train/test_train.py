"""From stored images with painted slices to a model folder that nnU-Net and `segment` take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunet_referees import referee_labels
from painted import blobs
from painted_images import SMALL, stored
from strategies import broken, contents, done

import chunkflow_liver as cf
from chunkflow_liver.errors import RunIncompleteError
from chunkflow_liver.training import checkpoints
from chunkflow_liver.training.fit import Fit


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("painted")) | {"slices": [1, 5, 9, 13, 17]}


def plan(entry, work, **settings):
    return cf.train([entry], name="m", work=work, **SMALL | settings)


@pytest.mark.parametrize(("window", "network"), [((4, 16, 16), "plain"), ((16, 16), "resenc")])
def test_nnunets_predictor_finds_what_segment_finds(window, network, entry, tmp_path):
    made = plan(entry, tmp_path / "work", window=window, network=network, steps=30, epoch=30)
    model = done(made).model
    raw = cf.open_volume(entry["image"])
    found = done(cf.segment(raw, model=model, name="s", work=tmp_path / "s", mirroring=False)).read()
    wanted = referee_labels(model, raw.read()[None].astype(np.float32), spacing=(40, 16, 16), mirroring=False)
    # nnU-Net adds scores in float16.
    assert (found == wanted).mean() > 0.999
    assert len(np.unique(found)) > 1
    weights = torch.load(next(model.glob("fold_*/*.pth")), weights_only=True)
    assert set(weights) == {
        "network_weights",
        "trainer_name",
        "init_args",
        "inference_allowed_mirroring_axes",
    }


@pytest.mark.parametrize("network", ["unet2d", "unet3d", "resunet", "pyramid"])
def test_published_networks_are_run_by_segment_as_they_run_themselves(network, entry, tmp_path):
    window = (16, 16) if network in ("unet2d", "resunet") else (4, 16, 16)
    longer = {"features": (8, 16), "steps": 120, "rate": 2e-3} if network == "pyramid" else {"steps": 30}
    settings = {"window": window, "network": network, "epoch": 120, "augment": "flips"} | longer
    made = plan(entry, tmp_path / "work", **settings)
    model = done(made).model
    raw = cf.open_volume(entry["image"])
    at = {"mirroring": False, "block": (8, 48, 48)}
    found = done(cf.segment(raw, model=model, name="s", work=tmp_path / "s", **at)).read()
    assert (found == whole(made.output, raw.read())).mean() > 0.999
    assert len(np.unique(found)) > 1


def whole(output, grey):
    """Classes by passes over every window of the whole image, in float64 sums."""
    return passes(output, grey, output.folds[0]).argmax(0)


def passes(output, grey, fold):
    """Sums of the scores of one fold over every window, (classes, z, y, x)."""
    from scipy.ndimage import gaussian_filter

    from chunkflow_liver.training.networks import network_of

    network = network_of(output.recipe, output.architecture)
    kept = checkpoints.load(Path(output.runs) / f"fold_{fold}/weights.pt")
    network.load_state_dict(kept["network"])
    if output.architecture is not None:
        network.decoder.deep_supervision = False
    network.eval()
    image = torch.from_numpy(((grey - grey.mean()) / grey.std()).astype(np.float32))
    window = output.recipe.window_zyx
    bell = np.zeros(window)
    bell[tuple(n // 2 for n in window)] = 1
    bell = gaussian_filter(bell, [n / 8 for n in window], mode="constant")
    bell = bell if not output.recipe.is_2d else bell / bell.max()
    steps = [range(0, n - w + 1, max(1, w // 2)) for n, w in zip(grey.shape, window, strict=True)]
    total = np.zeros((3, *grey.shape))
    with torch.no_grad():
        for z in steps[0]:
            for y in steps[1]:
                for x in steps[2]:
                    at = tuple(slice(a, a + n) for a, n in zip((z, y, x), window, strict=True))
                    seen = image[at][None, None]
                    scores = network(seen[:, :, 0] if output.recipe.is_2d else seen)[0].numpy()
                    total[(slice(None), *at)] += bell * (scores[:, None] if output.recipe.is_2d else scores)
    return total


def test_what_is_left_of_a_training(entry, tmp_path):
    made = plan(entry, tmp_path / "work", split={"folds": 5, "train": [0, 4]})
    output = done(made)
    settings = output.settings()
    assert settings["recipe"]["window"] == [4, 16, 16]
    assert settings["split"]["held_out"]["0"] == [[{"start": [1, 0, 0], "stop": [2, 48, 48]}]]
    assert settings["sources"][0]["painted_voxels"] == [
        int((blobs((20, 48, 48))[1][[1, 5, 9, 13, 17]] == c).sum()) for c in range(3)
    ]
    assert set(settings["identities"]) == {"a-raw.ome.zarr", "a-labels.ome.zarr"}
    assert str(tmp_path) not in json.dumps(settings)
    table = cf.read_table(tmp_path / "work/tables/m-history.parquet").to_pydict()
    assert table["fold"] == ["0", "0", "4", "4"]
    assert table["step"] == [4, 8, 4, 8]
    assert {"loss", "dice", "dice_dark", "dice_bright", "cpu_seconds"} < table.keys()
    assert [p.name for p in sorted(output.model.glob("fold_*"))] == ["fold_0", "fold_4"]
    assert "begin" not in str(made)
    # A second run has nothing to do.
    before = contents(tmp_path / "work/training")
    done(plan(entry, tmp_path / "work", split={"folds": 5, "train": [0, 4]}))
    assert contents(tmp_path / "work/training") == before


@pytest.mark.parametrize("network", ["plain", "unet3d"])
def test_segment_averages_all_folds(network, entry, tmp_path):
    split = {"folds": 2, "train": "all"}
    output = done(
        plan(entry, tmp_path / "w", split=split, network=network, augment="none", steps=20, epoch=20)
    )
    raw = cf.open_volume(entry["image"])
    made = cf.segment(raw, model=output.model, name="s", work=tmp_path / "s", block=(8, 48, 48))
    found = done(made).read()
    first, second = (passes(output, raw.read(), fold) for fold in ("0", "1"))
    both, alone = ((found == scores.argmax(0)).mean() for scores in (first + second, first))
    assert both > 0.999 > alone


def test_a_fold_that_failed_is_trained_alone(entry, tmp_path):
    def make(work):
        return plan(entry, work, split={"folds": 5, "train": [0, 4]})

    done(make(tmp_path / "a"))
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(make(tmp_path / "b"), "m/fit", 1))
    done(make(tmp_path / "b"))
    for fold in ("0", "4"):
        a, b = (
            checkpoints.load(tmp_path / w / f"training/m/fold_{fold}/weights.pt")["network"] for w in "ab"
        )
        assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("at", [3, 6])
def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(at, entry, tmp_path, monkeypatch):
    wanted = checkpoints.load(
        done(plan(entry, tmp_path / "a")).model.parent.parent / "training/m/fold_4/weights.pt"
    )
    kept = Fit._step

    def stop(self, network, optimizer, state, images, targets):
        if state.step == at:
            raise KeyboardInterrupt
        return kept(self, network, optimizer, state, images, targets)

    monkeypatch.setattr(Fit, "_step", stop)
    with pytest.raises(KeyboardInterrupt):
        done(plan(entry, tmp_path / "b"))
    monkeypatch.undo()
    done(plan(entry, tmp_path / "b"))
    found = checkpoints.load(tmp_path / "b/training/m/fold_4/weights.pt")
    assert all(torch.equal(found["network"][k], wanted["network"][k]) for k in wanted["network"])


def test_fine_tuning_takes_a_model_with_other_classes(entry, tmp_path):
    first = done(plan(entry, tmp_path / "a")).model
    settings = {k: v for k, v in SMALL.items() if k not in ("window", "features", "convolutions")}
    made = cf.train(
        [entry],
        name="m",
        work=tmp_path / "b",
        classes=["dark"],
        fine_tune=first,
        freeze="encoder",
        **settings,
    )
    assert "begins with fold 4 of m, classes ['background', 'bright', 'dark']" in str(made)
    second = done(made).model
    old, new = (
        torch.load(m / "fold_4/checkpoint_final.pth", weights_only=True)["network_weights"]
        for m in (first, second)
    )
    for name, value in new.items():
        if name.startswith("encoder."):
            assert torch.equal(value, old[name])
    assert json.loads((second / "dataset.json").read_text())["labels"] == {"background": 0, "dark": 1}


def test_a_preset_plans_the_network(entry, tmp_path):
    made = cf.train([entry], name="m", work=tmp_path / "work", preset="cpu", dimensions=2)
    recipe = made.output.recipe
    assert recipe.is_2d
    assert recipe.features == (16, 32, 64, 128)
    assert all(n % 8 == 0 for n in recipe.window)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("painted", "options", "axes"),
    [
        ([{"slices": [1, 5, 9, 13, 17]}], {}, 2),
        ([{"slices": [1, 5, 9, 13, 17], "boxes_nm": []}], {}, 2),
        ([{"slices": [1, 5, 9, 13, 17]}], {"preset": "m"}, 2),
        ([{"slices": [1, 5, 9, 13, 17]}], {"dimensions": 3}, 3),
        ([{"slices": [1, 5, 9, 13, 17]}], {k: SMALL[k] for k in ("window", "features", "convolutions")}, 3),
        ([{"slices": [3, 4, 5, 6, 12]}], {}, 3),
        ([{"slices": [1, 9], "boxes_nm": [[(80, 0, 0), (400, 768, 768)]]}], {}, 3),
        ([{"slices": [1, 5, 9]}, {}], {}, 3),
        ([{}], {}, 3),
    ],
    ids=str,
)
def test_slices_that_lie_apart_are_seen_in_single_planes(painted, options, axes, entry, tmp_path):
    settings = {k: v for k, v in SMALL.items() if k not in ("window", "features", "convolutions")}
    image = {key: entry[key] for key in ("image", "labels")}
    sources = [image | given for given in painted]
    made = cf.train(sources, name="m", work=tmp_path / "work", split={"by": "none"}, **settings, **options)
    assert len(made.output.recipe.window) == axes
    assert ("single planes, because slices apart" in str(made)) == (axes == 2)


def test_the_same_image_in_two_sources_is_scanned_once(entry, tmp_path):
    made = cf.train([entry, entry], name="m", work=tmp_path / "work", **SMALL)
    assert [s.name for s in made.stages if "statistics" in s.name] == ["m/statistics-0"]
