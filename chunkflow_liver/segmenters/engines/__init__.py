"""What computes a network's passes: torch as it is, torch prepared for this processor, or OpenVINO."""

from chunkflow_liver.segmenters.engines.engine import Engine, candidates, is_open, settled

__all__ = ["Engine", "candidates", "is_open", "settled"]
