"""A model of CUDA's caching allocator, as far as it determines reserved memory: pools, segments, split and merged blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 2**20
SMALL = MIB
"""Requests up to this size share segments of small blocks."""
SMALL_SEGMENT, LARGE_SEGMENT, SEGMENT_MULTIPLE = 2 * MIB, 20 * MIB, 2 * MIB
OWN_SEGMENT = 10 * MIB
"""Requests from this size get their own segment."""
ROUNDED = 512


def rounded(size: int) -> int:
    """Return the bytes that a request of that size takes."""
    return max(-(-size // ROUNDED), 1) * ROUNDED


def segment_size(size: int, is_small: bool) -> int:
    """Return the bytes to reserve on the GPU when no free block holds a request of that size."""
    if is_small:
        return SMALL_SEGMENT
    return LARGE_SEGMENT if size < OWN_SEGMENT else -(-size // SEGMENT_MULTIPLE) * SEGMENT_MULTIPLE


@dataclass(eq=False)
class Block:
    """A part of a segment, linked to its neighbours."""

    size: int
    is_small: bool
    is_free: bool = False
    before: Block | None = None
    after: Block | None = None


class GpuFull(MemoryError):
    """A request does not fit even after all free segments are released."""


@dataclass
class Pool:
    """`reserved`: bytes of all segments; `highest`: its peak. One stream, no expandable segments.

    `limit`: the GPU's bytes. Like CUDA's allocator, it releases free segments when a new one does not fit.
    """

    limit: int | None = None
    reserved: int = 0
    highest: int = 0
    _free: list[Block] = field(default_factory=list)

    def take(self, size: int) -> Block:
        """Return the smallest free block that holds the size, else a new segment; the remainder becomes free."""
        size = rounded(size)
        is_small = size <= SMALL
        fitting = [block for block in self._free if block.is_small == is_small and block.size >= size]
        block = min(fitting, key=lambda each: each.size) if fitting else self._segment(size, is_small)
        if block.is_free:
            self._free.remove(block)
            block.is_free = False
        if block.size - size >= (ROUNDED if is_small else SMALL + 1):
            self._split(block, size)
        return block

    def give(self, block: Block) -> None:
        """Free a block and merge it with free neighbours."""
        for side in (block.before, block.after):
            if side is not None and side.is_free:
                self._free.remove(side)
                block.size += side.size
                if side is block.before:
                    self._link(side.before, block)
                else:
                    self._link(block, side.after)
        block.is_free = True
        self._free.append(block)

    def empty_cache(self) -> None:
        """Release segments that hold nothing; `highest` restarts from there."""
        for block in [each for each in self._free if each.before is each.after is None]:
            self._free.remove(block)
            self.reserved -= block.size
        self.highest = self.reserved

    def _segment(self, size: int, is_small: bool) -> Block:
        size = segment_size(size, is_small)
        if self.limit is not None and self.reserved + size > self.limit:
            highest = self.highest
            self.empty_cache()
            self.highest = highest
            if self.reserved + size > self.limit:
                raise GpuFull(f"{size} bytes more than {self.reserved} of {self.limit}")
        self.reserved += size
        self.highest = max(self.highest, self.reserved)
        return Block(size, is_small)

    def _split(self, block: Block, size: int) -> None:
        rest = Block(block.size - size, block.is_small, is_free=True)
        block.size = size
        self._link(rest, block.after)
        self._link(block, rest)
        self._free.append(rest)

    @staticmethod
    def _link(first: Block | None, second: Block | None) -> None:
        if first is not None:
            first.after = second
        if second is not None:
            second.before = first
