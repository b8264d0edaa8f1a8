"""The propagator on the package `sam2` of SAM2's authors, for the same model folders.

Prompts, memories and masks go the way they go in the package's own video predictor, as its
`build_sam2_video_predictor` sets it up, but for holes, which are not filled. The package's decoder has one
shape, that of the published models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError, install
from chunkflow_liver.segmenters.sam2.backends import Backend
from chunkflow_liver.segmenters.sam2.folder import Sam2Model, read_sam2, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.loaded import loaded
from chunkflow_liver.segmenters.sam2.memory import FEATURES, POSITIONS, Memory
from chunkflow_liver.segmenters.sam2.names import POINTS, STACKED, renamed
from chunkflow_liver.segmenters.sam2.propagator import Found, Hint, Propagator
from chunkflow_liver.segmenters.sam2.tracker import coloured, described, marked
from chunkflow_liver.segmenters.sam2.weights import AGAIN, with_twins
from chunkflow_liver.segmenters.weights import fill, first_line, read_tensors
from chunkflow_liver.xp import Array

PIECE = 16
"""Pixels of the window in one of the features that memory is of."""
FIXED = {
    "mlp_dim": 2048,
    "num_attention_heads": 8,
    "num_hidden_layers": 2,
    "num_multimask_outputs": 3,
    "iou_head_hidden_dim": 256,
}
"""Of the package's decoder."""


def load_package(model: Sam2Model, fingerprint: str, device: str = "cpu") -> Propagator:
    """As `load_sam2` for the package."""
    return loaded(model, fingerprint, device, _made)


def _made(model: Sam2Model, device: str) -> Propagator:
    return PackagePropagator(build_package(model).to(device), model.size, device)


def build_package(model: Sam2Model) -> Any:
    """The package's network with the weights of a model folder, in eval mode.

    Raises
    ------
    SegmenterError
        If the package is not installed, or has no network of that configuration.
    """
    config = described(model)
    decoder = config.mask_decoder_config
    odd = {k: getattr(decoder, k) for k, wanted in FIXED.items() if getattr(decoder, k) != wanted}
    if odd:
        fixed = {name: FIXED[name] for name in odd}
        raise SegmenterError(
            f"{model.folder}: decoders of the package sam2 have {fixed}, and this "
            f"model has {odd}; take backend 'transformers'"
        )
    try:
        network = _network(config, model.size)
    except ModuleNotFoundError as err:
        raise SegmenterError(f"backend 'sam2' needs {err.name!r}; {install(err.name or '')}") from err
    except (AssertionError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as err:
        raise SegmenterError(
            f"{model.folder}: the package sam2 can build no network of its configuration: {first_line(err)}"
        ) from err
    known = with_twins(read_tensors(model.weights))
    own = {}
    for name in network.state_dict():
        point = POINTS.fullmatch(name)
        if point and STACKED in known:
            own[name] = known[STACKED][int(point[1])][None]
        elif not point and renamed(name) in known:
            own[name] = known[renamed(name)]
    fill(network, own, model.folder, of="the package sam2", remedy=AGAIN)
    return network.eval().requires_grad_(False)


def _network(config: Any, size: int) -> Any:
    from sam2.modeling.sam2_base import SAM2Base

    newer = config.enable_temporal_pos_encoding_for_object_pointers
    decoder = config.mask_decoder_config
    names = ("dynamic_multimask_via_stability", "dynamic_multimask_stability_delta")
    stable = {name: getattr(decoder, name) for name in names}
    return SAM2Base(
        image_encoder=_encoder(config.vision_config),
        memory_attention=_attention(config, size // PIECE),
        memory_encoder=_memories(config),
        num_maskmem=config.num_maskmem,
        image_size=size,
        backbone_stride=PIECE,
        sigmoid_scale_for_mem_enc=config.sigmoid_scale_for_mem_enc,
        sigmoid_bias_for_mem_enc=config.sigmoid_bias_for_mem_enc,
        binarize_mask_from_pts_for_mem_enc=True,
        use_mask_input_as_output_without_sam=True,
        max_cond_frames_in_attn=config.max_cond_frame_num,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=config.multimask_output_in_sam,
        multimask_min_pt_num=config.multimask_min_pt_num,
        multimask_max_pt_num=config.multimask_max_pt_num,
        multimask_output_for_tracking=config.multimask_output_for_tracking,
        use_multimask_token_for_obj_ptr=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        max_obj_ptrs_in_encoder=config.max_object_pointers_in_encoder,
        add_tpos_enc_to_obj_ptrs=newer,
        proj_tpos_enc_in_obj_ptrs=newer,
        use_signed_tpos_enc_to_obj_ptrs=newer,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        use_mlp_for_obj_ptr_proj=True,
        no_obj_embed_spatial=config.enable_occlusion_spatial_embedding,
        sam_mask_decoder_extra_args={
            **stable,
            "dynamic_multimask_stability_thresh": decoder.dynamic_multimask_stability_thresh,
        },
    )


def _encoder(vision: Any) -> Any:
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    trunk, width = vision.backbone_config, vision.fpn_hidden_size
    return ImageEncoder(
        scalp=1,
        trunk=Hiera(
            embed_dim=trunk.hidden_size,
            num_heads=trunk.num_attention_heads,
            q_pool=trunk.num_query_pool_stages,
            stages=tuple(trunk.blocks_per_stage),
            window_spec=tuple(trunk.window_size_per_stage),
            global_att_blocks=tuple(trunk.global_attention_blocks),
            window_pos_embed_bkg_spatial_size=tuple(trunk.window_positional_embedding_background_size),
        ),
        neck=FpnNeck(
            position_encoding=PositionEmbeddingSine(width),
            d_model=width,
            backbone_channel_list=list(vision.backbone_channel_list),
            fpn_top_down_levels=list(vision.fpn_top_down_levels),
            fpn_interp_model="nearest",
        ),
    )


def _attention(config: Any, side: int) -> Any:
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.sam.transformer import RoPEAttention

    width = config.memory_attention_hidden_size
    same = {
        "embedding_dim": width,
        "num_heads": config.memory_attention_num_attention_heads,
        "downsample_rate": config.memory_attention_downsample_rate,
        "feat_sizes": (side, side),
    }
    layer = MemoryAttentionLayer(
        activation=config.memory_attention_feed_forward_hidden_act,
        cross_attention=RoPEAttention(
            rope_k_repeat=True, kv_in_dim=config.memory_encoder_output_channels, **same
        ),
        d_model=width,
        dim_feedforward=config.memory_attention_feed_forward_hidden_size,
        dropout=0.0,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=RoPEAttention(**same),
    )
    return MemoryAttention(
        d_model=width, pos_enc_at_input=True, layer=layer, num_layers=config.memory_attention_num_layers
    )


def _memories(config: Any) -> Any:
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    width, narrow = config.memory_encoder_hidden_size, config.memory_encoder_output_channels
    return MemoryEncoder(
        out_dim=narrow,
        in_dim=width,
        mask_downsampler=MaskDownSampler(
            embed_dim=config.mask_downsampler_embed_dim,
            kernel_size=config.mask_downsampler_kernel_size,
            stride=config.mask_downsampler_stride,
            padding=config.mask_downsampler_padding,
        ),
        fuser=Fuser(
            CXBlock(
                config.memory_fuser_embed_dim,
                kernel_size=config.memory_fuser_kernel_size,
                padding=config.memory_fuser_padding,
            ),
            config.memory_fuser_num_layers,
        ),
        position_encoding=PositionEmbeddingSine(narrow),
    )


@dataclass(frozen=True)
class PackagePropagator:
    """See `Propagator`."""

    network: Any
    size: int
    device: str

    def encode(self, plane: Array) -> Any:
        import torch

        with torch.inference_mode():
            found = self.network.forward_image(coloured(plane, self.device))
            return self.network._prepare_backbone_features(found)[1:]

    def track(self, slices: int, state: Mapping[str, np.ndarray[Any, Any]] | None = None) -> PackageTrack:
        track = PackageTrack(self, slices)
        if state is not None:
            track.memory.restore(state, self.device)
        return track

    @property
    def places(self) -> int:
        return 1

    def step(
        self, tracks: Sequence[PackageTrack], seen: Sequence[Any], z: int, *, reverse: bool = False
    ) -> list[Found]:
        return [track.carry(z, one, reverse) for track, one in zip(tracks, seen, strict=True)]


class PackageTrack:
    """See `Track`."""

    def __init__(self, of: PackagePropagator, slices: int) -> None:
        self.of, self.slices = of, slices
        memories = of.network.num_maskmem - 2
        self.memory = Memory("obj_ptr", memories, max(of.network.max_obj_ptrs_in_encoder - 2, memories))

    def start(self, z: int, seen: Any, hint: Hint) -> Found:
        import torch

        device = self.of.device
        if hint.mask is not None:
            mask = torch.as_tensor(np.ascontiguousarray(hint.mask), device=device).float()
            given: dict[str, Any] = {"mask_inputs": mask[None, None], "point_inputs": None}
        else:
            points = {k: v.to(device) for k, v in marked(hint).items()}
            given = {"mask_inputs": None, "point_inputs": points}
        with torch.inference_mode():
            found = self._run(z, seen, prompted=True, remembers=False, **given)
            masks = torch.nn.functional.interpolate(
                found["pred_masks"], size=(self.of.size,) * 2, mode="bilinear", align_corners=False
            )
            features, sizes = seen[0], seen[2]
            memory = self.of.network._encode_new_memory(
                features, sizes, masks, found["object_score_logits"], True
            )
        return self._kept(
            z, found | dict(zip((FEATURES, POSITIONS), memory, strict=True)), self.memory.prompted
        )

    def carry(self, z: int, seen: Any, reverse: bool) -> Found:
        """To slice `z`."""
        import torch

        with torch.inference_mode():
            found = self._run(z, seen, reverse=reverse)
        return self._kept(z, found, self.memory.others)

    def _run(
        self,
        z: int,
        seen: Any,
        *,
        prompted: bool = False,
        remembers: bool = True,
        reverse: bool = False,
        point_inputs: Any = None,
        mask_inputs: Any = None,
    ) -> dict[str, Any]:
        features, positions, sizes = seen
        found: dict[str, Any] = self.of.network.track_step(
            frame_idx=z,
            is_init_cond_frame=prompted,
            current_vision_feats=features,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            point_inputs=point_inputs,
            mask_inputs=mask_inputs,
            output_dict={
                "cond_frame_outputs": self.memory.prompted,
                "non_cond_frame_outputs": self.memory.others,
            },
            num_frames=self.slices,
            track_in_reverse=reverse,
            run_mem_encoder=remembers,
        )
        return found

    def _kept(self, z: int, found: dict[str, Any], among: dict[int, dict[str, Any]]) -> Found:
        import torch

        among[z] = {
            "obj_ptr": found["obj_ptr"],
            # As the package's predictor keeps them; of its positions the last are looked at.
            FEATURES: found[FEATURES].to(torch.bfloat16),
            POSITIONS: found[POSITIONS][-1][None],
        }
        self.memory.forget(z)
        logits = found["pred_masks"][0, 0].float().cpu().numpy()
        return Found(logits, float(found["object_score_logits"].flatten()[0]))

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        return self.memory.state()


SAM2 = Backend(read_sam2, sam2_fingerprint, load_package)
"""The backend of this module."""
