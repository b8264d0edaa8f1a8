"""Which engines are tried is said by the settings; where they leave no choice, none is."""

from __future__ import annotations

import contextlib
from itertools import product

import pytest

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.engines import Engine, candidates, engine, is_open, settled
from chunkflow_liver.segmenters.settings import CHOICES, Settings

PLAIN, LAST, WIDE = Engine(), Engine(layout="channels_last"), Engine("openvino")
MIXED, NARROW = Engine("torch", "bfloat16"), Engine("torch", "bfloat16", "channels_last")
SHORT = Engine("openvino", "bfloat16")


@pytest.fixture
def here(monkeypatch):
    def install(*, openvino, bfloat16):
        monkeypatch.setattr(engine, "has_openvino", lambda: openvino)
        monkeypatch.setattr(engine, "has_bfloat16", lambda: bfloat16)

    return install


@pytest.mark.parametrize(
    ("how", "openvino", "bfloat16", "wanted"),
    [
        ({}, True, True, {PLAIN, WIDE, SHORT}),
        ({}, True, False, {PLAIN, WIDE}),
        ({}, False, True, {PLAIN, LAST, MIXED, NARROW}),
        ({}, False, False, {PLAIN, LAST}),
        ({"engine": "torch"}, True, True, {PLAIN, LAST, MIXED, NARROW}),
        ({"engine": "openvino"}, True, True, {WIDE, SHORT}),
        ({"precision": "float32"}, True, True, {PLAIN, WIDE}),
        ({"precision": "bfloat16"}, True, True, {SHORT, MIXED}),
        ({"precision": "bfloat16"}, False, False, {MIXED, NARROW}),
        ({"engine": "openvino", "precision": "float32"}, True, True, {WIDE}),
        ({"engine": "torch", "precision": "float32"}, True, True, {PLAIN}),
        ({"engine": "torch", "precision": "bfloat16"}, True, True, {MIXED}),
        ({"numerics": "nnunet"}, True, True, {PLAIN}),
        ({"layout": "channels_last"}, True, True, {LAST}),
        ({"device": "cuda"}, True, True, {Engine("torch", "float16")}),
        ({"compile": "default"}, True, True, {PLAIN}),
    ],
    ids=lambda given: None if isinstance(given, set) else str(given),  # a set has no order
)
def test_what_is_tried_is_what_settings_leave_open(how, openvino, bfloat16, wanted, here):
    here(openvino=openvino, bfloat16=bfloat16)
    assert set(candidates(Settings(**how))) == wanted


def every_settings():
    """All combinations of what says which engine runs, but for those that are refused."""
    names = ("numerics", "engine", "precision", "layout", "compile")
    for values in product(*(CHOICES[n] for n in names), ("cpu", "cuda")):
        with contextlib.suppress(SegmenterError):
            yield Settings(**dict(zip((*names, "device"), values, strict=True)))


@pytest.mark.parametrize("openvino", [True, False], ids=["openvino", "torch-only"])
@pytest.mark.parametrize("bfloat16", [True, False], ids=["bfloat16", "float32-only"])
def test_what_runs_is_among_what_is_tried(openvino, bfloat16, here):
    here(openvino=openvino, bfloat16=bfloat16)
    every = list(every_settings())
    assert len(every) > 100
    for how in every:
        found = candidates(how)
        assert settled(how) in found, how
        assert len(set(found)) == len(found)
        assert is_open(how) or found == (settled(how),), how
        if how.engine != "auto":
            assert {e.name for e in found} == {how.engine}, how
        if how.precision != "auto":
            assert {e.precision for e in found} == {how.precision}, how


def test_without_a_trial_torch_runs_as_nnunet_does():
    assert settled(Settings()) == Engine("torch", "float32", "channels_first")
    assert settled(Settings(device="cuda:1")).precision == "float16"
    assert str(settled(Settings(layout="channels_last"))) == "torch in float32, channels last"


@pytest.mark.parametrize(
    "more",
    [
        {"device": "cuda"},
        {"numerics": "nnunet"},
        {"layout": "channels_last"},
        {"compile": "default"},
        {"precision": "float16"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_only_torch_does_is_refused_with_openvino(more):
    name, value = next(iter(more.items()))
    says = f"engine 'openvino' does not run with {name} '{value}', which is for torch; take engine: torch"
    with pytest.raises(SegmenterError, match=says):
        Settings(engine="openvino", **more)
