"""nnU-Net v2 folders as a kind of networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chunkflow_liver.segmenters.architecture import require_packages
from chunkflow_liver.segmenters.nnunet.checkpoint import check_weights, load_networks
from chunkflow_liver.segmenters.nnunet.folder import model_fingerprint, read_model
from chunkflow_liver.segmenters.nnunet.model import NnunetModel
from chunkflow_liver.segmenters.registry import Kind


def _read(folder: str | Path, **choice: Any) -> NnunetModel:
    """The model in `folder`; refused at once if its weights do not fit, or what would run it is missing."""
    require_packages()
    model = read_model(folder, **choice)
    check_weights(model)
    return model


NNUNET = Kind(_read, load_networks, model_fingerprint)
