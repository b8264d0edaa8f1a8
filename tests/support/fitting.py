"""Trainings of a few small steps."""

from __future__ import annotations

import dataclasses

import torch
from painted import VOXEL_NM, InMemory, blobs, painted_of

from chunkflow_liver.training.fit import Data, Fit
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.topology import fitted

BASE = Recipe(
    ("dark", "bright"),
    VOXEL_NM,
    (4, 16, 16),
    features=(4, 8),
    convolutions=1,
    steps=12,
    epoch=4,
    rate=1e-2,
    precision="float32",
    validation_windows=6,
)


def data(held=True):
    sources = [InMemory(*blobs())]
    others = [InMemory(*blobs(seed=1))] if held else []
    return Data(sources, painted_of(sources), others, painted_of(others))


def fit(folder, given=None, identity="same", start=None, **options):
    recipe = dataclasses.replace(BASE, **options)
    architecture = None
    if recipe.is_nnunet:
        recipe, architecture = fitted(recipe)
    return Fit(recipe, architecture, given or data(), folder=folder, identity=identity, start=start)


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
