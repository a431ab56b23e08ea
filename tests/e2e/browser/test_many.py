"""Many images and many jobs: the page stays small, however many there are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from benchmarks.faults.parts import FarmParts
from tests.e2e.browser.conftest import OpenPage, Record
from tests.e2e.browser.many_images import IMAGES, SCROLL, add_images, remove_images

JOBS = 50
MAX_NODES, MAX_CELLS, MAX_HEAP_GROWTH = 1500, 160, 60e6

_FRAMES = """
window.framesSeen = [];
let last = performance.now();
const step = (now) => { window.framesSeen.push(now - last); last = now; requestAnimationFrame(step); };
requestAnimationFrame(step);
"""


@pytest.fixture
def many_images(slow_farm: FarmParts) -> Iterator[None]:
    """Add rows of 100,000 images without files to a running farm, and remove them again."""
    with closing(sqlite3.connect(slow_farm.database_url.removeprefix("sqlite:///"), timeout=60)) as database:
        add_images(database)
        yield
        remove_images(database)


@pytest.mark.usefixtures("many_images")
def test_a_hundred_thousand_images_are_scrolled_end_to_end(
    slow_farm: FarmParts, open_page: OpenPage, record: Record
) -> None:
    page = open_page(slow_farm, ready=False).visit("#/gallery")
    page.driver.refresh()
    page.until(lambda: page.find_all("#gallery-total"), "the gallery did not open")
    page.until(
        lambda: int("0" + page.find("#gallery-total").text.split(" ")[0].replace(",", "")) >= IMAGES, "not all are counted"
    )
    before = page.heap()
    page.driver.set_script_timeout(300)
    found = page.driver.execute_async_script(SCROLL)
    page.script("const grid = document.querySelector('#grid'); grid.scrollTop = grid.scrollHeight")
    total = httpx.get(f"{page.url}/v1/images", params={"count": True, "limit": 1}).json()["total"]
    last = f".cell[aria-posinset='{total}'][aria-label='one of many']"
    page.until(lambda: page.find_all(last), "the last image is not there")
    grown = page.heap() - before
    frames = sorted(found["frames"])
    record("nodes", found["nodes"])
    record("heap_growth_megabytes", round(grown / 1e6, 1))
    record("frame_milliseconds", [round(frames[len(frames) // 2], 1), round(frames[-1], 1)])
    assert found["nodes"] < MAX_NODES
    assert 0 < found["cells"] < MAX_CELLS
    assert grown < MAX_HEAP_GROWTH
    page.console()  # the files of these images do not exist


def test_fifty_jobs_at_once_are_followed_to_their_end(slow_farm: FarmParts, open_page: OpenPage, record: Record) -> None:
    page = open_page(slow_farm)
    page.script(_FRAMES)
    started = time.monotonic()
    body = {"base": {"prompt": "burst", "num_inference_steps": 1, "size": "64x64"}, "seeds": list(range(JOBS))}
    batch = httpx.post(f"{page.url}/v1/batches", json=body, timeout=60).json()
    done = ".card[data-status='succeeded'][aria-label$='burst']"
    page.until(lambda: len(page.find_all(done)) == JOBS, "not all jobs ended on the page")
    assert httpx.get(f"{page.url}/v1/batches/{batch['id']}").json()["status"] == "finished"
    frames = page.script("return window.framesSeen.slice(1)")
    record("longest_frame_milliseconds", round(max(frames)))
    record("seconds", round(time.monotonic() - started, 1))
    assert len(page.find_all(".card")) <= 96
