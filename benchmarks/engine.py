"""Compare the engine with a bare diffusers loop on the same weights, on this machine's CPU: `python -m benchmarks.engine`.

Both render the same stream of mixed requests, taking turns in one run, so the ratios hold on a machine that is not quiet.
Then jobs run through a whole farm, one at a time: its overhead over the pipeline's time (`benchmarks.farm_overhead`).
Prints JSON. Weights are random: only times are meaningful.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.farm_overhead import SIDE, STEPS, jobs_through_a_farm
from core.render import RenderRequest
from worker.engine.client import EngineClient
from worker.engine.messages import Canceled, EngineEvent, Ready, Rendered, RequestFailed, Started, Step
from worker.engine.spec import EngineSpec

MIXES = {
    "tiny": [(256, 8), (256, 4), (384, 6), (512, 4), (256, 8), (384, 4)],
    "mid": [(256, 4), (256, 3), (320, 3)],
}
"""(side in pixels, steps) of a stream's requests, in order."""
TIMEOUT_SECONDS = 900.0


@dataclass
class Bench:
    """An engine with its events' times; `wait` blocks for one of them."""

    client: EngineClient
    times: dict[tuple[str, str], float] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))

    @classmethod
    def start(cls, spec: EngineSpec) -> Bench:
        bench = cls(client=None)  # type: ignore[arg-type]
        bench.client = EngineClient(spec, bench.note)
        bench.client.start()
        bench.wait(Ready, "")
        return bench

    def note(self, event: EngineEvent) -> None:
        with self.changed:
            self.times.setdefault((type(event).__name__, getattr(event, "request_id", "")), time.perf_counter())
            self.changed.notify_all()
        if isinstance(event, RequestFailed):
            print("FAILED", event)
        if isinstance(event, Rendered):
            self.slots.release()

    def wait(self, kind: type[EngineEvent], request_id: str) -> float:
        key = (kind.__name__, request_id)
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.times, TIMEOUT_SECONDS), key
            return self.times[key]

    def stream(self, requests: list[RenderRequest], in_flight: int) -> tuple[float, list[float]]:
        """Return seconds for all, and for each from submit to rendered, with at most `in_flight` in the engine."""
        self.slots = threading.Semaphore(in_flight)
        started = time.perf_counter()
        submitted = {}
        for request in requests:
            self.slots.acquire()
            submitted[request.id] = time.perf_counter()
            self.client.submit(request)
        each = [self.wait(Rendered, request_id) - at for request_id, at in submitted.items()]
        return time.perf_counter() - started, each


def stock_stream(pipeline: Any, requests: list[RenderRequest]) -> tuple[float, list[float]]:  # noqa: ANN401 - diffusers'
    """Render the same requests through the pipeline, one after another, as a script would."""
    import torch

    each = []
    started = time.perf_counter()
    for request in requests:
        at = time.perf_counter()
        pipeline(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=0.0,
            generator=torch.Generator("cpu").manual_seed(request.seed),
        ).images[0].tobytes()
        each.append(time.perf_counter() - at)
    return time.perf_counter() - started, each


def make_requests(mix: list[tuple[int, int]], count: int, label: str) -> list[RenderRequest]:
    """Build requests with new prompts, so that neither side profits from caches."""
    return [
        RenderRequest(
            id=f"{label}/1/{index}",
            prompt=f"{label} a lighthouse at dusk, no. {index:03d}",
            width=side,
            height=side,
            num_inference_steps=steps,
            seed=index,
        )
        for index, (side, steps) in ((index, mix[index % len(mix)]) for index in range(count))
    ]


def build_weights(size: str, directory: Path) -> None:
    """Write a Z-Image of that size in diffusers' layout."""
    import torch
    from diffusers import ZImageTransformer2DModel

    from worker.models.tiny_models.z_image import HIDDEN, tiny_z_image

    torch.manual_seed(0)
    pipeline = tiny_z_image()
    if size == "mid":
        pipeline.transformer = ZImageTransformer2DModel(
            dim=512,
            n_layers=6,
            n_refiner_layers=1,
            n_heads=4,
            n_kv_heads=4,
            cap_feat_dim=HIDDEN,
            axes_dims=[32, 48, 48],
            axes_lens=[1536, 512, 512],
        ).eval()
    pipeline.save_pretrained(str(directory))


def cancel_seconds(bench: Bench, count: int) -> list[float]:
    """Return seconds from calling cancel to the event that reports the request's memory as freed."""
    taken = []
    for request in make_requests([(512, 100)], count, "cancel"):
        bench.client.submit(request)
        bench.wait(Started, request.id)
        bench.wait(Step, request.id)
        at = time.perf_counter()
        bench.client.cancel(request.id)
        taken.append(bench.wait(Canceled, request.id) - at)
    return taken


def measure(size: str, count: int, rounds: int, directory: Path) -> dict[str, Any]:
    """Measure one model size; bare loop and engine take turns."""
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()
    folder = directory / size
    build_weights(size, folder)
    spec = EngineSpec("z-image-turbo", "cpu", "auto", directory / "none", 4, 900, 900, {"z-image-turbo": folder})
    bench = Bench.start(spec)
    info = bench.client.info
    assert info is not None
    pipeline = DiffusionPipeline.from_pretrained(str(folder), dtype=getattr(__import__("torch"), info.dtype))
    pipeline.set_progress_bar_config(disable=True)
    found: dict[str, list[float]] = {"bare": [], "engine_1": [], "engine_4": []}
    added: list[float] = []
    for turn in range(rounds + 1):
        bare_requests = make_requests(MIXES[size], count, f"{size}{turn}b")
        bare, bare_each = stock_stream(pipeline, bare_requests)
        one, one_each = bench.stream(make_requests(MIXES[size], count, f"{size}{turn}e"), 1)
        four, _ = bench.stream(make_requests(MIXES[size], count, f"{size}{turn}f"), 4)
        if turn:  # The first turn warms up both sides.
            for name, seconds in (("bare", bare), ("engine_1", one), ("engine_4", four)):
                found[name].append(count / seconds)
            added += [engine - stock for engine, stock in zip(one_each, bare_each, strict=True)]
    canceled = cancel_seconds(bench, 5)
    memory = resident_megabytes(info.process_id)
    bench.client.stop(10)
    per_second = {name: statistics.median(values) for name, values in found.items()}
    ratios = {
        name: statistics.median(mine / bare for mine, bare in zip(found[name], found["bare"], strict=True))
        for name in ("engine_1", "engine_4")
    }
    return {
        "dtype": info.dtype,
        "token_budget": info.token_budget,
        "images_per_second": rounded(per_second),
        "ratio_to_bare_loop": rounded(ratios),
        "added_seconds_per_image": rounded({"p50": statistics.median(added), "p99": percentile(added, 0.99)}),
        "cancel_to_free_seconds": rounded({"p50": statistics.median(canceled), "max": max(canceled)}),
        "engine_resident_megabytes": memory,
    }


def added_by_farm(jobs: int, directory: Path) -> dict[str, Any]:
    """Return seconds of each stage of a job; `added` is all time outside of the pipeline."""
    times = jobs_through_a_farm(jobs, directory)
    found: dict[str, Any] = {"model": "demo", "side": SIDE, "steps": STEPS, "jobs": jobs}
    for name in ("added", "submit", "total", "pipeline"):
        seconds = [getattr(each, name) for each in times]
        found[f"{name}_seconds"] = rounded({"p50": statistics.median(seconds), "p99": percentile(seconds, 0.99)})
    return found


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def resident_megabytes(process_id: int) -> int:
    import psutil

    return int(psutil.Process(process_id).memory_info().rss / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=["tiny", "mid"], choices=list(MIXES))
    parser.add_argument("--count", type=int, default=6, help="requests in a stream")
    parser.add_argument("--rounds", type=int, default=8, help="measured turns of each side")
    parser.add_argument("--farm-jobs", type=int, default=50, help="jobs through a whole farm; 0 to skip them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for size in arguments.sizes:
            result = measure(size, arguments.count, arguments.rounds, Path(directory))
            print(json.dumps({"size": size, **result}, indent=1), flush=True)
        if arguments.farm_jobs:
            print(json.dumps({"farm": added_by_farm(arguments.farm_jobs, Path(directory))}, indent=1), flush=True)


if __name__ == "__main__":
    main()
