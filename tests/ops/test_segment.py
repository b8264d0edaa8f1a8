"""The semantic image is what nnU-Net gives for the whole volume, and what cannot fit is refused first."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from model_folders import write_model_folder
from scipy.ndimage import gaussian_filter
from strategies import contents, done, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.errors import (
    ClusterError,
    ConfigError,
    InputError,
    ModelSecurityError,
    RunIncompleteError,
    SegmenterError,
)

torch.set_num_threads(1)

SHAPE = (16, 30, 29)
VOXEL_NM = (4.0, 4.0, 4.0)


def em(channels=1, dtype="uint8"):
    """Texture with an empty margin, so that the crop to non-zero voxels begins inside."""
    array = gaussian_filter(np.random.default_rng(0).normal(size=(channels, *SHAPE)), (0, 1, 2, 2))
    array = (110 + 400 * array).clip(1, 255)
    array[:, :2] = array[:, :, :3] = 0
    return array.astype(dtype)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model_folder(tmp_path_factory.mktemp("model"), spacing=VOXEL_NM, mirror=(2,))


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path, em()[0], "raw", voxel_nm=VOXEL_NM)


@pytest.fixture(scope="module")
def wanted(model):
    """What nnU-Net predicts for the whole volume."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(use_mirroring=True, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
        return predictor.predict_single_npy_array(em(), {"spacing": list(VOXEL_NM)})


@pytest.mark.parametrize("block", [None, (16, 30, 15), (8, 16, 29), (5, 7, 13)], ids=str)
def test_the_labels_are_those_of_nnunet_for_any_block(block, model, raw, wanted, tmp_path):
    plan = cf.segment(raw, model=model, name="cells", numerics="nnunet", work=tmp_path / "work", block=block)
    output = done(plan)
    np.testing.assert_array_equal(output.read(), wanted)
    assert len(np.unique(wanted)) == 3
    assert cf.validate(output.url, deep=True) == []
    assert dict(cf.open_volume(output.url).classes) == {"class 1": 1, "class 2": 2}
    assert output.dtype == "uint8"


def test_exact_numerics_do_not_depend_on_the_grid(model, raw, wanted, tmp_path):
    at = {"model": model, "name": "cells"}
    found = [
        done(cf.segment(raw, work=tmp_path / str(block), block=block, **at)).read()
        for block in (None, (16, 16, 29), (6, 10, 8))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] == wanted).mean() > 0.998


def test_several_channels_are_several_volumes(tmp_path):
    model = write_model_folder(tmp_path / "model", channels=2, spacing=VOXEL_NM, mirror=None)
    first, second = (write(tmp_path, c, f"raw-{i}", voxel_nm=VOXEL_NM) for i, c in enumerate(em(2)))
    plan = cf.segment([first, second], model=model, name="cells", work=tmp_path / "work")
    assert [p.name for p in plan.products] == ["raw-0", "raw-1", "cells"]
    assert len(np.unique(done(plan).read())) > 1
    with pytest.raises(
        ConfigError, match=r"trained on 2 channel\(s\) .*, got 1; give one volume per channel"
    ):
        cf.segment(first, model=model, name="cells", work=tmp_path / "work")


def test_a_broken_run_goes_on_to_the_same_bytes(model, raw, tmp_path):
    def plan(work):
        return cf.segment(raw, model=model, name="cells", work=work, block=(8, 16, 29), mirroring=False)

    resumed_equals_whole(plan, tmp_path, "cells/segment", 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_finite_stop_the_run_before_an_image_exists(bad, model, tmp_path):
    array = em(dtype="float32")[0]
    array[9, 20, 11] = bad
    raw = write(tmp_path, array, "raw", voxel_nm=VOXEL_NM)
    before = contents(tmp_path / "raw.ome.zarr")
    plan = cf.segment(raw, model=model, name="cells", work=tmp_path / "work")
    with pytest.raises(InputError, match=r"1 voxels that are NaN or infinite, the first at .* \(9, 20, 11\)"):
        done(plan)
    assert not plan.output.exists()
    assert not (tmp_path / "work/results.ome.zarr").exists()
    assert contents(tmp_path / "raw.ome.zarr") == before


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"kind": "sam3"}, SegmenterError, r"no segmenter 'sam3'; there are \['nnunet', 'torch'\]"),
        ({"device": "tpu"}, ConfigError, "no device 'tpu'"),
        ({"mirrors": True}, SegmenterError, r"a segmentation has no setting \['mirrors'\]; there are"),
        ({"numerics": "fast"}, SegmenterError, "no numerics 'fast'; there are"),
        ({"batch": 0}, SegmenterError, "batch and planes_ahead are at least 1, got 0"),
        ({"step": 0}, SegmenterError, "step is a share of the window, above 0 and at most 1, got 0"),
        ({"folds": [4]}, SegmenterError, "has no checkpoint_final.pth for fold 4"),
        ({"configuration": "2d"}, SegmenterError, "no configuration '2d'"),
        ({"model": "nowhere"}, SegmenterError, "nowhere"),
        ({"name": "a b"}, InputError, "name 'a b' is not usable as a folder name"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else None,
)
def test_what_cannot_be_segmented_is_refused(options, error, says, model, raw, tmp_path, listing):
    before = listing()
    with pytest.raises(error, match=says):
        cf.segment(raw, **{"model": model, "name": "cells", "work": tmp_path / "work"} | options)
    assert listing() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_gpu_that_is_not_there_is_refused(model, raw, tmp_path):
    plan = cf.segment(raw, model=model, name="cells", work=tmp_path / "work", device="cuda")
    with pytest.raises(ClusterError, match="this machine has none that torch can use"):
        cf.run(plan)
    assert not (tmp_path / "work").exists()


def test_a_voxel_size_the_model_never_saw_is_refused(model, tmp_path):
    raw = write(tmp_path, em()[0], "raw", voxel_nm=(4, 8, 16))
    at = {"model": model, "name": "cells", "work": tmp_path / "work"}
    with pytest.raises(
        InputError, match=r"voxels of \(4, 8, 16\) nm.*trained on \(4, 4, 4\) nm.*4 times off"
    ):
        cf.segment(raw, **at)
    assert cf.segment(raw, accept_spacing=True, **at).output.voxel_nm == (4, 8, 16)
    coarse = write(tmp_path, em()[0], "coarse", voxel_nm=(1, 1, 2))
    plan = cf.segment(coarse, accept_spacing=True, **at)
    assert "resampled, up to 4 x" in str(plan)
    plan = cf.segment(raw, spacing_units="voxel", **at)
    assert "the model's spacing is ignored" in str(plan)


def test_channels_must_be_images_of_one_shape(tmp_path):
    model = write_model_folder(tmp_path / "model", channels=2, spacing=VOXEL_NM)
    whole, part = em(2)[0], em(2)[1, :8]
    volumes = [write(tmp_path, a, n, voxel_nm=VOXEL_NM) for a, n in ((whole, "whole"), (part, "part"))]
    labels = write(tmp_path, whole, voxel_nm=VOXEL_NM)
    at = {"model": model, "name": "cells", "work": tmp_path / "work"}
    with pytest.raises(InputError, match=r"channels differ in shape: \(16, 30, 29\) and \(8, 30, 29\)"):
        cf.segment(volumes, **at)
    with pytest.raises(InputError, match="is a label image; a network needs the image itself"):
        cf.segment([volumes[0], labels], **at)


def test_a_model_that_asks_for_foreign_code_is_refused(model, raw, tmp_path):
    folder = write_model_folder(tmp_path / "model", spacing=VOXEL_NM)
    plans = folder / "plans.json"
    plans.write_text(plans.read_text().replace("torch.nn.LeakyReLU", "os.system"))
    with pytest.raises(ModelSecurityError, match=r"os\.system"):
        cf.segment(raw, model=folder, name="cells", work=tmp_path / "work")


def test_a_model_that_changes_after_planning_is_refused(raw, tmp_path):
    folder = write_model_folder(tmp_path / "model", spacing=VOXEL_NM, mirror=None)
    plan = cf.segment(raw, model=folder, name="cells", work=tmp_path / "work")
    write_model_folder(tmp_path / "model", spacing=VOXEL_NM, mirror=None, seed=3)
    with pytest.raises(RunIncompleteError, match="has changed since the plan was made"):
        done(plan)


def test_planning_reads_no_voxels(model, raw, tmp_path, monkeypatch, listing):
    monkeypatch.setattr(cf.Volume, "read", lambda *_: pytest.fail("planning read voxels"))
    before = listing()
    text = str(cf.segment(raw, model=model, name="cells", work=tmp_path / "work"))
    assert "cells/statistics" in text
    assert listing() == before


def test_a_serial_run_gives_back_the_threads_of_torch(model, raw, tmp_path):
    torch.set_num_threads(2)
    try:
        done(cf.segment(raw, model=model, name="cells", work=tmp_path / "work"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
