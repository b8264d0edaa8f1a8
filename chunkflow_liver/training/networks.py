"""The network of a recipe, ready to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.segmenters.architecture import build_network
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.seed_networks import build

HEADS = "decoder.seg_layers."
"""Weights of nnU-Net's last layers, one per level, which depend on the classes."""


def network_of(recipe: Recipe, architecture: Mapping[str, Any] | None) -> Any:
    """An untrained torch module in training mode, on the CPU; its weights depend on the seed only.

    Parameters
    ----------
    recipe : Recipe
    architecture : mapping, optional
        Of plans.json, for nnU-Net's networks.
    """
    import torch

    channels = len(recipe.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if not recipe.is_nnunet:
            check_window(recipe)
            return build(recipe.network, channels, recipe.heads, recipe.features).train()
        assert architecture is not None
        network = build_network(
            architecture["network_class_name"], architecture["arch_kwargs"], channels, recipe.heads
        )
        network.apply(network.initialize)
    network.decoder.deep_supervision = recipe.deep
    return network.train()


def check_window(recipe: Recipe) -> None:
    """Refuse a window that the strides of a seed's network do not divide."""
    halved = 2 ** (len(recipe.features) - 1)
    sides = recipe.window[1:] if recipe.network == "pyramid" else recipe.window
    if any(n % halved for n in sides):
        raise ConfigError(
            f"the network {recipe.network!r} with {len(recipe.features)} stages needs a window whose sides "
            f"are multiples of {halved}, got {recipe.window}"
        )


def freeze_encoder(network: Any, recipe: Recipe) -> None:
    """Keep the weights of the encoder as they are."""
    part = network.encoder if recipe.is_nnunet else network.down
    for weight in part.parameters():
        weight.requires_grad_(False)


def fill(network: Any, weights: Mapping[str, Any]) -> list[str]:
    """Give a network the weights of another one, last layers of other classes excepted.

    Returns
    -------
    list of str
        Names of weights that were left as they are, because the classes differ.

    Raises
    ------
    ConfigError
        If other weights differ: it is another network.
    """
    wanted = network.state_dict()
    fits = {k: v for k, v in weights.items() if k in wanted and v.shape == wanted[k].shape}
    left = [k for k in wanted if k not in fits]
    # The decoder's last layers may also be found under the name of their level.
    foreign = [k for k in left if HEADS not in k and not k.startswith("head.")]
    if foreign:
        raise ConfigError(
            f"the weights to start from do not fit the network: {len(foreign)} of {len(wanted)} differ in "
            f"name or shape, the first {foreign[0]!r}; use the window, features and network that they were "
            "trained with"
        )
    network.load_state_dict(wanted | fits)
    return left
