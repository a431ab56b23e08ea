"""Rows of 100,000 images without files, and a script that scrolls the gallery over them."""

from __future__ import annotations

import json
import sqlite3

IMAGES, PER_JOB = 100_000, 16
PREFIX = "01800000-0000-7000-8000-"

SCROLL = """
const done = arguments[0];
const grid = document.querySelector('#grid');
const found = {nodes: 0, cells: 0, frames: []};
const steps = 120;
let at = 0, last = performance.now();
const step = (now) => {
  found.frames.push(now - last);
  last = now;
  found.nodes = Math.max(found.nodes, document.querySelectorAll('*').length);
  found.cells = Math.max(found.cells, document.querySelectorAll('.cell').length);
  if (at > 2 * steps) { done(found); return; }
  grid.scrollTop = (grid.scrollHeight - grid.clientHeight) * (at <= steps ? at / steps : 2 - at / steps);
  at += 1;
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
"""
"""Scrolls from the first image to the last and back, a jump a frame; gives nodes, cells and frame times in milliseconds."""


def add_images(database: sqlite3.Connection) -> None:
    """Add jobs of 16 images each, 100,000 in all, older than any other."""
    given = json.dumps({"prompt": "one of many", "width": 64, "height": 64, "num_images": PER_JOB})
    job = {
        "owner": "anonymous", "kind": "render", "model": "demo", "priority": 5, "turn": 0, "status": "succeeded",
        "revision": 3, "attempt": 1, "max_attempts": 3, "attempts_free": 0, "available_at": 1.0, "created_at": 1.0,
        "prompt": "one of many", "input": given, "requested": "{}", "warnings": "[]",
    }  # fmt: skip
    jobs = ((f"{PREFIX}{number:012x}", *job.values()) for number in range(IMAGES // PER_JOB))
    database.executemany(f"INSERT INTO jobs (id, {', '.join(job)}) VALUES ({', '.join('?' * (1 + len(job)))})", jobs)  # noqa: S608
    names = 'id, job_id, attempt, "index", owner, key, width, height, seed, format, bytes, sha256, record, created_at'
    rows = (
        (f"{PREFIX}{index:012x}", f"{PREFIX}{index // PER_JOB:012x}", 1, index % PER_JOB, "anonymous",
         f"2026-01-01/00/{PREFIX}{index:012x}.png", 64, 64, index, "png", 1, "0", "{}", 1.0)
        for index in range(IMAGES)
    )  # fmt: skip
    database.executemany(f"INSERT INTO images ({names}) VALUES ({', '.join('?' * 14)})", rows)  # noqa: S608
    database.commit()


def remove_images(database: sqlite3.Connection) -> None:
    """Remove them again."""
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("DELETE FROM jobs WHERE id LIKE ?", (f"{PREFIX}%",))
    database.commit()
