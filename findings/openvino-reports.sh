#!/usr/bin/env bash
# openvino 2026.4.1 with openvino-telemetry 2025.2.0, which it depends on (October 2026)
#
# Behaviour: `import openvino` opens a connection to Google Analytics and sends an event; every `convert_model` sends
#   more. It asks nobody: only a file in the home folder that says no, or the variable CI, stops it. It writes an id
#   of the user to `~/intel/openvino_ga_cid`.
# Guess:  importing a library of kernels touches neither the network nor the home folder.
# Seen:   a CONNECT to www.google-analytics.com from the import alone, and a new folder `~/intel`. With the module
#   `openvino_telemetry` hidden while openvino is imported there is neither, and networks run as before: the
#   package has a stub for where its telemetry is not installed.
# Why it matters: workers of a cluster import it a hundred times, on nodes without a way out, in homes that are shared;
#   hospitals forbid programs that call home.
# Source: openvino/tools/ovc/telemetry_utils.py (`enable_opt_in_dialog=False`), openvino_telemetry/main.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
uv venv --quiet --python 3.11 env
uv pip install --quiet --python env/bin/python openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6
cat > see.py <<'PY'
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

HIDDEN = "import sys; sys.modules['openvino_telemetry'] = None; "
USE = (
    "import numpy as np; import openvino as ov; from openvino import opset13 as op; import time; "
    "x = op.parameter([2], ov.Type.f32); m = ov.Model([op.relu(x)], [x]); "
    "assert ov.Core().compile_model(m, 'CPU')([np.float32([-1, 2])])[0].tolist() == [0, 2]; time.sleep(3)"
)


def seen(code: str, home: str) -> tuple[list[str], list[str]]:
    """Hosts that a program asks a proxy for, and what it leaves in its home folder."""
    Path(home).mkdir()
    hosts: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            hosts.append(client.recv(200).decode("latin1").split("\r\n")[0])
            client.close()

    threading.Thread(target=serve, daemon=True).start()
    proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
    env = {k: v for k, v in os.environ.items() if k != "CI" and not k.lower().endswith("_proxy")}
    env |= {"HOME": str(Path(home).resolve()), "https_proxy": proxy, "http_proxy": proxy}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    server.close()
    return sorted(set(hosts)), sorted(p.name for p in Path(home).rglob("*"))


imported = seen("import openvino, time; time.sleep(3)", "imported")
hidden = seen(HIDDEN + USE, "hidden")
print("import openvino:", *imported)
print("with its telemetry hidden, and a network run:", *hidden)
assert any("google-analytics.com" in host for host in imported[0]), "importing it no longer reports"
assert "openvino_ga_cid" in imported[1]
assert hidden == ([], []), "hiding the package no longer keeps it silent"
PY
env/bin/python see.py
