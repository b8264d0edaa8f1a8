"""Trials: settings known before the run, each gone on with by itself, and the best becomes the model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from painted_images import SMALL, stored
from strategies import broken, done

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError
from chunkflow_liver.ops.train.trials import best_of, check_trials, chosen, space_of
from chunkflow_liver.reports.training import training_report
from chunkflow_liver.training import checkpoints

SEARCH = {"rate": [1e-3, 2e-2], "features": [[4, 8], [2, 4]]}


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("painted")) | {"slices": [1, 5, 9, 13, 17]}


def plan(entry, work, **settings):
    return cf.train([entry], name="m", work=work, **SMALL | {"trials": 3, "search": SEARCH} | settings)


def test_trials_lie_in_the_space_and_begin_with_what_is_given():
    space = space_of({"rate": [1e-4, 1e-2], "loss": ["dice", "ce"], "features": [[4, 8], [2, 4]]}, {})
    many = chosen(33, space, seed=3)
    assert many[0] == {}
    assert many[:8] == chosen(8, space, seed=3)
    assert many[1:] != chosen(33, space, seed=4)[1:]
    rates = np.log10([trial["rate"] for trial in many[1:]])
    assert rates.min() >= -4
    assert rates.max() <= -2
    # As even as a Sobol sequence: every quarter of the range has its share of 32.
    assert np.histogram(rates, 4, (-4, -2))[0].tolist() == pytest.approx([8, 8, 8, 8], abs=1)
    assert {trial["loss"] for trial in many[1:]} == {"dice", "ce"}
    assert {trial["features"] for trial in many[1:]} == {(4, 8), (2, 4)}


def test_by_default_the_search_lies_around_what_is_given():
    assert space_of(None, {"rate": 0.01})["rate"] == (0.0025, 0.04)
    assert space_of(None, {"rate": 0.01, "edges": 9})["loss"] == ("dice_ce", "ce")


def test_the_best_trial_is_the_first_of_equals_and_knows_its_dice():
    assert best_of([[0.5, 0.75], [0.625, 0.625], [0.9, math.nan]]) == 0
    assert best_of([[0.1], [0.3]]) == 1


def test_the_best_trial_becomes_the_model(entry, tmp_path):
    made = plan(entry, tmp_path / "a")
    assert "tries rate" in str(made)
    output = done(made)
    settings = output.settings()
    table = cf.read_table(tmp_path / "a/tables/m-trials.parquet").to_pydict()
    assert list(table) == ["trial", "rate", "features", "dice", "best", "cpu_seconds"]
    assert table["rate"][0] == SMALL["rate"]
    best = int(np.argmax(table["dice"]))
    assert (settings["trial"], table["best"].index(True)) == (best, best)
    assert settings["folds"]["4"]["dice"] == pytest.approx(max(table["dice"]))
    assert "x".join(map(str, settings["recipe"]["features"])) == table["features"][best]
    assert [row["step"] for row in settings["history"]] == [4, 8]
    assert cf.read_table(tmp_path / "a/tables/m-history.parquet").to_pydict()["trial"] == [0, 0, 1, 1, 2, 2]
    model = torch.load(output.model / "fold_4/checkpoint_final.pth", weights_only=True)["network_weights"]
    kept = checkpoints.load(tmp_path / f"a/training/m/trial_{best}/fold_4/weights.pt")["network"]
    assert all(torch.equal(model[key], kept[key]) for key in kept)
    page = training_report(output.path, output.runs, to=tmp_path / "page.html").read_text()
    assert f"Trial {best} became the model" in page

    # A trial that failed is run alone, and on two workers it is what it is on one.
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(plan(entry, tmp_path / "b"), "m/fit", 1))
    with cf.cluster(workers=2) as client:
        cf.run(plan(entry, tmp_path / "b"), client, progress=False)
    other = json.loads((tmp_path / "b/models/m/training.json").read_text())
    drop = "cpu_seconds"
    assert [{k: v for k, v in row.items() if k != drop} for row in other["trials"]] == [
        {k: v for k, v in row.items() if k != drop} for row in settings["trials"]
    ]


def test_bad_searches_are_refused(entry, tmp_path, monkeypatch):
    cases = {
        r"trials are a whole number from 1 to 1000, got 0": {"trials": 0},
        r"a search needs 'trials'": {"trials": 1},
        r"a search is over some of .*, got \['device'\]": {"search": {"device": ["cpu", "cuda"]}},
        r"got nothing": {"search": {}},
        r"search of loss: wanted a list of at least 2 values, got 'dice'": {"search": {"loss": "dice"}},
        r"search of rate: wanted the two ends of a range above 0, got \[0.1, 0.01\]": {
            "search": {"rate": [0.1, 0.01]}
        },
        r"no loss 'focal' of a training": {"search": {"loss": ["focal", "focal"]}},
        r"search of window: all have 3 axes as the training has, got \(\d+, \d+\)": {
            "search": {"window": [[16, 16], [32, 32]]}
        },
        r"'by: none' holds nothing out": {"split": {"by": "none"}},
    }
    for says, settings in cases.items():
        with pytest.raises(ConfigError, match=says):
            plan(entry, tmp_path / "w", **settings)
    assert not (tmp_path / "w").exists()
    check_trials(8, None, True)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"'trials' needs 'optuna'; pip install 'chunkflow-liver\[trials\]'"):
        plan(entry, tmp_path / "w")
