"""Model folders and Meta's checkpoints: what loads, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sam2_models import SIZE, disc, meta_predictor, model_folder, need_transformers, planes, small_config

from chunkflow_liver.errors import ModelSecurityError, OutputError, SegmenterError
from chunkflow_liver.segmenters.sam2 import Hint, import_sam2, read_sam2, sam2_fingerprint
from chunkflow_liver.segmenters.sam2.names import SIZES, published, renamed

need_transformers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_folder_is_copied_as_it_is(folder: Path, tmp_path: Path) -> None:
    model = import_sam2(folder, tmp_path / "clean")
    assert model.size == SIZE
    assert sam2_fingerprint(model) == sam2_fingerprint(read_sam2(folder))
    with pytest.raises(OutputError, match="exists already"):
        import_sam2(folder, tmp_path / "clean")


def test_metas_checkpoint_gives_the_masks_of_metas_package(tmp_path: Path) -> None:
    import torch

    predictor = meta_predictor()
    with torch.no_grad():
        for name, value in predictor.named_parameters():
            if not value.any():
                value.normal_(0, 0.05)
            if name == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
                value.fill_(10.0)
    torch.save({"model": predictor.state_dict()}, tmp_path / "meta.pt")
    config = small_config() | {"mask_decoder_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = import_sam2(tmp_path / "meta.pt", tmp_path / "clean", config=tmp_path / "config.json")

    from chunkflow_liver.segmenters.sam2.tracker import load_sam2

    loaded, stack = load_sam2(model, sam2_fingerprint(model)), planes(24)
    track = loaded.track(len(stack))
    found = [track.start(0, loaded.encode(stack[0]), Hint(mask=disc())).logits]
    for z in range(1, len(stack)):
        found.append(loaded.step([track], [loaded.encode(stack[z])], z)[0].logits)
    wanted = meta_logits(predictor, stack)
    differ = max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))
    scale = max(float(np.abs(b).max()) for b in wanted[1:])
    # Memories are rounded to 8 bits of fraction on both sides: the last bit of a sum moves one now and then.
    assert differ < 5e-3 * scale, (differ, scale)
    agree = np.mean([(a > 0) == (b > 0) for a, b in zip(found, wanted, strict=True)])
    assert agree > 0.999


def meta_logits(predictor: Any, stack: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Low-resolution logits of the package's own video predictor."""
    import torch

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    grey = torch.from_numpy(stack).float()[:, None] / 255
    video = (grey.expand(-1, 3, -1, -1) - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    import sam2.sam2_video_predictor as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_video_frames", lambda **_: (video, SIZE, SIZE))
        state = predictor.init_state("unused")
    predictor.add_new_mask(state, 0, 1, disc())
    found = []
    for z, _, _ in predictor.propagate_in_video(state):
        outputs = state["output_dict_per_obj"][0]
        kept = outputs["cond_frame_outputs"].get(z) or outputs["non_cond_frame_outputs"][z]
        found.append(kept["pred_masks"][0, 0].float().numpy().copy())
    return found


def test_published_sizes_are_told_by_their_weights() -> None:
    class Shaped:
        shape = (112, 3, 7, 7)

    weights: dict[str, Any] = {f"image_encoder.trunk.blocks.{i}.norm1.weight": 0 for i in range(24)}
    weights["image_encoder.trunk.patch_embed.proj.weight"] = Shaped()
    found = published(weights)
    assert found is not None
    assert found["vision_config"]["backbone_config"]["blocks_per_stage"] == [2, 3, 16, 3]
    assert not found["enable_occlusion_spatial_embedding"]
    del weights["image_encoder.trunk.blocks.23.norm1.weight"]
    assert published(weights) is None
    assert all(sum(stages) == blocks for (_, blocks), (_, stages, *_) in SIZES.items())


def test_names_of_meta_become_names_of_transformers() -> None:
    assert renamed("maskmem_tpos_enc") == "memory_temporal_positional_encoding"
    assert renamed("memory_encoder.mask_downsampler.encoder.4.weight") == (
        "memory_encoder.mask_downsampler.layers.1.layer_norm.weight"
    )
    assert renamed("sam_mask_decoder.output_hypernetworks_mlps.3.layers.1.bias") == (
        "mask_decoder.output_hypernetworks_mlps.3.layers.0.bias"
    )
    assert renamed("image_encoder.trunk.blocks.2.mlp.layers.1.bias") == (
        "vision_encoder.backbone.blocks.2.mlp.proj_out.bias"
    )


def spoil(place: Path, how: str) -> Path:
    """A model that must be refused."""
    import torch
    from safetensors.torch import load_file, save_file

    config, weights = place / "config.json", place / "model.safetensors"
    known = load_file(weights) if how in ("missing", "shape", "nan") else {}
    name = "no_object_pointer"
    if how == "no config":
        config.unlink()
    elif how == "no json":
        config.write_text("{")
    elif how == "type":
        config.write_text(json.dumps({"model_type": "sam3_video", "auto_map": {"AutoModel": "evil.py"}}))
    elif how == "size":
        config.write_text(json.dumps(small_config() | {"image_size": 50}))
    elif how == "pickled":
        weights.rename(place / "pytorch_model.bin")
    elif how == "torn":
        os.truncate(weights, 100)
    elif how == "built":
        config.write_text(json.dumps(small_config() | {"memory_attention_num_layers": "many"}))
    elif how == "missing":
        save_file({k: v for k, v in known.items() if k != name}, weights)
    elif how == "shape":
        save_file(known | {name: torch.zeros(1, 3)}, weights)
    elif how == "nan":
        save_file(known | {name: torch.full_like(known[name], torch.nan)}, weights)
    return place


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no config", "wanted a model folder"),
        ("no json", "not readable as JSON"),
        ("type", "of type 'sam3_video'"),
        ("size", "a multiple of 32"),
        ("pickled", "pickled and sharded weights are not read"),
        ("torn", "not a readable file of tensors"),
        ("built", "no network can be built"),
        ("missing", "1 weights are missing"),
        ("shape", r"is \(1, 3\), wanted \(1, 256\)"),
        ("nan", "is not finite"),
    ],
)
def test_bad_folders_are_refused(copy: Path, tmp_path: Path, how: str, says: str) -> None:
    with pytest.raises(SegmenterError, match=says):
        import_sam2(spoil(copy, how), tmp_path / "made")
    assert not (tmp_path / "made").exists()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("echo no > stolen",)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, SegmenterError, "there is no checkpoint"),
        (b"hello", SegmenterError, "not a file that torch.save wrote"),
        (pickle.dumps(Evil()), ModelSecurityError, "a bare pickle"),
        ({"model": Evil()}, ModelSecurityError, r"system.*code and not weights"),
        ({"weights": {}}, SegmenterError, "with the weights as 'model'"),
        ({"model": {"a": 3}}, ModelSecurityError, "'a' is a int, not a tensor"),
        ({"model": {}}, SegmenterError, "none of the published sizes"),
    ],
    ids=["absent", "text", "pickle", "code", "keys", "number", "size"],
)
def test_bad_checkpoints_are_refused(tmp_path: Path, content: Any, error: type[Exception], says: str) -> None:
    import torch

    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(error, match=says):
        import_sam2(path, tmp_path / "made")
    assert not (tmp_path / "stolen").exists()
    assert not os.path.exists("stolen")


def test_a_flipped_weight_of_a_checkpoint_is_seen(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "model.pt"
    torch.save({"model": {"a": torch.arange(1000.0)}}, path)
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(500).tobytes())] ^= 16
    path.write_bytes(bytes(content))
    with pytest.raises(SegmenterError, match=r"model\.pt is damaged: Bad CRC-32"):
        import_sam2(path, tmp_path / "made")
    assert not (tmp_path / "made").exists()
