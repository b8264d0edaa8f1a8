"""Pruned tracks equal transformers' own sessions, which keep all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sam2_models import SIZE, disc, model_folder, need_transformers, planes, random_network

from chunkflow_liver.segmenters.sam2 import Hint, read_sam2, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.memory import Memory
from chunkflow_liver.segmenters.sam2.together import PLACES, Stepper
from chunkflow_liver.segmenters.sam2.tracker import Sam2Propagator

need_transformers()

COUNT, ANCHOR = 44, 20


@pytest.fixture(scope="module")
def network() -> Any:
    return random_network()


@pytest.fixture(scope="module")
def propagator(network: Any) -> Any:
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


def carried(propagator: Any, seen: Any, hint: Hint) -> dict[int, Any]:
    track = propagator.track(COUNT)
    found = {ANCHOR: track.start(ANCHOR, seen[ANCHOR], hint).logits}
    for z in range(ANCHOR + 1, COUNT):
        found[z] = propagator.step([track], [seen[z]], z)[0].logits
    for z in range(ANCHOR - 1, -1, -1):
        found[z] = propagator.step([track], [seen[z]], z, reverse=True)[0].logits
    return found


@pytest.mark.parametrize("places", [1, 8])
@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS.keys())
def test_masks_are_those_of_transformers(network: Any, seen: Any, hint: Hint, places: int) -> None:
    """Whose session keeps all slices; steps here share parts of their work, which moves last bits."""
    propagator = Sam2Propagator(network, SIZE, "cpu")
    propagator.__dict__["stepper"] = Stepper(network, places)
    wanted, found = whole(network, hint), carried(propagator, seen, hint)
    assert sorted(found) == sorted(wanted) == list(range(COUNT))
    scale = max(float(np.abs(logits).max()) for z, logits in wanted.items() if z != ANCHOR)
    for z, logits in found.items():
        np.testing.assert_allclose(logits, wanted[z], rtol=0, atol=2e-3 * scale, err_msg=f"slice {z}")
        assert ((logits > 0) == (wanted[z] > 0)).mean() > 0.995


@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS.keys())
def test_what_is_dropped_was_never_looked_at(
    propagator: Any, seen: Any, hint: Hint, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = carried(propagator, seen, hint)
    monkeypatch.setattr(Memory, "forget", lambda self, z: None)
    wanted = carried(propagator, seen, hint)
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
        (first,) = propagator.step([one], [seen[z]], z, reverse=reverse)
        (second,) = propagator.step([other], [seen[z]], z, reverse=reverse)
        np.testing.assert_array_equal(first.logits, second.logits)
        assert first.score == second.score


def test_the_state_does_not_grow(propagator: Any, seen: Any) -> None:
    track = propagator.track(COUNT)
    track.start(0, seen[0], HINTS["mask"])
    sizes = []
    for z in range(1, COUNT):
        propagator.step([track], [seen[z]], z)
        sizes.append(sum(v.nbytes for v in track.state().values()))
    assert len(set(sizes[30:])) == 1, sizes


def test_an_object_does_not_depend_on_others_that_step_with_it(propagator: Any, seen: Any) -> None:
    """In its window or in another, begun on its slice or on another, and whatever place of a batch it has."""
    assert propagator.places == PLACES
    begun = [0] * 5 + [1] * 3 + [2] * (PLACES - 1)
    other = {z: propagator.encode(planes(COUNT)[z][::-1].copy()) for z in range(12)}
    given = [(other if i % 3 == 2 else seen) for i in range(len(begun))]
    hints = [Hint(mask=disc(at=(20 + i, 40 - i), radius=6 + i)) for i in range(len(begun))]

    def tracks() -> list[Any]:
        return [propagator.track(COUNT) for _ in begun]

    alone, together = tracks(), tracks()
    for z in range(12):
        active = [i for i, first in enumerate(begun) if first < z]
        for i in (i for i, first in enumerate(begun) if first == z):
            for group in (alone, together):
                group[i].start(z, given[i][z], hints[i])
        mixed = np.random.default_rng(z).permutation(active).tolist()
        found = propagator.step([together[i] for i in mixed], [given[i][z] for i in mixed], z)
        for i, one in zip(mixed, found, strict=True):
            (single,) = propagator.step([alone[i]], [given[i][z]], z)
            np.testing.assert_array_equal(one.logits, single.logits, err_msg=f"slice {z}, object {i}")
            assert one.score == single.score
    for one, another in zip(alone, together, strict=True):
        kept = another.state()
        for name, value in one.state().items():
            np.testing.assert_array_equal(value, kept[name], err_msg=name)


def test_a_loaded_folder_is_the_network_that_was_saved(tmp_path: Path, propagator: Any, seen: Any) -> None:
    from chunkflow_liver.segmenters.sam2.tracker import load_sam2

    model = read_sam2(model_folder(tmp_path / "model"))
    loaded = load_sam2(model, sam2_fingerprint(model))
    assert load_sam2(model, sam2_fingerprint(model)) is loaded
    one, two = propagator.track(9), loaded.track(9)
    for track, of in ((one, propagator), (two, loaded)):
        track.start(0, of.encode(planes(2)[0]), HINTS["mask"])
    (again,) = loaded.step([two], [loaded.encode(planes(2)[1])], 1)
    np.testing.assert_array_equal(propagator.step([one], [seen[1]], 1)[0].logits, again.logits)
