"""The fast tests with each Python that is to be had, and with the lowest stated dependencies.

`uv run scripts/check_versions.py [VERSION ...] [--lowest] [--keep FOLDER] [--tests PATH ...]`: for every
version (or path of an interpreter) an environment of its own, in a temporary folder, or in one that is kept
and used again. At the end stand the numbers of tests, versions of packages, and what could not be had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
TESTS = ("tests/kernels", "tests/store", "tests/engine", "tests/config", "tests/test_public.py")
NEEDED = ("pytest>=8.3", "pytest-timeout>=2.3", "hypothesis>=6.120", "mrcfile")
REFEREES = (
    "boto3",
    "moto[s3,server]",
    "ngff-zarr",
    "ome-zarr",
    "ome-zarr-models",
    "polars",
    "fastremap",
)
"""Packages that the tests of files compare with; without them those tests are skipped."""
EXTRAS = "formats,dm,s3,tables,slurm"
TOLD = ("numpy", "numba", "scipy", "zarr", "fsspec", "dask", "pandas", "pyarrow", "pydantic", "typer")
"""Packages whose versions stand beside a result."""


def interpreter(version: str) -> str | None:
    """Path of an interpreter of a version, as uv or pyenv have it; a path is what it is."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version == here or Path(version).is_file():
        return sys.executable if version == here else version
    asked = ["uv", "python", "find", "--no-python-downloads", version]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return found.stdout.strip()
    kept = sorted(
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python")
    )
    return str(kept[-1]) if kept else None


def done(*words: str | Path, **environment: str) -> bool:
    """Whether a command succeeds; its words are told."""
    print("+", *words, flush=True)
    at = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([*map(str, words)], cwd=ROOT, env=at, check=False).returncode == 0


def tested(version: str, folder: Path, *, lowest: bool, tests: list[str]) -> str:
    """'passed' or 'failed' with numbers and versions, 'not to be had' or 'not installable'."""
    found = interpreter(version)
    venv = folder / f"{version.replace('/', '-')}{'-lowest' if lowest else ''}"
    python, counted = venv / "bin" / "python", venv / "tests.xml"
    if found is None or not (python.exists() or done("uv", "venv", "--quiet", "--python", found, venv)):
        return "not to be had"
    install = ("uv", "pip", "install", "--quiet", "--python", python)
    resolution = ["--resolution", "lowest-direct"] if lowest else []
    if not done(*install, *resolution, f"{ROOT}[{EXTRAS}]"):
        return "not installable"
    if not done(*install, *NEEDED, *(() if lowest else REFEREES)):
        return "not installable"
    fast = ("-m", "not gpu and not slow", "-q", "-p", "no:cacheprovider", f"--junit-xml={counted}")
    # Options of their own: warnings of old packages are no errors here, and no benchmark plug-in is needed.
    options = ("-o", "addopts=-rs --import-mode=importlib", "-o", "filterwarnings=default")
    passed = done(python, "-m", "pytest", *options, *fast, "--continue-on-collection-errors", *tests)
    return f"{'passed' if passed else 'failed'}: {numbers(counted)}; {packages(python)}"


def numbers(counted: Path) -> str:
    """How many tests passed, failed and were skipped, as pytest wrote it."""
    suite = ElementTree.parse(counted).getroot()[0]
    total, failed, broken, skipped = (
        int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")
    )
    bad = failed + broken
    return f"{total - bad - skipped:,} passed, {bad} failed, {skipped} skipped"


def packages(python: Path) -> str:
    """The versions of the packages that matter most."""
    asked = ["uv", "pip", "list", "--quiet", "--python", str(python), "--format", "json"]
    listed = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    have = {package["name"]: package["version"] for package in listed}
    return ", ".join(f"{name} {have[name]}" for name in TOLD)


def main() -> int:
    """Test what is asked for; the status is 1 if something that could be had failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--lowest", action="store_true", help="only the lowest stated dependencies")
    parser.add_argument("--keep", type=Path, help="folder of environments, which are used again")
    parser.add_argument("--tests", nargs="*", default=list(TESTS))
    chosen = parser.parse_args()
    jobs = [(v, False) for v in chosen.versions] if not chosen.lowest else []
    if chosen.lowest or chosen.versions == VERSIONS:
        jobs.append((f"{sys.version_info.major}.{sys.version_info.minor}", True))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for version, lowest in jobs:
            name = f"Python {version}{', lowest dependencies' if lowest else ''}"
            found[name] = tested(version, chosen.keep or Path(folder), lowest=lowest, tests=chosen.tests)
    for name, result in found.items():
        print(f"{name}: {result}")
    return int(any(result in ("failed", "not installable") for result in found.values()))


if __name__ == "__main__":
    sys.exit(main())
