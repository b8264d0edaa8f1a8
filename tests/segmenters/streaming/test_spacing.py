"""The level nearest to what a model was trained on is found, and what was taken is said."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from model_folders import write_model_folder

from chunkflow_liver.errors import ConfigError, InputError, SegmenterError
from chunkflow_liver.segmenters.nnunet.folder import import_model, read_model
from chunkflow_liver.segmenters.resampling import Spline
from chunkflow_liver.segmenters.streaming.spacing import nearest, plane_axis, resamplings

PYRAMID = {0: (40.0, 4.0, 4.0), 1: (40.0, 8.0, 8.0), 2: (40.0, 16.0, 16.0), 3: (80.0, 32.0, 32.0)}


@pytest.fixture(scope="module")
def anisotropic(tmp_path_factory):
    """A model of (40, 8, 8); its plans.json has no unit."""
    folder = tmp_path_factory.mktemp("model")
    return read_model(write_model_folder(folder, spacing=(40.0, 8.0, 8.0), mirror=None))


@pytest.mark.parametrize(
    ("spacing", "level", "says"),
    [
        ((40.0, 8.0, 8.0), 1, "not resampled"),
        ((40.3, 8.0, 7.95), 1, "not resampled"),
        ((40.0, 9.6, 9.6), 1, "resampled, up to 1.2 x"),
        ((44.0, 16.0, 16.0), 2, "resampled, up to 1.1 x"),
        # Level 0 and level 1 are both off by sqrt(2): the finer one.
        ((40.0, 32**0.5, 32**0.5), 0, "resampled, up to 1.41 x"),
    ],
)
def test_the_level_with_the_smallest_largest_ratio_is_taken(spacing, level, says, anisotropic):
    fit = nearest(PYRAMID, replace(anisotropic, spacing=spacing), image="raw")
    assert fit.level == level
    assert str(fit).endswith(says)
    assert fit.resamples == (not says.startswith("not"))
    assert fit.network_nm == (spacing if fit.resamples else PYRAMID[level])


def test_axes_that_a_2d_network_does_not_see_are_free(tmp_path):
    model = read_model(write_model_folder(tmp_path, window=(16, 16), spacing=(16.0, 16.0), mirror=None))
    fit = nearest(PYRAMID, model, image="raw")
    assert str(fit) == (
        "level 2 ((40, 16, 16) nm) for a model of (any, 16, 16) nm (no unit declared, nm assumed): "
        "not resampled"
    )
    assert fit.network_nm == (40.0, 16.0, 16.0)


@pytest.mark.parametrize("unit", ["um", "mm"])
def test_a_declared_unit_is_taken_and_said(unit, tmp_path):
    per = {"um": 1e3, "mm": 1e6}[unit]
    spacing = tuple(v / per for v in (40.0, 8.0, 8.0))
    model = read_model(write_model_folder(tmp_path / "model", spacing=spacing, mirror=None))
    fit = nearest(PYRAMID, model, image="raw", units=unit)
    assert (fit.level, fit.resamples) == (1, False)
    assert f"({unit} declared)" in str(fit)
    with pytest.raises(InputError, match=rf"\(nm assumed\).*'{unit}' would fit: say spacing_units='{unit}'"):
        nearest(PYRAMID, model, image="raw")
    clean = import_model(tmp_path / "model", tmp_path / "clean", units=unit)
    assert str(nearest(PYRAMID, clean, image="raw")).endswith(
        "model of (40, 8, 8) nm (nm declared): not resampled"
    )


def test_a_spacing_in_voxels_is_ignored(tmp_path):
    folder = write_model_folder(tmp_path / "model", spacing=(1.0, 1.0, 1.0), mirror=None)
    for model, how in (
        (read_model(folder), {"units": "voxel"}),
        (import_model(folder, tmp_path / "clean", units="voxel"), {}),
    ):
        fit = nearest({2: PYRAMID[2]}, model, image="raw", **how)
        assert (fit.level, fit.ratio, fit.resamples) == (2, 1.0, False)
        assert str(fit) == "level 2 ((40, 16, 16) nm) as it is: the model's spacing is ignored"


def test_a_level_too_far_off_is_refused_unless_accepted(anisotropic):
    with pytest.raises(
        InputError,
        match=r"raw level 3 has voxels of \(80, 32, 32\) nm, the nearest of 1 level\(s\).*trained on "
        r"\(40, 8, 8\) nm \(nm assumed\): 4 times off, wanted at most 1.5; choose another image or model",
    ):
        nearest({3: PYRAMID[3]}, anisotropic, image="raw")
    fit = nearest({3: PYRAMID[3]}, anisotropic, image="raw", accept=True)
    assert (fit.resamples, fit.ratio) == (True, 4.0)


def test_units_that_contradict_the_folder_or_do_not_exist_are_refused(anisotropic, tmp_path):
    with pytest.raises(ConfigError, match=r"no unit 'inch' of a model's spacing; there are \['nm', 'um'"):
        nearest(PYRAMID, anisotropic, image="raw", units="inch")
    folder = write_model_folder(tmp_path / "model", spacing=(0.04, 0.008, 0.008), mirror=None)
    clean = import_model(folder, tmp_path / "clean", units="um")
    with pytest.raises(ConfigError, match=r"is in 'nm' since it was imported, got spacing_units='um'"):
        nearest(PYRAMID, clean, image="raw", units="um")
    assert nearest(PYRAMID, clean, image="raw", units="nm").level == 1


def test_resampling_follows_the_networks_axes_and_the_plans(tmp_path):
    """Voxels of (4, 8, 16) nm for a model of (8, 8, 4) along z, y, x, which it sees as (x, z, y)."""
    folder = write_model_folder(
        tmp_path, window=(16, 16, 16), spacing=(4.0, 8.0, 8.0), transpose=(2, 0, 1), mirror=None
    )
    model = read_model(folder)
    assert model.spacing_zyx == (8.0, 8.0, 4.0)
    fit = nearest({0: (4.0, 8.0, 16.0)}, model, image="raw", accept=True)
    raw, scores = resamplings(fit, (10, 40, 20), model)
    assert (raw.source_shape, raw.target_shape) == ((10, 40, 20), (40, 20, 20))
    assert (raw.orders, raw.separate) == ((0, 3, 3), 0)
    assert (scores.source_shape, scores.target_shape) == ((40, 20, 20), (10, 40, 20))
    assert (scores.orders, scores.separate) == ((0, 1, 1), 0)
    same, _ = resamplings(nearest({0: (8.0, 8.0, 4.0)}, model, image="raw"), (10, 40, 20), model)
    assert not same.changes


def test_another_resampling_than_the_default_is_refused_only_where_it_is_needed(tmp_path):
    folder = write_model_folder(tmp_path / "model", spacing=(40.0, 8.0, 8.0), mirror=None)
    plans = json.loads((folder / "plans.json").read_text())
    section = plans["configurations"]["3d_fullres"]
    section["resampling_fn_data_kwargs"] |= {"order": 1, "force_separate_z": False}
    section["resampling_fn_probabilities"] = "resample_torch_fornnunet"
    (folder / "plans.json").write_text(json.dumps(plans))
    for model in (read_model(folder), import_model(folder, tmp_path / "clean", units="nm")):
        assert model.raw_spline == Spline(1, 0, False)
        assert not nearest(PYRAMID, model, image="raw").resamples
        with pytest.raises(SegmenterError, match="resamples by 'resample_torch_fornnunet'; only"):
            nearest({0: (40.0, 9.0, 9.0)}, model, image="raw")
    section["resampling_fn_data_kwargs"]["order"] = 2
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(SegmenterError, match=r"resampling_fn_data_kwargs is .* wanted splines of order"):
        read_model(folder)


@pytest.mark.parametrize("unit", ["nm", "um", "mm"])
def test_an_axis_of_exactly_three_times_the_others_is_coarse_where_it_is_for_nnunet(unit, anisotropic):
    """0.0165 / 0.0055 is 3.0000000000000004, while 16.5 / 5.5 is 3: nnU-Net sees what its plans say."""
    from nnunetv2.preprocessing.resampling.default_resampling import (
        compute_new_shape,
        determine_do_sep_z_and_axis,
    )

    places = {"nm": 0, "um": 3, "mm": 6}[unit]
    coarse, wrong = 0, []
    for tenths in range(11, 410):
        fine, image = Decimal(tenths) / 10, Decimal(tenths) * 11 / 100
        wanted_nm, voxel_nm = (3 * fine, fine, fine), (3 * image, image, image)
        wanted, there = ([float(v.scaleb(-places)) for v in sizes] for sizes in (wanted_nm, voxel_nm))
        model = replace(anisotropic, spacing=tuple(wanted))
        fit = nearest({0: tuple(float(v) for v in voxel_nm)}, model, image="raw", units=unit)
        assert fit.resamples
        raw, _ = resamplings(fit, (31, 57, 85), model)
        _, axis = determine_do_sep_z_and_axis(None, there, wanted)
        if raw.separate != axis or raw.target_shape != tuple(compute_new_shape((31, 57, 85), there, wanted)):
            wrong.append((tenths, raw.separate, axis))
        assert plane_axis(fit, model) == axis
        coarse += axis is not None
    assert wrong == []
    assert coarse > 0 or unit == "nm"
