"""The propagator on `Sam2VideoModel` of transformers, one session an object.

A session of several objects binarises the memory of all of them on a slice where one is prompted, so that
an object's masks depend on which others ride along. Here every object has a session of its own; a slice is
encoded once for all of a window, and objects step in batches that change no bit (`together`).

The session keeps all that it ever saw; here it keeps what attention looks at (`Memory`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError, install
from chunkflow_liver.segmenters.sam2.backends import Backend
from chunkflow_liver.segmenters.sam2.encoder import Encoder, encoder_of
from chunkflow_liver.segmenters.sam2.folder import Sam2Model, read_sam2, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.loaded import loaded
from chunkflow_liver.segmenters.sam2.memory import Memory
from chunkflow_liver.segmenters.sam2.propagator import Found, Hint, Propagator
from chunkflow_liver.segmenters.sam2.together import Shared, Stepper, places_of
from chunkflow_liver.segmenters.sam2.weights import AGAIN, with_twins
from chunkflow_liver.segmenters.weights import fill, first_line, read_tensors
from chunkflow_liver.xp import Array

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours that SAM2 was trained on."""
INSIDE, OUTSIDE, CORNERS = 1, 0, (2, 3)
"""Labels of prompt points."""
OBJECT = 1


def load_sam2(model: Sam2Model, fingerprint: str, device: str = "cpu", engine: str = "torch") -> Propagator:
    """The model, loaded by the first who asks in this process; its image encoder runs on `engine`.

    Raises
    ------
    SegmenterError
        If the folder has changed since `fingerprint` was taken, or cannot be loaded.
    """

    def made(model: Sam2Model, device: str) -> Propagator:
        network = build(model).to(device)
        name = f"{fingerprint} encoder"
        encoder = encoder_of(network, model.size, name) if engine == "openvino" else None
        return Sam2Propagator(network, model.size, device, encoder)

    return loaded(model, fingerprint, device, made, engine)


def build(model: Sam2Model, weights: Mapping[str, Any] | None = None) -> Any:
    """The network with its weights, in eval mode.

    Raises
    ------
    SegmenterError
        If transformers is not installed, or configuration and weights do not fit.
    """
    config = described(model)
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

    try:
        network = Sam2VideoModel(config)
    except _UNFIT as err:
        raise _unfit(model, err) from err
    known = with_twins(read_tensors(model.weights)) if weights is None else weights
    fill(network, known, model.folder, of="its configuration", remedy=AGAIN)
    return network.eval().requires_grad_(False)


_UNFIT = (TypeError, ValueError, KeyError, ZeroDivisionError, RuntimeError)


def _unfit(model: Sam2Model, err: Exception) -> SegmenterError:
    return SegmenterError(f"{model.folder}: no network can be built of its configuration: {first_line(err)}")


def described(model: Sam2Model) -> Any:
    """A model's configuration with all that transformers adds to it.

    Raises
    ------
    SegmenterError
        If transformers is not installed, or takes no such configuration.
    """
    try:
        from huggingface_hub.errors import StrictDataclassError
        from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
    except ModuleNotFoundError as err:
        raise SegmenterError(f"SAM2 needs {err.name!r}; {install(err.name or '')}") from err
    try:
        return Sam2VideoConfig.from_dict(sized(dict(model.config), model.size))
    except (StrictDataclassError, *_UNFIT) as err:
        raise _unfit(model, err) from err


def sized(config: dict[str, Any], size: int) -> dict[str, Any]:
    """A configuration in which all that depends on the side of the window is said."""
    vision = dict(config.get("vision_config") or {})
    backbone = dict(vision.get("backbone_config") or {})
    backbone.setdefault("image_size", [size, size])
    vision["backbone_config"] = backbone
    vision.setdefault("backbone_feature_sizes", [[size // n, size // n] for n in (4, 8, 16)])
    prompts = {"image_size": size, **(config.get("prompt_encoder_config") or {})}
    rope = config.get("memory_attention_rope_feat_sizes") or [size // 16, size // 16]
    return config | {
        "image_size": size,
        "vision_config": vision,
        "prompt_encoder_config": prompts,
        "memory_attention_rope_feat_sizes": rope,
    }


def coloured(plane: Array, device: str) -> Any:
    """Grey values (S, S) as SAM2 takes colours, of shape (1, 3, S, S)."""
    import torch

    grey = torch.as_tensor(np.ascontiguousarray(plane), device=device).float() / 255
    mean, deviation = (torch.tensor(v, device=device).view(3, 1, 1) for v in (MEAN, DEVIATION))
    return ((grey - mean) / deviation)[None]


def marked(hint: Hint) -> dict[str, Any]:
    """Box and points as SAM2 takes them: places (1, n, 2) as (x, y), and what each is, (1, n)."""
    import torch

    corners = [] if hint.box is None else [(hint.box[1], hint.box[0]), (hint.box[3], hint.box[2])]
    places = [*corners, *((x, y) for y, x, _ in hint.points)]
    labels = [*CORNERS[: len(corners)], *(INSIDE if own else OUTSIDE for *_, own in hint.points)]
    return {
        "point_coords": torch.tensor([places], dtype=torch.float32),
        "point_labels": torch.tensor([labels], dtype=torch.int32),
    }


@dataclass
class _Stack:
    """Stands where a session keeps its frames, of which it needs the number alone."""

    slices: int

    def __len__(self) -> int:
        return self.slices


@dataclass(frozen=True)
class Sam2Propagator:
    """See `Propagator`."""

    network: Any
    size: int
    device: str
    encoder: Encoder | None = None

    @property
    def places(self) -> int:
        return places_of(self.size)

    @cached_property
    def stepper(self) -> Stepper:
        return Stepper(self.network, self.places)

    def encode(self, plane: Array) -> Seen:
        import torch

        with torch.inference_mode():
            colours = coloured(plane, self.device)
            if self.encoder is None:
                found = self.network.get_image_features(colours, return_dict=True)
                features, positions = found.fpn_hidden_states, found.fpn_position_encoding
            else:
                features, positions = self.encoder(colours)
            shared = self.stepper.share(features, positions)
        return Seen({"vision_feats": features, "vision_pos_embeds": positions}, shared)

    def track(self, slices: int, state: Mapping[str, np.ndarray[Any, Any]] | None = None) -> SessionTrack:
        track = SessionTrack(self, slices)
        if state is not None:
            track.memory.restore(state, self.device)
        return track

    def step(
        self, tracks: Sequence[SessionTrack], seen: Sequence[Seen], z: int, *, reverse: bool = False
    ) -> list[Found]:
        import torch

        with torch.inference_mode():
            sessions, shared = [t.session for t in tracks], [s.shared for s in seen]
            found = self.stepper.step(sessions, shared, z, reverse=reverse)
        for track, one in zip(tracks, found, strict=True):
            track.memory.others[z] = one.remembered
            track.memory.forget(z)
        return [Found(one.logits.float().cpu().numpy(), float(one.score)) for one in found]


@dataclass(frozen=True)
class Seen:
    """A slice in a window, encoded: as sessions take it, and what steps share of it."""

    features: dict[str, Any]
    shared: Shared


class SessionTrack:
    """See `Track`."""

    def __init__(self, of: Sam2Propagator, slices: int) -> None:
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self.of = of
        self.session = Sam2VideoInferenceSession(
            video_height=of.size,
            video_width=of.size,
            inference_device=of.device,
            inference_state_device=of.device,
            video_storage_device=of.device,
            dtype=torch.float32,
        )
        self.session.processed_frames = _Stack(slices)
        self.session.obj_id_to_idx(OBJECT)
        config, kept = of.network.config, self.session.output_dict_per_obj[0]
        memories = config.num_maskmem - 2
        self.memory = Memory(
            "object_pointer",
            memories,
            max(config.max_object_pointers_in_encoder - 2, memories),
            kept["cond_frame_outputs"],
            kept["non_cond_frame_outputs"],
        )

    def start(self, z: int, seen: Seen, hint: Hint) -> Found:
        import torch

        if hint.mask is not None:
            self.session.add_mask_inputs(0, z, torch.as_tensor(np.ascontiguousarray(hint.mask))[None, None])
        else:
            self.session.add_point_inputs(0, z, {k: v[None] for k, v in marked(hint).items()})
        self.session.obj_with_new_inputs = [OBJECT]
        self.session.cache.clear_all()
        self.session.cache.cache_vision_features(z, seen.features)
        found = self.of.network(self.session, frame_idx=z)
        self.session.cache.clear_all()
        self.memory.forget(z)
        self.session.point_inputs_per_obj[0].clear()
        self.session.mask_inputs_per_obj[0].clear()
        return Found(
            found.pred_masks[0, 0].float().cpu().numpy(), float(found.object_score_logits.flatten()[0])
        )

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        return self.memory.state()


TRANSFORMERS = Backend(read_sam2, sam2_fingerprint, load_sam2)
"""The backend of this module."""
