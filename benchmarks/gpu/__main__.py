"""Benchmark a full-size Z-Image on a CUDA device, with random weights in a temporary folder, loaded like a user's.

    python -m benchmarks.gpu speed  [--tier int8] [--sizes 512 768 1024] [--no-compile] [--engine attention_backend=...]
    python -m benchmarks.gpu memory [--cap 6 7.5 8 12 16] [--tier int8-lean]
    python -m benchmarks.gpu load   [--tier int8] [--stored bfloat16]
    python -m benchmarks.gpu packed [--sizes 512 768 1024]

speed: stock diffusers, then the engine in one tier. memory: peaks, in the tier that `auto` chooses for each cap.
load: seconds to convert and to load each form of the weights, without compiling; it needs some 50 GB of disk, the
others 45 GB at most. packed: the transformer from a Q8_0 GGUF file and from an
fp8 file, peaks and seconds a step. Each call should end within ten minutes; on a slow disk, pass one --tier per call.
Exits with 2 and a message if there is no CUDA device. `--dry-run` runs a tiny model on the CPU instead: it checks
this script, and its figures have no meaning. Prints one JSON object per line.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.load import load
from benchmarks.gpu.memory import memory
from benchmarks.gpu.packed import packed
from benchmarks.gpu.report import report
from benchmarks.gpu.speed import speed
from benchmarks.gpu.weights import write_full_size, write_tiny_model
from core.errors import FarmError
from worker.device.dtypes import DTYPES
from worker.device.torch_device import free_cached_memory
from worker.engine.spec import EngineSpec
from worker.models.libraries import silence_libraries

MEASUREMENTS = {"speed": speed, "memory": memory, "load": load, "packed": packed}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse `arguments`, or the command line if None."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASUREMENTS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 768, 1024], help="sides in pixels; load: the first")
    parser.add_argument("--count", type=int, default=4, help="images per measurement with one request in flight")
    parser.add_argument("--in-flight", type=int, default=16, help="requests in flight under load; 3x as many are sent")
    parser.add_argument("--tier", help="memory tier; default: auto (load: the best one for each form)")
    parser.add_argument(
        "--engine", nargs="+", type=spec_field, default=[], metavar="NAME=VALUE", help="further fields of the engine's spec"
    )
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-stock", action="store_true", help="speed: skip stock diffusers")
    parser.add_argument("--tflops", type=float, default=790.0, help="bf16 throughput of the GPU, for the lower bound")
    parser.add_argument("--cap", nargs="+", type=float, default=[6.0, 7.5, 8.0, 12.0, 16.0], help="gigabytes, one run each")
    parser.add_argument(
        "--stored",
        choices=["bfloat16", "float32"],
        help="the transformer's dtype on disk; default: bfloat16, for load float32 as on the hub",
    )
    parser.add_argument("--weights", type=Path, help="keep the random weights in this folder and reuse them")
    parser.add_argument("--dry-run", action="store_true", help="run a tiny model on the CPU, to check this script")
    return parser.parse_args(arguments)


def spec_field(text: str) -> tuple[str, str]:
    """Parse `name=value`, where name is a field of the engine's spec."""
    name, _, value = text.partition("=")
    known = [field.name for field in fields(EngineSpec)]
    if name not in known:
        raise argparse.ArgumentTypeError(f"the engine's spec has no {name}; it has {', '.join(known)}")
    return name, value


def run(arguments: argparse.Namespace, device: torch.device, folder: Path) -> None:
    """Write the weights under `folder`, then measure."""
    stored = arguments.stored or ("float32" if arguments.what == "load" else "bfloat16")
    started = time.perf_counter()
    weights = (arguments.weights or folder) / f"weights-{stored}"
    if arguments.dry_run:
        write_tiny_model(weights)
    elif not (weights / "model_index.json").is_file():
        write_full_size(weights, device, DTYPES[stored])
    free_cached_memory()
    report({"writing_weights_seconds": time.perf_counter() - started})
    uncompiled = {"compile_blocks": "false"} if arguments.no_compile or arguments.what == "load" else {}
    bench = Bench(weights, folder / "models", device, uncompiled | dict(arguments.engine))
    MEASUREMENTS[arguments.what](arguments, bench)


def main() -> int:
    arguments = parse()
    if not (arguments.dry_run or torch.cuda.is_available()):
        print("No CUDA device: these figures need one. --dry-run checks the script without one.", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # To stderr: the tuning trials and their times.
    silence_libraries()
    device = torch.device("cpu") if arguments.dry_run else torch.device("cuda:0")
    name = "dry run on the CPU" if arguments.dry_run else torch.cuda.get_device_name(device)
    report({"device": name, "torch": torch.__version__})
    with tempfile.TemporaryDirectory(prefix="imagefarm-gpu-") as folder:
        try:
            run(arguments, device, Path(folder))
        except FarmError as error:
            print(error.message, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
