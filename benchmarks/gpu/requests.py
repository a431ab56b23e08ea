"""The pictures that are rendered, and how long that takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import cycle, islice

from core.render import RenderRequest

STEPS = 8
ALIKE = (0,)
MIXED = (0, 1, 2, 3, 5, 8)
"""Clauses that prompts have besides the first: captions of several padded lengths, of 50 to 150 bytes, tokens here."""
CLAUSE = ", gulls, foam"


def make_requests(side: int, count: int, label: str, clauses: tuple[int, ...] = ALIKE) -> list[RenderRequest]:
    """`count` squares of `side` pixels, each with its own seed and a prompt that no other label has: it must be encoded."""
    return [
        RenderRequest(
            id=f"{label}/1/{index}",
            prompt=f"{label} {index:03d}: a lighthouse at dusk{CLAUSE * more}",
            width=side,
            height=side,
            num_inference_steps=STEPS,
            seed=index,
        )
        for index, more in enumerate(islice(cycle(clauses), count))
    ]


def timed(run: Callable[[str], float]) -> float:
    """The median of three, after one that does not count; each is told a label of its own."""
    run("0")
    return statistics.median(run(str(number)) for number in (1, 2, 3))


def rate(done: list[float], in_flight: int) -> float:
    """Pictures a second while `in_flight` were there at all times: without the beginning, and the end when none came on."""
    first, last = in_flight // 2, len(done) - in_flight
    return (last - first) / (done[last] - done[first])
