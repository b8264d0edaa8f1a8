"""Train the demonstration's SAM2 model on generated bundles of cells that touch and vessels that branch.

The folder it makes can replace `chunkflow_liver/models/phantom_sam2`. It is there to try `propagate` with; it
knows nothing but these phantoms.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from phantom_clips import FIRST_SEED, SIZE, Clip, Sample, clip, hint, samples
from torch.nn import functional
from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

import chunkflow_liver as cf
from chunkflow_liver.demo import BUNDLE, MARKED, bundle_prompts
from chunkflow_liver.kernels.phantom.bundle import render_bundle
from chunkflow_liver.segmenters.sam2.propagator import STRIDE, Hint
from chunkflow_liver.segmenters.sam2.tracker import DEVIATION, MEAN, Sam2Propagator, SessionTrack, sized
from chunkflow_liver.segmenters.weights import read_tensors, write_tensors

TOTAL = 64
"""Slices that a track is told there are."""
WIDTH = 128
LOCAL = 4.0
"""Of the biases of queries and keys: a neighbouring place gets about e^-3 of what a place pays itself."""
SINGLE, SHORT = 0.55, 0.75
"""Shares of the training until which clips are of single slices, and of one piece."""
PIECE, STREAMS = 3, 6
"""Slices of a stream in a step, and streams that take turns."""
LOST = 0.3
"""Dice below which an object is not trained on any more."""
CONFIG: dict[str, Any] = {
    "model_type": "sam2_video",
    "image_size": SIZE,
    "vision_config": {
        "model_type": "sam2_vision_model",
        "fpn_hidden_size": WIDTH,
        "backbone_channel_list": [192, 96, 48, 24],
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 24,
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [24, 48, 96, 192],
            "num_attention_heads_per_stage": [1, 2, 4, 8],
            "window_size_per_stage": [8, 4, 6, 3],
            "global_attention_blocks": [3],
            "mlp_ratio": 3.0,
        },
    },
    "prompt_encoder_config": {"hidden_size": WIDTH},
    "mask_decoder_config": {
        "hidden_size": WIDTH,
        "mlp_dim": 256,
        "num_attention_heads": 4,
        "num_multimask_outputs": 1,
        "iou_head_hidden_dim": 32,
        "dynamic_multimask_via_stability": False,
    },
    "multimask_output_in_sam": False,
    "multimask_output_for_tracking": False,
    "num_maskmem": 5,
    "max_object_pointers_in_encoder": 5,
    "memory_attention_hidden_size": WIDTH,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 256,
    "memory_attention_dropout": 0.0,
    "memory_attention_rope_dropout": 0.0,
    "memory_encoder_hidden_size": WIDTH,
    "mask_downsampler_embed_dim": WIDTH,
    "memory_fuser_num_layers": 1,
    "memory_fuser_embed_dim": WIDTH,
    "memory_fuser_intermediate_dim": 256,
    "memory_fuser_layer_scale_init_value": 0.1,
}
"""Of SAM 2.1, with narrow layers, one mask an object and the memory of 4 slices."""

log = logging.getLogger("chunkflow_liver.train_phantom_sam2")


def remember(network: Any) -> None:
    """Memory that is seen from the first step on.

    With the weights of 0.02 that transformers draws, less than a hundredth of what the decoder sees is of
    earlier slices, and Dice stood at 0.63 for hundreds of steps. Equal biases of queries and keys leave the
    rotary code of places alone, so that a place looks at itself in the slices before.
    """
    for part in (network.memory_attention, network.memory_encoder):
        for name, module in part.named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not name.endswith(
                ("q_proj", "k_proj")
            ):
                module.weight.normal_(0, module.weight[0].numel() ** -0.5)
    for layer in network.memory_attention.layers:
        layer.cross_attn_image.q_proj.bias.fill_(LOCAL)
        layer.cross_attn_image.k_proj.bias.fill_(LOCAL)


class Stream:
    """Clips that are carried side by side, `PIECE` slices in a step of training.

    What is remembered of earlier slices was found by the network itself, as in propagation: trained on the
    first few slices after a prompt alone, masks drift away where the prompt is far.
    """

    def __init__(self, of: Sam2Propagator, clips: list[Clip], kind: str) -> None:
        self.clips, self.kind = clips, kind
        self.track = SessionTrack(of, TOTAL)
        self.followed = torch.ones(len(clips), dtype=torch.bool)
        self.done = 0

    @property
    def ended(self) -> bool:
        return self.done == len(self.clips[0].grey)

    def next(self) -> range:
        """The slices of this step."""
        begin, self.done = self.done, min(self.done + PIECE, len(self.clips[0].grey))
        return range(begin, self.done)

    def cut(self) -> None:
        """Keep what later slices look at, and no gradient."""
        memory = self.track.memory
        for t in sorted({*memory.prompted, *memory.others}):
            if t in memory.prompted or t in memory.others:
                memory.forget(t)
        for kept in (*memory.prompted.values(), *memory.others.values()):
            kept |= {name: value.detach() for name, value in kept.items()}


class Trainer:
    """A network that is trained on batches of clips, through the sessions that propagation uses."""

    def __init__(self, seed: int, rate: float) -> None:
        torch.manual_seed(seed)
        self.network = Sam2VideoModel(Sam2VideoConfig.from_dict(sized(dict(CONFIG), SIZE))).eval()
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                if not value.any() and value.dim() > 1:
                    value.normal_(0, 0.02)
                if name == "mask_decoder.pred_obj_score_head.proj_out.bias":
                    value.fill_(3.0)
            remember(self.network)
        self.of = Sam2Propagator(self.network, SIZE, "cpu")
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=0.01)
        self.rate = rate
        self.seen: list[Any] = []
        self.network.mask_decoder.register_forward_hook(lambda *given: self.seen.append(given[2]))
        # Sessions hold one object; with this, each of them holds a batch, and one object is as before.
        self.network.memory_attention.register_forward_hook(lambda *given: given[2].transpose(0, 1))

    def begin(self, folder: Path) -> None:
        """Go on from the weights of a model folder."""
        known = read_tensors(folder / "model.safetensors")
        self.network.load_state_dict({name: value.float() for name, value in known.items()})

    def mix(self, folder: Path, share: float) -> None:
        """Be a share of what was trained and the rest of a model folder's weights.

        After few steps, the mean of old and new weights is better than either.
        """
        known = read_tensors(folder / "model.safetensors")
        own = self.network.state_dict()
        with torch.no_grad():
            for name, value in known.items():
                own[name].copy_((1 - share) * value.float() + share * own[name])

    def step(self, of: Stream, rng: np.random.Generator, share: float) -> tuple[float, float]:
        """One step of the optimiser at a share of the training: loss, and Dice of slices carried to."""
        for group in self.optimiser.param_groups:
            group["lr"] = (
                self.rate * min(1.0, share / 0.03 + 0.02) * (1e-2 + 0.99 * np.cos(share * np.pi / 2))
            )
        loss, dice = self.loss(of, rng)
        if loss.requires_grad:
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimiser.step()
        of.cut()
        return float(loss.detach()), dice

    def loss(self, of: Stream, rng: np.random.Generator) -> tuple[Any, float]:
        """Of the next slices of a stream."""
        network, clips, count = self.network, of.clips, len(of.clips)
        slices = of.next()
        grey = torch.from_numpy(np.stack([c.grey[slices] for c in clips])).float()[:, :, None] / 255
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
        planes = ((grey - mean) / deviation).flatten(0, 1)
        found = network.get_image_features(planes, return_dict=True)
        levels = [f.unflatten(1, (count, len(slices))) for f in found.fpn_hidden_states]
        places = [p[:, :1].expand(-1, count, -1) for p in found.fpn_position_encoding]
        masks = torch.from_numpy(np.stack([c.mask[slices] for c in clips])).float()
        shares = functional.avg_pool2d(masks, STRIDE)

        session = of.track.session
        total, dices = torch.zeros(()), []
        for i, t in enumerate(slices):
            wanted = shares[:, i]
            there = (wanted > 0.5).flatten(1).any(1)
            features = [level[:, :, i] for level in levels]
            session.cache.clear_all()
            session.cache.cache_vision_features(t, {"vision_feats": features, "vision_pos_embeds": places})
            self.seen.clear()
            begins = t == 0
            output = self._start(session, clips, of.kind, rng, features) if begins else self._run(session, t)
            session.store_output(0, t, output_value=output, is_conditioning_frame=begins)
            memory, position = network._encode_new_memory(
                features[-1], output["high_res_masks"], output["object_score_logits"], begins
            )
            kept = of.track.memory.prompted if begins else of.track.memory.others
            kept[t] |= {"maskmem_features": memory, "maskmem_pos_enc": position}
            if begins and of.kind == "mask":
                continue
            logits, score = self.seen[-1][0][:, 0, 0], self.seen[-1][3].flatten()
            total = total + mask_loss(logits, wanted, (there & of.followed).float())
            total = total + 0.2 * functional.binary_cross_entropy_with_logits(score, there.float())
            dice = dice_of((logits > 0) & (score > 0)[:, None, None], wanted > 0.5)
            if not begins or len(clips[0].grey) == 1:
                dices.append(dice[there])
            # Of what was lost, earlier slices do not tell any more where it is.
            of.followed &= ~there | (dice > LOST)
        return total / len(slices), float(torch.cat(dices).mean()) if dices else float("nan")

    def _start(
        self, session: Any, clips: list[Clip], kind: str, rng: np.random.Generator, features: Any
    ) -> Any:
        hints = [hint(c.mask[0], kind, rng) for c in clips]
        if kind == "mask":
            parts = []
            for i, given in enumerate(hints):
                session.cache.clear_all()
                own = [f[:, i : i + 1] for f in features]
                session.cache.cache_vision_features(0, {"vision_feats": own, "vision_pos_embeds": []})
                mask = torch.as_tensor(given.mask, dtype=torch.float32)[None, None]
                parts.append(self._run(session, 0, mask=mask))
            return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}
        given = [_corners(g) for g in hints]
        places = torch.tensor([[[(x, y) for y, x, _ in points]] for points in given], dtype=torch.float32)
        labels = torch.tensor([[[int(own) for *_, own in points]] for points in given], dtype=torch.int32)
        return self._run(session, 0, points={"point_coords": places, "point_labels": labels})

    def _run(self, session: Any, t: int, points: Any = None, mask: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = self.network._run_single_frame_inference(
            session,
            t,
            0,
            batch_size=1,
            is_init_cond_frame=t == 0,
            point_inputs=points,
            mask_inputs=mask,
            reverse=False,
        )
        return found


def _corners(given: Hint) -> Any:
    assert given.box is not None
    y0, x0, y1, x1 = given.box
    return ((y0, x0, 2), (y1, x1, 3))


def mask_loss(logits: Any, wanted: Any, there: Any) -> Any:
    """Cross entropy and Dice of masks, of objects that are there."""
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((1, 2))
    likely = torch.sigmoid(logits)
    both = 2 * (likely * wanted).sum((1, 2)) + 1
    soft = 1 - both / (likely.sum((1, 2)) + wanted.sum((1, 2)) + 1)
    return ((5 * entropy + soft) * there).sum() / len(logits)


def dice_of(found: Any, wanted: Any) -> Any:
    return 2 * (found & wanted).sum((1, 2)) / (found.sum((1, 2)) + wanted.sum((1, 2))).clamp(min=1)


def train(
    trainer: Trainer,
    pool: list[Sample],
    to: Path,
    *,
    length: int,
    batch: int,
    minutes: float,
    single: float,
    short: float,
) -> None:
    """Single slices, then a piece, then streams of `length` slices, until the time is up; saved now and then.

    Parameters
    ----------
    batch : int
        Slices of all clips of a step.
    single, short : float
        Shares of the time until which clips are of one slice, and of one piece.
    """
    rng = np.random.default_rng(7)
    begin, sums, step = time.monotonic(), [], 0
    streams: list[Stream] = []
    while (share := (time.monotonic() - begin) / (60 * minutes)) < 1:
        now = 1 if share < single else PIECE if share < short else length
        streams = [s for s in streams if not s.ended]
        if len(streams) < (STREAMS if now > PIECE else 1):
            kind = "mask" if now > 1 and rng.random() < 0.4 else "box"
            clips = [clip(pool, now, rng) for _ in range(batch // min(now, PIECE))]
            streams.append(Stream(trainer.of, clips, kind))
        # Neighbouring steps are of other objects.
        streams.append(streams.pop(0))
        sums.append((*trainer.step(streams[-1], rng, share), float(streams[-1].followed.float().mean())))
        step += 1
        if step % 25 == 0:
            said = (step, 100 * share, time.process_time(), now, *np.nanmean(np.array(sums), axis=0))
            log.info("%d steps, %.0f %%, %.0f s CPU: %d slices, loss %.3f, Dice %.3f, followed %.2f", *said)
            sums = []
            save(trainer.network, to)
    save(trainer.network, to)


def save(network: Any, to: Path) -> None:
    """The model folder, of half precision."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "config.json").write_text(json.dumps(CONFIG, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    write_tensors({k: v.half() for k, v in network.state_dict().items()}, to / "model.safetensors")


def measure(model: Path, work: Path) -> None:
    """Carry all objects of the demonstration's bundle, which is not trained on, from a box each."""
    raw, truth = render_bundle(BUNDLE)
    image = cf.write_volume(work / "bundle.ome.zarr", raw, voxel_nm=BUNDLE.voxel_nm)
    labels = cf.write_volume(work / "truth.ome.zarr", truth, voxel_nm=BUNDLE.voxel_nm, kind="label")
    objects = {**{f"cell {n}": n for n in range(1, BUNDLE.vessel)}, "vessel": BUNDLE.vessel}
    prompts = bundle_prompts(truth, objects, MARKED)
    plan = cf.propagate(image, prompts, model=model, truth=labels, name="carried", work=work)
    cf.run(plan, progress=False)
    rows = cf.read_table(work / "tables" / "carried-truth.parquet").to_pandas()
    for name, own in rows.groupby("object"):
        log.info("Dice of %s: %.3f, lies in another on %d slices", name, own.dice.mean(), own.switched.sum())
    log.info("mean Dice over all slices: %.3f", rows.dice.mean())


def main() -> None:
    """Generate, train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for the model and what it is measured with")
    parser.add_argument("--minutes", type=float, default=46.0, help="how long training takes")
    parser.add_argument("--bundles", type=int, default=32)
    parser.add_argument(
        "--length", type=int, default=30, help="slices that objects are carried through at last"
    )
    parser.add_argument("--batch", type=int, default=24, help="slices of all clips of a step")
    parser.add_argument("--begin", type=Path, help="a model folder that training goes on from")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the new weights, beside those of --begin"
    )
    parser.add_argument("--rate", type=float, default=1e-3)
    whole = "share of the time until which clips are of "
    parser.add_argument("--single", type=float, default=SINGLE, help=f"{whole}one slice")
    parser.add_argument("--short", type=float, default=SHORT, help=f"{whole}one piece")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    start = time.monotonic()
    pool = samples(given.bundles, FIRST_SEED)
    log.info("generated %d bundles in %.0f s", len(pool), time.monotonic() - start)
    trainer = Trainer(0, given.rate)
    if given.begin is not None:
        trainer.begin(given.begin)
    log.info("%.2f million weights", sum(p.numel() for p in trainer.network.parameters()) / 1e6)
    train(
        trainer,
        pool,
        given.work / "model",
        length=given.length,
        batch=given.batch,
        minutes=given.minutes,
        single=given.single,
        short=given.short,
    )
    if given.begin is not None and given.share < 1:
        trainer.mix(given.begin, given.share)
        save(trainer.network, given.work / "model")
    measure(given.work / "model", given.work / "measured")


if __name__ == "__main__":
    main()
