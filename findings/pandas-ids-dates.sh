#!/usr/bin/env bash
# pandas 2.3.3 and 3.1.1 (newest for Python 3.11 in December 2026)
#
# Behaviour: tables by cell are kept in JSON with the id as the key, which JSON wants as text; pandas.read_json turns such
#   keys into an index.
# Guess:  integers, exactly, or the text.
# Seen:   up to 31,536,000 integers; above that, dates: 720575940600000001, as ids of FlyWire are, is a moment in October
#   1992, 864691135000000001, as those of MICrONS, one in May 1997. Columns named by ids are dates too, and so is what
#   pandas itself wrote with to_json. Joined with a table whose index are the ids no row is found, and nothing is said.
# Why it matters: the same lines of code work for the small ids of a crop, and a left join of the whole is a table full of
#   NaN that sums to 0.
# Source: pandas.read_json: convert_axes, "try to convert the axes to the proper dtypes"; pandas-dev/pandas issue 31570.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > keys.py <<'PY'
import io
import json
import sys
import warnings

import pandas as pd

warnings.simplefilter("error")
IDS = {"crop": 31_536_000, "volume": 31_536_001, "FlyWire": 720575940600000001, "MICrONS": 864691135000000001}


def read(number):
    """The keys as index, as columns and after pandas' own to_json, and the sizes that a left join by the ids finds."""
    rows = io.StringIO(json.dumps({str(number): {"synapses": 12}}))
    columns = io.StringIO(json.dumps({str(number): {"a": 1}}))
    table = pd.DataFrame({"nm3": [5]}, index=[number])
    assert table.index.dtype == "int64"
    found = pd.read_json(rows, orient="index")
    again = pd.read_json(io.StringIO(table.to_json()))
    kinds = {keys.dtype.kind for keys in (found.index, again.index, pd.read_json(columns).columns)}
    assert len(kinds) == 1, kinds
    first = found.index[0]
    return str(first.date()) if kinds == {"M"} else int(first), found.join(table, how="left")["nm3"].tolist()


if __name__ == "__main__":
    print("guess: the id, and the size that the other table has under it, 5")
    seen = {name: read(number) for name, number in IDS.items()}
    for name, (key, joined) in seen.items():
        print(f"seen:  pandas {pd.__version__}, {name}, {IDS[name]}: {key}, {joined}")
    dates = {"volume": "1971-01-01", "FlyWire": "1992-10-31", "MICrONS": "1997-05-26"}
    if seen.pop("crop") != (IDS["crop"], [5]):
        sys.exit("this differs from what is recorded: integers up to 31536000")
    if {name: key for name, (key, _) in seen.items()} != dates or any(value == value for _, (value,) in seen.values()):
        sys.exit(f"this differs from what is recorded: {dates}, NaN")
PY
for version in 2.3.3 3.1.1; do
    rm -rf env
    uv venv --quiet --python 3.11 env
    uv pip install --quiet --python env/bin/python pandas==$version numpy==2.4.6
    env/bin/python keys.py
done
