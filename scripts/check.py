"""Everything that must pass: format, lint, types, import contracts, pages, wheel, tests."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

from check_versions import VERSIONS, interpreter

STEPS = (
    ("ruff", "format", "--check"),
    ("ruff", "check"),
    ("mypy",),
    ("lint-imports",),
    ("mkdocs", "build", "--quiet", "--strict"),
    ("python", "scripts/check_wheel.py"),
    ("pytest", "-m", "not gpu and not proof", "-n", "2", "-q", "--durations", "40"),
)
PROOFS = ("pytest", "-m", "proof", "-q", "--durations", "0")
"""Minutes of statistics or of waiting: not part of every check."""


def main() -> int:
    """Run every step, the tests last; the status is that of the first failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proofs", action="store_true", help="also what takes minutes: statistics, waiting")
    steps = [*STEPS, PROOFS] if parser.parse_args().proofs else STEPS
    # Two OpenMP threads on two shared cores spin on each other: one is up to 16 times faster.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1"}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    others = [v for v in VERSIONS if v != python]
    print(f"Python {python} is tested; not {', '.join(others)}: {told(others)}")
    browser = shutil.which("chromium")
    print(
        f"the viewer is tested in {browser}" if browser else "NO TEST of the viewer's page: no chromium here"
    )
    status = 0
    for step in steps:
        print("+", " ".join(step), flush=True)
        status = status or subprocess.run(step, env=environment, check=False).returncode
    return status


def told(versions: list[str]) -> str:
    """What can be said of Python versions that are not tested."""
    have = {v: interpreter(v) for v in versions}
    lines = [f"{v} is here, scripts/check_versions.py {v} tests it" for v in versions if have[v]]
    return "; ".join([*lines, *(f"{v} is not to be had on this machine" for v in versions if not have[v])])


if __name__ == "__main__":
    sys.exit(main())
