"""Files of weights that are programs are told from those that only calculate, and nothing of them is run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from model_folders import write_model_folder
from strategies import done, write
from torch import nn

import chunkflow_liver as cf
from chunkflow_liver.errors import ModelSecurityError, SegmenterError
from chunkflow_liver.ops.segment.importing import import_described
from chunkflow_liver.segmenters.any_torch.files import load_torch
from chunkflow_liver.segmenters.any_torch.kind import read_torch
from chunkflow_liver.segmenters.any_torch.script import OPERATIONS, PRIM, check_script
from chunkflow_liver.segmenters.nnunet.checkpoint import read_checkpoint
from chunkflow_liver.segmenters.weights import check_archive, read_tensors, write_tensors

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
NOWHERE = "/nowhere/at/all"
OPTIONS = {
    "n_stages": 2,
    "features_per_stage": [4, 8],
    "conv_op": "torch.nn.Conv3d",
    "kernel_sizes": 3,
    "strides": [1, 2],
    "n_conv_per_stage": 1,
    "n_conv_per_stage_decoder": 1,
    "conv_bias": True,
    "norm_op": "torch.nn.InstanceNorm3d",
    "norm_op_kwargs": {"affine": True},
    "nonlin": "torch.nn.LeakyReLU",
}
ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": OPTIONS,
    "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
}


def unet(kind=PlainConvUNet, seed=0):
    torch.manual_seed(seed)
    several = {"n_conv_per_stage": 1} if kind is PlainConvUNet else {"n_blocks_per_stage": 1}
    return kind(
        input_channels=1,
        n_stages=2,
        features_per_stage=[4, 8],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2],
        num_classes=2,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=False,
        **several,
    ).eval()


class Mixed(nn.Module):
    """Much of what networks are made of, with a method of its own and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.GroupNorm(2, 4))
        self.some = nn.ModuleList([nn.ReLU(), nn.GELU(), nn.SiLU(), nn.ELU(), nn.PReLU(), nn.Dropout(0.1)])
        self.down, self.up = nn.MaxPool3d(2), nn.Upsample(scale_factor=2, mode="trilinear")
        self.across, self.last = nn.ConvTranspose3d(4, 4, 2, 2), nn.Conv3d(8, 2, 1)

    def encode(self, x):
        for layer in self.some:
            x = layer(x)
        return self.down(x)

    def forward(self, x):
        x = self.encode(self.first(x))
        y = nn.functional.interpolate(self.up(x), size=self.across(x).shape[2:])
        if y.shape[2] > 3:
            y = nn.functional.pad(y, [1, 1, 0, 0, 0, 0])[..., 1:-1]
        return self.last(torch.cat([y, self.across(x)], 1).contiguous()).softmax(1)


class Saves(nn.Module):
    def forward(self, x):
        torch.ops.aten.save(x, "/nowhere/at/all")
        return x


class Maps(nn.Module):
    def forward(self, x):
        return x + torch.from_file("/nowhere/at/all", False, 10)


class Prints(nn.Module):
    def forward(self, x):
        print(x.shape)
        return x


class Exports(nn.Module):
    @torch.jit.export
    def __getstate__(self):
        return 3, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]):
        torch.ops.aten.save(torch.zeros(state[0]), "/nowhere/at/all")
        self.training = state[1]

    def forward(self, x):
        return x


def written(folder: Path, net, trial=None) -> Path:
    path = folder / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.script(net) if trial is None else torch.jit.trace(net, trial)
        torch.jit.save(made, path)
    return path


@pytest.mark.parametrize("net", [unet, lambda: unet(ResidualEncoderUNet), lambda: Mixed().eval()])
def test_usual_networks_are_let_through(net, tmp_path):
    trial = torch.zeros(1, 1, 8, 8, 8)
    made = net()
    check_script(written(tmp_path, made, trial))
    if isinstance(made, Mixed):
        check_script(written(tmp_path, made))


@pytest.mark.parametrize(
    ("net", "says"),
    [(Saves, "'torch.save'"), (Maps, "'torch.from_file'"), (Prints, "'print'"), (Exports, "'torch.save'")],
)
def test_a_file_that_does_more_than_calculate_is_refused_and_not_run(net, says, tmp_path):
    path = written(tmp_path, net())
    with pytest.raises(
        ModelSecurityError, match=rf"net\.pt asks for .*{says}.* It was not loaded; .*allow_code"
    ):
        check_script(path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("_0 = torch", "'torch'"),
        ("_0 = ops.aten", "'ops.aten'"),
        ("x.save('/nowhere')", r"'\.save'"),
        ("_0 = torch.ops.aten.save", "'torch.ops.aten.save'"),
        ("_0 = __torch__.torch.classes.some.Thing()", "'torch.classes'"),
        ("import os", "'os'"),
        ("(lambda: 3)()", "lambda"),
        ("x = = 3", "source that cannot be read"),
    ],
)
def test_ways_around_the_list_are_refused(line, says, tmp_path):
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        source = f"class N(Module):\n  def forward(self, x: Tensor) -> Tensor:\n    {line}\n    return x\n"
        archive.writestr("net/code/__torch__.py", source)
    with pytest.raises(ModelSecurityError, match=says):
        check_script(path)


def test_a_method_that_has_the_name_of_an_operation_is_refused(tmp_path):
    path = tmp_path / "net.pt"
    source = "class N(Module):\n  def save(self, x: Tensor) -> Tensor:\n    return x.save('/nowhere')\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/code/__torch__.py", source)
    with pytest.raises(ModelSecurityError, match=r"'\.save'"):
        check_script(path)


def test_stored_attributes_that_name_something_else_are_refused(tmp_path):
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(print, protocol=2))
    with pytest.raises(ModelSecurityError, match=r"'__builtin__\.print'"):
        check_script(path)


def test_the_list_names_operations_that_there_are_and_none_that_touches_files():
    for name in OPERATIONS:
        assert torch._C._jit_get_schemas_for_operator(f"aten::{name}"), name
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
            assert not any(a.name in ("filename", "file_name") for a in schema.arguments), name
    assert not {"save", "from_file", "load", "set_", "record_stream"} & (OPERATIONS | PRIM)


def description(folder: Path, **said) -> Path:
    content = {
        "window": [8, 16, 16],
        "voxel_nm": [4.0, 8.0, 16.0],
        "classes": {"background": 0, "a": 1},
        **said,
    }
    path = folder / "net.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def read(path: Path):
    return read_torch(yaml.safe_load(path.read_text()), path)


def test_programs_are_refused_when_a_run_is_planned_unless_allowed(tmp_path):
    written(tmp_path, Saves())
    (tmp_path / "net.pt2").write_bytes(b"PK")
    with pytest.raises(ModelSecurityError, match=r"'torch\.save'"):
        read(description(tmp_path, weights="net.pt"))
    with pytest.raises(
        ModelSecurityError, match=r"net\.pt2 is a torch\.export file.*It was not loaded; .*allow_code"
    ):
        read(description(tmp_path, weights="net.pt2"))
    assert read(description(tmp_path, weights=["net.pt", "net.pt2"], allow_code=True)).allow_code


def test_a_file_that_was_exchanged_after_planning_is_refused(tmp_path):
    written(tmp_path, unet(), torch.zeros(1, 1, 8, 16, 16))
    model = read(description(tmp_path, weights="net.pt"))
    written(tmp_path, Saves())
    with pytest.raises(ModelSecurityError, match=r"'torch\.save'"):
        load_torch(model, "cpu")


def flipped(path: Path) -> None:
    """Flip a bit in the largest tensor of a file."""
    whole = bytearray(path.read_bytes())
    at = len(whole) - 40
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entry = max(archive.infolist(), key=lambda info: info.file_size)
            at = whole.index(archive.read(entry)) + entry.file_size // 2
    whole[at] ^= 16
    path.write_bytes(bytes(whole))


def test_a_flipped_weight_is_seen(tmp_path):
    folder = write_model_folder(tmp_path / "model", features=(8, 16))
    checkpoint = tmp_path / "model/fold_0/checkpoint_final.pth"
    assert folder
    read_checkpoint(checkpoint)
    flipped(checkpoint)
    with pytest.raises(SegmenterError, match=r"checkpoint_final\.pth is damaged: Bad CRC-32 for file"):
        read_checkpoint(checkpoint)
    torch.save(unet().state_dict(), tmp_path / "net.pth")
    flipped(tmp_path / "net.pth")
    with pytest.raises(SegmenterError, match=r"net\.pth is damaged"):
        load_torch(read(description(tmp_path, weights="net.pth", architecture=ARCHITECTURE)), "cpu")
    write_tensors(unet().state_dict(), tmp_path / "net.safetensors")
    flipped(tmp_path / "net.safetensors")
    with pytest.raises(SegmenterError, match=r"net\.safetensors is damaged"):
        read_tensors(tmp_path / "net.safetensors")


def test_an_archive_that_reads_in_two_ways_is_refused(tmp_path):
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/code/A.py", "")
        archive.writestr("net/code/a.py", "x = 1")
    with pytest.raises(SegmenterError, match=r"holds 'net/code/a\.py' twice"):
        check_archive(path)


@pytest.mark.parametrize("how", ["script", "dict"])
def test_the_safe_form_gives_the_same_labels_without_code(how, tmp_path):
    net = unet()
    raw = np.random.default_rng(0).integers(1, 255, (12, 20, 20)).astype(np.uint8)
    volume = write(tmp_path, raw, "raw", voxel_nm=(4.0, 8.0, 16.0))
    said = {"weights": "net.pt", "allow_code": True}
    if how == "script":
        written(tmp_path, net, torch.zeros(1, 1, 8, 16, 16))
        (tmp_path / "plans.json").write_text(yaml.safe_dump({"architecture": ARCHITECTURE}))
    else:
        torch.save(net.state_dict(), tmp_path / "net.pth")
        said = {"weights": "net.pth", "architecture": ARCHITECTURE}
    path = description(tmp_path, **said)
    given = tmp_path / "plans.json" if how == "script" else None
    clean = import_described(path, tmp_path / "clean", architecture=given)
    assert not set(yaml.safe_load(clean.read_text())) & {"network", "arguments", "allow_code"}
    assert sorted(p.name for p in clean.parent.iterdir()) == ["model.yaml", "weights-0.safetensors"]
    before = done(cf.segment(volume, model=path, name="a", work=tmp_path / "w")).read()
    after = done(cf.segment(volume, model=clean, name="b", work=tmp_path / "w")).read()
    assert set(np.unique(before)) == {0, 1}
    np.testing.assert_array_equal(before, after)
    with pytest.raises(cf.errors.OutputError, match="exists already"):
        import_described(path, tmp_path / "clean", architecture=given)


def test_a_safe_form_of_another_architecture_is_refused(tmp_path, listing):
    written(tmp_path, unet(), torch.zeros(1, 1, 8, 16, 16))
    path = description(tmp_path, weights="net.pt")
    other = ARCHITECTURE | {"arch_kwargs": OPTIONS | {"nonlin": "torch.nn.ReLU"}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    before = listing()
    with pytest.raises(SegmenterError, match="a safe form needs to know the network; give --architecture"):
        import_described(path, tmp_path / "clean")
    with pytest.raises(SegmenterError, match="its scores are not those of the network that is imported"):
        import_described(path, tmp_path / "clean", architecture=tmp_path / "other.yaml")
    assert listing() == before
