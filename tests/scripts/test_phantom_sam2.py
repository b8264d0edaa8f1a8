"""What the demonstration's SAM2 model is trained on: windows, and streams of slices."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from places import ROOT
from sam2_models import need_transformers

from chunkflow_liver.demo import SAM2
from chunkflow_liver.kernels.phantom.bundle import Bundle, render_bundle

need_transformers()
sys.path.insert(0, str(ROOT / "scripts"))

import phantom_clips  # noqa: E402
import torch  # noqa: E402
import train_phantom_sam2  # noqa: E402


@pytest.fixture(scope="module")
def pool() -> list[phantom_clips.Sample]:
    bundle = Bundle((8, 160, 160), (80.0, 20.0, 20.0), 5, cells=4, cell_nm=1000.0, branch=0.2)
    return [phantom_clips.Sample(*render_bundle(bundle), bundle.vessel)]


def test_a_clip_is_an_object_in_one_window_on_all_slices(pool: list[phantom_clips.Sample]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        found = phantom_clips.clip(pool, 7, rng)
        assert found.grey.shape == found.mask.shape == (7, phantom_clips.SIZE, phantom_clips.SIZE)
        assert found.mask[0].any()
        # On a shifted slice alone may an object leave its window.
        whole = np.bincount(found.mask.any((1, 2)), minlength=2)
        assert whole[1] >= 5


def test_beyond_an_image_its_edge_goes_on_and_there_is_no_object() -> None:
    labels = np.ones((1, 8, 8), np.uint8)
    grey = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    of = phantom_clips.Sample(grey, labels)
    found = phantom_clips._cut(of, np.arange(1), 1, [-2, -3], 1, np.random.default_rng(0))
    expected = np.zeros((phantom_clips.SIZE, phantom_clips.SIZE), bool)
    expected[2:10, 3:11] = True
    np.testing.assert_array_equal(found.mask[0], expected)
    np.testing.assert_array_equal(found.grey[0, 2:10, 3:11], grey[0])
    assert (found.grey[0, :2] == found.grey[0, 2]).all()
    assert (found.grey[0, :, 11:] == found.grey[0, :, 10:11]).all()


def test_a_stream_in_pieces_finds_what_it_finds_at_once(
    pool: list[phantom_clips.Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = train_phantom_sam2.Trainer(0, 1e-3)
    trainer.begin(SAM2)
    rng = np.random.default_rng(2)
    clips = [phantom_clips.clip(pool, 6, rng) for _ in range(2)]

    def carried(piece: int) -> list[float]:
        monkeypatch.setattr(train_phantom_sam2, "PIECE", piece)
        stream = train_phantom_sam2.Stream(trainer.of, clips, "box")
        losses = []
        while not stream.ended:
            with torch.no_grad():
                loss, _ = trainer.loss(stream, np.random.default_rng(3))
            count = min(piece, 6 - piece * len(losses))
            losses.append(float(loss) * count)
            stream.cut()
        return losses

    whole, pieces = carried(6), carried(2)
    assert (len(whole), len(pieces)) == (1, 3)
    np.testing.assert_allclose(sum(pieces), whole[0], rtol=1e-4)
