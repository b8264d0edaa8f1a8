#!/usr/bin/env bash
# dask-jobqueue 0.9.0 (newest in November 2026), dask and distributed 2026.7.1
#
# Behaviour: importing dask_jobqueue, for SLURMCluster say, replaces the process's handler of SIGINT by one that calls
#   sys.exit() without a number. It is meant for the runner, which few use; the import of the package installs it.
# Guess:  Ctrl-C raises KeyboardInterrupt as everywhere in Python: `except KeyboardInterrupt` tidies up, and a script
#   that does not catch it ends with status 130 or by the signal.
# Seen:   `except KeyboardInterrupt` is passed by, and the interrupted program ends with status 0.
# Why it matters: `make`, a workflow or `sbatch --dependency=afterok` takes a job that a person stopped in the middle
#   for a finished one, and goes on with half of the results.
# Source: dask-jobqueue's module runner, line 18 in 0.9.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python dask-jobqueue==0.9.0 dask==2026.7.1 distributed==2026.7.1
cat > job.py <<'PY'
import os
import signal
import sys
import time

if sys.argv[1] == "with":
    from dask_jobqueue import SLURMCluster  # noqa: F401
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("KeyboardInterrupt", end=" ")
    sys.exit(130)
PY
for how in without with; do
    status=0
    said=$(env/bin/python job.py "$how") || status=$?
    echo "$how dask_jobqueue: status $status, caught: ${said:-nothing}"
    seen="${seen:-}$status "
done
echo "guess: 130 both times; seen: $seen"
[ "$seen" = "130 0 " ] || { echo "this differs from what is recorded: 130 0" >&2; exit 1; }
