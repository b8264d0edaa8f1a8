from __future__ import annotations

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from model_folders import edit_weights, write_model_folder

from chunkflow_liver.errors import ModelSecurityError, OutputError, SegmenterError
from chunkflow_liver.segmenters.nnunet.checkpoint import load_networks
from chunkflow_liver.segmenters.nnunet.folder import import_model, model_fingerprint, read_model


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def edit(path, *keys, value):
    """Set one value deep in a JSON file."""
    content = at = json.loads(path.read_text())
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    return write_model_folder(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")


SECTION = ("configurations", "3d_fullres")
OPTIONS = (*SECTION, "architecture", "arch_kwargs")


def test_a_folder_says_what_it_was_trained_for(tmp_path):
    labels = {"background": 0, "er": 1, "mitochondrion": 2, "ignore": 3}
    folder = write_model_folder(
        tmp_path, labels=labels, transpose=(2, 0, 1), spacing=(16.0, 4.0, 8.0), folds=(0, 2), mirror=(0, 1)
    )
    model = read_model(folder)
    assert model.classes == {"background": 0, "er": 1, "mitochondrion": 2}
    assert (model.heads, model.dtype, model.region_order) == (3, "uint8", None)
    assert (model.window, model.window_zyx) == ((8, 16, 16), (16, 16, 8))
    assert (model.spacing_zyx, model.units) == ((4.0, 8.0, 16.0), None)
    assert (model.folds, model.configuration, model.mirror_axes) == (("0", "2"), "3d_fullres", (0, 1))


def test_regions_are_classes_with_the_number_that_is_written(tmp_path):
    labels = {"background": 0, "cell": [1, 2], "nucleus": 2}
    model = read_model(write_model_folder(tmp_path, labels=labels, regions_class_order=(1, 300)))
    assert model.classes == {"background": 0, "cell": 1, "nucleus": 300}
    assert (model.heads, model.region_order, model.dtype) == (2, (1, 300), "uint16")


def test_a_2d_model_leaves_one_axis_free(tmp_path):
    model = read_model(write_model_folder(tmp_path, window=(16, 32), transpose=(1, 0, 2), spacing=(4.0, 8.0)))
    assert model.is_2d
    assert model.spacing_zyx == (4.0, None, 8.0)
    assert model.window_zyx == (16, 1, 32)


def test_the_folder_above_the_only_trained_one_will_do(folder):
    assert read_model(folder.parent).folder == folder


def test_two_trained_folders_are_told_apart_by_configuration(folder):
    other = write_model_folder(folder.parent / "nnUNetTrainer__nnUNetPlans__2d", window=(16, 16))
    assert read_model(folder.parent, configuration="2d").folder == other
    with pytest.raises(SegmenterError, match="holds 2 trained models"):
        read_model(folder.parent)


def test_fold_all_is_used_only_if_asked_for_or_alone(tmp_path):
    folder = write_model_folder(tmp_path, folds=(1, "all"))
    assert read_model(folder).folds == ("1",)
    assert read_model(folder, folds=["all"]).folds == ("all",)
    shutil.rmtree(folder / "fold_1")
    assert read_model(folder).folds == ("all",)


def test_configurations_inherit(folder):
    edit(
        folder / "plans.json",
        "configurations",
        "bigger",
        value={"inherits_from": "3d_fullres", "patch_size": [8, 32, 32]},
    )
    model = read_model(folder, configuration="bigger")
    assert (model.window, model.spacing) == ((8, 32, 32), (1.0, 1.0, 1.0))


def test_old_plans_give_the_network_of_new_ones(tmp_path):
    models = [read_model(write_model_folder(tmp_path / str(old), legacy=old)) for old in (False, True)]
    old, new = (load_networks(model, "cpu")[0].state_dict() for model in models)
    assert all(torch.equal(old[name], new[name]) for name in new)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_parallel_and_compiled_training_do_not_matter(folder, prefix):
    def rename(weights):
        for name in list(weights):
            weights[prefix + name] = weights.pop(name)

    plain = load_networks(read_model(folder), "cpu")[0].state_dict()
    edit_weights(folder, rename)
    again = load_networks(read_model(folder), "cpu")[0].state_dict()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_networks_do_not_train(folder):
    assert not any(module.training for module in load_networks(read_model(folder), "cpu")[0].modules())


def test_an_imported_model_is_in_nm_and_holds_weights_alone(tmp_path):
    folder = write_model_folder(
        tmp_path / "old", spacing=(4e-6, 8e-6, 16e-6), folds=(0, 4), legacy=True, scheme="CTNormalization"
    )
    edit(folder / "plans.json", "password", value="secret")
    model = import_model(folder, tmp_path / "new", units="mm")
    before = read_model(folder)
    assert (model.spacing, model.units) == (pytest.approx((4.0, 8.0, 16.0)), "nm")
    assert (model.folds, model.mirror_axes, model.configuration) == (("0", "4"), (0, 1, 2), "3d_fullres")
    assert (model.options, model.intensities, model.classes) == (
        before.options,
        before.intensities,
        before.classes,
    )
    assert "secret" not in (tmp_path / "new" / "plans.json").read_text()
    content = torch.load(tmp_path / "new/fold_4/checkpoint_final.pth", weights_only=True)
    assert sorted(content) == [
        "inference_allowed_mirroring_axes",
        "init_args",
        "network_weights",
        "trainer_name",
    ]
    for a, b in zip(load_networks(before, "cpu"), load_networks(model, "cpu"), strict=True):
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_an_import_does_not_overwrite(folder, tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        import_model(folder, tmp_path / "new", units="nm")


def test_a_failed_import_leaves_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("chunkflow_liver.segmenters.nnunet.folder.save_weights", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_model(folder, tmp_path / "new", units="nm")
    assert sorted(tmp_path.iterdir()) == [folder]


def test_an_unknown_unit_is_refused(folder, tmp_path):
    with pytest.raises(SegmenterError, match="no length unit 'inch'"):
        import_model(folder, tmp_path / "new", units="inch")


def test_the_fingerprint_changes_with_weights_plans_and_folds(tmp_path):
    folder = write_model_folder(tmp_path, folds=(0, 1))
    prints = [model_fingerprint(read_model(folder)), model_fingerprint(read_model(folder, folds=[1]))]
    edit_weights(folder, lambda weights: next(iter(weights.values())).mul_(1.5))
    prints.append(model_fingerprint(read_model(folder)))
    edit(folder / "plans.json", *SECTION, "spacing", value=[2.0, 1.0, 1.0])
    prints.append(model_fingerprint(read_model(folder)))
    assert len(set(prints)) == 4
    assert prints[-1] == model_fingerprint(read_model(folder))


def test_a_pickled_payload_is_refused_by_name_and_not_run(folder, tmp_path):
    content = {"network_weights": {}, "init_args": {}, "logging": Payload(tmp_path / "ran")}
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ModelSecurityError, match=r"asks for 'posix\.mkdir'.*It was not run"):
        read_model(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bare_pickle_is_refused_and_not_run(folder, tmp_path, protocol):
    path = folder / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol))
    with pytest.raises(ModelSecurityError, match="It was not run"):
        read_model(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        ((*OPTIONS, "nonlin"), "os.system", "'nonlin' is 'os.system'"),
        ((*OPTIONS, "norm_op"), ["os.system"], "'norm_op' is"),
        ((*OPTIONS, "nonlin_kwargs"), {"command": "mkdir ran"}, r"'nonlin_kwargs.command' is 'mkdir ran'"),
        ((*OPTIONS, "conv_bias"), "os.system", "'conv_bias' is 'os.system'"),
        ((*OPTIONS, "n_stages"), 10**6, "'n_stages' is 1000000"),
        ((*OPTIONS, "features_per_stage"), [4, 10**6], "'features_per_stage' is 1000000"),
        ((*OPTIONS, "strides"), [[1, 1, 1]] * 99, "'strides' is '99 entries'"),
        ((*OPTIONS, "callback"), "os.system", "'callback' is 'os.system'"),
        (
            (*SECTION, "architecture", "network_class_name"),
            "os.system",
            "'network_class_name' is 'os.system'",
        ),
        (
            (*SECTION, "architecture", "_kw_requires_import"),
            ["strides"],
            "'_kw_requires_import' is 'strides'",
        ),
    ],
)
def test_plans_that_ask_for_code_are_refused(folder, keys, value, says):
    edit(folder / "plans.json", *keys, value=value)
    with pytest.raises(ModelSecurityError, match=rf"plans\.json: {says}.*Nothing was imported or run"):
        read_model(folder)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        ((*SECTION, "previous_stage"), "3d_lowres", "second stage of a cascade"),
        ((*SECTION, "use_mask_for_norm"), [True], "use_mask_for_norm is true for channel 0.*retrain"),
        ((*SECTION, "normalization_schemes"), ["Mine"], "no normalisation 'Mine' of channel 0; there are"),
        ((*SECTION, "normalization_schemes"), [], "0 normalization_schemes and 1 use_mask_for_norm for 1"),
        ((*SECTION, "preprocessor_name"), "Mine", "preprocessor_name 'Mine' is not supported"),
        (("label_manager",), "Mine", "label_manager 'Mine' is not supported"),
        ((*SECTION, "patch_size"), [8, 16, 0], "'patch_size' is .* makes no sense"),
        ((*SECTION, "patch_size"), [8], "has 1 axes; wanted 2 or 3"),
        ((*SECTION, "patch_size"), [8, 16, 15], "is no multiple of 2 on axis 2"),
        ((*OPTIONS, "strides"), [[1, 1], [2, 2]], "do not have 3 axes"),
        ((*SECTION, "spacing"), [1.0, 1.0], "have different lengths"),
        ((*SECTION, "spacing"), [1.0, 1.0, float("nan")], "'spacing' is .* makes no sense"),
        ((*SECTION, "inherits_from"), "3d_fullres", "inherits from itself"),
        ((*SECTION, "inherits_from"), "else", "no configuration 'else'; there are"),
        (("transpose_forward",), [0, 0, 1], "is no order of three axes"),
        (("configurations",), None, "'configurations' is None"),
    ],
)
def test_plans_that_cannot_be_used_are_refused(folder, keys, value, says):
    edit(folder / "plans.json", *keys, value=value)
    with pytest.raises(SegmenterError, match=says):
        read_model(folder)


def test_intensities_that_ct_normalisation_needs_must_be_there(tmp_path):
    folder = write_model_folder(tmp_path, scheme="CTNormalization")
    edit(folder / "plans.json", "foreground_intensity_properties_per_channel", value={})
    with pytest.raises(SegmenterError, match="'mean' is None"):
        read_model(folder)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        (("labels",), {"background": 0, "a": 2}, "are not 0, 1, 2 ... without gaps"),
        (("labels",), {"a": 1}, "class 'background' must be 0, got None"),
        (("labels",), {"background": 0, "a": "os.system"}, "class 'a' is 'os.system'"),
        (("labels",), {"background": 0, "a": [1, 2], "b": 2}, "'regions_class_order' is None"),
        (("channel_names",), {"1": "EM"}, "wanted {'0': 'EM'"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(folder, keys, value, says):
    edit(folder / "dataset.json", *keys, value=value)
    with pytest.raises(SegmenterError, match=rf"dataset\.json: .*{says}"):
        read_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_broken_json_is_refused(folder, text):
    (folder / "plans.json").write_text(text)
    with pytest.raises(SegmenterError, match=r"plans\.json (is not readable JSON|holds a list)"):
        read_model(folder)


def test_a_folder_without_plans_is_refused(tmp_path):
    with pytest.raises(SegmenterError, match="wanted a trained nnU-Net folder"):
        read_model(tmp_path)


def test_a_missing_fold_is_named(folder):
    with pytest.raises(SegmenterError, match=r"no checkpoint_final.pth for fold 7; there are folds \['0'\]"):
        read_model(folder, folds=[7])


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"PK\x03\x04 not really", b"\x80\x02"])
def test_a_file_that_is_no_checkpoint_is_refused(folder, content):
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(content)
    with pytest.raises(SegmenterError, match="checkpoint"):
        read_model(folder)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_off_checkpoint_is_refused(folder, keep):
    path = folder / "fold_0" / "checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(SegmenterError, match="copy it again"):
        read_model(folder)


def test_a_file_of_something_else_is_refused(folder):
    torch.save({"state_dict": {}}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(SegmenterError, match=r"holds \['state_dict'\]; wanted a checkpoint of nnU-Net"):
        read_model(folder)


def test_a_checkpoint_that_does_not_name_its_configuration_needs_it_named(folder):
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False) | {"init_args": {}}
    torch.save(content, path)
    with pytest.raises(SegmenterError, match="give configuration=, one of"):
        read_model(folder)
    assert read_model(folder, configuration="3d_fullres").configuration == "3d_fullres"


FIRST = "encoder.stages.0.0.convs.0.conv.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop(FIRST), f"1 weights are missing .*{FIRST}"),
        (lambda w: w.update(more=w[FIRST]), r"1 are not in it \['more'\]"),
        (
            lambda w: w.update({FIRST: w[FIRST][:, :, 1:]}),
            rf"{FIRST} is \(4, 1, 2, 3, 3\), wanted \(4, 1, 3, 3, 3\)",
        ),
        (lambda w: w[FIRST].view(-1)[5].fill_(np.nan), f"weight '{FIRST}' is not finite"),
        (lambda w: w.update({FIRST: 3}), "is a int, not a tensor"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, says):
    edit_weights(folder, change)
    with pytest.raises(SegmenterError, match=says):
        load_networks(read_model(folder), "cpu")


def test_reading_a_model_leaves_torch_alone_if_it_was_imported(folder, tmp_path, monkeypatch):
    import_model(folder, tmp_path / "new", units="nm")
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("the checkpoint was read"))
    assert read_model(tmp_path / "new").mirror_axes == (0, 1, 2)
