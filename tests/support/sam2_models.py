"""Small SAM2 models with random weights, as folders of transformers and as Meta's checkpoints."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE = 64
META = "configs/sam2.1/sam2.1_hiera_t.yaml"


def need_transformers() -> None:
    """Skip a test where transformers is not installed."""
    pytest.importorskip("transformers", reason="transformers is not installed: chunkflow-liver[sam2]")


def small_config(size: int = SIZE, decoder: dict[str, Any] | None = None) -> dict[str, Any]:
    """A configuration of SAM 2.1 with few, narrow layers; a decoder of `{}` is the published one."""
    return {
        "model_type": "sam2_video",
        "image_size": size,
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 16,
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "global_attention_blocks": [3],
            },
        },
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "mask_decoder_config": {"mlp_dim": 64} if decoder is None else decoder,
    }


def random_network(size: int = SIZE, seed: int = 0, decoder: dict[str, Any] | None = None) -> Any:
    """A network whose weights are all random, and which always sees the object."""
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel

    from chunkflow_liver.segmenters.sam2.tracker import sized

    torch.manual_seed(seed)
    network = Sam2VideoModel(Sam2VideoConfig.from_dict(sized(small_config(size, decoder), size)))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if not value.any():
                value.normal_(0, 0.05)
            if name == "mask_decoder.pred_obj_score_head.proj_out.bias":
                value.fill_(10.0)
    return network.eval()


def model_folder(
    folder: Path, size: int = SIZE, seed: int = 0, decoder: dict[str, Any] | None = None
) -> Path:
    """A model folder as a person may have it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(small_config(size, decoder)))
    weights = {k: v.clone().contiguous() for k, v in random_network(size, seed, decoder).state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def meta_predictor(size: int = SIZE) -> Any:
    """The same small network, of the package `sam2`."""
    pytest.importorskip("sam2", reason="the package sam2 is not installed")
    import torch
    from sam2.build_sam import build_sam2_video_predictor

    side = size // 16
    torch.manual_seed(0)
    attention = "++model.memory_attention.layer"
    overrides = [
        f"++model.image_size={size}",
        f"{attention}.self_attention.feat_sizes=[{side},{side}]",
        f"{attention}.cross_attention.feat_sizes=[{side},{side}]",
        f"{attention}.dim_feedforward=64",
        "++model.memory_attention.num_layers=1",
        "++model.image_encoder.trunk.embed_dim=16",
        "++model.image_encoder.trunk.stages=[1,1,2,1]",
        "++model.image_encoder.trunk.global_att_blocks=[3]",
        "++model.image_encoder.neck.backbone_channel_list=[128,64,32,16]",
    ]
    with warnings.catch_warnings():
        # Of hydra, which is not ours.
        warnings.simplefilter("ignore")
        return build_sam2_video_predictor(
            META,
            ckpt_path=None,
            device="cpu",
            apply_postprocessing=False,
            hydra_overrides_extra=overrides,
        )


def planes(count: int, size: int = SIZE, seed: int = 3) -> np.ndarray[Any, Any]:
    """Slices of grey values that change slowly."""
    rng = np.random.default_rng(seed)
    walk = rng.normal(0, 12, (count, size, size)).cumsum(0) + 128
    return np.clip(walk, 0, 255).astype(np.uint8)


def disc(size: int = SIZE, radius: int = 12, at: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
    y, x = at or (size // 2, size // 2)
    grid = np.mgrid[:size, :size]
    return np.asarray((grid[0] - y) ** 2 + (grid[1] - x) ** 2 < radius**2)
