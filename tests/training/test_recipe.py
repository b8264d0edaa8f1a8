"""A recipe that makes no sense is refused with what it may be."""

from __future__ import annotations

import pytest

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.training.networks import network_of
from chunkflow_liver.training.recipe import Recipe

GOOD = {"classes": ("mito",), "voxel_nm": (40.0, 8.0, 8.0), "window": (4, 32, 32)}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"network": "vgg"}, r"no network 'vgg' of a training; there are \['plain', 'resenc'"),
        ({"loss": "focal"}, "no loss 'focal'"),
        ({"batch": 0}, "batch of a training is a whole number from 1 on, got 0"),
        ({"steps": 1.5}, "steps of a training is a whole number from 1 on, got 1.5"),
        ({"classes": ()}, r"needs classes, each named once; got \[\]"),
        ({"classes": ("mito", "mito")}, "each named once"),
        ({"classes": ("background",)}, "'background' is class 0 always"),
        ({"window": (4,)}, r"a window has \(z, y, x\) or \(y, x\) voxels, got \(4,\)"),
        ({"voxel_nm": (40.0, 8.0, -8.0)}, "voxel_nm is three sizes above 0"),
        ({"features": ()}, "features are 1 to 12 numbers of channels"),
        ({"rate": 0.0}, "the learning rate lies above 0"),
        ({"foreground": 1.5}, "foreground is a share of the windows, 0 to 1, got 1.5"),
        ({"edges": -1.0}, "edges is a weight from 0 on"),
        ({"freeze": "decoder"}, "freeze is '' or 'encoder', got 'decoder'"),
        ({"patience": -1}, "patience and seed are from 0 on"),
        ({"network": "unet2d"}, r"'unet2d' sees windows of \(y, x\) voxels"),
        ({"network": "resunet"}, r"'resunet' sees windows of \(y, x\) voxels"),
        ({"network": "unet3d", "window": (32, 32)}, r"'unet3d' sees windows of \(z, y, x\) voxels"),
        ({"balance": True, "loss": "dice"}, "weigh a cross entropy, which the loss 'dice' lacks"),
    ],
)
def test_bad_recipes_are_refused(given, says):
    with pytest.raises(ConfigError, match=says):
        Recipe(**GOOD | given)


def test_a_window_that_strides_do_not_divide_is_refused():
    recipe = Recipe(**GOOD | {"network": "unet3d"})
    with pytest.raises(
        ConfigError, match=r"'unet3d' with 4 stages needs .* multiples of 8, got \(4, 32, 32\)"
    ):
        network_of(recipe, None)
