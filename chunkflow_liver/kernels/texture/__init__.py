"""Texture of objects: PyRadiomics' five matrices, three counted in blocks, two from whole objects."""

from chunkflow_liver.kernels.texture.describe import GLCM, GLDM, NGTDM
from chunkflow_liver.kernels.texture.whole import GLRLM, GLSZM

__all__ = ["GLCM", "GLDM", "GLRLM", "GLSZM", "NGTDM"]
