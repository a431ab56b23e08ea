"""A full-size Z-Image on a CUDA card, with random weights written to a temporary folder and loaded as a user's would be.

    python -m benchmarks.gpu speed  [--tier int8] [--sizes 512 768 1024] [--no-compile] [--engine attention_backend=...]
    python -m benchmarks.gpu memory [--cap 6 7.5 8 12 16] [--tier int8-lean]
    python -m benchmarks.gpu load   [--tier int8] [--stored bfloat16]

speed: stock diffusers, then the engine in one tier. memory: peaks, in the tier that `auto` chooses for each cap.
load: seconds to convert and to load each form of the weights, without compiling; it needs some 50 GB of disk, the
others 45 GB at most. Each call is meant to end within ten minutes; where the disk is slow, name one --tier a call.
Exits with 2 and a message where there is no CUDA device. `--rehearse` runs a tiny model on the CPU instead: it checks
this script, and its figures mean nothing. Prints JSON, a line each.
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
from benchmarks.gpu.local_engine import free_device
from benchmarks.gpu.memory import memory
from benchmarks.gpu.report import report
from benchmarks.gpu.speed import speed
from benchmarks.gpu.weights import write_full_size, write_twin
from core.errors import FarmError
from worker.device.dtypes import DTYPES
from worker.engine.spec import EngineSpec
from worker.models.libraries import silence_libraries

MEASUREMENTS = {"speed": speed, "memory": memory, "load": load}


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """From the command line unless `words` are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASUREMENTS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 768, 1024], help="sides in pixels; load: the first")
    parser.add_argument("--count", type=int, default=4, help="images in one measurement of speed alone")
    parser.add_argument("--in-flight", type=int, default=16, help="requests under load, of which three times as many come")
    parser.add_argument("--tier", help="of memory; default: auto (load: the best one for each form)")
    parser.add_argument(
        "--engine", nargs="+", type=spec_field, default=[], metavar="NAME=VALUE", help="more of the engine's spec"
    )
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-stock", action="store_true", help="speed: leave stock diffusers out")
    parser.add_argument("--tflops", type=float, default=790.0, help="what the card reaches in bf16, for the floor")
    parser.add_argument("--cap", nargs="+", type=float, default=[6.0, 7.5, 8.0, 12.0, 16.0], help="gigabytes, one run each")
    parser.add_argument(
        "--stored", choices=["bfloat16", "float32"], help="transformer on disk; load: float32, as the hub has"
    )
    parser.add_argument("--weights", type=Path, help="keep the random weights here, for the next call to find them")
    parser.add_argument("--rehearse", action="store_true")
    return parser.parse_args(words)


def spec_field(text: str) -> tuple[str, str]:
    """`name=value`, where the engine's spec has such a field."""
    name, _, value = text.partition("=")
    known = [field.name for field in fields(EngineSpec)]
    if name not in known:
        raise argparse.ArgumentTypeError(f"the engine's spec has no {name}; it has {', '.join(known)}")
    return name, value


def run(arguments: argparse.Namespace, device: torch.device, folder: Path) -> None:
    """Write the weights under `folder`, then measure."""
    stored = arguments.stored or ("float32" if arguments.what == "load" else "bfloat16")
    began = time.perf_counter()
    weights = (arguments.weights or folder) / f"weights-{stored}"
    if arguments.rehearse:
        write_twin(weights)
    elif not (weights / "model_index.json").is_file():
        write_full_size(weights, device, DTYPES[stored])
    free_device()
    report({"writing_weights_seconds": time.perf_counter() - began})
    without = {"compile_blocks": "false"} if arguments.no_compile or arguments.what == "load" else {}
    bench = Bench(weights, folder / "models", device, without | dict(arguments.engine))
    MEASUREMENTS[arguments.what](arguments, bench)


def main() -> int:
    arguments = parse()
    if not (arguments.rehearse or torch.cuda.is_available()):
        print("No CUDA device: these figures need one. --rehearse only checks the script.", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # To stderr: what was tried while tuning, and how fast.
    silence_libraries()
    device = torch.device("cpu") if arguments.rehearse else torch.device("cuda:0")
    name = "a rehearsal on the CPU" if arguments.rehearse else torch.cuda.get_device_name(device)
    report({"card": name, "torch": torch.__version__})
    with tempfile.TemporaryDirectory(prefix="imagefarm-gpu-") as folder:
        try:
            run(arguments, device, Path(folder))
        except FarmError as error:
            print(error.message, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
