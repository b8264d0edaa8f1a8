"""A described torch network gives the labels of one pass over the volume, however it was saved."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from places import ROOT
from scipy.ndimage import gaussian_filter
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ModelSecurityError, SegmenterError
from chunkflow_liver.segmenters.any_torch.kind import KEYS, read_torch, torch_fingerprint

torch.set_num_threads(1)

SHAPE = (9, 20, 22)
VOXEL_NM = (4.0, 8.0, 16.0)
SOURCE = """
import torch

def build(heads=3, seed=0, planes=False):
    torch.manual_seed(seed)
    conv = torch.nn.Conv2d if planes else torch.nn.Conv3d
    return torch.nn.Sequential(conv(1, 4, 3, padding=1), torch.nn.Tanh(), conv(4, heads, 3, padding=1))
"""
BROKEN = "raise SystemError('this code was run')\n"


def network(**options):
    names: dict = {}
    exec(SOURCE, names)
    return names["build"](**options).eval()


def em():
    texture = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 1.5)
    return (128 + 900 * texture).clip(1, 255).astype(np.uint8)


def described(folder: Path, **said) -> Path:
    """The YAML of a network that sees the whole volume in one window."""
    content = {
        "window": list(SHAPE),
        "voxel_nm": list(VOXEL_NM),
        "classes": {"background": 0, "a": 1, "b": 2},
        "normalisation": {"mean": 120.0, "sd": 30.0},
        **said,
    }
    path = folder / "net.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not ...}))
    return path


def saved(folder: Path, how: str, net=None) -> dict:
    """A network saved one way, and what its description says of it."""
    net = net or network()
    trial = torch.zeros(1, 1, *SHAPE)
    if how == "scripted":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(torch.jit.trace(net, trial), folder / "net.pt")
        return {"weights": "net.pt"}
    if how == "exported":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(net, (trial,)), folder / "net.pt2")
        return {"weights": ["net.pt2"], "allow_code": True}
    (folder / "nets").mkdir(exist_ok=True)
    (folder / "nets/small.py").write_text(SOURCE)
    torch.save(net.state_dict(), folder / "net.pth")
    code = {"network": "nets.small:build", "allow_code": True, "arguments": {"heads": 3, "seed": 7}}
    return code | {"weights": "net.pth"}


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path, em(), "raw", voxel_nm=VOXEL_NM)


def plainly(net, normal):
    """Class of every voxel in one pass."""
    with torch.inference_mode():
        return net(torch.from_numpy(normal)[None, None])[0].argmax(0).numpy()


def fixed():
    return (em().astype(np.float32) - np.float32(120)) / np.float32(30)


def labels(raw, path, work, **options):
    return done(cf.segment(raw, model=path, name="cells", work=work, **options)).read()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A file of torch.export, made once: that takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    saved(folder, "exported")
    return folder / "net.pt2"


def test_an_exported_network_gives_what_one_pass_gives(exported, raw, tmp_path):
    path = described(tmp_path, weights=str(exported), allow_code=True)
    found = labels(raw, path, tmp_path / "work")
    np.testing.assert_array_equal(found, plainly(network(), fixed()))


def test_an_exported_network_says_which_batch_it_takes(exported, raw, tmp_path):
    path = described(tmp_path, weights=str(exported), allow_code=True)
    plan = cf.segment(raw, model=path, name="cells", work=tmp_path / "work", batch=2)
    says = (
        r"cannot take inputs of \(2, 1, 9, 20, 22\).*an exported network takes the batch it was exported with"
    )
    with pytest.raises(cf.errors.RunIncompleteError, match=says):
        cf.run(plan, progress=False, retries=0)


@pytest.mark.parametrize("how", ["scripted", "code"])
def test_one_window_gives_what_one_pass_gives_however_it_was_saved(how, raw, tmp_path):
    wanted = plainly(network(), fixed())
    assert set(np.unique(wanted)) == {0, 1, 2}
    path = described(tmp_path, **saved(tmp_path, how))
    found = labels(raw, path, tmp_path / "work")
    np.testing.assert_array_equal(found, wanted)


def test_an_entry_point_needs_no_weights(raw, tmp_path):
    said = saved(tmp_path, "code")
    del said["weights"]
    found = labels(raw, described(tmp_path, **said), tmp_path / "work")
    np.testing.assert_array_equal(found, plainly(network(seed=7), fixed()))


def test_windows_do_not_depend_on_blocks(raw, tmp_path):
    path = described(tmp_path, **saved(tmp_path, "code"), window=[4, 12, 12], mirror_axes=[0, 2])
    whole = labels(raw, path, tmp_path / "whole")
    np.testing.assert_array_equal(labels(raw, path, tmp_path / "cut", block=(4, 8, 11)), whole)


def test_a_network_of_planes_sees_every_plane_by_itself(raw, tmp_path):
    said = saved(tmp_path, "code") | {"arguments": {"planes": True}, "weights": []}
    path = described(tmp_path, **said, window=list(SHAPE[1:]), voxel_nm=None)
    net = network(planes=True)
    with torch.inference_mode():
        wanted = net(torch.from_numpy(fixed())[:, None]).argmax(1).numpy()
    np.testing.assert_array_equal(labels(raw, path, tmp_path / "work"), wanted)


def test_sigmoid_heads_lie_over_each_other_in_their_order(raw, tmp_path):
    said = saved(tmp_path, "code") | {"arguments": {"heads": 2}, "weights": []}
    path = described(tmp_path, **said, activation="sigmoid", classes={"er": 5, "mito": 300})
    with torch.inference_mode():
        er, mito = network(heads=2)(torch.from_numpy(fixed())[None, None])[0].numpy() > 0
    wanted = np.where(mito, 300, np.where(er, 5, 0))
    found = labels(raw, path, tmp_path / "work")
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.uint16


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ("none", lambda v: v),
        ("divide_255", lambda v: v / np.float32(255)),
        ("rescale_to_0_1", lambda v: (v - v.min()) / (v.max() - v.min())),
        ("zscore", lambda v: ((v - v.mean(dtype="f8")) / v.std(dtype="f8")).astype("f4")),
    ],
)
def test_voxels_are_normalised_as_the_description_says(said, normal, raw, tmp_path):
    path = described(tmp_path, **saved(tmp_path, "scripted"), normalisation=said)
    found = labels(raw, path, tmp_path / "work")
    # Mean and deviation are summed exactly here and pairwise there: a voxel on an edge may differ.
    assert (found == plainly(network(), normal(em().astype(np.float32)))).mean() > 0.999


def test_models_of_both_kinds_of_files_are_averaged(raw, tmp_path):
    """Two equal networks give the labels of one, and two different ones the argmax of their mean."""
    other = network(seed=3)
    said = saved(tmp_path, "scripted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(other, torch.zeros(1, 1, *SHAPE)), tmp_path / "other.pt")
    with torch.inference_mode():
        inputs = torch.from_numpy(fixed())[None, None]
        wanted = (network()(inputs) + other(inputs))[0].argmax(0).numpy()
    path = described(tmp_path, weights=[said["weights"], "other.pt"])
    np.testing.assert_array_equal(labels(raw, path, tmp_path / "work"), wanted)


def test_the_code_of_a_stranger_is_not_run(raw, tmp_path, listing):
    said = saved(tmp_path, "code") | {"allow_code": False}
    (tmp_path / "nets/small.py").write_text(BROKEN)
    path = described(tmp_path, **said)
    before = listing()
    text = r"would run the Python function 'build' of .*small\.py.*It was not run; .*allow_code: true"
    with pytest.raises(ModelSecurityError, match=text):
        cf.segment(raw, model=path, name="cells", work=tmp_path / "work")
    assert listing() == before


def test_planning_does_not_run_code_that_is_allowed(raw, tmp_path):
    said = saved(tmp_path, "code")
    (tmp_path / "nets/small.py").write_text(BROKEN)
    (tmp_path / "nets/__init__.py").write_text(BROKEN)
    plan = cf.segment(raw, model=described(tmp_path, **said), name="cells", work=tmp_path / "work")
    assert plan.output.dtype == "uint8"


def test_an_installed_function_is_found_without_importing_it(tmp_path):
    content = yaml.safe_load(described(tmp_path, network="torch.nn:Identity", allow_code=True).read_text())
    model = read_torch(content, tmp_path / "net.yaml")
    assert model.entry is not None
    assert model.entry.installed
    assert model.entry.source == Path(torch.nn.__file__)
    assert isinstance(model.entry.build(), torch.nn.Identity)


def test_a_state_dict_that_holds_code_is_not_run(raw, tmp_path):
    said = saved(tmp_path, "code")
    torch.save({"net": network()}, tmp_path / "net.pth")
    plan = cf.segment(raw, model=described(tmp_path, **said), name="cells", work=tmp_path / "work")
    with pytest.raises(
        cf.errors.RunIncompleteError,
        match=r"ModelSecurityError: .*asks for .*Sequential.*code and not weights",
    ):
        cf.run(plan, progress=False, retries=0)


def test_the_fingerprint_changes_with_what_could_change_an_answer(tmp_path):
    def of(**said):
        path = described(tmp_path, **said)
        return torch_fingerprint(read_torch(yaml.safe_load(path.read_text()), path))

    said = saved(tmp_path, "code")
    seen = [of(**said), of(**said, normalisation="none"), of(**said | {"arguments": {"heads": 3}})]
    saved(tmp_path, "code", network(seed=1))
    seen.append(of(**said))
    (tmp_path / "nets/small.py").write_text(SOURCE + "\n# other\n")
    seen.append(of(**said))
    assert len(set(seen)) == 5
    assert of(**said) == seen[-1]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"windows": [1]}, "unknown key 'windows'; did you mean 'window'?"),
        ({"zzz": 1}, "unknown key 'zzz'; there are ['name', 'weights',"),
        ({"window": [8, 8, 8, 8]}, "'window' is '[8, 8, 8, 8]'; wanted [z, y, x] or [y, x] in voxels"),
        ({"window": [8, 8, 0]}, "'window' is '[8, 8, 0]'; wanted [z, y, x]"),
        ({"voxel_nm": ...}, "'voxel_nm' is missing: the voxel size in nm"),
        ({"voxel_nm": [8, 8]}, "'voxel_nm' is '[8, 8]'; wanted 3 sizes above 0"),
        ({"channels": []}, "'channels' is '[]'; wanted a list of names"),
        ({"classes": {"a": 0, "b": 1}}, "'background' 0 and then 1, 2, ... without gaps"),
        ({"classes": {"background": 0, "b": 2}}, "'background' 0 and then 1, 2, ... without gaps"),
        ({"classes": {"background": 0, "b": 70000}}, "'classes' is '70000'; wanted whole numbers from 0"),
        ({"classes": ["a"]}, "'classes' is \"['a']\"; wanted names and numbers"),
        ({"activation": "relu"}, "'activation' is 'relu'; wanted one of ['softmax', 'sigmoid']"),
        ({"activation": "sigmoid", "classes": {"a": 0}}, "one class above 0 per head"),
        ({"normalisation": "z"}, "'normalisation' is 'z'; wanted one of ['zscore',"),
        ({"normalisation": {"mean": 1, "sd": 0}}, "wanted {mean: number, sd: number above 0}"),
        ({"normalisation": ["none", "none"]}, "wanted one, or a list of one per channel (1)"),
        ({"mirror_axes": [3]}, "'mirror_axes' is '[3]'; wanted axes of the window, 0 to 2"),
        ({"mirror_axes": [1, 1]}, "'mirror_axes' is '[1, 1]'; wanted every axis once"),
        ({"width": 0}, "'width' is '0'; wanted a number of channels"),
        ({"name": 3}, "'name' is '3'; wanted a text"),
        ({"weights": 3}, "'weights' is '3'; wanted a file or a list of files"),
        ({"weights": "none.pt"}, "there is no file of weights"),
        ({"weights": []}, "no network; wanted 'weights'"),
        ({"weights": "net.yaml"}, "a .pt (TorchScript) or .pt2 (torch.export) file; a state dict needs"),
        ({"arguments": {}}, "'arguments' goes with 'network: module:function', which is missing"),
        ({"network": "a.b"}, "'network' is 'a.b'; wanted module:function"),
        ({"network": "a:b", "arguments": [1]}, "'arguments' is '[1]'; wanted keyword arguments"),
        ({"network": "a:b", "allow_code": "yes"}, "'allow_code' is 'yes'; wanted true or false"),
        ({"network": "no_such:b", "allow_code": True}, "no Python module 'no_such', neither installed nor"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_makes_no_sense_is_refused(said, text, tmp_path):
    (tmp_path / "net.pt").touch()
    path = described(tmp_path, **{"weights": "net.pt", **said})
    with pytest.raises(SegmenterError, match=re.escape(text)) as err:
        read_torch(yaml.safe_load(path.read_text()), path)
    assert str(path) in str(err.value)


def test_a_described_network_has_no_folds(raw, tmp_path):
    path = described(tmp_path, **saved(tmp_path, "scripted"))
    with pytest.raises(SegmenterError, match=r"no \['folds'\] to choose from"):
        cf.segment(raw, model=path, name="cells", work=tmp_path / "work", folds=(0,))


@pytest.mark.parametrize(
    ("how", "spoil", "text"),
    [
        ("scripted", lambda f: (f / "net.pt").write_bytes(b"?"), "is not a readable TorchScript file"),
        (
            "scripted",
            lambda f: torch.save(network().state_dict(), f / "net.pt"),
            "is not a readable TorchScript file: .*state dict needs 'network: module:function'",
        ),
        (
            "scripted.pt2",
            lambda f: (f / "net.pt2").write_bytes(b"?"),
            "is not a readable torch.export file",
        ),
        ("code", lambda f: (f / "net.pth").write_bytes(b"?"), "is not a file that torch.save wrote"),
        ("code", lambda f: torch.save([1], f / "net.pth"), "holds list; wanted names and tensors"),
        (
            "code",
            lambda f: torch.save(network(heads=2).state_dict(), f / "net.pth"),
            "does not fit the network of nets.small:build",
        ),
        (
            "code",
            lambda f: torch.save({k: v * np.nan for k, v in network().state_dict().items()}, f / "net.pth"),
            "is not finite, so every score would be NaN",
        ),
        ("code", lambda f: (f / "nets/small.py").write_text("build = 3"), "made no network: TypeError"),
        (
            "code",
            lambda f: (f / "nets/small.py").write_text("def build(**_): return 3"),
            "returned a int; wanted a torch.nn.Module",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_files_that_are_not_what_they_should_be_are_refused(how, spoil, text, tmp_path):
    from chunkflow_liver.segmenters.any_torch.files import load_torch

    said = saved(tmp_path, how.removesuffix(".pt2"))
    spoil(tmp_path)
    path = described(
        tmp_path, **(said if how != "scripted.pt2" else {"weights": "net.pt2", "allow_code": True})
    )
    model = read_torch(yaml.safe_load(path.read_text()), path)
    with pytest.raises((SegmenterError, ModelSecurityError), match=text):
        load_torch(model, "cpu")


def test_the_example_explains_every_key():
    text = (ROOT / "configs/models/torch_model.yaml").read_text()
    for key in KEYS:
        assert re.search(rf"^(# )?{key}:", text, re.M), key
    content = yaml.safe_load(text)
    with pytest.raises(SegmenterError, match=r"there is no file of weights .*mito_unet\.pt"):
        read_torch(content, Path("net.yaml"))


@pytest.mark.parametrize("how", ["scripted", "exported", "code"])
def test_openvino_runs_it_however_it_was_saved(how, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("CHUNKFLOW_LIVER_CACHE", str(tmp_path / "cache"))
    raw = write(tmp_path, em(), "raw", voxel_nm=VOXEL_NM)
    path = described(tmp_path, **saved(tmp_path, how))
    labels = [
        done(
            cf.segment(
                raw, model=path, name="cells", work=tmp_path / engine, engine=engine, precision="float32"
            )
        ).read()
        for engine in ("torch", "openvino")
    ]
    assert len(np.unique(labels[0])) > 1
    assert (labels[0] == labels[1]).mean() >= 0.999
