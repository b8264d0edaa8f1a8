"""What is compiled ahead is what runs use: after it a run of the common operations compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import pytest

from chunkflow_liver.compiling import compile_loops
from chunkflow_liver.errors import OutputError

LATER = """
import sys
from numba.core import event
import chunkflow_liver as cf

class Compiled(event.Listener):
    names = []
    def on_start(self, seen):
        name = seen.data["dispatcher"].py_func.__module__
        if name.startswith("chunkflow_liver"):
            self.names.append((name, seen.data["dispatcher"].py_func.__name__, str(seen.data["args"])))
    def on_end(self, seen):
        pass

def main():
    work, *size = sys.argv[1:]
    size = tuple(float(s) for s in size)
    plan = cf.phantom(shape=(48, 96, 96), voxel_nm=size, seed=2, work=work + "/p", block=(48, 48, 48))
    cf.run(plan, progress=False)
    raw = cf.open_volume(plan.output.url)
    classes = cf.open_volume(plan.output.url + "/labels/truth")
    at = dict(work=work + "/w", block=(24, 48, 48))
    event.register("numba:compile", Compiled())
    mitos = cf.label(classes, classes=["mitochondrion"], name="mitos", **at)
    sums = mitos + cf.distance(classes, to="er", cap_nm=300, name="d", **at)
    sums += cf.contacts(mitos.output, classes, to="er", gap_nm=50, name="c", **at)
    sums += cf.profiles(mitos.output, classes, to="er", cap_nm=150, name="n", **at)
    groups = ["basic", "shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"]
    sums += cf.narrowing(mitos.output, er=classes, name="w", **at)
    sums += cf.measure(mitos.output, raw=raw, features=groups, name="t", **at)
    cf.run(sums, progress=False)
    print(Compiled.names)

main()
"""


def test_nothing_is_compiled_where_it_cannot_be_kept(monkeypatch):
    def nowhere(**options):
        raise RuntimeError("no locator available")

    monkeypatch.setattr(numba, "njit", nowhere)
    with pytest.raises(OutputError, match=r"no run would find .*set NUMBA_CACHE_DIR"):
        compile_loops()


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_run_after_it_compiles_nothing(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "loops")}
    told = subprocess.run(
        [sys.executable, "-m", "chunkflow_liver", "compile"],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.startswith("loops compiled in ")
    (tmp_path / "later.py").write_text(LATER)
    # Distances in voxels of such ratios are whole numbers of other types.
    for i, size in enumerate((("16", "16", "16"), ("24", "16", "16"), ("40", "11.8", "11.8"))):
        command = [sys.executable, str(tmp_path / "later.py"), str(tmp_path / f"run-{i}"), *size]
        later = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        assert later.stdout == "[]\n"
