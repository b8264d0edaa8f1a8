"""The wheel builds, and works in an environment without extras: `uv run scripts/check_wheel.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = """
import chunkflow_liver as cf
for name in cf.__all__:
    getattr(cf, name)
assert cf.kernels.label_block
print(len(cf.__all__), "public names")
"""
RUN = """
import numpy as np, chunkflow_liver as cf
labels = cf.write_volume("a.ome.zarr", np.ones((4, 4, 4), "uint8"), voxel_nm=(8, 8, 8), kind="label")
plan = cf.label(labels, name="a", work="work")
cf.run(plan + cf.measure(plan.output, name="t", work="work"), progress=False)
print(cf.read_table("work/tables/t.parquet").num_rows, "row")
"""


def said(*words: str | Path, folder: Path = ROOT) -> str:
    """What a command prints; ends this script if it fails."""
    print("+", *words[:4], flush=True)
    done = subprocess.run([*map(str, words)], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def main() -> int:
    """Build, install beside nothing else, and use what was installed."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        said("uv", "build", "--quiet", "--wheel", "--out-dir", folder / "dist")
        (wheel,) = (folder / "dist").glob("*.whl")
        said("uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
        programs = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        said("uv", "pip", "install", "--quiet", "--python", programs / "python", wheel)
        told = said(programs / "chunkflow-liver", "--version", folder=folder).strip()
        if told != version:
            sys.exit(f"the wheel says that it is {told}, pyproject.toml says {version}")
        if "Usage: " not in said(programs / "chunkflow-liver", "--help", folder=folder):
            sys.exit("--help of the wheel explains nothing")
        print(said(programs / "python", "-W", "error", "-c", IMPORTS, folder=folder).strip())
        print(said(programs / "python", "-c", RUN, folder=folder).strip())
        model = said(
            programs / "python",
            "-c",
            "from chunkflow_liver.demo import MODEL; print((MODEL / 'plans.json').is_file())",
            folder=folder,
        )
        if model.strip() != "True":
            sys.exit("the wheel lacks the model of the demonstration")
        print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB, works without extras")
    return 0


if __name__ == "__main__":
    sys.exit(main())
