"""Measure what the OpenAI and A1111 faces add to a native job, and submits next to idle ComfyUI sockets and OpenAI streams.

IMAGEFARM_RENDERER=synthetic python -m cli up --port 7860 --data-dir /tmp/faces
python -m benchmarks.faces http://127.0.0.1:7860
"""

from __future__ import annotations

import argparse
import asyncio
import math
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx

SIDE = 64
NATIVE: dict[str, Any] = {"prompt": "a fox", "width": SIDE, "height": SIDE, "num_inference_steps": 1}
OPENAI: dict[str, Any] = {"prompt": "a fox", "size": f"{SIDE}x{SIDE}", "num_inference_steps": 1, "response_format": "url"}
A1111: dict[str, Any] = {"prompt": "a fox", "width": SIDE, "height": SIDE, "steps": 1}
GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            **{"model": ["4", 0], "positive": ["6", 0], "negative": ["6", 0], "latent_image": ["5", 0], "seed": 5},
            **{"steps": 1, "cfg": 1, "sampler_name": "euler", "scheduler": "simple", "denoise": 1},
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "demo.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": SIDE, "height": SIDE, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "a fox"}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "fox"}},
}
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


async def submit_times(client: httpx.AsyncClient, count: int, face: str) -> list[float]:
    """Return the milliseconds of submits, one after the other. `face`: native, or comfyui, whose sockets hear of each."""

    async def submit(each: httpx.AsyncClient) -> httpx.Response:
        if face == "comfyui":
            return await each.post("/prompt", json={"prompt": GRAPH})
        return await each.post("/v1/jobs", json=NATIVE)

    return [await timed(client, submit) for _ in range(count)]


class IdleSocket(asyncio.Protocol):
    """A web socket of ComfyUI's that reads and drops what it is sent."""

    def __init__(self, host: str, number: int) -> None:
        self._host, self._number = host, number
        self.accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the web socket."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            f"GET /ws?clientId=idle-{self._number} HTTP/1.1\r\nHost: {self._host}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Note that the server has accepted it."""
        if not self.accepted.done():
            self.accepted.set_result(data.startswith(b"HTTP/1.1 101"))


async def measure_submits(client: httpx.AsyncClient, url: str, options: argparse.Namespace) -> None:
    """Print p50 and p99 of submits alone and next to idle clients, in turn; the workers are paused meanwhile.

    The idle clients are `sockets` of ComfyUI's and `streams` of OpenAI's of jobs that wait.
    """
    workers = [row["name"] for row in (await client.get("/v1/workers")).json()["items"] if row["live"]]
    for name in workers:
        (await client.post(f"/v1/workers/{name}/pause")).raise_for_status()
    alone: list[float] = []
    beside: list[float] = []
    try:
        await submit_times(client, 50, options.submits_to)
        for _ in range(options.turns):
            alone += await submit_times(client, options.submits, options.submits_to)
            async with idle_clients(url, options.sockets, options.streams):
                await submit_times(client, 20, options.submits_to)
                beside += await submit_times(client, options.submits, options.submits_to)
            await asyncio.sleep(1)
    finally:
        for name in workers:
            await client.post(f"/v1/workers/{name}/resume")
    show("alone", sorted(alone))
    show(f"next to {options.sockets} ComfyUI sockets and {options.streams} OpenAI streams", sorted(beside))


@asynccontextmanager
async def idle_clients(url: str, sockets: int, streams: int) -> AsyncIterator[None]:
    """Hold open sockets and streams."""
    address = httpx.URL(url)
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = []
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=httpx.Limits(max_connections=streams + 10)) as many:  # noqa: S113
        for number in range(sockets):
            transport, socket = await loop.create_connection(
                partial(IdleSocket, address.netloc.decode(), number), address.host, address.port or 80
            )
            transports.append(transport)
            if not await socket.accepted:
                raise SystemExit("The farm refuses web sockets: is IMAGEFARM_COMFYUI on?")
        opened = [await _opened(many) for _ in range(streams)]
        yield
        for transport in transports:
            transport.close()
        for response in opened:
            await response.aclose()


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
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--submits", type=int, default=300)
    parser.add_argument("--submits-to", choices=("native", "comfyui"), default="native")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with httpx.AsyncClient(base_url=options.url, timeout=120) as client:
        if options.rounds:
            await measure_faces(client, options.rounds)
        await measure_submits(client, options.url, options)


if __name__ == "__main__":
    asyncio.run(main())
