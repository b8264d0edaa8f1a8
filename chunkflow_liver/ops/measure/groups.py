"""The groups of feature columns that `measure` knows beside 'basic': one line each."""

from __future__ import annotations

from collections.abc import Callable

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.centreline.skeleton import SKELETON
from chunkflow_liver.kernels.features.groups import Group, Settings, WholeGroup
from chunkflow_liver.kernels.features.pyradiomics import PYRADIOMICS
from chunkflow_liver.kernels.intensity.describe import GLCM, GLDM, NGTDM
from chunkflow_liver.kernels.intensity.firstorder import FIRSTORDER
from chunkflow_liver.kernels.intensity.whole import GLRLM, GLSZM
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.kernels.shape.morphology import MORPHOLOGY, surroundings
from chunkflow_liver.kernels.shape.pyradiomics_shape import SHAPE
from chunkflow_liver.kernels.shape.surface_group import SURFACE

GROUPS: dict[str, Group] = {
    "shape": SHAPE,
    "firstorder": FIRSTORDER,
    "morphology": MORPHOLOGY,
    "surface": SURFACE,
    "glcm": GLCM,
    "gldm": GLDM,
    "ngtdm": NGTDM,
}

WHOLE: dict[str, WholeGroup] = {
    "skeleton": SKELETON,
    "glrlm": GLRLM,
    "glszm": GLSZM,
    "pyradiomics": PYRADIOMICS,
}
"""Groups that take every object whole; one above the limit is refused by name."""

AMONG: dict[str, Callable[[Rows, Zyx, Nm, Settings], Rows]] = {"surroundings": surroundings}
"""Groups that follow from the columns of 'basic' of all objects, the volume's shape and voxel size."""
