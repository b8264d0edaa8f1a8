#!/usr/bin/env bash
# opencv-python-headless 4.14.0.94 and 5.0.0.93 (the newest of both in December 2026)
#
# Behaviour: OpenCV's functions for images in Python take any NumPy array; 8-bit to 32-bit types come back in their type.
# Guess:  a section of 64-bit labels that is flipped, turned, padded or scaled with the nearest neighbour is refused, as
#   4.x refuses uint32, or comes back with its ids, as version 5 has 64-bit integers.
# Seen:   both versions answer with int32 and the lower half of every id: 2^40 + 3 comes back as 3, 2^31 + 5 as a negative
#   number, and two cells whose ids differ by 2^32 as one. Nothing warns. Version 5 keeps uint32.
# Why it matters: augmentation and alignment of sections are written with OpenCV, and with the small ids of a test they are
#   right. Assigned back into a uint64 array, a negative id becomes one near 2^64.
# Source: OpenCV, modules/python/src2/cv2_convert.cpp: 64-bit integers are cast to CV_32S.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > halves.py <<'PY'
import sys
import warnings

import cv2
import numpy as np

warnings.simplefilter("error")
calls = {
    "flip": lambda a: cv2.flip(a, 0),
    "rotate": lambda a: cv2.rotate(a, cv2.ROTATE_90_CLOCKWISE),
    "transpose": cv2.transpose,
    "copyMakeBorder": lambda a: cv2.copyMakeBorder(a, 1, 1, 1, 1, cv2.BORDER_REPLICATE),
    "resize": lambda a: cv2.resize(a, (4, 4), interpolation=cv2.INTER_NEAREST),
}
IDS = (7, 2**31 + 5, 2**40 + 3, 2**40 + 2**32 + 3)


def outcome(call, kind):
    """Type of the answer and its ids, for a section in four parts with the four ids."""
    ids = np.array(IDS if np.dtype(kind).itemsize == 8 else (7, 8, 9, 10), kind)
    labels = np.kron(ids.reshape(2, 2), np.ones((4, 4), kind))
    try:
        answer = call(labels)
    except cv2.error:
        return "refused"
    found = sorted(int(i) for i in np.unique(answer))
    return "right" if found == sorted(ids.tolist()) and answer.dtype == kind else (str(answer.dtype), found)


if __name__ == "__main__":
    kinds = ("uint8", "uint16", "int32", "uint32", "int64", "uint64")
    seen = {kind: {name: outcome(call, kind) for name, call in calls.items()} for kind in kinds}
    print("guess: right or refused")
    for kind, found in seen.items():
        same = len({str(answer) for answer in found.values()}) == 1
        print(f"seen:  opencv {cv2.__version__}, {kind}:", found["flip"] if same else found)
    half = ("int32", [-(2**31) + 5, 3, 7])
    if any(answer != half for kind in ("int64", "uint64") for answer in seen[kind].values()):
        sys.exit(f"this differs from what is recorded: {half} for 64-bit integers")
    if any(answer != "right" for kind in ("uint8", "uint16", "int32") for answer in seen[kind].values()):
        sys.exit("this differs from what is recorded: right for 8, 16 and signed 32 bits")
PY
for version in 4.14.0.94 5.0.0.93; do
    rm -rf env
    uv venv --quiet --python 3.11 env
    uv pip install --quiet --python env/bin/python opencv-python-headless==$version numpy==2.4.6
    env/bin/python halves.py
done
