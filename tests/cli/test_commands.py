"""What a person types: results on stdout, messages on stderr, and an exit status that tells."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
import yaml
from model_folders import write_model_folder
from strategies import VOXEL_NM, command, components, contents, semantic, write

import chunkflow_liver as cf

HEAVY = (
    *("zarr", "dask", "distributed", "torch", "pyarrow", "pandas", "matplotlib"),
    *("scipy", "numpy", "pydantic"),
)
CALL = (sys.executable, "-c", "from chunkflow_liver.cli import main; main()")


@pytest.fixture
def array():
    return semantic((10, 12, 9), 3)


@pytest.fixture
def run_file(tmp_path, array):
    """A run file whose classes exist already."""
    write(tmp_path, array.astype(np.uint16), "raw")
    write(tmp_path, array)
    path = tmp_path / "run.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "input": {"path": "raw.ome.zarr"},
                "work": "work",
                "block": [5, 12, 9],
                "semantic": {"path": "semantic.ome.zarr"},
                "label": [{"name": "mitos", "classes": ["mitochondrion"]}],
                "measure": [{"name": "mito-table", "instances": "mitos"}],
                "contacts": [{"name": "mito-er", "instances": "mitos", "to": "er", "gap_nm": 10}],
                "report": False,
            }
        )
    )
    return path


def process(*arguments, **options):
    return subprocess.run(
        [*CALL, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **options
    )


def test_help_loads_nothing_heavy():
    found = subprocess.run(
        [sys.executable, "-X", "importtime", *CALL[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "validate" in found.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in found.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_the_package_runs_as_a_module():
    found = subprocess.run(
        [sys.executable, "-m", "chunkflow_liver", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.fullmatch(r"\d+\.\d+\S*\n", found.stdout)


@pytest.mark.parametrize(
    "verb",
    [
        *("demo", "compile", "convert", "export", "validate", "plan", "run", "status", "report"),
        *("model", "model import"),
    ],
)
def test_every_verb_explains_itself(verb):
    code, said, told = command(*verb.split(), "--help")
    assert (code, told) == (0, "")
    assert said.startswith("Usage: ")


def test_a_run_from_plan_to_tables(run_file, array, tmp_path):
    before = contents(tmp_path)
    code, said, _ = command("validate", run_file)
    on = f"{array.shape} voxels of (4.0, 8.0, 16.0) nm"
    assert (code, said) == (0, f"{run_file}: 10 stages on {on}, no problem found\n")
    code, said, _ = command("plan", run_file)
    assert code == 0
    assert f"/0: {'x'.join(map(str, array.shape))} voxels of 4x8x16 nm\n" in said
    assert "mitos/apply" in said
    assert "work folder" in said
    assert contents(tmp_path) == before

    code, _, told = command("run", run_file)
    assert code == 0
    assert "mito-table/table: done" in told
    mitos = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/mitos").read()
    np.testing.assert_array_equal(mitos, components(array, 6, [2]))
    code, said, _ = command("status", tmp_path / "work")
    assert code == 0
    assert re.search(r"mitos/apply +done +2 of 2 blocks", said)
    tables = contents(tmp_path / "work/tables")
    assert command("run", run_file)[0] == 0
    assert contents(tmp_path / "work/tables") == tables


def test_a_report_is_written_with_the_run_or_later(run_file, tmp_path):
    run_file.write_text(run_file.read_text().replace("report: false", "report: true"))
    code, said, _ = command("run", run_file)
    assert (code, said) == (0, f"{tmp_path / 'work/report.html'}\n")
    assert (tmp_path / "work/report.html").read_text().lower().startswith("<!doctype html>")
    drawn = (tmp_path / "work/report.html").stat().st_mtime_ns
    code, said, _ = command("run", run_file)
    assert (code, said.partition(" (")[2]) == (0, "nothing is new since; 'report' would draw it again)\n")
    assert (tmp_path / "work/report.html").stat().st_mtime_ns == drawn
    code, said, _ = command("report", tmp_path / "work", "--to", tmp_path / "again.html")
    assert (code, said) == (0, f"{tmp_path / 'again.html'}\n")
    code, _, told = command("report", tmp_path / "nowhere")
    assert code == 2
    assert told.startswith("error: ")


def test_convert_validate_and_export(array, tmp_path):
    tifffile.imwrite(tmp_path / "classes.tif", array)
    image = tmp_path / "classes.ome.zarr"
    size = ["--voxel-nm", *VOXEL_NM]
    code, said, _ = command(
        "convert", tmp_path / "classes.tif", image, *size, "--class", "er=1", "--class", "x=2"
    )
    assert (code, said) == (0, f"{image}\n")
    assert cf.open_volume(image).classes == (("er", 1), ("x", 2))
    code, said, _ = command("validate", image, "--deep")
    assert code == 0
    assert said.endswith("(10, 12, 9) voxels of (4.0, 8.0, 16.0) nm, uint8, 1 level(s), no problem found\n")
    code, said, _ = command("export", image, tmp_path / "back.tif")
    assert (code, said) == (0, f"{tmp_path / 'back.tif'}\n")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "back.tif"), array)
    code, _, told = command("export", image, tmp_path / "back.tif")
    assert code == 2
    assert "back.tif exists; delete it" in told
    code, _, told = command("export", image, tmp_path / "b.tif", "--level", 4)
    assert (code, told) == (2, f"error: {image} has levels 0 to 0, not 4\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--class", "er"], "expected NAME=VALUE, got 'er'"),
        (["--class", "er=0"], "class 'er' needs a number from 1, got '0'"),
        (["--class", "er=x"], "class 'er' needs a number from 1, got 'x'"),
        (["--class", "er=²"], "class 'er' needs a number from 1, got '²'"),
        (["--class", "er=1", "--class", "er=2"], "two classes have the name 'er'"),
        (["--class", "er=1", "--class", "mito=1"], "two classes have the number 1"),
        (["--ome-version", "0.9"], "OME-Zarr '0.9' cannot be written"),
        (["--workers", "0"], "--workers"),
    ],
    ids=str,
)
def test_options_of_convert_that_mean_nothing_are_refused(arguments, says, array, tmp_path, listing):
    tifffile.imwrite(tmp_path / "classes.tif", array)
    before = listing()
    code, said, told = command(
        "convert", tmp_path / "classes.tif", tmp_path / "c.ome.zarr", "--voxel-nm", *VOXEL_NM, *arguments
    )
    assert (code, said) == (2, "")
    assert says in told
    assert listing() == before


def test_model_import_makes_a_clean_copy(tmp_path, listing):
    folder = write_model_folder(tmp_path / "model", spacing=(0.04, 0.016, 0.016))
    code, said, _ = command("model", "import", folder, tmp_path / "clean", "--units", "um")
    assert code == 0
    assert "3d_fullres, classes {'background': 0, 'class 1': 1, 'class 2': 2}" in said
    assert json.loads((tmp_path / "clean/plans.json").read_text())["configurations"]["3d_fullres"][
        "spacing"
    ] == pytest.approx([40, 16, 16])
    before = listing()
    code, _, told = command("model", "import", folder, tmp_path / "clean", "--units", "nm")
    assert code == 2
    assert "clean exists already" in told
    code, _, told = command("model", "import", folder, tmp_path / "other", "--units", "inch")
    assert code == 2
    assert "no length unit 'inch'" in told
    assert listing() == before


def test_a_run_with_lost_chunks_says_what_is_left(run_file, tmp_path):
    """Status 6: some blocks failed, the others are kept; after mending, the same command ends it."""
    chunk = tmp_path / "raw.ome.zarr/0/c/0/0/0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[:-20])
    code, _, told = command("run", run_file, "--retries", 0)
    assert code == 6
    assert "blocks of stage 'mito-table/sums' failed" in told
    assert "cannot read chunk 'c/0/0/0'" in told
    code, said, _ = command("status", tmp_path / "work")
    assert "failed blocks in stage 'mito-table/sums', see" in said
    chunk.write_bytes(data)
    assert command("run", run_file)[0] == 0
    assert "failed" not in command("status", tmp_path / "work")[1]


def test_verify_prints_how_a_box_agrees(run_file, tmp_path, array):
    assert command("run", run_file)[0] == 0
    before = contents(tmp_path)
    code, said, told = command("verify", run_file, "mitos", "--box", 0, 10, 0, 12, 0, 9)
    assert (code, told) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert lines["box"] == "z 0:10, y 0:12, x 0:9"
    assert lines["voxels"] == str(10 * 12 * 9)
    count = str(components(array, 6, [2]).max())
    assert (lines["objects_blocks"], lines["objects_unblocked"]) == (count, count)
    assert (lines["f1"], lines["agreement"], lines["identical"]) == ("1", "1", "True")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mitos", "--box", 0, 11, 0, 12, 0, 9), "error: the box z 0:11, y 0:12, x 0:9 is not inside"),
        (("mitos", "--box", 4, 4, 0, 12, 0, 9), "error: the box z 4:4, y 0:12, x 0:9 is not inside"),
        (("cells", "--box", 0, 1, 0, 1, 0, 1), "error: the plan has no instances 'cells' of label"),
        (("mitos", "--box", 0, 9, 0, 9, 0, 9, "--tilings", 3), "the plan finds no instances 'mitos' block"),
        (("mitos", "--box", 0, 1, 0, 1), "--box"),
        (("mitos", "--box", 0, "a", 0, 1, 0, 1), "--box"),
        (("mitos",), "--box"),
    ],
    ids=str,
)
def test_a_box_that_cannot_be_verified_is_refused(arguments, says, run_file, listing):
    before = listing()
    code, said, told = command("verify", run_file, *arguments)
    assert (code, said) == (2, "")
    assert says in told
    assert listing() == before


def test_verify_before_the_run_says_that_nothing_is_there(run_file, listing):
    before = listing()
    code, said, told = command("verify", run_file, "mitos", "--box", 0, 1, 0, 1, 0, 1)
    assert (code, said) == (2, "")
    assert "does not exist (yet): run its plan first" in told
    assert listing() == before


def test_a_changed_run_file_is_refused_until_asked_for(run_file, tmp_path):
    assert command("run", run_file)[0] == 0
    run_file.write_text(run_file.read_text().replace("gap_nm: 10", "gap_nm: 25"))
    before = contents(tmp_path)
    code, _, told = command("run", run_file)
    assert code == 2
    assert "stage 'mito-er/contacts' has" in told
    assert "(--redo)" in told
    assert contents(tmp_path) == before
    assert command("run", run_file, "--redo")[0] == 0


def test_what_is_refused_is_refused_before_a_cluster_starts(run_file, tmp_path, monkeypatch):
    assert command("run", run_file)[0] == 0
    run_file.write_text(run_file.read_text().replace("gap_nm: 10", "gap_nm: 25"))
    # Whoever starts one calls None, which ends with another status.
    monkeypatch.setattr(sys.modules["chunkflow_liver.engine.cluster"], "cluster", None)
    before = contents(tmp_path)
    code, _, told = command("run", run_file, "--workers", 2)
    assert (code, "stage 'mito-er/contacts' has" in told) == (2, True)
    code, _, told = command("run", run_file, "--workers", 2, "--redo", "--memory-gib", 0.1)
    assert (code, "needs" in told) == (2, True)
    assert contents(tmp_path) == before


def test_workers_write_the_same_bytes(run_file, tmp_path):
    run_file.with_name("two.yaml").write_text(run_file.read_text().replace("work: work", "work: two"))
    assert command("run", run_file)[0] == 0
    found = process("run", run_file.with_name("two.yaml"), "--workers", 2)
    assert found.returncode == 0, found.stderr
    for made in ("tables", "results.ome.zarr"):
        assert contents(tmp_path / "two" / made) == contents(tmp_path / "work" / made)


def test_a_process_tells_its_errors_in_one_line(tmp_path):
    found = process("validate", tmp_path / "nowhere.ome.zarr")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == f"problem: no such file or folder: {tmp_path / 'nowhere.ome.zarr'}\n"
    code, _, told = command("status", tmp_path)
    assert (code, told) == (2, f"error: no run in {tmp_path}: it has no plan.json\n")
    found = process("--debug", "status", tmp_path)
    assert found.returncode == 1
    assert "Traceback" in found.stderr
    code, _, told = command("frobnicate")
    assert code == 2
    assert "No such command 'frobnicate'" in told


def test_an_interrupt_is_no_traceback(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("chunkflow_liver.engine.watch.status.status_text", interrupted)
    code, _, told = command("status", tmp_path)
    assert code == 130
    assert "what is done is kept, run the same command again to go on" in told


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["here", "workers"])
def test_an_interrupted_process_goes_on_later(workers, tmp_path):
    """Ctrl-C, which a terminal sends to workers too, is one line; a second run has the whole answer."""
    array = semantic((32, 48, 48), 5)
    write(tmp_path, array)
    (tmp_path / "run.yaml").write_text(
        "work: work\nblock: [2, 8, 8]\nreport: false\n"
        "semantic: {path: semantic.ome.zarr}\nlabel: [{name: all}]\n"
    )
    running = subprocess.Popen(
        [*CALL, "run", str(tmp_path / "run.yaml"), *workers],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts background jobs, these tests among them, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = tmp_path / "work/journal.jsonl"
    for _ in range(15_000):  # Five minutes: loops may have to be compiled first.
        if running.poll() is not None or (journal.exists() and b'"blocks"' in journal.read_bytes()):
            break
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == 130, told
    *before, last = told.splitlines()
    assert all(" dashboard at " in line or " blocks in " in line for line in before), told
    assert re.fullmatch(
        r"interrupted: 0 of 3 stages( and \d+ of 576 blocks of all/components)? are saved in .*work; what is "
        "done is kept, run the same command again to go on",
        last,
    )
    assert command("run", tmp_path / "run.yaml")[0] == 0
    found = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/all").read()
    np.testing.assert_array_equal(found, components(array, 6))


def test_the_version_is_that_of_the_package():
    code, said, told = command("--version")
    assert (code, told) == (0, "")
    assert cf.__version__ in said


def test_slices_with_a_missing_number_are_converted_only_on_request(array, tmp_path):
    folder = tmp_path / "slices"
    folder.mkdir()
    for z, plane in enumerate(array):
        tifffile.imwrite(folder / f"slice_{z:03}.tif", plane)
    (folder / "slice_004.tif").unlink()
    array[4] = 0
    call = ("convert", folder, tmp_path / "raw.ome.zarr", "--voxel-nm", *VOXEL_NM)
    code, said, told = command(*call)
    assert (code, said) == (2, "")
    assert "1 numbers are missing: 4" in told
    assert not (tmp_path / "raw.ome.zarr").exists()
    code, said, told = command(*call, "--allow-gaps")
    assert (code, said) == (0, f"{tmp_path / 'raw.ome.zarr'}\n"), told
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "raw.ome.zarr").read(), array)


def test_validate_says_what_kind_of_image_it_is_and_of_which_classes(array, tmp_path):
    labels, raw = write(tmp_path, array), write(tmp_path, array.astype(np.uint16), "raw")
    code, said, _ = command("validate", labels.url)
    assert code == 0
    assert "label" in said
    for name, number in labels.classes:
        assert name in said
        assert str(number) in said
    code, said, _ = command("validate", raw.url)
    assert code == 0
    assert "label" not in said
    assert "image" in said
