"""Pruned tracks equal transformers' own sessions, which keep all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sam2_models import SIZE, disc, model_folder, need_transformers, planes, random_network

from chunkflow_liver.segmenters.sam2 import Hint, read_sam2, sam2_fingerprint

need_transformers()
COUNT, ANCHOR = 44, 20


@pytest.fixture(scope="module")
def network() -> Any:
    return random_network()


@pytest.fixture(scope="module")
def propagator(network: Any) -> Any:
    from chunkflow_liver.segmenters.sam2.tracker import Sam2Propagator

    return Sam2Propagator(network, SIZE, "cpu")


@pytest.fixture(scope="module")
def seen(propagator: Any) -> list[Any]:
    return [propagator.encode(plane) for plane in planes(COUNT)]


def whole(network: Any, hint: Hint) -> dict[int, np.ndarray[Any, Any]]:
    """Logits of a session that keeps everything: forward from the anchor, then back."""
    import torch
    from transformers import Sam2VideoInferenceSession

    grey = torch.from_numpy(planes(COUNT)).float()[:, None] / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    video = (grey.expand(-1, 3, -1, -1) - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    session = Sam2VideoInferenceSession(video, SIZE, SIZE, dtype=torch.float32)
    session.obj_id_to_idx(7)
    if hint.mask is not None:
        session.add_mask_inputs(0, ANCHOR, torch.from_numpy(hint.mask)[None, None])
    else:
        y0, x0, y1, x1 = hint.box or (0, 0, 0, 0)
        points = {
            "point_coords": torch.tensor([[[[x0, y0], [x1, y1], *((x, y) for y, x, _ in hint.points)]]]),
            "point_labels": torch.tensor(
                [[[2, 3, *(int(own) for *_, own in hint.points)]]], dtype=torch.int32
            ),
        }
        session.add_point_inputs(0, ANCHOR, points)
    session.obj_with_new_inputs = [7]
    found = {}
    for reverse in (False, True):
        for out in network.propagate_in_video_iterator(session, ANCHOR, reverse=reverse):
            found[out.frame_idx] = out.pred_masks[0, 0].numpy().copy()
    return found


HINTS = {
    "mask": Hint(mask=disc()),
    "box": Hint(box=(20.0, 20.0, 44.0, 44.0)),
    "box and points": Hint(box=(20.0, 20.0, 44.0, 44.0), points=((32.0, 30.0, True), (10.0, 9.0, False))),
}


@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS.keys())
def test_what_is_dropped_was_never_looked_at(network: Any, propagator: Any, seen: Any, hint: Hint) -> None:
    wanted = whole(network, hint)
    track = propagator.track(COUNT)
    found = {ANCHOR: track.start(ANCHOR, seen[ANCHOR], hint).logits}
    for z in range(ANCHOR + 1, COUNT):
        found[z] = track.step(z, seen[z]).logits
    for z in range(ANCHOR - 1, -1, -1):
        found[z] = track.step(z, seen[z], reverse=True).logits
    assert sorted(found) == sorted(wanted) == list(range(COUNT))
    for z, logits in found.items():
        np.testing.assert_array_equal(logits, wanted[z], err_msg=f"slice {z}")
    assert len({logits.tobytes() for logits in found.values()}) == COUNT


@pytest.mark.parametrize("every", [1, 7])
def test_a_track_goes_on_from_its_state_to_the_same_bits(propagator: Any, seen: Any, every: int) -> None:
    order = [*((z, False) for z in range(ANCHOR + 1, COUNT)), *((z, True) for z in range(ANCHOR - 1, 4, -1))]
    one, other = propagator.track(COUNT), propagator.track(COUNT)
    one.start(ANCHOR, seen[ANCHOR], HINTS["mask"])
    other.start(ANCHOR, seen[ANCHOR], HINTS["mask"])
    for i, (z, reverse) in enumerate(order):
        if i % every == 0:
            other = propagator.track(COUNT, other.state())
        first = one.step(z, seen[z], reverse=reverse)
        second = other.step(z, seen[z], reverse=reverse)
        np.testing.assert_array_equal(first.logits, second.logits)
        assert first.score == second.score


def test_the_state_does_not_grow(propagator: Any, seen: Any) -> None:
    track = propagator.track(COUNT)
    track.start(0, seen[0], HINTS["mask"])
    sizes = []
    for z in range(1, COUNT):
        track.step(z, seen[z])
        sizes.append(sum(v.nbytes for v in track.state().values()))
    assert len(set(sizes[30:])) == 1, sizes


def test_an_object_does_not_depend_on_others_of_its_window(propagator: Any, seen: Any) -> None:
    alone = propagator.track(COUNT)
    alone.start(0, seen[0], HINTS["mask"])
    tracks = [propagator.track(COUNT) for _ in range(2)]
    tracks[0].start(0, seen[0], HINTS["mask"])
    for z in range(1, 6):
        if z == 3:
            tracks[1].start(z, seen[z], Hint(mask=disc(at=(12, 14), radius=6)))
        elif z > 3:
            tracks[1].step(z, seen[z])
        first, second = alone.step(z, seen[z]), tracks[0].step(z, seen[z])
        np.testing.assert_array_equal(first.logits, second.logits)


def test_a_loaded_folder_is_the_network_that_was_saved(tmp_path: Path, propagator: Any, seen: Any) -> None:
    from chunkflow_liver.segmenters.sam2.tracker import load_sam2

    model = read_sam2(model_folder(tmp_path / "model"))
    loaded = load_sam2(model, sam2_fingerprint(model))
    assert load_sam2(model, sam2_fingerprint(model)) is loaded
    one, two = propagator.track(9), loaded.track(9)
    for track, of in ((one, propagator), (two, loaded)):
        track.start(0, of.encode(planes(2)[0]), HINTS["mask"])
    again = two.step(1, loaded.encode(planes(2)[1])).logits
    np.testing.assert_array_equal(one.step(1, seen[1]).logits, again)
