"""What a task is said to need is what the network takes."""

from __future__ import annotations

from typing import Any

import pytest
from sam2_models import disc, need_transformers, planes, random_network
from strategies import most_resident

from chunkflow_liver.ops.propagate import PIXEL_BYTES
from chunkflow_liver.segmenters.sam2 import Hint

need_transformers()


@pytest.mark.parametrize("size", [128, 256, 512])
def test_activations_of_a_pixel(size: int) -> None:
    from chunkflow_liver.segmenters.sam2.tracker import Sam2Propagator

    of = Sam2Propagator(random_network(size), size, "cpu")
    plane = planes(1, size)[0]
    tracks = [of.track(40) for _ in range(of.places)]
    for track in tracks:
        track.start(0, of.encode(plane), Hint(mask=disc(size, size // 4)))
    # The memory of earlier slices is full by then.
    for z in range(1, 9):
        of.step(tracks, [of.encode(plane)] * of.places, z)
    after = iter(range(9, 40))

    def work() -> Any:
        return of.step(tracks, [of.encode(plane)] * of.places, next(after))

    peak = most_resident(work)
    planned = PIXEL_BYTES * max(1, of.places // 4) * size**2
    assert 0.1 * planned < peak <= planned
