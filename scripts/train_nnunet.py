"""Train an nnU-Net with nnunetv2's own planner, preprocessor and trainer, in one process, on a laptop.

A dataset on disk, pools of workers and 1000 epochs are what nnU-Net needs for a benchmark, not for
a demonstration: here the cases are arrays, the dataset lives in a temporary folder, and training
stops after a number of iterations or minutes, the learning rate falling to zero on the way. What is
left is a slim model folder that any nnU-Net tool loads, without optimizer state and without pickled
objects (``torch.load(weights_only=True)`` reads it).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import multiprocessing.dummy
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

Case = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Raw image and labels, both (Z, Y, X)."""

DATASET = "Dataset001_cases"
WORKERS = "nnUNet_n_proc_DA"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What to train, and for how long.

    Attributes
    ----------
    classes : tuple of str
        Names of labels 1, 2, ...; 0 is the background.
    voxel_nm : tuple of float
        Voxel size of the cases along (z, y, x), in nm.
    patch : tuple of int
        Patch size in voxels: (z, y, x), or (y, x) for a 2-D network.
    features : tuple of int
        Channels of each stage; their number is the depth of the U-Net.
    iterations : int
        Training steps at most.
    minutes : float
        Wall-clock limit of the training itself; whichever of the two comes first ends it.
    channel : str
        nnU-Net's channel name; "CT" normalises with constants of the data set, any other name
        with the mean and standard deviation of each case.
    batch : int
        Patches per step.
    convolutions : int
        Convolutions per stage.
    rate : float
        First learning rate of AdamW.
    noise : float
        Largest standard deviation of extra Gaussian noise, in units of normalised intensity.
    seed : int
        Of weights, patches and augmentation; a run that ends by `iterations` can be repeated.
    threads : int
        CPU threads of torch.
    """

    classes: tuple[str, ...]
    voxel_nm: tuple[float, float, float]
    patch: tuple[int, ...]
    features: tuple[int, ...]
    iterations: int = 1000
    minutes: float = 30.0
    channel: str = "EM"
    batch: int = 2
    convolutions: int = 2
    rate: float = 1e-3
    noise: float = 0.0
    seed: int = 0
    threads: int = 1

    @property
    def configuration(self) -> str:
        """nnU-Net's name for the kind of network."""
        return "2d" if len(self.patch) == 2 else "3d_fullres"


def train(cases: Mapping[str, Case], recipe: Recipe, *, to: Path) -> Path:
    """A slim nnU-Net model folder trained on `cases`.

    Parameters
    ----------
    cases : mapping of str to (raw, labels)
        Arrays of shape (Z, Y, X); labels count from 0 without gaps.
    recipe : Recipe
        Network, length and seed of the training.
    to : Path
        Folder to write plans.json, dataset.json and fold_0/checkpoint_final.pth into.

    Returns
    -------
    Path
        `to`.

    Notes
    -----
    Planner, preprocessor, augmentation, deep supervision and the Dice + cross-entropy loss are
    nnU-Net's [1]_; the planner's topology is used for the patch of the recipe. Differences: AdamW
    instead of SGD, as short trainings converge faster with it; bfloat16 convolutions on CPUs too;
    the last weights are used.

    References
    ----------
    .. [1] Isensee et al., nnU-Net, Nature Methods 18, 203 (2021), doi:10.1038/s41592-020-01008-z
    """
    import torch

    torch.set_num_threads(recipe.threads)
    random.seed(recipe.seed)
    np.random.seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    with tempfile.TemporaryDirectory() as folder, _environment(Path(folder)):
        with contextlib.redirect_stdout(io.StringIO()):
            _write_dataset(cases, recipe, Path(folder))
            plans = _plan(recipe)
            _preprocess(plans, recipe)
        # The planner needs 1 here; the trainer augments in this process only with 0.
        os.environ[WORKERS] = "0"
        trainer = _fit(plans, recipe)
        plans = trainer.plans_manager.plans
        dataset = trainer.dataset_json
        axes = trainer.inference_allowed_mirroring_axes
        # Moved as a whole, as the decoder names the encoder's tensors again: stored once.
        weights = trainer.network.cpu().state_dict()
    _write_model(to, plans, dataset, recipe.configuration, weights, axes)
    return to


@contextlib.contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """nnU-Net's folders below `folder`, its background workers off, until the end of the block."""
    names = {f"nnUNet_{name}": folder / name for name in ("raw", "preprocessed", "results")}
    for path in names.values():
        (path / DATASET).mkdir(parents=True)
    settings = {k: str(v) for k, v in names.items()}
    settings |= {WORKERS: "1", "nnUNet_compile": "false"}
    before = {k: os.environ.get(k) for k in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _write_dataset(cases: Mapping[str, Case], recipe: Recipe, folder: Path) -> None:
    import tifffile

    raw = folder / "raw" / DATASET
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir()
    spacing = json.dumps({"spacing": list(recipe.voxel_nm)})
    for name, (image, labels) in cases.items():
        tifffile.imwrite(raw / "imagesTr" / f"{name}_0000.tif", image)
        tifffile.imwrite(raw / "labelsTr" / f"{name}.tif", labels.astype(np.uint8))
        for part in ("imagesTr", "labelsTr"):
            (raw / part / f"{name}.json").write_text(spacing)
    labels_json = {"background": 0} | {name: i for i, name in enumerate(recipe.classes, 1)}
    (raw / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": recipe.channel},
                "labels": labels_json,
                "numTraining": len(cases),
                "file_ending": ".tif",
                "overwrite_image_reader_writer": "Tiff3DIO",
            }
        )
    )


def _plan(recipe: Recipe) -> dict[str, Any]:
    """nnU-Net's plans, with the recipe's patch and features in the planner's topology."""
    from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )
    from nnunetv2.experiment_planning.experiment_planners.network_topology import (
        get_pool_and_conv_props,
    )

    extractor = fingerprint_extractor.DatasetFingerprintExtractor(DATASET)
    extractor.show_progress_bar = False
    # A pool of threads for the extractor: spawned processes cost more than the work here.
    threads = SimpleNamespace(get_context=lambda method: multiprocessing.dummy)
    with mock.patch.object(fingerprint_extractor, "multiprocessing", threads):
        extractor.run()
    plans: dict[str, Any] = ExperimentPlanner(DATASET, gpu_memory_target_in_gb=1).plan_experiment()

    name = recipe.configuration
    config = plans["configurations"][name]
    depth = len(recipe.features)
    _, strides, kernels, patch, _ = get_pool_and_conv_props(config["spacing"], recipe.patch, 4, depth - 1)
    config["patch_size"] = [int(n) for n in patch]
    config["batch_size"] = recipe.batch
    config["batch_dice"] = True
    config["architecture"]["arch_kwargs"] |= {
        "n_stages": depth,
        "features_per_stage": list(recipe.features),
        "strides": [list(map(int, s)) for s in strides[:depth]],
        "kernel_sizes": [list(map(int, k)) for k in kernels[:depth]],
        "n_conv_per_stage": [recipe.convolutions] * depth,
        "n_conv_per_stage_decoder": [recipe.convolutions] * (depth - 1),
    }
    plans["configurations"] = {name: config}
    return plans


def _preprocess(plans: dict[str, Any], recipe: Recipe) -> None:
    from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    manager = PlansManager(plans)
    configuration = manager.get_configuration(recipe.configuration)
    raw = Path(nnUNet_raw) / DATASET
    dataset = json.loads((raw / "dataset.json").read_text())
    target = Path(nnUNet_preprocessed) / DATASET / configuration.data_identifier
    target.mkdir()
    files = get_filenames_of_train_images_and_targets(str(raw), dataset)
    for name, case in files.items():
        DefaultPreprocessor(verbose=False).run_case_save(
            str(target / name), case["images"], case["label"], manager, configuration, dataset
        )


def _fit(plans: dict[str, Any], recipe: Recipe) -> Any:
    """A trainer whose network has been trained."""
    import torch
    from nnunetv2.paths import nnUNet_raw
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock

    class nnUNetTrainer(stock.nnUNetTrainer):  # type: ignore[misc]
        """nnU-Net's trainer with its loop cut to the recipe; its name is what checkpoints store."""

        def configure_optimizers(self) -> tuple[Any, Any]:
            optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe.rate, weight_decay=1e-2)
            return optimizer, None

        def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
            if self.device.type == "cuda":
                return super().train_step(batch)  # type: ignore[no-any-return]
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16):
                output = self.network(batch["data"])
            loss = self.loss([o.float() for o in output], batch["target"])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
            self.optimizer.step()
            return {"loss": float(loss.detach())}

        def run_training(self) -> None:
            self.initialize()
            with contextlib.redirect_stdout(io.StringIO()):
                batches, _ = self.get_dataloaders()
            self.set_deep_supervision_enabled(True)
            self.network.train()
            start, mean, step = time.monotonic(), 0.0, 0
            for step in range(recipe.iterations):
                spent = (time.monotonic() - start) / (60 * recipe.minutes)
                done = max(step / recipe.iterations, spent)
                if done >= 1:
                    break
                for group in self.optimizer.param_groups:
                    # Full steps from the start throw a fresh Adam off: 30 steps of warm-up.
                    group["lr"] = recipe.rate * min(1, (step + 1) / 30) * (1 - done) ** 0.9
                batch = next(batches)
                if recipe.noise:
                    level = float(np.random.uniform(0, recipe.noise)) * (np.random.rand() < 0.5)
                    batch["data"] = batch["data"] + level * torch.randn_like(batch["data"])
                mean += 0.02 * (float(self.train_step(batch)["loss"]) - mean)
                if step % 50 == 0:
                    log.info("step %d, %.0f %%, loss %.3f", step, 100 * done, mean)
            log.info("%d steps in %.0f s", step, time.monotonic() - start)

    dataset = json.loads((Path(nnUNet_raw) / DATASET / "dataset.json").read_text())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = nnUNetTrainer(
            plans | {"continue_training": False}, recipe.configuration, "all", dataset, device
        )
    trainer.run_training()
    return trainer


def _write_model(
    to: Path,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    configuration: str,
    weights: Mapping[str, Any],
    mirror: tuple[int, ...],
) -> None:
    import torch

    shutil.rmtree(to, ignore_errors=True)
    (to / "fold_0").mkdir(parents=True)
    kept = {k: v for k, v in plans.items() if k != "continue_training"}
    (to / "plans.json").write_text(json.dumps(kept, indent=1) + "\n")
    (to / "dataset.json").write_text(json.dumps(dataset, indent=1) + "\n")
    torch.save(
        {
            "network_weights": dict(weights),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": configuration},
            "inference_allowed_mirroring_axes": tuple(mirror),
        },
        to / "fold_0" / "checkpoint_final.pth",
    )


def predict(
    model: Path, raw: np.ndarray[Any, Any], *, mirror: bool = True, threads: int = 1
) -> np.ndarray[Any, Any]:
    """Labels (Z, Y, X), uint8, of `raw` (Z, Y, X) at the model's voxel size, by nnU-Net's predictor."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(use_mirroring=mirror, device=device, allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(model), (0,))
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    spacing = plans.plans["original_median_spacing_after_transp"]
    data, _, seen = DefaultPreprocessor(verbose=False).run_case_npy(
        raw[None], None, {"spacing": spacing}, plans, configuration, predictor.dataset_json
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=device.type == "cpu"):
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    labels = np.zeros(raw.shape, np.uint8)
    box = tuple(slice(a, b) for a, b in seen["bbox_used_for_cropping"])
    labels[box] = logits.argmax(0).numpy()
    return labels


def dice(got: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Overlap of two masks of one shape, 2 |A and B| / (|A| + |B|)."""
    return float(2 * np.sum(got & truth) / max(1, np.sum(got) + np.sum(truth)))


def main() -> None:
    """Train on pairs of TIFF stacks."""
    import tifffile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, nargs="+", required=True, help="TIFF stacks")
    parser.add_argument("--labels", type=Path, nargs="+", required=True, help="as many label stacks")
    parser.add_argument("--to", type=Path, required=True, help="model folder to write")
    parser.add_argument("--classes", nargs="+", required=True, help="names of labels 1, 2, ...")
    parser.add_argument("--voxel-nm", type=float, nargs=3, required=True, help="z y x")
    parser.add_argument("--patch", type=int, nargs="+", default=[8, 160, 160], help="[z] y x")
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--minutes", type=float, default=30)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pairs = zip(given.raw, given.labels, strict=True)
    cases = {
        f"case{i}": (tifffile.imread(raw), tifffile.imread(labels)) for i, (raw, labels) in enumerate(pairs)
    }
    recipe = Recipe(
        classes=tuple(given.classes),
        voxel_nm=tuple(given.voxel_nm),
        patch=tuple(given.patch),
        features=tuple(given.features),
        iterations=10**6,
        minutes=given.minutes,
    )
    train(cases, recipe, to=given.to)


if __name__ == "__main__":
    main()
