"""One self-contained HTML page of a run: what was found, what it looks like, how it was made."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from pathlib import Path

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.parameters import documented
from chunkflow_liver.reports.pictures.closeups import edit_pictures
from chunkflow_liver.reports.pictures.planes import middle
from chunkflow_liver.reports.pictures.slices import gradient, pictures, score_gradient
from chunkflow_liver.reports.record import FOLDER, forget, is_current, remembered
from chunkflow_liver.reports.sections.carried import carried
from chunkflow_liver.reports.sections.chance import chance
from chunkflow_liver.reports.sections.comparisons import comparisons
from chunkflow_liver.reports.sections.findings import findings
from chunkflow_liver.reports.sections.narrowings import narrowings
from chunkflow_liver.reports.sections.networks import networks
from chunkflow_liver.reports.sections.populations import populations
from chunkflow_liver.reports.sections.provenance import provenance
from chunkflow_liver.reports.sections.seams import seams
from chunkflow_liver.reports.sections.surroundings import surroundings
from chunkflow_liver.reports.sections.tissue import tissue
from chunkflow_liver.reports.sections.zones import zonations
from chunkflow_liver.reports.words import by, length, one, percent
from chunkflow_liver.reports.work import read_work
from chunkflow_liver.reports.writing import page_source, page_template, replacing

__all__ = ["is_current", "report"]

log = logging.getLogger(__name__)
VIEWER_PORT = 8137
"""Where the viewer listens if nothing else is said, so that links of a page lead there."""


@documented
def report(run: Plan | str | os.PathLike[str], *, to: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a run, complete or not, and return its path.

    Parameters
    ----------
    run : Plan or path
        A plan that was run, or its work folder; only the work folder and the images are read.
    {page}
        An older report is replaced, and the figures beside it that the new one does not have are removed,
        unless they were changed.

    Raises
    ------
    InputError
        If the folder is no work folder, or its files cannot be read.
    OutputError
        If the page cannot be written.

    Notes
    -----
    The page holds everything it shows and loads nothing; figures of narrowings lie in `figures` beside it,
    too, as SVG. Pictures come from levels of the pyramid with
    at most `planes.MOST_VOXELS` voxels per plane, voxel statistics from at most `samples.MOST_VOXELS`
    voxels, tables show their first 200 rows: memory does not grow with the volume, only (by a few
    columns) with the number of objects.
    """
    work = read_work(Path(run.work if isinstance(run, Plan) else run).absolute())
    drawn = pictures(work)
    found = findings(work, drawn)
    edited = edit_pictures(work, drawn, found.missing)
    surroundings(work, found)
    chance(work, found)
    narrow = narrowings(work, drawn)
    files = {name: svg for n in narrow for name, svg in n.files.items()}
    formed = populations(work)
    zoned = zonations(work)
    traced = networks(work)
    joined = seams(work, found.missing)
    moved = carried(work, drawn, found.missing)
    cells = tissue(work, drawn, found.missing)
    compared = comparisons(work, found.missing)
    made = provenance(work)
    parts = [found.missing, *(n.missing for n in narrow), *(n.missing for n in (*formed, *zoned, *traced))]
    told = (*drawn.problems, *(m for part in parts for m in part))
    missing = list(dict.fromkeys(work.local(m) for m in told))
    # What was never made is no damage; every failure to read says so in these words.
    unread = [m for m in missing if "cannot read" in m or "cannot be read" in m]
    page = page_template("page.html.j2").render(
        title=f"Report of {work.path.name}",
        run=work.path.name,
        viewer=f"http://127.0.0.1:{VIEWER_PORT}/",
        middle=middle,
        drawn=drawn,
        record=remembered(work.path, files, whole=not unread).text,
        found=found,
        edited=edited,
        narrow=narrow,
        formed=formed,
        zoned=zoned,
        traced=traced,
        joined=joined,
        carried=moved,
        cells=cells,
        compared=compared,
        made=made,
        warnings=[*made.warnings, *found.warnings, *(w for n in narrow for w in n.warnings)],
        missing=missing,
        gradient=gradient(),
        score_gradient=score_gradient(),
        script=page_source("page.js"),
        script_hash=_hash(page_source("page.js")),
        style=page_source("page.css"),
        by=by,
        length=length,
        one=one,
        percent=percent,
    )
    target = Path(to) if to is not None else work.path / "report.html"
    with replacing(target, "report") as partial:
        partial.write_text(page, encoding="utf-8")
        forget(target, files)
        for name, svg in files.items():
            (target.parent / FOLDER).mkdir(exist_ok=True)
            (target.parent / FOLDER / name).write_bytes(svg.encode())
    if unread:
        log.warning(
            "warning: %d parts of the report cannot be drawn, the first: %s; 'check' with the run file names "
            "what is damaged, 'repair' makes it anew",
            len(unread),
            unread[0],
        )
    return target


def _hash(script: str) -> str:
    """What the page's policy calls the one script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
