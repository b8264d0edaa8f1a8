"""The server: who is answered, with what, and what is refused."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import psutil
import pytest
from view_runs import served

from chunkflow_liver.errors import OutputError
from chunkflow_liver.view.answers import Run
from chunkflow_liver.view.server import serve

pytest.importorskip("neuroglancer", reason="needs the extra 'view'")
pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def address(finished):
    with served(Run(finished, "ada")) as found:
        yield found


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def asked(address, path, *, token=True, data=None, **headers):
    """Status, headers and body of an answer; the path goes as it is."""
    parts = urlsplit(address)
    mark = "&" if "?" in path else "?"
    url = f"{parts.scheme}://{parts.netloc}{path}{mark + parts.query if token else ''}"
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, dict(err.headers), err.read()


def test_files_of_an_image_come_as_they_are_whole_and_in_part(address, finished):
    image = finished / "results.ome.zarr/labels/mitos"
    (chunk,) = [p for p in (image / "0").rglob("*") if p.is_file() and p.name != "zarr.json"][:1]
    wanted, path = chunk.read_bytes(), f"/data/done/mitos/{chunk.relative_to(image).as_posix()}"
    status, headers, body = asked(address, path)
    assert (status, body, headers["Accept-Ranges"]) == (200, wanted, "bytes")
    for asked_for, start, stop in [
        ("0-9", 0, 10),
        ("5-", 5, None),
        ("-16", -16, None),
        ("3-99999999", 3, None),
    ]:
        status, headers, body = asked(address, path, Range=f"bytes={asked_for}")
        assert (status, body) == (206, wanted[start:stop])
        assert headers["Content-Range"].endswith(f"/{len(wanted)}")
    status, headers, _ = asked(address, path, Range=f"bytes={len(wanted)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(wanted)}")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/data/done/mitos/0/c/99/0/0", 404),
        ("/data/done/nothing/zarr.json", 404),
        ("/data/done/mitos/0", 404),
        ("/data/done/mitos/../../../run.json", 403),
        ("/data/done/mitos/%2e%2e/%2e%2e/run.json", 403),
        ("/data/done/mitos/..%2f..%2frun.json", 403),
        ("/data/done/mitos//etc/passwd", 403),
        ("/data/done/mitos/0/../../er-distance/zarr.json", 403),
        ("/data/done/mitos/..\\run.json", 403),
        ("/page/../server.py", 403),
        ("/page/%2e%2e%2fserver.py", 404),
        ("/v/run/..%2f__init__.py", 404),
        ("/run.json", 404),
        ("/api/nothing", 404),
        ("/api/table?name=none", 404),
        ("/places/done/mito-table/level0/0_0", 404),
    ],
)
def test_what_is_not_there_is_404_and_what_is_outside_403(address, path, status):
    got, _, body = asked(address, path)
    assert (got, b"Traceback" in body) == (status, False)


def test_a_link_that_leads_out_of_an_image_is_outside(work):
    image = work / "results.ome.zarr/labels/mitos"
    os.symlink(work / "run.json", image / "run.json")
    with served(Run(work, "ada")) as address:
        assert asked(address, "/data/done/mitos/run.json")[0] == 403


def test_nobody_is_answered_without_the_token(address):
    for path in ("/", "/api/run", "/data/done/mitos/zarr.json", "/page/page.js", "/v/run/"):
        assert asked(address, path, token=False)[0] == 403
        assert asked(address, f"{path}?token=wrong", token=False)[0] == 403
    # The page moves it from the address into a cookie of its port, out of reach of scripts.
    parts = urlsplit(address)
    talk = http.client.HTTPConnection(parts.netloc)
    talk.request("GET", f"/?{parts.query}")
    flags = talk.getresponse().getheader("Set-Cookie").split("; ")
    talk.close()
    assert {"HttpOnly", "SameSite=Lax"} <= set(flags)
    cookie = f"chunkflow-liver-{parts.port}={parts.query.removeprefix('token=')}"
    status, headers, body = asked(address, "/", token=False, Cookie=cookie)
    assert (status, b"page.js" in body) == (200, True)
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert asked(address, "/api/run", Host="evil.example")[0] == 403


def test_edits_come_from_the_page_only(work):
    edit = json.dumps({"image": "mitos", "action": "delete", "label": 1}).encode()
    with served(Run(work, "ada")) as address:
        origin = "http://" + urlsplit(address).netloc
        assert asked(address, "/api/edit", data=edit)[0] == 403
        assert asked(address, "/api/edit", data=edit, Origin="http://evil.example")[0] == 403
        assert not (work / "proofreading").exists()
        assert asked(address, "/api/edit", data=b"x", Origin=origin)[0] == 400
        status, _, body = asked(address, "/api/edit", data=edit.replace(b"1}", b"99}"), Origin=origin)
        assert (status, body) == (400, b"'mitos' has no objects [99]")
        assert asked(address, "/api/edit", data=edit, Origin=origin)[0] == 200
        assert (work / "proofreading/mitos.csv").exists()


def test_it_listens_on_loopback_and_says_when_the_port_is_taken(address, finished):
    port = urlsplit(address).port
    mine = [c for c in psutil.Process().net_connections() if c.laddr and c.laddr.port == port]
    assert {c.laddr.ip for c in mine if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}

    async def again():
        serve(Run(finished, "ada"), host="127.0.0.1", port=port)

    with pytest.raises(OutputError, match=f"cannot listen on 127.0.0.1:{port}"):
        asyncio.run(again())


@pytest.mark.parametrize("host", ["::1", "localhost", "0.0.0.0"])
def test_the_printed_address_is_one_that_can_be_opened(finished, host):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with served(Run(finished, "ada"), host=host) as address:
        name = urlsplit(address).hostname
        assert asked(address, "/api/changes")[0] == 200
    assert name not in ("0.0.0.0", "")
    assert host != "::1" or name == "::1"


def test_an_address_of_another_machine_is_told(finished):
    async def there():
        serve(Run(finished, "ada"), host="192.0.2.7", port=None)

    with pytest.raises(OutputError, match=r"cannot listen on 192\.0\.2\.7:0: .*--host"):
        asyncio.run(there())


def test_a_document_that_comes_part_by_part_comes_whole(address, monkeypatch):
    """Parts without a byte among them, too: numbers have no mark at their end."""
    whole = json.loads(asked(address, "/properties/done/mitos/info")[2])["inline"]
    monkeypatch.setattr("chunkflow_liver.view.properties.FEW_ROWS", 0)
    status, headers, body = asked(address, "/properties/done/mitos/info")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    found = json.loads(body)["inline"]
    assert found["ids"] == whole["ids"]
    wanted = ["class", "volume_um3", "touches_border", "contact_fraction"]
    assert [p["id"] for p in found["properties"]] == wanted
    assert all(len(p["values"]) == len(whole["ids"]) for p in found["properties"])


USED = """
import sys
from pathlib import Path
from chunkflow_liver.view import properties, server
properties.FEW_ROWS = 0
run = server.Run(Path(sys.argv[1]), "ada")
run.asked("run", {})
run.asked("table", {"name": "mito-table", "sort": "volume_um3", "where": "voxels > 1"})
for key in ("values/x/mitos/mito-table/volume_um3/0/c/0/0/0", "meshes/x/mitos/1", "properties/x/mitos/info"):
    found = run.computed(*key.split("/", 2))
    assert b"".join([found] if isinstance(found, bytes) else found)
print(*sorted({"pandas", "tifffile", "torch", "numba", "dask", "zmesh"} & set(sys.modules)))
"""


def test_heavy_packages_stay_out_of_the_server(finished):
    """pandas takes 40 MiB, and Arrow asks for it wherever a value could be one of its own."""
    done = subprocess.run(
        [sys.executable, "-c", USED, finished], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []


def test_looking_writes_nothing_into_the_run(address, finished):
    before = sorted((p, p.stat().st_mtime_ns) for p in finished.rglob("*"))
    for path, status in (
        ("/api/run", 200),
        ("/api/jumps", 200),
        ("/meshes/done/mitos/1", 200),
        ("/edited/x/mitos/0/c/0/0/0", 200),
        ("/data/done/mitos/9/c/0", 404),
    ):
        assert (path, asked(address, path)[0]) == (path, status)
    assert sorted((p, p.stat().st_mtime_ns) for p in finished.rglob("*")) == before
