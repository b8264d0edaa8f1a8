"""The public names and their parameters: nothing goes that a release had, and all are in the API's page."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from places import ROOT

import chunkflow_liver as cf

RELEASED = {
    "Box": "start stop",
    "DistanceOptions": "signed nearest border quantum_nm",
    "Keep": "min_volume_um3 max_volume_um3 min_span_z_nm border",
    "Near": "to gap_nm window_nm window_fraction permutations draws seed",
    "Neck": "min_prominence_nm max_ratio slices end_fraction crop_voxels",
    "Plan": "stages work output products",
    "Shapes": "smooth_nm open_nm close_nm fill_holes",
    # The version of OME-Zarr, which fixes the zarr format, took the place of `zarr_format` in 0.2.0.
    "Volume": "url path shape dtype voxel_nm chunks shards kind origin_nm classes axes at level levels "
    "reduction source ome_version complete quantum_nm region ids called",
    "cluster": "kind workers memory_gib scheduler **options",
    "contacts": "instances other of to gap_nm name work block sites",
    "convert": "source to voxel_nm kind classes ome_version block allow_gaps allow_overlaps",
    "distance": "labels to cap_nm name work block into options device",
    "edit": "instances edits pieces table name work block into",
    "evaluate": "found truth iou name work block",
    "export": "source to",
    "export_mesh": "instances table to ids ending",
    "label": "semantic classes connectivity min_volume_um3 dtype name work block into",
    "link": "slices iou share distance_nm gap name work block into",
    "measure": "instances raw parents features settings engine name work block",
    "narrowing": "instances er near axis neck parents name work block",
    "open_volume": "path level voxel_nm channel timepoint missing_chunks unit",
    "phantom": "shape voxel_nm seed scale mitochondria work block",
    "plan_run": "run_file",
    "profiles": "instances other to cap_nm shells_nm parents name work block",
    "read_run_file": "path",
    "read_table": "table",
    "refine": "instances shapes keep name work block into",
    "report": "run to",
    "run": "plan client retries redo progress memory_gib",
    "segment": "raw kind model name work block into within **settings",
    "split": "semantic classes depth_nm cap_nm boundary mode name work **options",
    "stitch": "source function halo_nm name work params block into **joining",
    "validate": "path deep missing_chunks **selection",
    "verify": "plan box name",
    "write_properties": "table labels columns",
    "write_volume": "path array voxel_nm chunks kind classes ome_version",
}
"""Public names of release 0.1.0, with the parameters of each in their order."""
KERNELS = """
block_sums component_table describe distance_nm exact_nm find_runs flatten halo_voxels label_block link_slices
mean merge_pairs merge_sums mode near_surface plane_pairs plane_runs relabel unite Rule Runs
"""

HEAVY = {"numpy", "zarr", "dask", "distributed", "torch", "pyarrow", "pandas", "scipy", "numba", "matplotlib"}
LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
HELP = """
import contextlib, io, sys
from chunkflow_liver.cli import main
sys.argv = ["chunkflow-liver", *{words}]
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    main()
assert said.getvalue().startswith("Usage: ")
"""


@pytest.mark.parametrize(
    "code",
    ["import chunkflow_liver\n", HELP.format(words=["--help"]), HELP.format(words=["convert", "--help"])],
    ids=["import", "help", "help of a verb"],
)
def test_importing_and_explaining_load_nothing_heavy(code):
    call = [sys.executable, "-c", code + LOADED]
    loaded = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    assert "chunkflow_liver" in loaded
    assert not set(loaded) & HEAVY


def parameters(name):
    return inspect.signature(getattr(cf, name)).parameters.values()


@pytest.mark.parametrize("name", RELEASED)
def test_what_a_release_had_stays(name):
    assert name in cf.__all__
    names = [f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in parameters(name)]
    released = RELEASED[name].split()
    assert [n for n in names if n in released] == released
    new = [p for p in parameters(name) if p.name not in released and p.kind is not p.VAR_KEYWORD]
    assert [p.name for p in new if p.default is p.empty] == [], "what is new has a default"


def test_the_kernels_of_a_release_stay():
    assert set(KERNELS.split()) <= set(cf.kernels.__all__)
    assert all(hasattr(cf.kernels, name) for name in cf.kernels.__all__)


def test_names_are_found_on_first_use_and_sorted():
    assert cf.__all__ == sorted(cf.__all__)
    assert dir(cf) == cf.__all__
    assert set(cf._PUBLIC) == set(cf.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'no_such'"):
        _ = cf.no_such


@pytest.mark.parametrize("name", sorted(cf.__all__))
def test_every_public_name_is_on_the_page_of_the_api(name):
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    found = getattr(cf, name)
    assert f"::: {found.__module__}.{found.__qualname__}\n" in page
