"""Measure the frames of the page in a real Chromium: 100,000 images scrolled end to end, 50 jobs at once, the first paint.

    python -m benchmarks.page_frames [--rounds 3] [--json FILE]

Needs chromium, chromedriver and the test extra. The farm is real, its renderer synthetic. A second browser with an empty
page counts frames over the same time: its gaps are those of the machine. Motion is as users see it. `longest_tasks` are
those of the page's main thread by Chromium's tracing, [milliseconds, of these on a processor]: the difference is time that
other processes took.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.faults.parts import FarmParts
from db.migrate import upgrade
from tests.e2e.browser.chromium import chromium
from tests.e2e.browser.many_images import IMAGES, SCROLL, add_images
from tests.e2e.browser.page import Page
from tests.servers.redis import RedisServer

JOBS, SLOW_MILLISECONDS = 50, 100.0
STEP_SECONDS = 0.05

_FRAMES = """
window.framesSeen = [];
let last = performance.now();
const step = (now) => { window.framesSeen.push(now - last); last = now; requestAnimationFrame(step); };
requestAnimationFrame(step);
"""
_SEEN = "return window.framesSeen.slice(1)"


@contextmanager
def running_farm(directory: Path) -> Iterator[FarmParts]:
    """Yield a farm with one worker and the synthetic renderer."""
    url = f"sqlite:///{directory / 'farm.db'}"
    upgrade(url)
    redis = RedisServer(directory / "redis").start()
    farm = FarmParts(directory / "farm", url, redis, 1, {"IMAGEFARM_SYNTHETIC_STEP_SECONDS": str(STEP_SECONDS)})
    try:
        yield farm.start()
    finally:
        farm.destroy()
        redis.stop()


def gaps(frames: list[float]) -> dict[str, float]:
    """Return the median and the longest of frame times in milliseconds, and how many are above 100."""
    ordered = sorted(frames)
    slow = sum(each > SLOW_MILLISECONDS for each in ordered)
    return {"median": round(ordered[len(ordered) // 2], 1), "longest": round(ordered[-1], 1), "above_100_ms": slow}


def longest_tasks(page: Page) -> list[list[int]]:
    """Return the three longest tasks of the page's main thread since it was loaded: all and processor milliseconds.

    Chromium gives the events away when another page is opened.
    """
    page.driver.get("about:blank")
    log = page.driver.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in log]
    events = [each["params"] for each in messages if each["method"] == "Tracing.dataCollected"]
    names = {(each["pid"], each["tid"]): each["args"]["name"] for each in events if each["name"] == "thread_name"}
    tasks = [
        [each["dur"] // 1000, each.get("tdur", 0) // 1000]
        for each in events
        if each["ph"] == "X" and "RunTask" in each["name"] and names.get((each["pid"], each["tid"])) == "CrRendererMain"
    ]
    return sorted(tasks, key=lambda task: -task[1])[:3]


def compared(page: Page, empty: Page, action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do something on the page; return its figures with the frames of both browsers meanwhile."""
    for each in (page, empty):
        each.script(_FRAMES)
    found = action()
    return {**found, "page": gaps(page.script(_SEEN)), "empty_page": gaps(empty.script(_SEEN))}


def scroll(page: Page, empty: Page) -> dict[str, Any]:
    """Scroll all images end to end and back, a jump a frame."""
    page.view("gallery")
    page.until(
        lambda: int("".join(filter(str.isdigit, page.texts("#gallery-total")[0])) or 0) >= IMAGES, "not all are counted"
    )
    page.until(lambda: page.find_all(".cell[aria-label]"), "no rows")
    before = page.heap()
    page.driver.set_script_timeout(180)

    def run() -> dict[str, Any]:
        found = page.driver.execute_async_script(SCROLL)
        return {"nodes": found["nodes"], "cells": found["cells"]}

    figures = compared(page, empty, run)
    growth = round((page.heap() - before) / 1e6, 1)
    return {**figures, "heap_growth_megabytes": growth, "longest_tasks": longest_tasks(page)}


def burst(page: Page, empty: Page) -> dict[str, Any]:
    """Follow 50 jobs that are submitted at once to their end, with one of them displayed."""
    page.open("#/create")

    def run() -> dict[str, Any]:
        started = time.monotonic()
        body = {"base": {"prompt": "burst", "num_inference_steps": 4, "size": "256x256"}, "seeds": list(range(JOBS))}
        batch = httpx.post(f"{page.url}/v1/batches", json=body, timeout=60).json()
        page.until(lambda: page.find_all(".card[aria-label$='burst']"), "no card")
        page.script("document.querySelector(\".card[aria-label$='burst']\").click()")
        ended = lambda: httpx.get(f"{page.url}/v1/batches/{batch['id']}").json()["status"] == "finished"  # noqa: E731
        page.until(ended, "not all ended")
        return {"jobs": JOBS, "seconds": round(time.monotonic() - started, 1)}

    figures = compared(page, empty, run)
    return {**figures, "longest_tasks": longest_tasks(page)}


def first_paint(page: Page) -> float:
    """Return the milliseconds to the first contentful paint of a page that is loaded anew."""
    page.driver.get("about:blank")
    page.open("#/create")
    paint: float = page.script("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
    return round(paint, 0)


def main() -> int:
    """Print the figures, and write them with what held up long frames to a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rounds = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="page-frames-")))
        farm = stack.enter_context(running_farm(directory))
        with closing(sqlite3.connect(farm.database_url.removeprefix("sqlite:///"), timeout=60)) as database:
            add_images(database)
        page = Page(stack.enter_context(chromium(directory / "profile", motion=True, trace="toplevel")), farm.url)
        empty = Page(stack.enter_context(chromium(directory / "empty", size=(320, 320), motion=True)), farm.url)
        empty.visit("img/mark.svg")
        for _ in range(asked.rounds):
            found = {
                "first_paint_milliseconds": first_paint(page),
                "scroll": scroll(page, empty),
                "burst": burst(page, empty),
            }
            rounds.append(found)
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
    if asked.json:
        asked.json.write_text(json.dumps(rounds, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
