"""Slices encoded by OpenVINO: masks as torch's, and no object sees its partners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sam2_models import SIZE, disc, model_folder, need_transformers, planes

from chunkflow_liver.errors import ConfigError, SegmenterError
from chunkflow_liver.ops.propagate.options import Carrying
from chunkflow_liver.segmenters.sam2 import Hint, encoder, read_sam2, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.tracker import load_sam2

need_transformers()
pytest.importorskip("openvino", reason="openvino is not installed: chunkflow-liver[openvino]")

COUNT = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_sam2(model_folder(tmp_path_factory.mktemp("sam2") / "model"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path_factory.mktemp("cache")))


def carried(propagator: Any, masks: list[Any], *, shared: bool = True) -> np.ndarray[Any, Any]:
    """Logits of objects carried through a few slices; with a slice of another window encoded in between."""
    stack, other = planes(COUNT), planes(COUNT)[::-1]
    tracks = [propagator.track(COUNT) for _ in masks]
    found = []
    for z, plane in enumerate(stack):
        seen = propagator.encode(plane)
        if not shared:
            propagator.encode(other[z])
        if z:
            step = propagator.step(tracks, [seen] * len(tracks), z)
        else:
            step = [t.start(0, seen, Hint(mask=m)) for t, m in zip(tracks, masks, strict=True)]
        found.append([f.logits for f in step])
    return np.array(found)


def test_masks_are_those_of_torch(model: Any) -> None:
    masks = [disc(at=(20, 20)), disc(at=(40, 36))]
    print_ = sam2_fingerprint(model)
    wanted = carried(load_sam2(model, print_), masks)
    found = carried(load_sam2(model, print_, engine="openvino"), masks)
    assert np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max()
    assert ((found > 0) == (wanted > 0)).mean() >= 0.999


def test_an_object_is_the_same_with_and_without_others(model: Any) -> None:
    propagator = load_sam2(model, sam2_fingerprint(model), engine="openvino")
    masks = [disc(at=(20, 20)), disc(at=(40, 36)), disc(at=(30, 44))]
    together = carried(propagator, masks, shared=False)
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(carried(propagator, [mask])[:, 0], together[:, i])


def test_an_encoder_that_finds_something_else_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from chunkflow_liver.segmenters.sam2.tracker import build

    converted = encoder.converted

    def worse(*given: Any) -> Any:
        passes = converted(*given)
        return lambda colours: [features * 1.01 for features in passes(colours)]

    monkeypatch.setattr(encoder, "converted", worse)
    with pytest.raises(SegmenterError, match=r"differ from torch's by 0\.01.*take engine: torch"):
        encoder.encoder_of(build(model), SIZE, "")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"engine": "tensorrt"}, r"engine is one of \['torch', 'openvino'\], got 'tensorrt'"),
        ({"engine": "openvino", "backend": "sam2"}, "for backend 'transformers'; got backend 'sam2'"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Carrying(**wrong)
