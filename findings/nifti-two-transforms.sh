#!/usr/bin/env bash
# nibabel 5.4.2, SimpleITK 2.5.7, nifti-reader-js 0.8.0 (npm; the reader behind several browser viewers)
#
# Behaviour: a NIfTI header may hold two transforms from voxels to space, qform and sform, each with a code that
#   says what space it means. The standard lets both be set and does not say which one counts.
#   nibabel: the sform, whenever its code is not 0. SimpleITK: the sform if its code is 1 or there is no qform,
#   else the qform. nifti-reader-js: whichever code is the greater number, the sform when they are equal.
# Guess:  readers agree; sform wins where it is set.
# Seen:   of the three pairs of codes below, none is read alike by all three: the odd one out changes.
# Why it matters: registration tools rewrite one of the two. Here one of them turns the volume by 180 degrees, so a
#   segmentation and its image can disagree in one program and match in the next, with the same voxel size.
# Source: NIfTI-1 header, section on orientation ("methods" 2 and 3); rii-mango/NIFTI-Reader-JS issue 57;
#   InsightSoftwareConsortium/ITK pull request 1868.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund nifti-reader-js@0.8.0 >/dev/null
cat > affine.mjs <<'JS'
import * as nifti from "nifti-reader-js";
import fs from "node:fs";
for (const name of process.argv.slice(2)) {
  const bytes = fs.readFileSync(name);
  const header = nifti.readHeader(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  console.log(header.affine[0][3]);
}
JS
env/bin/python - <<'PY'
import subprocess
import sys

import nibabel
import numpy as np
import SimpleITK

print("nibabel", nibabel.__version__, "SimpleITK", SimpleITK.Version.VersionString(), "nifti-reader-js 0.8.0")
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
sform = np.diag([5.0, 5.0, 40.0, 1.0])
qform = np.diag([-5.0, -5.0, 40.0, 1.0])
sform[0, 3], qform[0, 3] = 1000.0, 7000.0  # tells which one was taken
which = {1000: "sform", 7000: "qform"}
codes = [(1, 2), (2, 1), (2, 4)]

names = [f"s{s}_q{q}.nii" for s, q in codes]
for name, (s, q) in zip(names, codes, strict=True):
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), None)
    image.set_sform(sform, code=s)
    image.set_qform(qform, code=q)
    image.header.set_xyzt_units("mm")
    image.to_filename(name)
browser = subprocess.run(["node", "affine.mjs", *names], check=True, capture_output=True, text=True).stdout.split()

seen = {}
for name, in_browser in zip(names, browser, strict=True):
    loaded = nibabel.load(name)
    read = SimpleITK.ReadImage(name)
    assert loaded.header.get_zooms() == (5.0, 5.0, 40.0)
    assert np.allclose(read.GetSpacing(), (5, 5, 40))
    # SimpleITK's x points the other way
    taken = (loaded.affine[0, 3], -read.GetOrigin()[0], float(in_browser))
    seen[name] = tuple(which[round(x)] for x in taken)

print("guess: sform, sform, sform in every line")
for name, taken in seen.items():
    print(f"seen:  {name}: nibabel {taken[0]}, SimpleITK {taken[1]}, nifti-reader-js {taken[2]}")
recorded = {
    "s1_q2.nii": ("sform", "sform", "qform"),
    "s2_q1.nii": ("sform", "qform", "sform"),
    "s2_q4.nii": ("sform", "qform", "qform"),
}
if seen != recorded:
    sys.exit(f"this differs from what is recorded: {recorded}")
PY
