"""What is compiled ahead is what runs use: after it a run of the common operations compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
    work = sys.argv[1]
    plan = cf.phantom(shape=(48, 96, 96), voxel_nm=(24, 16, 16), seed=2, work=work + "/p", block=(48, 48, 48))
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
    sums += cf.measure(mitos.output, raw=raw, features=groups, name="t", **at)
    cf.run(sums, progress=False)
    print(Compiled.names)

main()
"""


@pytest.mark.slow
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
    command = [sys.executable, str(tmp_path / "later.py"), str(tmp_path / "run")]
    later = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert later.stdout == "[]\n"
