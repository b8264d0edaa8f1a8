#!/usr/bin/env bash
# numpy 2.4.6; and 2.5.5, which needs Python 3.12, where there is one
#
# Behaviour: np.isin(labels, ids) marks the voxels of some cells. The ids of FlyWire and MICrONS are near 7 * 10^17; labels
#   are uint64, a list of ids becomes int64.
# Guess:  integers are compared as integers, as labels == id does, for any number of ids.
# Seen:   in 100,000 voxels with an id each, 53 ids mark 53 voxels and 54 ids mark 43,410. From there on labels and ids are
#   put into one array, whose type is float64, in which 128 neighbouring ids are one. Where the same list is given
#   as uint64 the marks are right. Nothing warns.
# Why it matters: a mask that was right for the ten cells of the test is wrong for the hundred of the study, and the more
#   so in crops: the number at which it turns is 10 * voxels^0.145, 28 for 1000 voxels and 202 for 10^9.
# Source: numpy.isin: "roughly equivalent to" the keyword in; pandas-dev/pandas pull request 66794, which mends its isin.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > isin.py <<'PY'
import sys
import warnings

import numpy as np

FIRST = 720575940600000000  # FlyWire's ids begin like this
warnings.simplefilter("error")
labels = (FIRST + np.random.default_rng(0).permutation(10**7)[:100_000]).astype(np.uint64).reshape(10, 100, 100)


def marked(count, kind):
    """Voxels that are marked by the ids of the first `count` voxels, given as a list or as an array of their type."""
    ids = labels.ravel()[:count].tolist()
    assert sum(label in set(ids) for label in labels.ravel().tolist()) == count
    mask = np.isin(labels, ids if kind == "list" else np.array(ids, labels.dtype))
    assert all((mask[labels == np.int64(label)]).all() for label in ids)
    return int(mask.sum())


if __name__ == "__main__":
    print("guess: as many voxels as ids")
    seen = {count: (marked(count, "list"), marked(count, "uint64")) for count in (1, 10, 53, 54, 100)}
    print("seen:  numpy", np.__version__, "voxels by ids (as a list, as uint64):", seen)
    if any(seen[count] != (count, count) for count in (1, 10, 53)):
        sys.exit("this differs from what is recorded: as many voxels as ids up to 53")
    if any(seen[count][0] < 40_000 or seen[count][1] != count for count in (54, 100)):
        sys.exit("this differs from what is recorded: 44 percent of all voxels from 54 ids on, none too many by uint64")
PY
newer=
for python in python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-4].*/bin/python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
        newer=$(command -v "$python")
        break
    fi
done
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python numpy==2.4.6
env/bin/python isin.py
if [ -n "$newer" ]; then
    rm -rf env
    uv venv --quiet --python "$newer" env
    uv pip install --quiet --python env/bin/python numpy==2.5.5
    env/bin/python isin.py
else
    echo "numpy 2.5.5 is left out: no Python 3.12 or newer was found"
fi
