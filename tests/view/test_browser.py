"""The viewer in a real browser: pictures arrive, rows lead there, edits are made, undone and kept.

Needs Debian's chromium (`apt-get install chromium`), which draws without a GPU; playwright, which drives it,
is in the group dev. Where one is missing nothing of the page is tested: pytest and scripts/check.py say so.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from view_runs import object_at, served

import chunkflow_liver as cf
from chunkflow_liver.view.answers import Run

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="NO TEST OF THE PAGE: needs playwright (uv sync)"
)
pytest.importorskip("neuroglancer", reason="needs the extra 'view'")
pytestmark = [pytest.mark.network, pytest.mark.slow]
DRAWS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]


@pytest.fixture
def page(path_of):
    chromium = path_of("chromium")
    if chromium is None:
        pytest.skip("NO TEST OF THE PAGE: needs chromium (apt-get install chromium)")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(chromium), args=DRAWS)
        found = browser.new_page(viewport={"width": 1500, "height": 900})
        found.set_default_timeout(120_000)
        yield found
        browser.close()


def until(page, holds):
    """Wait for what the browser asks for."""
    for _ in range(600):
        if holds():
            return
        page.wait_for_timeout(200)
    state = page.evaluate("JSON.stringify(withoutOrigin(stateNow()))")
    pytest.fail(f"the browser did not ask for it within two minutes; it shows {state}")


def position(page):
    return np.array(page.evaluate("Array.from(look.contentWindow.viewer.position.value)"))


def test_the_page_asks_on_after_a_failure_and_shows_what_the_run_wrote_since(page, work):
    journal = work / "journal.jsonl"
    whole = journal.read_text()
    journal.write_text("".join(s for s in whole.splitlines(keepends=True) if "mito-table" not in s))
    failed = []
    page.route(
        "**/api/changes",
        lambda route: (failed.append(route), route.abort()) if not failed else route.continue_(),
    )
    with served(Run(work, "ada")) as address:
        page.goto(address)
        page.wait_for_selector("body[data-ready=yes]")
        assert page.locator("#colour option >> text=volume_um3").count() == 0
        page.wait_for_selector("#line >> text=does not answer")
        journal.write_text(whole)
        page.wait_for_selector("#colour option >> text=volume_um3", state="attached")
        assert page.input_value("#image") == "mitos"
        page.wait_for_selector("#line >> text=finished")
        # A table that is taken away: the others are listed, and it is named.
        assert page.text_content("#wrong") == ""
        (work / "tables/mito-table.parquet").unlink()
        page.reload()
        page.wait_for_selector("body[data-ready=yes]")
        page.wait_for_selector("#wrong >> text=repair RUN_FILE", state="attached")
        assert page.locator("#table option >> text=mito-er-objects").count() == 1
        assert page.locator("#image option").all_text_contents() == ["mitos"]


def test_pictures_arrive_a_row_leads_there_and_edits_are_made_undone_and_kept(page, work):
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    joined, lone, other = (object_at(labels, at) for at in ((5, 10, 10), (5, 34, 10), (5, 34, 35)))
    at = {"table": work / "tables/mito-table.parquet", "work": work}
    points = [(i + 0.5) * n for x in (12, 30) for i, n in zip((5, 12, x), (40, 16, 16), strict=True)]
    instances = cf.open_volume(work / "results.ome.zarr/labels/mitos")
    fragments = cf.edit(instances, [("cut", joined, 9, *points)], name="fragments", **at)
    cf.run(fragments, progress=False)
    errors, seen, lost = [], [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda answer: (lost if answer.status >= 400 else seen).append(answer.url))
    with served(Run(work, "ada")) as address:
        page.goto(f"{address}&object={other}&in=mitos&run=lobule")
        page.wait_for_selector("body[data-ready=yes]")
        # The link of a report led to its object, and no address holds the token any more.
        row = cf.read_table(work / "tables/mito-table.parquet").to_pylist()[other - 1]
        wanted = [row["centroid_x_nm"] - 8, row["centroid_y_nm"] - 8, row["centroid_z_nm"] - 20]
        np.testing.assert_allclose(position(page), wanted, atol=1)
        assert "token" not in page.url
        until(page, lambda: any("/data/done/mitos/0/c/" in url for url in seen))
        until(page, lambda: any(url.endswith(f"/meshes/done/mitos/{other}") for url in seen))
        # What has no pixels was asked for after those of the image.
        parts = ("/data/done/image/0/c/", "/properties/done/mitos/")
        order = [next(i for i, url in enumerate(seen) if part in url) for part in parts]
        assert order == sorted(order)

        page.click("[data-tab=rows]")
        page.click("th button >> text=voxels")
        page.wait_for_selector("#found th:has-text('▾')")
        page.click("#found tbody tr:nth-child(1)")
        table = cf.read_table(work / "tables/mito-table.parquet").to_pandas()
        largest = table.sort_values("voxels", ascending=False).iloc[0]
        np.testing.assert_allclose(position(page)[0], largest.centroid_x_nm - 8, atol=1)

        page.click("[data-tab=layers]")
        page.select_option("#colour", '["mitos","mito-table","volume_um3"]')
        page.wait_for_selector(".bar >> text=volume_um3")
        until(page, lambda: any("/values/done/mitos/mito-table/volume_um3/0/c/" in url for url in seen))
        # The bar of a layer that is off is none.
        box = page.locator("#boxes label >> text=mitos by volume_um3").locator("input")
        box.uncheck()
        page.wait_for_selector(".bar", state="detached")
        box.check()
        page.wait_for_selector(".bar >> text=volume_um3")

        page.click("[data-tab=jumps]")
        page.wait_for_selector("#jumps h2 >> text=Contact sites: mito-er-sites")
        page.click("#jumps button >> nth=0")
        sites = cf.read_table(work / "tables/mito-er-sites.parquet").to_pandas()
        site = sites.sort_values("area_a_um2", ascending=False, kind="stable").iloc[0]
        np.testing.assert_allclose(position(page)[0], site.x_nm - 8, atol=1)
        assert page.text_content("#jumps button >> nth=0").startswith(f"1. {site.label_a:.0f} and ")

        page.click("[data-tab=edits]")
        page.fill("#why", "two bodies")

        panel = page.frame(url="**/v/run/**").locator(".neuroglancer-rendered-data-panel").first
        box = panel.bounding_box()
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

        def press(key, voxel, label):
            """A key over a voxel: it is moved under the mouse, in the middle of the first panel."""
            at = [i * n for i, n in zip(voxel, (40, 16, 16), strict=True)][::-1]
            page.evaluate("(at) => { viewer().position.value = Float32Array.from(at); }", at)

            def there():
                page.mouse.move(middle[0] + 2, middle[1] + 2)
                page.mouse.move(*middle)
                return page.evaluate("under()?.label") == str(label)

            until(page, there)
            page.keyboard.press(key)

        before = page.evaluate("withoutOrigin(stateNow())")
        page.evaluate("viewer().crossSectionScale.value = 2")
        page.mouse.click(*middle)
        press("m", (5, 34, 10), lone)
        press("m", (5, 34, 35), other)
        page.wait_for_selector("#waiting li:nth-child(1)")
        # Colours and the mesh of what is chosen follow; the reason was of this edit.
        until(page, lambda: any("/values/1-" in url and "/c/" in url for url in seen))
        until(page, lambda: any("/meshes/1-" in url and not url.endswith(("info", ":0")) for url in seen))
        assert page.input_value("#why") == ""
        press("c", (5, 12, 12), joined)
        press("c", (5, 12, 30), joined)
        page.wait_for_selector("#waiting li:nth-child(2)")
        assert "two bodies" in (work / "proofreading/mitos.csv").read_text()
        page.click("#undo")
        page.wait_for_selector("#waiting li:nth-child(2)", state="detached")
        page.select_option("#pieces", "fragments")
        press("s", (5, 12, 12), joined)
        press("s", (5, 12, 30), joined)
        page.wait_for_selector("#waiting li:nth-child(2) >> text=cleave")
        until(page, lambda: any("/edited/" in url and "/c/" in url for url in seen))
        command = page.text_content("#command")

        def sources():
            layers = page.evaluate("stateNow().layers")
            return json.dumps(next(layer["source"] for layer in layers if layer["name"] == "mitos"))

        # A view that was kept before the edits shows the objects as they are now.
        page.evaluate("(before) => { show(before); }", before)
        until(page, lambda: "/edited/" in sources())
        # A row of a table chooses whose objects the keys edit.
        page.evaluate("byId('image').add(new Option('others', 'others'))")
        page.evaluate("byId('image').value = 'others'")
        page.click("[data-tab=rows]")
        page.click("#found tbody tr:nth-child(1)")
        until(page, lambda: page.evaluate("byId('image').value") == "mitos")
        # Edits that are applied while the page is open: the newest instances come, and are on alone.
        edits = work / "proofreading/mitos.csv"
        plan = cf.edit(instances, edits, pieces=fragments.output, name="mitos-edited", **at)
        cf.run(plan, progress=False)

        def on(name):
            return page.evaluate("(n) => viewer().layerManager.getLayerByName(n)?.visible", name)

        until(page, lambda: on("mitos-edited") is True)
        assert (on("mitos"), on("fragments")) == (False, True)
    assert not errors
    # Of an image only chunks are asked for that may not be there.
    assert [url for url in lost if "/c/" not in url] == []
    assert command.startswith("chunkflow-liver edit")
    assert "--pieces" in command
    found = plan.output.read()
    assert found[5, 34, 10] == found[5, 34, 35] == min(lone, other)
    assert found[5, 12, 12] != found[5, 12, 30]
