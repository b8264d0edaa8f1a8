"""The viewer on a run of a million objects and 1e9 voxels: time to the first picture, memory of the server.

`uv run scripts/bench.py view`; the browser's rows need chromium and playwright, and are left out without.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.written import write_products
from chunkflow_liver.store.table import Table

SIDE, GRID = 1000, 100
TURNS = 5
"""In which the address is opened anew, each with a new browser; neuroglancer alone before it."""
NM = (8.0, 8.0, 8.0)
INSIDE = "3960,3960,3960"
"""A place in nm in the middle of objects along all axes: between them no plane has a coloured pixel."""
DRAWS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]

SEEN = """
(() => {
  if (window !== window.top) return;
  window.seen = {};
  const look = () => (document.getElementById("look")?.contentWindow ?? window).viewer?.display;
  const waits = setInterval(() => {
    const display = look();
    if (!display) return;
    clearInterval(waits);
    display.updateFinished.add(() => {
      const { gl } = display, side = 64;
      const at = [gl.drawingBufferWidth / 4 - 110, 3 * gl.drawingBufferHeight / 4 + 40];
      const pixels = new Uint8Array(4 * side * side), greys = new Set();
      gl.readPixels(...at, side, side, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      let coloured = 0;
      for (let i = 0; i < pixels.length; i += 4) {
        const [r, g, b] = pixels.subarray(i, i + 3);
        greys.add(r);
        if (Math.max(r, g, b) - Math.min(r, g, b) > 16) coloured += 1;
      }
      const now = performance.timeOrigin + performance.now();
      seen.drawn ??= now;
      if (greys.size > 10) seen.image ??= now;
      if (coloured > 100) seen.mitos ??= now;
    });
  }, 5);
})();
"""
"""In the page: when a part of the first panel that no line crosses was first drawn, grey, and coloured."""


def made(folder: Path) -> Path:
    """A run of 1000^3 voxels with a million boxes of 8^3 voxels, and their table; written slab by slab."""
    work = folder / "million"
    work.mkdir()
    like = cf.Volume(str(folder / "x"), "0", (SIDE,) * 3, "uint8", NM, (64,) * 3, None)
    raw = like.like(str(work / "raw.ome.zarr"), dtype="uint8", kind="image", block=(256, 256, 256))
    labels = like.like(
        str(work / "results.ome.zarr/labels/mitos"), dtype="uint32", kind="label", block=(256, 256, 256)
    )
    from chunkflow_liver.engine.pyramid import pyramid
    from chunkflow_liver.engine.stage import Map
    from chunkflow_liver.geometry import BlockGrid

    stages = []
    for name, volume, function in (("raw", raw, _grey), ("mitos", labels, _boxes)):
        grid = BlockGrid(volume.box, (256, 256, 256))
        stages += [Map(f"{name}/draw", function, grid, (), (volume,), working=20.0), *pyramid(volume, name)]
    table = Table(str(work / "tables/mito-table.parquet"))
    products = (
        Product("raw", "raw", raw),
        Product("instances", "mitos", labels),
        Product("instance table", "mito-table", table, (("instances", "mitos"),)),
    )
    plan = Plan(tuple(stages), work, labels, products)
    cf.run(plan, progress=False)
    n = np.arange(GRID**3)
    z, y, x = np.unravel_index(n, (GRID,) * 3)
    columns: dict[str, Any] = {"label": (n + 1).astype(np.uint64), "class": np.full(len(n), "mitochondrion")}
    columns |= {"voxels": np.full(len(n), 512), "volume_um3": np.random.default_rng(0).random(len(n))}
    for axis, at in zip("zyx", (z, y, x), strict=True):
        columns |= {
            f"centroid_{axis}_nm": (at * 10 + 5) * 8.0,
            f"bbox_{axis}_min": at * 10 + 1,
            f"bbox_{axis}_max": at * 10 + 9,
        }
    columns["touches_border"] = np.zeros(len(n), bool)
    table.write(columns)
    write_products(plan)
    return work


def _boxes(block: Any) -> Any:
    from chunkflow_liver.engine.stage import Result

    axes = [np.arange(a, b) for a, b in zip(block.write.start, block.write.stop, strict=True)]
    z, y, x = np.ix_(*axes)
    inside = (z % 10 > 0) & (z % 10 < 9) & (y % 10 > 0) & (y % 10 < 9) & (x % 10 > 0) & (x % 10 < 9)
    label = (z // 10 * GRID + y // 10) * GRID + x // 10 + 1
    return Result((np.where(inside, label, 0).astype(np.uint32),))


def _grey(block: Any) -> Any:
    from chunkflow_liver.engine.stage import Result

    rng = np.random.default_rng(block.index)
    return Result((rng.integers(60, 200, block.write.shape, dtype=np.uint8),))


def bench(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the case `view`."""
    yield from measured(made(folder))


def measured(work: Path) -> list[dict[str, Any]]:
    """One row per case."""
    command = [sys.executable, "-m", "chunkflow_liver", "view", str(work), "--no-browser", "--port", "0"]
    begin = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    rows = [row("server is up", time.perf_counter() - begin)]
    process = psutil.Process(server.pid)
    rows[0]["cpu_seconds"] = cpu_seconds(process)
    try:
        base, _, token = address.partition("?")
        for what, path in [
            ("first question", "api/run"),
            ("segment properties of 1e6 objects", "properties/done/mitos/info"),
            ("a page of rows, sorted", "api/table?name=mito-table&sort=volume_um3&down=1"),
            ("colour by a column: first chunk", "values/done/mitos/mito-table/volume_um3/0/c/0/0/0"),
            ("colour by a column: next chunk", "values/done/mitos/mito-table/volume_um3/0/c/1/0/0"),
            ("mesh", "meshes/done/mitos/500500"),
        ]:
            begin, cpu = time.perf_counter(), cpu_seconds(process)
            urllib.request.urlopen(f"{base}{path}{'&' if '?' in path else '?'}{token}").read()
            rows.append(
                row(what, time.perf_counter() - begin) | {"cpu_seconds": round(cpu_seconds(process) - cpu, 2)}
            )
        rows += in_browser(address, process)
        rows.append(row("server, most memory", 0.0) | {"peak_mib": round(peak_mib(process))})
    finally:
        server.terminate()
        server.wait()
    return rows


def row(case: str, seconds: float) -> dict[str, Any]:
    return {
        "name": "view",
        "tool": "chunkflow_liver",
        "case": case,
        "voxels": SIDE**3,
        "seconds": round(seconds, 3),
        "load": round(os.getloadavg()[0], 1),
        "ok": True,
    }


def cpu_seconds(process: psutil.Process) -> float:
    """Of the server, on all cores: other work of the machine does not count."""
    times = process.cpu_times()
    return round(times.user + times.system, 2)


def peak_mib(process: psutil.Process) -> float:
    """Most resident memory of the server so far, as Linux counts it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def in_browser(address: str, process: psutil.Process) -> list[dict[str, Any]]:
    """First pixels, all pixels, and the memory of the server while the view moves for a minute.

    Pixels count when they are drawn, not when their bytes arrive. No page is faster than neuroglancer alone,
    without a layer.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    rows = []
    base, _, token = address.partition("?token=")
    opened = [("neuroglancer alone", "v/run/#!%7B%7D"), ("", f"?token={token}&at={INSIDE}")]
    with sync_playwright() as driver:
        for last, (what, path) in [(turn == TURNS - 1, each) for turn in range(TURNS) for each in opened]:
            browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=DRAWS)
            page = browser.new_page(viewport={"width": 1500, "height": 900})
            page.set_default_timeout(300_000)
            cookie = f"chunkflow-liver-{base.rstrip('/').rpartition(':')[2]}"
            page.context.add_cookies([{"name": cookie, "value": token, "url": base}])
            page.add_init_script(SEEN)
            cpu, begin = browser_seconds(), time.time()
            page.goto(base + path, wait_until="commit")
            if what:
                page.wait_for_function("window.seen?.drawn")
                rows.append(
                    drawn(page, begin, "drawn", what) | {"cpu_seconds": round(browser_seconds() - cpu, 2)}
                )
                browser.close()
                continue
            page.wait_for_function("window.seen?.image")
            rows.append(
                drawn(page, begin, "image", "image") | {"cpu_seconds": round(browser_seconds() - cpu, 2)}
            )
            page.wait_for_function("window.seen?.mitos")
            rows.append(drawn(page, begin, "mitos", "mitos"))
            if not last:
                browser.close()
                continue
            page.wait_for_function("look.contentWindow.viewer.isReady()")
            rows.append(row("browser: all pixels of the first view", time.time() - begin))
            page.screenshot(path=Path(tempfile.gettempdir()) / "bench_view.png", timeout=120_000)
            moving = time.perf_counter()
            rng = np.random.default_rng(0)
            while time.perf_counter() - moving < 60:
                place = (rng.random(3) * SIDE * 8).tolist()
                page.evaluate(
                    "(p) => { look.contentWindow.viewer.position.value = Float32Array.from(p); }", place
                )
                page.wait_for_timeout(300)
            rows.append(row("browser: panning for a minute", 60.0) | {"peak_mib": round(peak_mib(process))})
            browser.close()
    return rows


def drawn(page: Any, begin: float, what: str, of: str) -> dict[str, Any]:
    """The row of what the page has seen drawn."""
    return row(f"browser: first pixels of {of}", page.evaluate("seen")[what] / 1000 - begin)


def browser_seconds() -> float:
    """CPU of all processes of the browser, on all cores."""
    of = [p.cpu_times() for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]
    return round(sum(t.user + t.system for t in of), 2)
