"""Measure what the OpenAI and A1111 faces add to a native job, and submits beside many open OpenAI streams.

IMAGEFARM_RENDERER=synthetic python -m cli up --port 7860 --data-dir /tmp/faces
python -m benchmarks.faces http://127.0.0.1:7860
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

SIDE = 64
NATIVE: dict[str, Any] = {"prompt": "a fox", "width": SIDE, "height": SIDE, "num_inference_steps": 1}
OPENAI: dict[str, Any] = {"prompt": "a fox", "size": f"{SIDE}x{SIDE}", "num_inference_steps": 1, "response_format": "url"}
A1111: dict[str, Any] = {"prompt": "a fox", "width": SIDE, "height": SIDE, "steps": 1}
Call = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


async def native(client: httpx.AsyncClient) -> httpx.Response:
    """Submit a job and wait for its end in one call."""
    return await client.post("/v1/jobs", json=NATIVE, headers={"Prefer": "wait=60"})


async def native_with_file(client: httpx.AsyncClient) -> httpx.Response:
    """Submit a job, wait for its end and fetch its file, as the faces' answers hold it."""
    job = (await native(client)).json()
    return await client.get(job["outputs"][0]["content_url"])


async def openai_link(client: httpx.AsyncClient) -> httpx.Response:
    """Generate with a link as the answer."""
    return await client.post("/v1/images/generations", json=OPENAI)


async def openai_base64(client: httpx.AsyncClient) -> httpx.Response:
    """Generate with base64 as the answer."""
    return await client.post("/v1/images/generations", json=OPENAI | {"response_format": "b64_json"})


async def a1111(client: httpx.AsyncClient) -> httpx.Response:
    """Generate on A1111's face."""
    return await client.post("/sdapi/v1/txt2img", json=A1111)


async def timed(client: httpx.AsyncClient, call: Call) -> float:
    """Return the milliseconds of one call."""
    start = time.perf_counter()
    (await call(client)).raise_for_status()
    return (time.perf_counter() - start) * 1000


async def measure_faces(client: httpx.AsyncClient, rounds: int) -> None:
    """Print the median of each call; they take turns, so that all meet the same machine."""
    calls = (native, native_with_file, openai_link, openai_base64, a1111)
    times: dict[str, list[float]] = {call.__name__: [] for call in calls}
    for number in range(rounds + 5):
        for call in calls:
            taken = await timed(client, call)
            if number >= 5:
                times[call.__name__].append(taken)
    for name, values in times.items():
        print(f"{name}: median {statistics.median(values):.1f} ms")


async def submit_times(client: httpx.AsyncClient, count: int) -> list[float]:
    """Return the milliseconds of native submits, one after the other."""

    async def submit(each: httpx.AsyncClient) -> httpx.Response:
        return await each.post("/v1/jobs", json=NATIVE)

    return sorted([await timed(client, submit) for _ in range(count)])


async def measure_streams(client: httpx.AsyncClient, url: str, streams: int, submits: int) -> None:
    """Print p50 and p99 of submits without and beside streams of jobs that wait; the workers are paused meanwhile."""
    workers = [row["name"] for row in (await client.get("/v1/workers")).json()["items"] if row["live"]]
    for name in workers:
        (await client.post(f"/v1/workers/{name}/pause")).raise_for_status()
    try:
        await submit_times(client, 50)
        show("alone", await submit_times(client, submits))
        async with httpx.AsyncClient(base_url=url, timeout=None, limits=httpx.Limits(max_connections=streams + 10)) as many:  # noqa: S113
            opened = [await _opened(many) for _ in range(streams)]
            show(f"beside {streams} streams", await submit_times(client, submits))
            for response in opened:
                await response.aclose()
    finally:
        for name in workers:
            await client.post(f"/v1/workers/{name}/resume")


async def _opened(client: httpx.AsyncClient) -> httpx.Response:
    request = client.build_request("POST", "/v1/images/generations", json=OPENAI | {"stream": True, "partial_images": 3})
    response = await client.send(request, stream=True)
    response.raise_for_status()
    return response


def show(name: str, times: list[float]) -> None:
    """Print p50 and p99."""
    print(f"submits {name}: p50 {statistics.median(times):.1f} ms, p99 {times[math.ceil(len(times) * 0.99) - 1]:.1f} ms")


async def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--submits", type=int, default=300)
    options = parser.parse_args()
    async with httpx.AsyncClient(base_url=options.url, timeout=120) as client:
        await measure_faces(client, options.rounds)
        await measure_streams(client, options.url, options.streams, options.submits)


if __name__ == "__main__":
    asyncio.run(main())
