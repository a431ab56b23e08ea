"""Compare a Z-Image transformer from a Q8_0 GGUF file with its bf16 and int8 forms, at full size on this machine's CPU.

    python -m benchmarks.gguf FOLDER [--side 512] [--steps 2] [--forms q8_0 int8 bf16]

Writes random weights into FOLDER (25 GB) and deletes them at the end, unless --keep is passed. Each form is loaded and
run in a process of its own, one after another. Prints one line of JSON for each. `step_seconds`: the first step also reads
the mapped weights from disk. `anonymous_gb` is memory that cannot be dropped; mapped pages of the file come on top of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

FORMS = ("q8_0", "int8", "bf16")
TILE = 2**22
"""Random numbers that all matrices are repeated from."""
CAPTION = (32, 2560)
GIGABYTE = 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=512, help="pixels, a multiple of 16")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--one", choices=FORMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.folder, arguments.side, arguments.steps)), flush=True)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        compare(arguments)
    finally:
        if not arguments.keep:
            for name in ("z_image.gguf", "whole", "models"):
                remove(arguments.folder / name)


def compare(arguments: argparse.Namespace) -> None:
    for form in arguments.forms:
        write(form, arguments.folder)
        if form == "int8":
            load(form, arguments.folder)  # Makes the packed copy, which later loads map.
        options = ["--side", str(arguments.side), "--steps", str(arguments.steps), "--one", form]
        subprocess.run([sys.executable, "-m", "benchmarks.gguf", str(arguments.folder), *options], check=True)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write(form: str, folder: Path) -> None:
    """Write the weights that a form is loaded from, unless they are there."""
    whole = folder / "whole"
    write_configs(whole)
    if form == "q8_0":
        if not (folder / "z_image.gguf").exists():
            write_gguf(folder / "z_image.gguf", empty_transformer())
    elif not (whole / "transformer" / "diffusion_pytorch_model.safetensors").exists():
        write_bf16(whole / "transformer" / "diffusion_pytorch_model.safetensors", empty_transformer())


def empty_transformer(configs: Path | None = None) -> Any:  # noqa: ANN401 - a diffusers model
    """Return Z-Image's transformer on the meta device, in its published shape or in that of a folder's configuration."""
    import torch
    from diffusers import ZImageTransformer2DModel

    with torch.device("meta"):
        if configs:
            return ZImageTransformer2DModel.from_config(ZImageTransformer2DModel.load_config(str(configs / "transformer")))
        return ZImageTransformer2DModel(axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512])


def write_configs(whole: Path) -> None:
    (whole / "transformer").mkdir(parents=True, exist_ok=True)
    empty_transformer().save_config(str(whole / "transformer"))
    index = {"_class_name": "ZImagePipeline", "transformer": ["diffusers", "ZImageTransformer2DModel"]}
    (whole / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def published(model: Any) -> Iterator[tuple[str, tuple[int, ...]]]:  # noqa: ANN401 - a diffusers model
    """Yield the names and shapes of published files, in which queries, keys and values are one matrix."""
    for name, parameter in model.named_parameters():
        own = name.replace("all_final_layer.2-1.", "final_layer.").replace("all_x_embedder.2-1.", "x_embedder.")
        own = own.replace(".to_out.0.", ".out.").replace(".norm_q.", ".q_norm.").replace(".norm_k.", ".k_norm.")
        shape = tuple(parameter.shape)
        if ".to_q." in own:
            yield own.replace("to_q", "qkv"), (3 * shape[0], shape[1])
        elif ".to_k." not in own and ".to_v." not in own:
            yield own, shape


def write_gguf(file: Path, model: Any) -> None:  # noqa: ANN401 - a diffusers model
    """Write a transformer under its published names."""
    write_q8(file, dict(published(model)), "lumina2")


def write_q8(file: Path, tensors: dict[str, tuple[int, ...]], architecture: str) -> None:
    """Write Q8_0 where rows hold whole blocks, F32 elsewhere, without holding more than one tensor."""
    import gguf
    import numpy as np

    kind = gguf.GGMLQuantizationType.Q8_0
    block, size = gguf.GGML_QUANT_SIZES[kind]
    random = (np.random.default_rng(0).standard_normal(TILE) * 0.01).astype(np.float32)
    tile = gguf.quants.quantize(random.reshape(-1, 256), kind).reshape(-1)
    packed = {name for name, shape in tensors.items() if len(shape) == 2 and shape[1] % block == 0 and "pad" not in name}
    writer = gguf.GGUFWriter(str(file), architecture)
    for name, shape in tensors.items():
        if name in packed:
            stored = (*shape[:-1], shape[-1] // block * size)
            writer.add_tensor_info(name, stored, np.dtype(np.uint8), prod(stored), raw_dtype=kind)
        else:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * prod(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in tensors.items():
        if name in packed:
            writer.write_tensor_data(np.resize(tile, prod(shape) // block * size))
        else:
            writer.write_tensor_data(np.ones(shape, np.float32) if "norm" in name else np.resize(random, shape))
    writer.close()


def write_bf16(file: Path, model: Any) -> None:  # noqa: ANN401 - a diffusers model
    """Write bf16 safetensors, without holding more than one tensor."""
    import torch

    from worker.memory.weight_files import Layout, TensorFile

    tile = (torch.randn(TILE, generator=torch.Generator().manual_seed(0)) * 0.01).bfloat16()
    layouts = {name: Layout(torch.bfloat16, tuple(each.shape)) for name, each in model.named_parameters()}
    with TensorFile(file, layouts) as written:
        for name, layout in layouts.items():
            count = prod(layout.shape)
            values = torch.ones(count) if "norm" in name else tile.repeat(-(-count // TILE))[:count]
            written.put(name, values.bfloat16().reshape(layout.shape))


def write_fp8(file: Path, model: Any) -> None:  # noqa: ANN401 - a diffusers model
    """Write plain fp8 matrices, the rest in bf16, without holding more than one tensor."""
    import torch

    from worker.memory.weight_files import Layout, TensorFile

    random = torch.randn(TILE, generator=torch.Generator().manual_seed(0)) * 0.01
    tensors = dict(published(model))
    packed = {name for name, shape in tensors.items() if len(shape) == 2 and "pad" not in name}
    dtypes = {name: torch.float8_e4m3fn if name in packed else torch.bfloat16 for name in tensors}
    with TensorFile(file, {name: Layout(dtypes[name], shape) for name, shape in tensors.items()}) as written:
        for name, shape in tensors.items():
            count = prod(shape)
            values = torch.ones(count) if "norm" in name else random.repeat(-(-count // TILE))[:count]
            written.put(name, values.to(dtypes[name]).reshape(shape))


def load(form: str, folder: Path) -> Any:  # noqa: ANN401 - a diffusers model
    """Load as a worker does."""
    import torch

    from core.catalogue import ModelPaths
    from core.catalogue.weight_file import WeightFile
    from worker.memory.tiers import tier_named
    from worker.models.single_files.gguf import load_gguf
    from worker.models.tier_reader import TierReader

    whole, path = folder / "whole", folder / "z_image.gguf"
    if form == "q8_0":
        size = path.stat().st_size
        file = WeightFile(path, "component", "gguf", ("z-image",), ("transformer",), "Q8_0", size, "")
        return load_gguf("transformer", file, whole, torch.bfloat16)
    tier = tier_named("cpu-int8" if form == "int8" else "cpu")
    assert tier is not None
    reader = TierReader("z-image-turbo", tier, torch.bfloat16, ModelPaths(folder / "models", {}, folder), lambda _: None)
    return reader.load(whole / "transformer", "diffusers", "ZImageTransformer2DModel")


def measure(form: str, folder: Path, side: int, steps: int) -> dict[str, Any]:
    """Return the figures of one form."""
    import torch

    from worker.device.torch_device import use_all_cores
    from worker.models.libraries import silence_libraries

    silence_libraries()
    use_all_cores()
    started = time.perf_counter()
    model = load(form, folder)
    load_seconds = time.perf_counter() - started
    tensors = [*model.parameters(), *model.buffers()]
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(16, 1, side // 8, side // 8, generator=generator).bfloat16()
    caption = torch.randn(*CAPTION, generator=generator).bfloat16()
    seconds = []
    with torch.no_grad():
        for step in range(steps):
            at = time.perf_counter()
            (found,) = model([latents], torch.tensor([step / steps]), [caption], return_dict=False)[0]
            seconds.append(round(time.perf_counter() - at, 1))
            assert torch.isfinite(found).all()
    return {
        "form": form,
        "side": side,
        "load_seconds": round(load_seconds, 2),
        "weights_gb": round(sum(each.nbytes for each in tensors) / GIGABYTE, 2),
        "step_seconds": seconds,
        "anonymous_gb": memory("RssAnon"),
        "peak_gb": memory("VmHWM"),
        "threads": torch.get_num_threads(),
    }


def memory(field: str) -> float:
    """Return a field of this process's status, in gigabytes of 10^9 bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    row = next(line for line in lines if line.startswith(f"{field}:"))
    return round(int(row.split()[1]) * 1024 / GIGABYTE, 2)


if __name__ == "__main__":
    main()
