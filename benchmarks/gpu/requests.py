"""The pictures that are rendered, and how long that takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from core.render import RenderRequest

STEPS = 8


def make_requests(side: int, count: int, label: str) -> list[RenderRequest]:
    """`count` squares of `side` pixels, each with its own seed and prompt."""
    return [
        RenderRequest(
            id=f"{label}/1/{index}",
            prompt=f"a lighthouse at dusk {index:03d}",
            width=side,
            height=side,
            num_inference_steps=STEPS,
            seed=index,
        )
        for index in range(count)
    ]


def timed(run: Callable[[], float]) -> float:
    """The median of three, after one that does not count."""
    run()
    return statistics.median(run() for _ in range(3))
