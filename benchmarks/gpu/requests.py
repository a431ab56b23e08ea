"""The benchmarked requests, and timing of their rendering."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import cycle, islice

from core.render import RenderRequest

STEPS = 8
EQUAL_LENGTHS = (0,)
MIXED_LENGTHS = (0, 1, 2, 3, 5, 8)
"""Extra clauses per prompt, for captions of several padded lengths: 50 to 150 bytes, and a byte is a token here."""
CLAUSE = ", gulls, foam"


def make_requests(side: int, count: int, label: str, clauses: tuple[int, ...] = EQUAL_LENGTHS) -> list[RenderRequest]:
    """Build `count` requests for squares of `side` pixels, with distinct seeds and prompts: each prompt is encoded."""
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
    """Return the median of three runs, after an unmeasured one; each run gets its own label."""
    run("0")
    return statistics.median(run(str(number)) for number in (1, 2, 3))


def rate(done: list[float], in_flight: int) -> float:
    """Return images a second while `in_flight` requests were active, without the ramp-up and the tail."""
    first, last = in_flight // 2, len(done) - in_flight
    return (last - first) / (done[last] - done[first])
