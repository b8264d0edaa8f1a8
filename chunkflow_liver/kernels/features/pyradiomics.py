"""The package PyRadiomics itself, on one object at a time: for those who must cite its numbers."""

from __future__ import annotations

import functools
import json
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, install
from chunkflow_liver.geometry import NM_PER_UM, Nm
from chunkflow_liver.kernels.features.groups import Crop, Settings, WholeGroup
from chunkflow_liver.xp import Array, on_host

REFUSED = "pyradiomics_refused"
"""Column that holds what PyRadiomics said of an object that it did not measure."""
PAD = 5
"""Voxels around an object that its filters see; `padDistance` of PyRadiomics."""


@functools.lru_cache(maxsize=4)
def extractor(parameters: str) -> Any:
    """PyRadiomics' feature extractor with these parameters, a JSON text.

    Raises
    ------
    ConfigError
        If the package is missing, or refuses the parameters.
    """
    try:
        import radiomics.featureextractor
        from pykwalify.errors import PyKwalifyException
    except ImportError as err:
        raise ConfigError(
            f"engine 'pyradiomics' needs {err.name!r}; {install('radiomics')} "
            "(PyRadiomics 3.0.1 builds on Python 3.11)"
        ) from err
    # It reports every object on the console otherwise.
    radiomics.setVerbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Its validator loads a module in a way that Python is about to drop.
            warnings.simplefilter("ignore", DeprecationWarning)
            found = radiomics.featureextractor.RadiomicsFeatureExtractor(json.loads(parameters))
    except (PyKwalifyException, ValueError, TypeError, KeyError, AttributeError) as err:
        raise ConfigError(f"PyRadiomics refuses its parameters: {err}") from err
    found.settings["additionalInfo"] = False
    # The object has this label here, whatever its own.
    found.settings["label"] = 1
    return found


def version() -> str:
    """Version of the package that is installed."""
    import radiomics

    return str(radiomics.__version__)


def margin(settings: Settings) -> int:
    """Voxels around an object that PyRadiomics gets to see: none, unless it filters or resamples."""
    found = extractor(settings.parameters)
    plain = set(found.enabledImagetypes) == {"Original"} and not found.settings.get("resampledPixelSpacing")
    return 0 if plain else int(found.settings.get("padDistance", PAD))


def columns(settings: Settings) -> Mapping[str, str]:
    """The columns that the parameters give, found on a cube of noise."""
    return _columns(settings.parameters)


@functools.lru_cache(maxsize=4)
def _columns(parameters: str) -> Mapping[str, str]:
    spacing = extractor(parameters).settings.get("resampledPixelSpacing") or (1, 1, 1)
    # 0 leaves an axis as it is.
    voxel_um = tuple(float(s) or 1.0 for s in reversed(spacing))
    cube = np.random.default_rng(0).normal(100, 50, (16, 16, 16))
    mask = np.zeros(cube.shape, bool)
    mask[4:12, 4:12, 4:12] = True
    found = _execute(parameters, cube, mask, (voxel_um[0], voxel_um[1], voxel_um[2]))
    return {name: "float64" for name in found} | {REFUSED: "str"}


def describe(crop: Crop) -> Mapping[str, float | str]:
    """What PyRadiomics says of an object; NaN, and its reason as a text, where it refuses.

    Notes
    -----
    The image is cast to float64: on unsigned bytes PyRadiomics 3.0.1 gives wrong numbers without a word
    under NumPy 2. Spacing is in um, so lengths in its parameters (LoG's sigma, a resampled spacing) are too.
    """
    names = columns(crop.settings)
    mask = on_host(crop.mask)
    raw = np.zeros(mask.shape) if crop.raw is None else on_host(crop.raw)
    if mask.all():
        # A mask without background has no labels for PyRadiomics.
        mask, raw = np.pad(mask, 1), np.pad(raw, 1, "edge")
    z, y, x = (n / NM_PER_UM for n in crop.voxel_nm)
    try:
        found = _execute(crop.settings.parameters, raw, mask, (z, y, x))
    except (ValueError, RuntimeError, IndexError, np.linalg.LinAlgError) as err:
        return dict.fromkeys(names, float("nan")) | {REFUSED: str(err) or type(err).__name__}
    return {name: found.get(name, float("nan")) for name in names} | {REFUSED: ""}


def _execute(parameters: str, raw: Array, mask: Array, voxel_um: Nm) -> dict[str, float]:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(raw.astype(np.float64))
    region = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    for part in (image, region):
        part.SetSpacing([float(n) for n in reversed(voxel_um)])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Means over no direction and roots of rounding errors are NaN there, and are kept as they are.
        warnings.simplefilter("ignore")
        found = extractor(parameters).execute(image, region)
    return {
        name: float(np.real(np.squeeze(value)))
        for name, value in found.items()
        if not name.startswith("diagnostics_")
    }


PYRADIOMICS = WholeGroup(describe, columns, image=True, working=160.0, margin=margin)
