"""Freed memory stays with the process until it is idle; in a process of its own, since the options last for a process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.servers.farm import clean_environment
from worker.device.allocator import keep_freed_memory

PROGRAM = """
import ctypes, json, resource
import torch
from pathlib import Path
from worker.device.allocator import keep_freed_memory, large_blocks_apart, return_freed_memory

PR_SET_THP_DISABLE = 41  # <linux/prctl.h>: huge pages come and go with the machine's load, and change what is counted.
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)

def resident():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024

def faults(sizes=(40, 36, 44)):
    # Return the pages that the kernel cleared for the last of several rounds of large blocks, by default of such MiB: above
    # glibc's own largest threshold, 32.
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [torch.ones(size, 1024, 256) for size in sizes]
        sum(block.mul(2).sum() for block in kept)
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
kept = keep_freed_memory()
second, before = faults(), resident()
return_freed_memory()
returned = before - resident()
faults()
with large_blocks_apart():
    apart, held = faults([400]), resident()  # larger than any gap that the heap has
print(json.dumps([kept, first, second, returned, apart, before - held, faults()]))
"""


def run() -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=400,
    )
    figures: list[float] = json.loads(done.stdout)
    return figures


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's options")
def test_a_freed_block_is_used_again_and_returned_when_idle() -> None:
    kept, first, second, returned, apart, returned_apart, after = run()
    if not kept:
        pytest.skip("this C library has no such options")
    assert second < first / 4, "the kernel clears few pages again"
    assert returned > 30
    assert apart > 100_000 and returned_apart > 30, "large blocks are mapped anew and returned at once"
    assert after < first / 4


def test_a_users_own_options_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert keep_freed_memory() is False
