"""What the parameters of `split` do on real masks: the numbers and the picture of docs/splitting.md.

Mitochondria and vesicles of UroCell (Zerovnik Mekuc et al. 2020), as they were painted and grown by one to
three voxels, so that neighbours touch; against the painted instances, grown alike.

`uv run scripts/split_parameters.py` prints F1 at IoU 0.5; with a FOLDER it draws the necks of phantoms there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.kernels.instances.components import label_block
from chunkflow_liver.kernels.instances.touching.watershed import Necks, split_mask
from chunkflow_liver.kernels.labels.overlap import instance_scores, overlap

DATA = Path(__file__).resolve().parents[2] / "shared/data/urocell_labels"
VOXEL_NM = (15.0, 16.0, 16.0)
Array = np.ndarray[Any, Any]


def masks() -> Iterator[tuple[str, Array]]:
    """Painted instances, and the same grown by so many voxels."""
    import tifffile
    from skimage.segmentation import expand_labels

    for kind, grown in (("mito", (0, 1, 3)), ("fv", (0,))):
        for path in sorted(DATA.glob(f"{kind}_instance_*.tif")):
            painted = tifffile.imread(path).astype(np.int32)
            for voxels in grown:
                yield f"{path.stem.replace('_instance_fib', ' ')} +{voxels}", expand_labels(painted, voxels)


def ways(connectivity: int) -> Iterator[tuple[str, Necks | None]]:
    """Names and parameters of what is compared; None: components alone."""
    yield "components", None
    yield "depth 60", Necks(60, 400, steepness=0, connectivity=connectivity)
    for steepness in (0.45, 0.6):
        yield f"steepness {steepness}", Necks(16, 400, steepness=steepness, connectivity=connectivity)
    yield "contact 0.5", Necks(4, 400, contact=0.5, connectivity=connectivity)


def main() -> None:
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]))
        return
    for connectivity in (6, 26):
        for case, truth in masks():
            line = [f"{connectivity:2} {case:16} {len(np.unique(truth)) - 1:4}"]
            for name, necks in ways(connectivity):
                if necks is not None and necks.contact and not case.startswith("fv"):
                    continue
                start = time.process_time()
                if necks is None:
                    found, _ = label_block(truth > 0, classes=None, connectivity=connectivity)
                else:
                    found = split_mask(truth > 0, voxel_nm=VOXEL_NM, necks=necks)
                scores = instance_scores(overlap(found, truth), 0.5)
                spent = time.process_time() - start
                line.append(f"{name} {scores['f1'][0]:.3f} ({scores['found'][0]}, {spent:.1f} s)")
            sys.stdout.write(" | ".join(line) + "\n")
            sys.stdout.flush()


def necks_of(shape: str) -> tuple[Array, str]:
    """A mask seen from the side, and what it is."""
    y, x = np.indices((60, 130)) - np.array([30, 65])[:, None, None]
    if shape == "meet":
        return np.hypot(y, np.abs(x) - 24) <= 25, "two that meet: steepness 0.75"
    if shape == "narrows":
        return np.abs(y) <= np.minimum(24, 8 + 16 * (np.abs(x) / 50)), "one that narrows: steepness 0.3"
    return (np.hypot(y, x + 30) <= 26) | (np.abs(y) <= 8) & (x > -30) & (
        x < 55
    ), "a branch: one side is no wider"


def draw(folder: Path) -> None:
    """Three necks with the objects that `split` makes of them, and half-widths along their middle."""
    from PIL import Image, ImageDraw

    from chunkflow_liver.kernels.instances.touching.basins import inner_steps

    colours = np.array([[255, 255, 255], [76, 120, 168], [245, 133, 24], [84, 162, 75]], np.uint8)
    panels = []
    for shape in ("meet", "narrows", "branch"):
        mask, text = necks_of(shape)
        found = split_mask(mask[None], voxel_nm=(8.0, 8.0, 8.0), necks=Necks(24, 400))[0]
        image = Image.fromarray(colours[found].repeat(4, 0).repeat(4, 1))
        sheet = Image.new("RGB", (image.width, image.height + 170), "white")
        sheet.paste(image)
        pen = ImageDraw.Draw(sheet)
        half = inner_steps(mask[None], (8.0, 8.0, 8.0), 400.0, 1.0)[0, 30]
        line = [(4 * i + 2, image.height + 130 - 0.5 * float(h)) for i, h in enumerate(half)]
        pen.line(line, fill=(60, 60, 60), width=2)
        pen.line([(0, image.height + 130), (image.width, image.height + 130)], fill=(180, 180, 180))
        count = "one object" if found.max() == 1 else f"{found.max()} objects"
        pen.text((6, image.height + 140), f"{text}, {count}; half-widths along the middle", fill="black")
        panels.append(np.asarray(sheet))
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(panels, 1)).quantize(64).save(folder / "split_necks.png", optimize=True)


if __name__ == "__main__":
    main()
