"""Several objects step to a slice in one batch, to the same bits whichever step together.

A batch has a fixed number of places, and those that are left over are filled: what a place gets does not
depend on the others, but its last bits do on their number. What objects of one window share (the first self
attention, projections of the image) is found once, and what is the same on every slice once for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from chunkflow_liver.segmenters.sam2.memory import FEATURES, POSITIONS

SMALL, PLACES = 128, 8
"""Up to how many pixels a window is small, and objects of a batch then; in larger ones it is one."""
NOWHERE = -1024.0
"""Logit of masks of objects that are not there, as in `transformers`."""


def places_of(size: int) -> int:
    """Objects of a batch in windows `size` pixels wide."""
    return PLACES if size <= SMALL else 1


@dataclass(frozen=True)
class Stepped:
    """One object after a step: logits (S / 4, S / 4), the score (a number), and what it remembers."""

    logits: Any
    score: Any
    remembered: dict[str, Any]


@dataclass
class Shared:
    """What all objects of a window share of a slice.

    Attributes
    ----------
    attended : Tensor of shape (1, H W, C)
        After the self attention of the first layer.
    levels : list of Tensor of shape (1, C, H, W)
        Finer levels of the image.
    projected : Tensor of shape (1, C, H, W)
        As the memory encoder takes the image.
    """

    attended: Any
    levels: list[Any]
    projected: Any


@dataclass(frozen=True)
class Stepper:
    """Steps of `Sam2VideoModel`, object by object the same as its own but for rounding.

    Attributes
    ----------
    network : Sam2VideoModel
    places : int
        Objects of a batch.
    """

    network: Any
    places: int
    known: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """Position encodings of memories, by their offsets in slices."""

    @cached_property
    def turns(self) -> Any:
        """The rotary code of places, (H W, head / 2), complex: a pair of channels is turned by one angle."""
        import torch

        attention = self.network.memory_attention
        # Of the first argument, it takes the device alone.
        cosines, sines = attention.rotary_emb(attention.position_ids, attention.position_ids)
        return torch.complex(cosines[0, :, ::2].contiguous(), sines[0, :, ::2].contiguous())

    @cached_property
    def unprompted(self) -> dict[str, Any]:
        """What the mask decoder gets of an object without a prompt."""
        import torch

        like = self.network.no_memory_embedding
        point = torch.zeros(1, 1, 1, 2, dtype=like.dtype, device=like.device)
        none = -torch.ones(1, 1, 1, dtype=torch.int32, device=like.device)
        sparse, dense = self.network.prompt_encoder(
            input_points=point, input_labels=none, input_boxes=None, input_masks=None
        )
        return {
            "sparse_prompt_embeddings": sparse.repeat(self.places, 1, 1, 1),
            "dense_prompt_embeddings": dense.repeat(self.places, 1, 1, 1),
            "image_positional_embeddings": self.network.get_image_wide_positional_embeddings().repeat(
                self.places, 1, 1, 1
            ),
        }

    def share(self, features: Sequence[Any], positions: Sequence[Any]) -> Shared:
        """Of what the image encoder found, and position encodings, (H W, 1, C) by level, finest first."""
        network, sizes = self.network, self.network.backbone_feature_sizes
        queries = (features[-1] + 0.1 * positions[-1]).transpose(0, 1)
        queries = self._selves(network.memory_attention.layers[0], queries)
        planes = [f.permute(1, 2, 0).unflatten(2, s) for f, s in zip(features, sizes, strict=True)]
        return Shared(queries, planes[:-1], network.memory_encoder.feature_projection(planes[-1]))

    def step(
        self, sessions: Sequence[Any], shared: Sequence[Shared], z: int, *, reverse: bool
    ) -> list[Stepped]:
        """Carry every object to slice `z`.

        Parameters
        ----------
        sessions : sequence of Sam2VideoInferenceSession
            Of one object each.
        shared : sequence of Shared
            The window of each.
        """
        remembered = [self._remembered(session, z, reverse) for session in sessions]

        def size(i: int) -> tuple[int, int]:
            return remembered[i][0].shape[0], remembered[i][2]

        found: dict[int, Stepped] = {}
        # Those that remember as much fit in one batch.
        for _, group in groupby(sorted(range(len(sessions)), key=size), key=size):
            alike = list(group)
            for batch in (alike[k : k + self.places] for k in range(0, len(alike), self.places)):
                filled = batch + batch[:1] * (self.places - len(batch))
                stepped = self._batch([remembered[i] for i in filled], [shared[i] for i in filled])
                found |= dict(zip(batch, stepped, strict=False))
        for i, session in enumerate(sessions):
            prompted = session.output_dict_per_obj[0]["cond_frame_outputs"]
            # It is the same on all slices.
            found[i].remembered[POSITIONS] = next(iter(prompted.values()))[POSITIONS]
        return [found[i] for i in range(len(sessions))]

    def _remembered(self, session: Any, z: int, reverse: bool) -> tuple[Any, Any, int]:
        """Memories of one object and their positions, (L, C), and how many, the last, are pointers."""
        import torch

        network, device = self.network, session.inference_device
        outputs = network._gather_memory_frame_outputs(session, 0, z, reverse)
        there = [(offset, output) for offset, output in outputs if output is not None]
        offsets, pointers, most = network._get_object_pointers(
            session, 0, z, session.num_frames, device, reverse, False
        )
        key = (len(there), *(offset for offset, _ in there), *offsets, most)
        if key not in self.known:
            if len(self.known) > 4 * PLACES:
                # The way to the prompt grows with every slice.
                self.known.clear()
            self.known[key] = self._positions(there, offsets, pointers, most)
        position, count = self.known[key]
        parts = [output[FEATURES][:, 0].to(device) for _, output in there]
        if pointers:
            own = torch.stack([p.to(device).flatten() for p in pointers])
            parts.append(own.reshape(count, network.mem_dim))
        return torch.cat([part.to(session.dtype) for part in parts]), position, count

    def _positions(self, there: Any, offsets: Any, pointers: Any, most: int) -> tuple[Any, int]:
        """Position encodings (L, C) of memories in time and in the window, and how many are of pointers."""
        import torch

        network, device = self.network, self.network.no_memory_embedding.device
        _, positions = network._build_memory_attention_inputs(there, device)
        count = 0
        if pointers:
            _, of_pointers = network._process_object_pointers(
                offsets, [p.reshape(1, -1) for p in pointers], most, 1, network.hidden_dim, device
            )
            positions.append(of_pointers)
            count = len(of_pointers)
        return torch.cat(positions)[:, 0], count

    def _batch(self, remembered: Sequence[tuple[Any, Any, int]], shared: Sequence[Shared]) -> list[Stepped]:
        import torch

        network = self.network
        memory = torch.stack([m for m, _, _ in remembered])
        position = torch.stack([p for _, p, _ in remembered])
        image = self._looked(_joined([s.attended for s in shared]), memory, position, remembered[0][2])
        levels = [_joined(list(level)) for level in zip(*(s.levels for s in shared), strict=True)]
        logits, scores, pointers = self._decoded(image, levels)
        masks = torch.nn.functional.interpolate(
            logits[:, None].float(), size=(network.image_size,) * 2, mode="bilinear", align_corners=False
        )
        features = self._memories(masks, _joined([s.projected for s in shared]), scores)
        return [
            Stepped(
                logits[i],
                scores[i],
                {"object_pointer": pointers[i : i + 1, None], FEATURES: features[i].T[:, None]},
            )
            for i in range(len(remembered))
        ]

    def _looked(self, queries: Any, memory: Any, position: Any, pointers: int) -> Any:
        """The image (B, C, H, W) after it has looked at the memory."""
        attention = self.network.memory_attention
        for i, layer in enumerate(attention.layers):
            if i:
                queries = self._selves(layer, queries)
            asked = layer.layer_norm2(queries)
            queries = queries + self._attended(
                layer.cross_attn_image, asked, memory + position, memory, pointers
            )
            queries = queries + layer.linear2(layer.activation(layer.linear1(layer.layer_norm3(queries))))
        found = attention.layer_norm(queries).transpose(1, 2)
        return found.unflatten(2, self.network.backbone_feature_sizes[-1])

    def _selves(self, layer: Any, queries: Any) -> Any:
        asked = layer.layer_norm1(queries)
        return queries + self._attended(layer.self_attn, asked, asked, asked, 0)

    def _attended(self, module: Any, query: Any, key: Any, value: Any, pointers: int) -> Any:
        """Attention (B, N, C); queries and keys, but the last `pointers`, are turned by their places."""
        import torch

        heads = (module.num_attention_heads, module.head_dim)
        q, k, v = module.q_proj(query), module.k_proj(key), module.v_proj(value)
        # In place: keys are the largest arrays of a step.
        for turned in (q, k[:, : k.shape[1] - pointers]):
            pairs = turned.unflatten(1, (-1, len(self.turns))).unflatten(3, (heads[0], -1, 2))
            torch.view_as_complex(pairs).mul_(self.turns[:, None])
        found = torch.nn.functional.scaled_dot_product_attention(
            *(x.unflatten(2, heads).transpose(1, 2) for x in (q, k, v)), scale=module.scaling
        )
        return module.o_proj(found.transpose(1, 2).flatten(2))

    def _decoded(self, image: Any, levels: list[Any]) -> tuple[Any, Any, Any]:
        """Logits (B, S / 4, S / 4), scores (B,) and pointers (B, C) of the best masks."""
        import torch

        network = self.network
        masks, ious, tokens, scores = network.mask_decoder(
            image_embeddings=image,
            high_resolution_features=levels,
            multimask_output=network._use_multimask(False, None),
            attention_similarity=None,
            target_embedding=None,
            **self.unprompted,
        )
        rows, best = torch.arange(self.places, device=image.device), ious[:, 0].argmax(-1)
        there = scores.flatten() > 0
        logits = torch.where(there[:, None, None], masks[rows, 0, best], NOWHERE)
        pointer = network.object_pointer_proj(tokens[rows, 0, best if tokens.shape[2] > 1 else 0])
        seen = there[:, None].to(pointer.dtype)
        return logits, scores.flatten(), seen * pointer + (1 - seen) * network.no_object_pointer

    def _memories(self, masks: Any, projected: Any, scores: Any) -> Any:
        """What is remembered of the slice, (B, C, H W), bfloat16."""
        import torch

        network, encoder = self.network, self.network.memory_encoder
        config = network.config
        likely = torch.sigmoid(masks) * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        found = encoder.projection(encoder.memory_fuser(projected + encoder.mask_downsampler(likely)))
        absent = network.occlusion_spatial_embedding_parameter
        if absent is not None:
            gone = (scores <= 0).to(found.dtype)[:, None, None, None]
            found = found + gone * absent[..., None, None]
        return found.to(torch.bfloat16).flatten(2)


def _joined(parts: list[Any]) -> Any:
    """Tensors (1, ...) as one batch; without a copy where all are one."""
    import torch

    if all(part is parts[0] for part in parts):
        return parts[0].expand(len(parts), *parts[0].shape[1:])
    return torch.cat(parts)
