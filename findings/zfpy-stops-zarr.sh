#!/usr/bin/env bash
# zfpy 1.0.1.post0 (November 2026), numcodecs 0.16.6 with zarr 3.1.6 (Python 3.11); 0.17.1 with 3.4.2 (Python 3.13) alike
#
# Behaviour: numcodecs, and so zarr, offers ZFP compression if zfpy is installed. At import it takes zfpy's version apart
#   at the points and makes every part an integer. The newest zfpy is a post-release, whose last part is `post0`.
# Guess:  a codec that nobody asks for cannot matter; at worst it is missing from the list, as when zfpy is absent.
# Seen:   `import zarr` ends with a ValueError about 'post0', which names neither zfpy nor zarr. Without zfpy, and with
#   zfpy 1.0.1, it works. cloud-volume and igneous bring zfpy along (through zfpc) for one kind of chunk.
# Why it matters: an environment that was built yesterday works, the same line today gives one in which nothing can read
#   Zarr, OME-Zarr tools, anndata and xarray included. Neither program has changed.
# Source: Python packaging, version specifiers: post-releases (`.postN`) are valid final versions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python zarr==3.1.6 numcodecs==0.16.6 numpy==2.4.6
attempt() {
    env/bin/python -c 'import zarr; print("works", end="")' 2>err.txt || tail -n 1 err.txt
}
seen="none: $(attempt)"
for zfpy in 1.0.1 1.0.1.post0; do
    uv pip install --quiet --python env/bin/python "zfpy==$zfpy"
    seen="$seen; $zfpy: $(attempt)"
done
uv pip uninstall --quiet --python env/bin/python zfpy
uv pip install --quiet --python env/bin/python --exclude-newer 2026-12-01 igneous-pipeline==4.37.0
brought=$(uv pip list --python env/bin/python 2>/dev/null | sed -n 's/^zfpy  *//p')
seen="$seen; after igneous-pipeline, which brings $brought: $(attempt)"
error="ValueError: invalid literal for int() with base 10: 'post0'"
echo "guess: import zarr works, with any zfpy and with none"
echo "seen:  $seen"
recorded="none: works; 1.0.1: works; 1.0.1.post0: $error; after igneous-pipeline, which brings 1.0.1.post0: $error"
[ "$seen" = "$recorded" ] || { echo "this differs from what is recorded: $recorded" >&2; exit 1; }
