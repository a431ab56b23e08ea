"""A full-size Z-Image on a CUDA card, with random weights made there: speed against stock diffusers, and peaks by tier.

    python -m benchmarks.gpu speed  [--sizes 512 768 1024] [--no-compile]
    python -m benchmarks.gpu memory [--tier int8-lean] [--cap 8]

Each call is meant to end within ten minutes. Exits with 2 and a message where there is no CUDA device. `--rehearse`
runs a tiny model on the CPU instead: it checks this script, and its figures mean nothing. Prints JSON, a line each.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.catalogue import load_catalogue
from core.render import RenderRequest
from worker.engine.events import EngineInfo, Rendered, RequestFailed
from worker.engine.finishing import Finisher
from worker.engine.inbox import Inbox
from worker.engine.loop import Loop
from worker.engine.messages import Channel, Stop, Submit
from worker.engine.outbox import Outbox
from worker.engine.pacing import Pacer
from worker.memory.apply import apply_tier
from worker.memory.quantize import quantize
from worker.memory.sizes import role_of
from worker.memory.tiers import Tier, tier_named
from worker.models.twins.tokenizers import qwen_tokenizer
from worker.models.twins.z_image import z_image_twin
from worker.pipelines.adapters import Adapters
from worker.pipelines.loaded import Loaded
from worker.pipelines.tuning import compile_and_try, warm_up
from worker.pipelines.z_image.family import ZImageFamily

STEPS = 8
TFLOP_PER_IMAGE = {512: 103.0, 768: 237.0, 1024: 445.0}
"""Of the transformer alone, 8 steps without guidance."""
GIB = 2**30
GOAL_PEAK_GB = 7.5


def full_size(device: torch.device, dtype: torch.dtype) -> Any:  # noqa: ANN401 - a diffusers pipeline
    """ZImagePipeline in its published shape, random weights, made on the device."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = qwen_tokenizer()
    old = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            transformer = ZImageTransformer2DModel(axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512])
            text_encoder = Qwen3Model(
                Qwen3Config(
                    vocab_size=151936,
                    hidden_size=2560,
                    intermediate_size=9728,
                    num_hidden_layers=36,
                    num_attention_heads=32,
                    num_key_value_heads=8,
                    head_dim=128,
                    max_position_embeddings=40960,
                )
            )
            vae = AutoencoderKL(
                latent_channels=16,
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                scaling_factor=0.3611,
                shift_factor=0.1159,
                use_quant_conv=False,
                use_post_quant_conv=False,
            )
    finally:
        torch.set_default_dtype(old)
    for parameter in transformer.parameters():  # Small enough that 8 steps of noise stay finite.
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.01)
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False),
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )


def family_of(pipeline: Any, device: torch.device, text_device: torch.device) -> ZImageFamily:  # noqa: ANN401
    model = load_catalogue().get("z-image-turbo")
    adapters = Adapters(pipeline, Path(tempfile.gettempdir()) / "no-adapters-here")
    return ZImageFamily(Loaded(pipeline, model, device, text_device, adapters))


class AdmitAll:
    """The benchmark decides itself how much is in flight."""

    def admits(self, request: RenderRequest, active: object) -> bool:
        return True


class LocalEngine:
    """The engine's own loop on a thread of this process; messages cross a socket pair as they always do."""

    def __init__(self, family: ZImageFamily, device: torch.device, capacity: int, token_budget: int) -> None:
        info = EngineInfo("z-image-turbo", "z-image", str(device), "", "", "", capacity, token_budget, "native", 0.0, 0)
        ours, theirs = socket.socketpair()
        self._channel, engine_side = Channel.over(ours), Channel.over(theirs)
        self._outbox = Outbox(engine_side)
        self._finisher = Finisher(family, info, self._outbox, device, overlapped=device.type == "cuda")
        inbox = Inbox(engine_side)
        loop = Loop(family, info, AdmitAll(), Pacer(device), self._finisher, inbox, self._outbox)
        self._thread = threading.Thread(target=loop.run, daemon=True)
        self._thread.start()

    def render(self, requests: list[RenderRequest], in_flight: int) -> float:
        """Seconds for all, with at most `in_flight` submitted and not rendered."""
        began, waiting, running = time.perf_counter(), list(requests), 0
        while waiting or running:
            while waiting and running < in_flight:
                self._channel.send(Submit(waiting.pop(0)))
                running += 1
            event = self._channel.receive()
            if isinstance(event, RequestFailed):
                raise RuntimeError(event.message)
            running -= isinstance(event, Rendered)
        return time.perf_counter() - began

    def stop(self) -> None:
        self._channel.send(Stop())
        self._thread.join()
        self._finisher.close()
        self._outbox.close()


def make_requests(side: int, count: int, label: str) -> list[RenderRequest]:
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


def stock_seconds(pipeline: Any, requests: list[RenderRequest]) -> float:  # noqa: ANN401
    began = time.perf_counter()
    for request in requests:
        pipeline(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=STEPS,
            guidance_scale=0.0,
            generator=torch.Generator("cpu").manual_seed(request.seed),
        ).images[0].tobytes()
    return time.perf_counter() - began


def speed(arguments: argparse.Namespace, device: torch.device, pipeline: Any) -> None:  # noqa: ANN401
    """Stock first, while the blocks are as they come; then the engine, compiled where asked."""
    pipeline.set_progress_bar_config(disable=True)
    stock = {
        side: timed(partial(stock_seconds, pipeline, make_requests(side, arguments.count, "s"))) for side in arguments.sizes
    }
    family = family_of(pipeline, device, device)
    compiled = "false"
    if not arguments.no_compile:
        model = load_catalogue().get("z-image-turbo")
        began = time.perf_counter()
        compiled = compile_and_try(pipeline, lambda: warm_up(family, model, lambda stage, fraction: None))
        report({"compile_and_warm_up_seconds": time.perf_counter() - began, "compiled_blocks": compiled})
    engine = LocalEngine(family, device, arguments.in_flight, arguments.token_budget)
    for side in arguments.sizes:
        alone = timed(partial(engine.render, make_requests(side, arguments.count, "a"), 1))
        loaded = timed(partial(engine.render, make_requests(side, arguments.count * 2, "l"), arguments.in_flight))
        floor = TFLOP_PER_IMAGE.get(side, 0.0) / arguments.tflops
        report(
            {
                "size": side,
                "compiled_blocks": compiled,
                "stock_seconds_per_image": stock[side] / arguments.count,
                "engine_alone_seconds_per_image": alone / arguments.count,
                "engine_loaded_images_per_second": arguments.count * 2 / loaded,
                "ratio_to_stock_loaded": stock[side] * 2 / loaded,
                "floor_seconds_per_image": floor,
            }
        )
    engine.stop()


def timed(run: Callable[[], float]) -> float:
    """The median of three, after one that does not count."""
    run()
    return statistics.median(run() for _ in range(3))


def memory(arguments: argparse.Namespace, device: torch.device, pipeline: Any) -> None:  # noqa: ANN401
    """Peak device memory of one tier, with this process capped."""
    tier = tier_named(arguments.tier)
    if tier is None:
        raise SystemExit(f"no tier is called {arguments.tier}")
    is_cuda = device.type == "cuda"
    place(pipeline, tier, device)
    if is_cuda:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(arguments.cap * 1e9 / total, 1.0), device)
    text_device = torch.device("cpu") if tier.text_place == "cpu" else device
    family = family_of(pipeline, device, text_device)
    for side in arguments.sizes:
        if is_cuda:
            torch.cuda.reset_peak_memory_stats(device)
        engine = LocalEngine(family, device, 1, tier.token_budget)
        seconds = engine.render(make_requests(side, 1, f"m{side}"), 1)
        engine.stop()
        peak = torch.cuda.max_memory_reserved(device) / 1e9 if is_cuda else 0.0
        report(
            {
                "tier": tier.name,
                "cap_gigabytes": arguments.cap,
                "size": side,
                "peak_gigabytes": peak,
                "within_goal_of_8_gb_cards": peak <= GOAL_PEAK_GB,
                "first_image_seconds": seconds,
            }
        )


def place(pipeline: Any, tier: Tier, device: torch.device) -> None:  # noqa: ANN401
    """What the loader does from disk, from what is in memory."""
    pipeline.to("cpu")
    for name, module in pipeline.components.items():
        form = {"denoiser": tier.denoiser, "text": tier.text, "vae": "native"}[role_of(name)] if is_module(module) else ""
        if form in ("int8", "int4"):
            quantize(module, form, torch.bfloat16)
    apply_tier(pipeline, tier, device, lambda fraction: None)


def is_module(component: object) -> bool:
    return isinstance(component, torch.nn.Module)


def report(figures: dict[str, Any]) -> None:
    print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in figures.items()}), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 768, 1024])
    parser.add_argument("--count", type=int, default=4, help="images in one measurement")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--token-budget", type=int, default=8192)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--tflops", type=float, default=790.0, help="what the card reaches in bf16, for the floor")
    parser.add_argument("--tier", default="int8-lean")
    parser.add_argument("--cap", type=float, default=8.0, help="gigabytes this process may take")
    parser.add_argument("--rehearse", action="store_true")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    if arguments.rehearse:
        device, pipeline = torch.device("cpu"), z_image_twin()
    elif not torch.cuda.is_available():
        print("No CUDA device: these figures need one. --rehearse only checks the script.", file=sys.stderr)
        return 2
    else:
        device = torch.device("cuda:0")
        report({"card": torch.cuda.get_device_name(device), "torch": torch.__version__})
        pipeline = full_size(device, torch.bfloat16)
    {"speed": speed, "memory": memory}[arguments.what](arguments, device, pipeline)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
