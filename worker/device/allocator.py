"""Let the C library keep the memory that a step frees, for the next layer and the next step.

By default glibc maps each large block anew and returns it at once: the kernel then clears every page of every intermediate
result, at each use. Only glibc on Linux has these options; elsewhere nothing changes.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt, from malloc.h."""
LARGEST_KEPT = 2**30
"""Bytes up to which a block comes from the heap, which keeps it; larger ones are mapped and returned."""
LARGEST_APART = 2**25
"""The same within `large_blocks_apart`."""
LARGEST_UNUSED = 2_000_000_000
"""Bytes at the end of the heap that stay with the process."""
SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Set both thresholds for this process, unless its environment sets one; return whether they are set now."""
    libc = _glibc()
    if libc is None or any(name in os.environ for name in SET_BY_USER):
        return False
    return bool(libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(libc.mallopt(M_TRIM_THRESHOLD, LARGEST_UNUSED))


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Within the block, map large blocks anew and return them at once, beginning with what is unused now.

    For work with few but large blocks of growing size, such as the decoding of an image: kept in the heap they leave gaps
    that the next ones do not fit into.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.malloc_trim(0)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_APART)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)


def return_freed_memory() -> None:
    """Return unused memory of the heap to the kernel; takes milliseconds."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
