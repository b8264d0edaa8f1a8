"""The fastest engine whose labels agree is taken, and what was tried is said."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.engines import Engine
from chunkflow_liver.segmenters.settings import Settings
from chunkflow_liver.segmenters.streaming import trial
from chunkflow_liver.segmenters.streaming.forward import Forward
from chunkflow_liver.segmenters.streaming.trial import Attempt, Trial, _agreement, _chosen, _starts

PLAIN = Attempt(Engine(), 1.0, 1.0, 1.0)
WIDE = Attempt(Engine("openvino"), 0.5, 1.0, 1.0)
SHORT = Attempt(Engine("openvino", "bfloat16"), 0.2, 0.9991, 0.99)


def choose(*others, stay=True, **how):
    return _chosen([PLAIN, *others], Settings(**how), may_stay=stay)


def test_the_fastest_that_agrees_is_taken():
    assert choose(WIDE, SHORT) == SHORT.engine
    less = Attempt(SHORT.engine, 0.2, 0.9989, 0.9)
    assert choose(WIDE, less) == WIDE.engine
    assert choose(less) == PLAIN.engine
    assert choose(Attempt(WIDE.engine, trouble="no such operation")) == PLAIN.engine


def test_a_little_faster_is_not_worth_another_engine():
    assert choose(Attempt(WIDE.engine, 0.95, 1.0, 1.0)) == PLAIN.engine
    assert choose(Attempt(WIDE.engine, 0.90, 1.0, 1.0)) == WIDE.engine


def test_what_was_asked_for_is_taken_though_it_is_slow_or_differs():
    assert choose(WIDE, Attempt(SHORT.engine, 9.0, 0.9999, 1.0), stay=False) == WIDE.engine
    less = Attempt(SHORT.engine, 0.2, 0.995, 0.95)
    assert choose(less, stay=False, precision="bfloat16") == less.engine
    with pytest.raises(SegmenterError, match=r"gives 99\.9 % of the labels .* take engine: auto"):
        choose(less, stay=False, engine="openvino")


@pytest.mark.parametrize(("equal", "dice"), [(0.0, 0.0), (0.989, 0.95), (0.9999, 0.89)])
def test_what_was_asked_for_is_refused_where_it_is_wrong(equal, dice):
    far = Attempt(SHORT.engine, 0.2, equal, dice)
    with pytest.raises(SegmenterError) as told:
        choose(far, Attempt(Engine("torch", "bfloat16"), trouble="no"), stay=False, precision="bfloat16")
    assert "gives 99 % of the labels of torch in float32 and of each class with 100 voxels" in str(told.value)
    assert f"{100 * equal:.3f} % equal labels, least Dice of a class {dice:.4f}" in str(told.value)
    assert str(told.value).endswith("does not run (no); take precision: auto, or float32")


def test_a_rare_class_must_be_there_too():
    lost = Attempt(SHORT.engine, 0.2, 0.9995, 0.0)
    assert choose(WIDE, lost) == WIDE.engine
    assert choose(lost) == PLAIN.engine


def test_windows_of_a_trial_are_spread_and_each_is_one():
    assert sorted(_starts([(0, 8, 16), (0,), (0, 4)])) == sorted(
        {(8, 0, 0), (0, 0, 0), (0, 0, 4), (16, 0, 0), (16, 0, 4)} | {(8, 0, 0)}
    )


def test_agreement_is_of_voxels_and_of_the_worst_class():
    import numpy as np

    wanted = [np.repeat(np.array([[0, 0, 0, 1], [1, 1, 1, 2]]), 100, 0)]
    found = [np.repeat(np.array([[0, 0, 0, 1], [1, 1, 2, 2]]), 100, 0)]
    equal, dice = _agreement(found, wanted)
    assert equal == 7 / 8
    assert dice == pytest.approx(2 / 3)


def test_a_class_of_few_voxels_is_not_judged_and_one_of_enough_is_wherever_it_comes_up():
    import numpy as np

    wanted = np.zeros(200_000, np.uint8)
    few, enough = wanted.copy(), wanted.copy()
    few[:99], enough[:100] = 1, 1
    plain = [wanted]
    assert _agreement(plain, [few]) == (1 - 99 / 200_000, pytest.approx(1, abs=1e-3))
    assert _agreement(plain, [enough])[1] == 0
    assert _agreement([enough], plain)[1] == 0
    assert _agreement([enough], plain)[0] > 0.999


class Folds:
    """Networks of two classes, of which one is changed or gives what is no number in bfloat16."""

    def __init__(self, wrong, value):
        self.wrong, self.value = wrong, value

    def prepared(self, networks, model, settings, engine, name):
        def network(inputs, fold):
            scores = torch.stack([inputs[:, 0], -inputs[:, 0]], 1)
            return scores * self.value if fold == self.wrong and engine.precision == "bfloat16" else scores

        found = tuple(partial(network, fold=fold) for fold in range(len(networks)))
        return Forward(found, model, "cpu", engine, settings.batch)


@pytest.mark.parametrize("wrong", [0, 1, 2])
@pytest.mark.parametrize(("value", "says"), [(-1.0, "0.000 % equal"), (float("nan"), "not numbers")])
def test_every_network_of_an_ensemble_is_compared(wrong, value, says, monkeypatch, tmp_path):
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path))
    window = (4, 8, 8)
    model = SimpleNamespace(
        folder=tmp_path, window=window, mirror_axes=(), weights=("a", "b", "c"), is_2d=False, heads=2,
        region_order=None,
    )  # fmt: skip
    view = SimpleNamespace(model=model, frame=SimpleNamespace(windows=9, window=window))
    values = torch.randn((1, *window), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(trial, "_windows", lambda *_: [values, values + 0.1])
    monkeypatch.setattr(trial, "prepare", Folds(wrong, value).prepared)
    with pytest.raises(SegmenterError, match=says):
        trial.tried(view, None, lambda: [None] * 3, Settings(precision="bfloat16"), "f")
    monkeypatch.setattr(trial, "prepare", Folds(3, value).prepared)
    made = trial.tried(view, None, lambda: [None] * 3, Settings(precision="bfloat16"), "f")
    assert (made.attempts[1].equal, made.voxels) == (1, 2 * 4 * 8 * 8)


def test_a_trial_says_what_was_found():
    made = Trial(
        SHORT.engine, (PLAIN, WIDE, SHORT, Attempt(Engine("torch", "bfloat16"), trouble="x")), 3, 99, 5
    )
    said = str(made)
    assert said.startswith(
        "openvino in bfloat16, chosen on 3 windows (99 voxels) of this volume: torch in float32"
    )
    assert "0.2 (5.0 times as fast, 99.910 % equal labels, least Dice of a class 0.9900)" in said
    assert said.endswith("torch in bfloat16 does not run (x)")
    short = Trial(Engine(), (PLAIN,), 0, 0, 4)
    assert str(short) == "torch in float32: 4 passes of 1 CPU s (4 s in all), too few for a trial"
