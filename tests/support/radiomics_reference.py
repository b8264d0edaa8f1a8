"""PyRadiomics itself, on one object of a label array at a time: float64 images, spacing in um."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

VOXEL_NM = (4.0, 8.0, 16.0)
TEXTURES = ("glcm", "gldm", "glrlm", "glszm", "ngtdm")


def pyradiomics(
    module: str,
    labels: np.ndarray[Any, Any],
    label: int,
    raw: np.ndarray[Any, Any] | None = None,
    voxel_nm: tuple[float, ...] = VOXEL_NM,
    deprecated: bool = True,
    **settings: Any,
) -> dict[str, float]:
    """Every feature of the class in `radiomics.<module>` of one object.

    The crop to the bounding box is what the feature extractor does first. The image becomes float64:
    under NumPy 2 PyRadiomics' arithmetic on uint8 wraps around without a word.
    """
    radiomics = pytest.importorskip("radiomics")
    import SimpleITK as sitk
    from radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm, shape

    radiomics.logger.setLevel(40)
    modules = dict(
        firstorder=firstorder, glcm=glcm, gldm=gldm, glrlm=glrlm, glszm=glszm, ngtdm=ngtdm, shape=shape
    )
    kinds = {
        name: next(v for k, v in vars(m).items() if k.startswith("Radiomics")) for name, m in modules.items()
    }
    own = labels == label
    rims = [np.flatnonzero(own.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    box = tuple(slice(rim[0], rim[-1] + 1) for rim in rims)
    mask = sitk.GetImageFromArray(own[box].astype(np.uint8))
    image = sitk.GetImageFromArray((own if raw is None else raw)[box].astype(np.float64))
    for made in (mask, image):
        made.SetSpacing([size / 1000 for size in voxel_nm[::-1]])
    features = kinds[module](image, sitk.Cast(mask, sitk.sitkUInt32), label=1, **settings)
    for name, is_deprecated in features.getFeatureNames().items():
        features.enableFeatureByName(name, deprecated or not is_deprecated)
    # Its axes come from a solver for any matrix, which may give complex numbers for equal eigenvalues.
    return {name: float(np.real(value)) for name, value in features.execute().items()}


def textures(
    raw: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], options: dict[str, Any]
) -> dict[str, float]:
    """All texture features of the object `mask`, each name with its class before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            f"{module}_{name}": value
            for module in TEXTURES
            for name, value in pyradiomics(
                module, mask.astype(np.uint8), 1, raw, deprecated=False, **options
            ).items()
        }
