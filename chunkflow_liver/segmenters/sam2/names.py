"""Meta's names of SAM2's weights, and the four sizes that were published.

The names on both sides are facts of the packages `sam2` 1.1 and `transformers` 5 [1]_; a test holds the two
against each other.

References
----------
.. [1] Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024, arXiv:2408.00714
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

POINTS = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d+)\.weight")
POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
STACKED = "prompt_encoder.point_embed.weight"

_FIRST, _MIDDLE, _LAST = "proj_in", "layers.0", "proj_out"
_DECODER = {
    "output_upscaling.0": "upscale_conv1",
    "output_upscaling.1": "upscale_layer_norm",
    "output_upscaling.3": "upscale_conv2",
}
_MASKS = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
_FUSER = {"fuser": "memory_fuser", "dwconv": "depthwise_conv", "norm": "layer_norm", "gamma": "scale"}
_WHOLE = {
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
}
_HEADS = {
    "sam_prompt_encoder": "prompt_encoder",
    "sam_mask_decoder": "mask_decoder",
    "obj_ptr_proj": "object_pointer_proj",
    "obj_ptr_tpos_proj": "temporal_positional_encoding_projection_layer",
}


def renamed(name: str) -> str:
    """The name in transformers of a weight that Meta calls `name`."""
    if name in _WHOLE:
        return _WHOLE[name]
    head, _, rest = name.partition(".")
    if head == "image_encoder":
        rest = re.sub(r"^neck\.convs\.(\d+)\.conv\.", r"neck.convs.\1.", rest)
        rest = re.sub(r"^trunk\.", "backbone.", rest).replace("patch_embed.proj.", "patch_embed.projection.")
        return "vision_encoder." + _two_layers(_norms(rest))
    if head == "memory_encoder":
        return f"memory_encoder.{_memory(rest)}"
    if head == "obj_ptr_proj":
        return "object_pointer_proj." + _three_layers(rest)
    if head == "sam_prompt_encoder":
        if rest.startswith("pe_layer."):
            return POSITIONS
        return "prompt_encoder." + re.sub(
            r"^mask_downscaling\.(\d)", lambda m: f"mask_embed.{_MASKS.get(m[1], m[1])}", rest
        )
    if head == "sam_mask_decoder":
        for old, new in _DECODER.items():
            if rest.startswith(f"{old}."):
                return f"mask_decoder.{new}{rest.removeprefix(old)}"
        if rest.startswith("transformer."):
            return "mask_decoder." + _attention(_two_layers(_norms(rest)))
        return "mask_decoder." + _three_layers(rest)
    return f"{_HEADS.get(head, head)}.{_attention(_norms(rest))}" if rest else name


def _norms(rest: str) -> str:
    return re.sub(r"(^|\.)norm", r"\1layer_norm", rest)


def _attention(rest: str) -> str:
    return rest.replace(".out_proj.", ".o_proj.")


def _two_layers(rest: str) -> str:
    return rest.replace(".mlp.layers.0.", f".mlp.{_FIRST}.").replace(".mlp.layers.1.", f".mlp.{_LAST}.")


def _three_layers(rest: str) -> str:
    """Perceptrons of three layers: those of the decoder's heads, and the object pointer's."""
    heads = r"^((?:iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d+)\.)?layers\.(\d)\."
    return re.sub(heads, lambda m: f"{m[1] or ''}{(_FIRST, _MIDDLE, _LAST)[int(m[2])]}.", rest)


def _memory(rest: str) -> str:
    part, _, inner = rest.partition(".")
    if part == "pix_feat_proj":
        return f"feature_projection.{inner}"
    if part == "out_proj":
        return f"projection.{inner}"
    if part == "fuser":
        words = [_FUSER.get(w, w.replace("pwconv", "pointwise_conv")) for w in rest.split(".")]
        return ".".join(words)
    number = re.match(r"encoder\.(\d+)\.", inner)
    if part != "mask_downsampler" or number is None:
        return rest
    layer, kind = divmod(int(number[1]), 3)
    place = "final_conv" if layer == 4 else f"layers.{layer}.{'layer_norm' if kind else 'conv'}"
    return f"{part}.{place}.{inner[number.end() :]}"


def published(weights: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration in transformers of a published size, told by its weights; None of others."""
    trunk = "image_encoder.trunk"
    first = weights.get(f"{trunk}.patch_embed.proj.weight")
    if first is None:
        return None
    blocks = {int(m[1]) for name in weights if (m := re.match(rf"{re.escape(trunk)}\.blocks\.(\d+)\.", name))}
    size = SIZES.get((int(first.shape[0]), len(blocks)))
    if size is None:
        return None
    width, stages, heads, far, window, background = size
    newer = "no_obj_embed_spatial" in weights
    widths = [width * 2**i for i in range(4)]
    return {
        "model_type": "sam2_video",
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_channel_list": widths[::-1],
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": width,
                "num_attention_heads": heads,
                "embed_dim_per_stage": widths,
                "num_attention_heads_per_stage": [heads * 2**i for i in range(4)],
                "blocks_per_stage": stages,
                "global_attention_blocks": far,
                "window_size_per_stage": window,
                "window_positional_embedding_background_size": background,
            },
        },
        "prompt_encoder_config": {},
        "mask_decoder_config": {},
        "enable_temporal_pos_encoding_for_object_pointers": newer,
        "enable_occlusion_spatial_embedding": newer,
    }


SIZES: dict[tuple[int, int], tuple[int, list[int], int, list[int], list[int], list[int]]] = {
    (96, 12): (96, [1, 2, 7, 2], 1, [5, 7, 9], [8, 4, 14, 7], [7, 7]),
    (96, 16): (96, [1, 2, 11, 2], 1, [7, 10, 13], [8, 4, 14, 7], [7, 7]),
    (112, 24): (112, [2, 3, 16, 3], 2, [12, 16, 20], [8, 4, 14, 7], [14, 14]),
    (144, 48): (144, [2, 6, 36, 4], 2, [23, 33, 43], [8, 4, 16, 8], [7, 7]),
}
"""Tiny, small, base+ and large, by the width of the first layer and the number of blocks."""
