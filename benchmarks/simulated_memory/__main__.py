"""Simulate the peak memory of a full-size Z-Image on a GPU: no GPU is needed, and none has confirmed the figures.

    python -m benchmarks.simulated_memory [--tier int8-lean int4-lean] [--sizes 512 768 1024] [--limit 7.5]
    python -m benchmarks.simulated_memory --tier lean --stored Q8_0 Q4_0 fp8

The real pipeline, layers and family run on torch's meta device; every allocation is counted until it is freed. Attention
is assumed to be fused, blocks uncompiled, captions of the maximum length. Gigabytes are 10^9 bytes. `reserved` is what the
allocator's pools reserve on the GPU, free blocks included; with --limit they have that much, and free segments are
released as CUDA's allocator does. Not included: the CUDA context, workspaces of cuBLAS and cuDNN, decodes on a second
stream during steps.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator

from benchmarks.gpu.weights import measured_model
from benchmarks.simulated_memory.pool import GpuFull
from benchmarks.simulated_memory.simulate import Case, Simulated, planned, simulate
from worker.device.machine import GIGABYTE
from worker.memory.stored_sizes import BLOCKS, PLAIN
from worker.memory.tiers import TIERS, Tier
from worker.models.libraries import silence_libraries

STORED = [*(kind for kind in BLOCKS if kind not in PLAIN), "fp8"]
HEADINGS = ("tier", "matmul", "px", "rows", "weights", "step", "decode", "total", "estimate", "reserved")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", nargs="+", choices=[tier.name for tier in z_image_tiers()])
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 768, 1024], help="sides in pixels")
    parser.add_argument("--stored", nargs="+", choices=STORED, default=[""], help="types of packed files, for their tiers")
    parser.add_argument("--limit", type=float, help="gigabytes that the GPU has")
    return parser.parse_args()


def z_image_tiers(stored: str | None = None) -> list[Tier]:
    """Return the tiers for a GPU; with `stored`, only those for a file of that type, which may be empty."""
    family = measured_model().family
    tiers = [tier for tier in TIERS if tier.device == "cuda" and family in (tier.families or (family,))]
    if stored is None:
        return tiers
    return [tier for tier in tiers if (tier.denoiser == "native" if stored else not tier.for_packed_files)]


def variants(tier: Tier) -> list[bool]:
    """Return whether to simulate 8-bit matmul: both ways for tiers that support them, as the engine tries both."""
    return [False, True] if tier.denoiser in ("int8", "fp8") else [False]


def lines(tier: Tier, cases: list[Case], limit: int | None, stored: str) -> Iterator[tuple[str, ...]]:
    for packed_matmul in variants(tier):
        try:
            for found in simulate(tier, cases, packed_matmul, limit, stored=stored):
                yield line(tier, packed_matmul, found, stored)
        except GpuFull as error:
            yield tier.name, stored or ("8 bits" if packed_matmul else "bf16"), f"does not fit: {error}"


def line(tier: Tier, packed_matmul: bool, found: Simulated, stored: str) -> tuple[str, ...]:
    case = found.case
    estimated = planned(tier, stored).peak(case.side, case.side, case.rows)
    figures = (found.weights, found.step, found.decode, found.total, estimated, found.reserved)
    shown = [f"{each / GIGABYTE:.3f}" for each in figures]
    return tier.name, stored or ("8 bits" if packed_matmul else "bf16"), str(case.side), str(case.rows), *shown


def main() -> None:
    arguments = parse()
    silence_libraries()
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    limit = None if arguments.limit is None else int(arguments.limit * GIGABYTE)
    cases = [*map(Case, arguments.sizes), Case(arguments.sizes[-1], rows=2)]
    print(" ".join(f"{each:>11}" for each in HEADINGS))
    pairs = [(tier, stored) for stored in arguments.stored for tier in z_image_tiers(stored)]
    for tier, stored in pairs:
        if not arguments.tier or tier.name in arguments.tier:
            for cells in lines(tier, cases, limit, stored):
                print(" ".join(f"{each:>11}" for each in cells), flush=True)


if __name__ == "__main__":
    main()
