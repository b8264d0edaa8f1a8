"""The package `sam2` carries the masks that transformers carries, with the same weights."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sam2_models import disc, model_folder, need_transformers, planes

from chunkflow_liver.errors import SegmenterError
from chunkflow_liver.segmenters.sam2 import Hint, backend_of, read_sam2, sam2_fingerprint

need_transformers()
COUNT, ANCHOR = 26, 12
ORDER = [*((z, False) for z in range(ANCHOR + 1, COUNT)), *((z, True) for z in range(ANCHOR - 1, -1, -1))]
HINTS = {
    "mask": Hint(mask=disc()),
    "box": Hint(box=(20.0, 20.0, 44.0, 44.0)),
    "point": Hint(points=((32.0, 30.0, True),)),
    "points": Hint(points=((32.0, 30.0, True), (28.0, 33.0, True), (10.0, 9.0, False))),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_sam2(model_folder(tmp_path_factory.mktemp("models") / "small", decoder={}))


def load(name: str, model: Any) -> Any:
    if name == "sam2":
        pytest.importorskip("sam2", reason="the package sam2 is not installed")
    return backend_of(name).load(model, sam2_fingerprint(model), "cpu")


def carried(of: Any, hint: Hint, restored: bool = False) -> list[Any]:
    track, stack = of.track(COUNT), planes(COUNT)
    found = [track.start(ANCHOR, of.encode(stack[ANCHOR]), hint)]
    for z, reverse in ORDER:
        if restored:
            track = of.track(COUNT, track.state())
        found += of.step([track], [of.encode(stack[z])], z, reverse=reverse)
    return found


@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS.keys())
def test_both_carry_the_same_masks(model: Any, hint: Hint) -> None:
    one, other = (carried(load(name, model), hint) for name in ("transformers", "sam2"))
    scale = max(float(np.abs(found.logits).max()) for found in one[1:])
    differ = max(float(np.abs(a.logits - b.logits).max()) for a, b in zip(one, other, strict=True))
    # Memories are rounded to 8 bits of fraction in both: the last bit of a sum moves one now and then.
    assert differ < 5e-3 * scale, (differ, scale)
    agree = np.mean([(a.logits > 0) == (b.logits > 0) for a, b in zip(one, other, strict=True)])
    assert agree > 0.999
    np.testing.assert_allclose([a.score for a in one], [b.score for b in other], rtol=1e-3)


def test_a_track_of_the_package_goes_on_from_its_state_to_the_same_bits(model: Any) -> None:
    of = load("sam2", model)
    for one, other in zip(carried(of, HINTS["box"]), carried(of, HINTS["box"], restored=True), strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        assert one.score == other.score


def test_a_decoder_of_another_shape_is_refused(tmp_path: Path) -> None:
    odd = read_sam2(model_folder(tmp_path / "odd"))
    with pytest.raises(SegmenterError, match=r"have {'mlp_dim': 2048}, and this model has {'mlp_dim': 64}"):
        backend_of("sam2").load(odd, sam2_fingerprint(odd), "cpu")


def test_a_missing_package_is_named(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = builtins.__import__

    def without(name: str, *given: Any, **named: Any) -> Any:
        if name.startswith("sam2."):
            raise ModuleNotFoundError("no sam2", name="sam2")
        return own(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    from chunkflow_liver.segmenters.sam2.package import build_package

    with pytest.raises(SegmenterError, match=r"needs 'sam2'; pip install .*facebookresearch/sam2"):
        build_package(model)


def test_one_folder_is_loaded_once_for_each_implementation(model: Any) -> None:
    first = load("transformers", model)
    assert load("transformers", model) is first

    assert load("sam2", model) is load("sam2", model) is not first
