"""The propagator on `Sam2VideoModel` of transformers, one session an object.

A session of several objects binarises the memory of all of them on a slice where one is prompted, so that
an object's masks depend on which others ride along. Here every object has a session of its own, and the
features of a slice, which cost most, are encoded once and given to all.

The session keeps all that it ever saw. Attention looks at the prompts, at the memory of the last
`num_maskmem - 1` slices and at the pointers of the last `max_object_pointers_in_encoder - 1`. What lies
farther from the slice and from every prompt is dropped; the slices next to a prompt stay, because the way
back from it begins there. What is dropped is never looked at, so the bits are the same.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import SegmenterError, install
from chunkflow_liver.segmenters.sam2.backends import Backend
from chunkflow_liver.segmenters.sam2.folder import Sam2Model, read_sam2, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.propagator import Found, Hint, Propagator
from chunkflow_liver.segmenters.sam2.weights import AGAIN, with_twins
from chunkflow_liver.segmenters.weights import fill, first_line, read_tensors
from chunkflow_liver.xp import Array

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours that SAM2 was trained on."""
INSIDE, OUTSIDE, CORNERS = 1, 0, (2, 3)
"""Labels of prompt points."""
OBJECT = 1
KEPT = ("object_pointer", "maskmem_features", "maskmem_pos_enc")
MOST_LOADED = 2
_LOADING = threading.Lock()
_loaded: OrderedDict[tuple[str, str], Sam2Propagator] = OrderedDict()


def load_sam2(model: Sam2Model, fingerprint: str, device: str = "cpu") -> Propagator:
    """The model, loaded by the first who asks in this process.

    Raises
    ------
    SegmenterError
        If the folder has changed since `fingerprint` was taken, or cannot be loaded.
    """
    with _LOADING:
        key = (fingerprint, device)
        if key not in _loaded:
            found = sam2_fingerprint(model)
            if found != fingerprint:
                raise SegmenterError(
                    f"{model.folder} has changed since the plan was made: its fingerprint was "
                    f"{fingerprint[:12]}, now it is {found[:12]}; make the plan again"
                )
            _loaded[key] = Sam2Propagator(build(model).to(device), model.size, device)
            while len(_loaded) > MOST_LOADED:
                _loaded.popitem(last=False)
        _loaded.move_to_end(key)
        return _loaded[key]


def build(model: Sam2Model, weights: Mapping[str, Any] | None = None) -> Any:
    """The network with its weights, in eval mode.

    Raises
    ------
    SegmenterError
        If transformers is not installed, or configuration and weights do not fit.
    """
    try:
        from huggingface_hub.errors import StrictDataclassError
        from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel
    except ModuleNotFoundError as err:
        raise SegmenterError(f"SAM2 needs {err.name!r}; {install(err.name or '')}") from err
    try:
        network = Sam2VideoModel(Sam2VideoConfig.from_dict(sized(dict(model.config), model.size)))
    except (StrictDataclassError, TypeError, ValueError, KeyError, ZeroDivisionError, RuntimeError) as err:
        raise SegmenterError(
            f"{model.folder}: no network can be built of its configuration: {first_line(err)}"
        ) from err
    known = with_twins(read_tensors(model.weights)) if weights is None else weights
    fill(network, known, model.folder, of="its configuration", remedy=AGAIN)
    return network.eval().requires_grad_(False)


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

    def encode(self, plane: Array) -> Any:
        import torch

        grey = torch.as_tensor(np.ascontiguousarray(plane), device=self.device).float() / 255
        mean, deviation = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (MEAN, DEVIATION))
        with torch.inference_mode():
            found = self.network.get_image_features(((grey - mean) / deviation)[None], return_dict=True)
        return {"vision_feats": found.fpn_hidden_states, "vision_pos_embeds": found.fpn_position_encoding}

    def track(self, slices: int, state: Mapping[str, np.ndarray[Any, Any]] | None = None) -> SessionTrack:
        track = SessionTrack(self, slices)
        if state is not None:
            track.restore(state)
        return track


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
        config = of.network.config
        self.memories = config.num_maskmem - 2
        self.pointers = max(config.max_object_pointers_in_encoder - 2, self.memories)

    @property
    def outputs(self) -> tuple[dict[int, Any], dict[int, Any]]:
        """What is kept of prompted and of other slices."""
        found = self.session.output_dict_per_obj[0]
        return found["cond_frame_outputs"], found["non_cond_frame_outputs"]

    def start(self, z: int, seen: Any, hint: Hint) -> Found:
        import torch

        if hint.mask is not None:
            self.session.add_mask_inputs(0, z, torch.as_tensor(np.ascontiguousarray(hint.mask))[None, None])
        else:
            corners = [] if hint.box is None else [(hint.box[1], hint.box[0]), (hint.box[3], hint.box[2])]
            places = [*corners, *((x, y) for y, x, _ in hint.points)]
            labels = [*CORNERS[: len(corners)], *(INSIDE if own else OUTSIDE for *_, own in hint.points)]
            given = {
                "point_coords": torch.tensor([[places]], dtype=torch.float32),
                "point_labels": torch.tensor([[labels]], dtype=torch.int32),
            }
            self.session.add_point_inputs(0, z, given)
        self.session.obj_with_new_inputs = [OBJECT]
        return self._run(z, seen, False)

    def step(self, z: int, seen: Any, *, reverse: bool = False) -> Found:
        return self._run(z, seen, reverse)

    def _run(self, z: int, seen: Any, reverse: bool) -> Found:
        self.session.cache.clear_all()
        self.session.cache.cache_vision_features(z, seen)
        found = self.of.network(self.session, frame_idx=z, reverse=reverse)
        self.session.cache.clear_all()
        logits = found.pred_masks[0, 0].float().cpu().numpy()
        score = float(found.object_score_logits.flatten()[0])
        self._forget(z)
        return Found(logits, score)

    def _forget(self, z: int) -> None:
        """Drop what no later step looks at."""
        prompted, others = self.outputs
        near = (z, *prompted)
        for output in (prompted.get(z, {}), others.get(z, {})):
            for key in [k for k in output if k not in KEPT]:
                del output[key]
        for at in list(others):
            distance = min(abs(at - a) for a in near)
            if distance > self.pointers:
                del others[at]
            elif distance > self.memories:
                others[at].pop("maskmem_features", None)
                others[at].pop("maskmem_pos_enc", None)
        self.session.frames_tracked_per_obj[0].clear()
        self.session.point_inputs_per_obj[0].clear()
        self.session.mask_inputs_per_obj[0].clear()

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        import torch

        prompted, others = self.outputs
        rows = [*prompted.items(), *sorted(others.items())]
        full = [output for _, output in rows if "maskmem_features" in output]
        return {
            "slice": np.array([z for z, _ in rows], np.int64),
            "prompted": np.arange(len(rows)) < len(prompted),
            "full": np.array(["maskmem_features" in output for _, output in rows], bool),
            "pointer": np.stack([_host(output["object_pointer"]) for _, output in rows]),
            # NumPy has no bfloat16: the bits are carried.
            "features": np.stack([_host(o["maskmem_features"].contiguous().view(torch.int16)) for o in full]),
            "positions": _host(full[0]["maskmem_pos_enc"]),
        }

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Go on where another track stood."""
        import torch

        device = self.of.device
        prompted, others = self.outputs
        positions = torch.from_numpy(np.array(state["positions"])).to(device)
        features = iter(state["features"])
        for z, own, full, pointer in zip(
            state["slice"].tolist(), state["prompted"], state["full"], state["pointer"], strict=True
        ):
            output = {"object_pointer": torch.from_numpy(np.array(pointer)).to(device)}
            if full:
                bits = torch.from_numpy(np.array(next(features)))
                output["maskmem_features"] = bits.view(torch.bfloat16).to(device)
                output["maskmem_pos_enc"] = positions
            (prompted if own else others)[z] = output


def _host(tensor: Any) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = tensor.detach().cpu().numpy()
    return found


TRANSFORMERS = Backend(read_sam2, sam2_fingerprint, load_sam2)
"""The backend of this module."""
