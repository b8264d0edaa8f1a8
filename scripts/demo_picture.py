"""Draw the picture at the top of the README from a finished demonstration (`chunkflow-liver demo`)."""

from __future__ import annotations

import argparse
import base64
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure
from PIL import Image

import chunkflow_liver as cf
from chunkflow_liver.reports.pictures.narrowing_examples import Example, examples
from chunkflow_liver.reports.pictures.renderings import CONTACT, NECK
from chunkflow_liver.reports.pictures.slices import Pictures, css, pictures
from chunkflow_liver.reports.work import Work, read_work

INCHES, DPI = (12.0, 7.6), 100
CROP = (10, 140, 210, 340)
"""Part of the xy plane that is shown: left, top, right, bottom in pixels of the page's pictures."""
STEP = 255 / 31
"""Between the levels of a colour: the noise of the images takes most of the bytes, and needs no more."""


def main() -> None:
    """The plane, the classes and the mitochondria above; a narrowing and all of them below."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, nargs="?", default=Path("runs/demo"), help="its work folder")
    parser.add_argument("to", type=Path, nargs="?", default=Path("docs/demo.png"), help="PNG to write")
    given = parser.parse_args()
    work = read_work(given.work.absolute())
    drawn = pictures(work)
    found = cf.read_table(work.of("narrowing table")[0].handle).to_pandas()
    solid, plane = neck(work, drawn, found)
    mpl.rcParams.update({"font.size": 10, "font.family": "DejaVu Sans"})
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    top, below = figure.subfigures(2, 1, height_ratios=[1.12, 1])
    for part, name, title in zip(
        top.subfigures(1, 3),
        (None, "organelles", "mitos"),
        ("raw image (a phantom)", "classes that the network found", "mitochondria, each with its own id"),
        strict=True,
    ):
        part.suptitle(title)
        axes = part.add_subplot()
        axes.imshow(composed(drawn, name), interpolation="nearest")
        axes.set_axis_off()
    for part, draw, title in zip(
        below.subfigures(1, 3),
        (plane.draw, solid.draw, lambda part: pairs(part, found)),
        ("a narrowing, with ER (blue) at it", "the same in 3D (contact orange); its width", "all narrowings"),
        strict=True,
    ):
        part.suptitle(title)
        draw(part)
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white")
    pixels = np.rint(np.rint(np.asarray(Image.open(out).convert("RGB")) / STEP) * STEP)
    Image.fromarray(pixels.astype(np.uint8)).save(given.to, optimize=True)
    print(f"{given.to}: {given.to.stat().st_size / 1024:.0f} KiB")


def composed(drawn: Pictures, name: str | None) -> Image.Image:
    """The middle xy plane as on the page, with a layer over it."""
    rows = dict(drawn.planes)["xy"]
    panels = rows[len(rows) // 2].panels
    panel = next(p for p in panels if (p.layer.name if p.layer else None) == name)
    picture = opened(drawn.grey[panel.raw][0]).convert("RGBA")
    if panel.over:
        picture.alpha_composite(opened(panel.over).convert("RGBA").resize(picture.size))
    return picture.convert("RGB").crop(CROP)


def opened(uri: str) -> Image.Image:
    """The picture in a data URI."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def neck(work: Work, drawn: Pictures, found: pd.DataFrame) -> tuple[Example, Example]:
    """The narrowing with most contact of those of whole objects that are best seen in the xy plane."""
    objects = cf.read_table(work.of("instance table")[0].handle).to_pandas()
    found = found[found.label.isin(objects.label[~objects.touches_border])]
    product = work.of("narrowing table")[0]
    for _, row in found.sort_values("near_density", ascending=False).iterrows():
        columns = {name: np.array([value]) for name, value in row.items()}
        (solid, plane), _ = examples(columns, dict(product.about), work, product.name, drawn)
        if plane.caption.startswith("xy"):
            return solid, plane
    raise SystemExit("no narrowing of a whole object lies in the xy plane")


def pairs(part: SubFigure, found: pd.DataFrame) -> None:
    """A line per narrowing: the share of the surface near ER elsewhere on its object, and there.

    Thick: the mean of objects, as in the report, each with the mean of its narrowings.
    """
    axes = part.add_subplot()
    columns = ["control_density", "near_density"]
    found = found.dropna(subset=columns)
    found = found[found[columns].sum(axis=1) > 0]
    for before, after in 100 * found[columns].to_numpy():
        axes.plot([0, 1], [before, after], color=css(CONTACT if after > before else NECK), alpha=0.5)
    axes.plot(
        [0, 1], 100 * found.groupby("label")[columns].mean().mean(), color="black", linewidth=3, marker="o"
    )
    axes.set_xticks([0, 1], ["elsewhere", "at the narrowing"])
    axes.set_xlim(-0.3, 1.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("surface within 30 nm of ER (%)")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
