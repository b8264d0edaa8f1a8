"""nnU-Net v2 folders as a kind of networks."""

from __future__ import annotations

from chunkflow_liver.segmenters.checkpoint import load_networks
from chunkflow_liver.segmenters.model_folder import model_fingerprint, read_model
from chunkflow_liver.segmenters.registry import Kind

NNUNET = Kind(read_model, load_networks, model_fingerprint)
