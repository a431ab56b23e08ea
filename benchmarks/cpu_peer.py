"""Compare Z-Image on this CPU with stable-diffusion.cpp: full size, random weights, 8 bits, one run.

    python -m benchmarks.cpu_peer FOLDER --peer PYTHON [--isa native|avx2] [--side 512] [--steps 3] [--rounds 2]

PYTHON: the interpreter of a virtual environment of its own with stable-diffusion-cpp-python, built from PyPI:

    python -m venv native && native/bin/pip install stable-diffusion-cpp-python
    python -m venv avx2 && CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_AVX512=OFF" \\
        avx2/bin/pip install --no-cache-dir stable-diffusion-cpp-python

Writes 42 GB into FOLDER and deletes them at the end, unless --keep is passed. The engines take turns, each in a process of
its own. Prints one line of JSON for each, then the ratio of their steps. `avx2` holds this engine's libraries to AVX2 by
environment variables; the peer must be built for it. `anonymous_gb` cannot be dropped; mapped pages come on top of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.gguf import empty_transformer, memory, remove, write_bf16, write_gguf, write_q8

MODEL = "z-image-turbo"
PROMPT = "a lighthouse"
POLICIES = ("cpu-int8", "cpu")
ISA = {
    "native": {},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
"""Environments that hold oneDNN, torch's own kernels and MKL to an instruction set."""
QWEN3 = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}
VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
LLAMA_NAMES = {
    "embed_tokens.": "token_embd.",
    "layers.": "blk.",
    "input_layernorm.": "attn_norm.",
    "post_attention_layernorm.": "ffn_norm.",
    "self_attn.q_norm.": "attn_q_norm.",
    "self_attn.k_norm.": "attn_k_norm.",
    "self_attn.q_proj.": "attn_q.",
    "self_attn.k_proj.": "attn_k.",
    "self_attn.v_proj.": "attn_v.",
    "self_attn.o_proj.": "attn_output.",
    "mlp.gate_proj.": "ffn_gate.",
    "mlp.up_proj.": "ffn_up.",
    "mlp.down_proj.": "ffn_down.",
}
"""Parts of transformers' names of a Qwen3 model's tensors, and llama.cpp's in GGUF files."""
PEER = """
import json, sys, time
from pathlib import Path
from stable_diffusion_cpp import StableDiffusion
folder, side, steps, threads, prompt = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
at = time.perf_counter()
model = StableDiffusion(diffusion_model_path=f"{folder}/z_image.gguf", llm_path=f"{folder}/qwen3.gguf",
    vae_path=f"{folder}/vae.safetensors", n_threads=threads, diffusion_flash_attn=True, verbose=False)
load, times = time.perf_counter() - at, []
at = time.perf_counter()
model.generate_image(prompt=prompt, width=side, height=side, sample_steps=steps, cfg_scale=1.0, seed=1,
    progress_callback=lambda step, total, seconds: times.append(time.perf_counter()))
end = time.perf_counter()
times = times[-steps:]
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
gigabytes = lambda field: round(int(status[field].split()[0]) * 1024 / 1e9, 2)
print(json.dumps({"engine": "stable-diffusion.cpp", "load_seconds": round(load, 2),
    "prompt_and_first_step_seconds": round(times[0] - at, 2),
    "step_seconds": [round(b - a, 2) for a, b in zip(times, times[1:])], "decode_seconds": round(end - times[-1], 2),
    "image_seconds": round(end - at, 2), "anonymous_gb": gigabytes("RssAnon"), "peak_gb": gigabytes("VmHWM")}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--peer", type=Path, help="interpreter with stable-diffusion-cpp-python; without it, only this engine"
    )
    parser.add_argument("--isa", choices=tuple(ISA), default="native")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=["cpu-int8"])
    parser.add_argument("--side", type=int, default=512, help="pixels, a multiple of 16")
    parser.add_argument("--steps", type=int, default=3, help="at least 2: the first one also reads weights from disk")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--one", choices=POLICIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(ours(arguments.folder, arguments.one, arguments.side, arguments.steps)), flush=True)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        write(arguments.folder, with_peer=arguments.peer is not None)
        compare(arguments)
    finally:
        if not arguments.keep:
            for name in ("whole", "models", "z_image.gguf", "qwen3.gguf", "vae.safetensors"):
                remove(arguments.folder / name)


def compare(arguments: argparse.Namespace) -> None:
    """Let the engines take turns, and print the ratio of their median steps for each policy."""
    side, steps, folder = str(arguments.side), str(arguments.steps), str(arguments.folder)
    environment = {**os.environ, **ISA[arguments.isa]}
    commands = {
        policy: [sys.executable, "-m", "benchmarks.cpu_peer", folder, "--one", policy, "--side", side, "--steps", steps]
        for policy in arguments.policies
    }
    for command in commands.values():  # Makes the packed copy, which later runs map, and measures the CPU.
        subprocess.run([*command[:-1], "2"], check=True, env=environment, stdout=subprocess.DEVNULL)
    if arguments.peer:
        threads = str(len(os.sched_getaffinity(0)))
        commands["peer"] = [str(arguments.peer), "-c", PEER, folder, side, steps, threads, PROMPT]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
            row = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps({"isa": arguments.isa, **row}), flush=True)
            seconds[name] += row["step_seconds"]
    for policy in arguments.policies:
        if arguments.peer:
            ratio = statistics.median(seconds["peer"]) / statistics.median(seconds[policy])
            print(json.dumps({"isa": arguments.isa, "policy": policy, "times_as_fast": round(ratio, 2)}), flush=True)


def ours(folder: Path, policy: str, side: int, steps: int) -> dict[str, Any]:
    """Render one image with this engine, and return its figures; the first step is left out of `step_seconds`."""
    import torch

    from core.render import RenderRequest
    from worker.engine.builder import build_engine
    from worker.engine.spec import EngineSpec

    spec = EngineSpec(
        model=MODEL,
        device="cpu",
        memory_policy=policy,
        models_dir=folder / "models",
        capacity=0,
        step_timeout_seconds=3600,
        load_timeout_seconds=3600,
        model_folders={MODEL: folder / "whole"},
    )
    parts = build_engine(spec, lambda _stage, _fraction: None)
    request = RenderRequest(
        id="peer/1/0",
        prompt=PROMPT,
        width=side,
        height=side,
        num_inference_steps=steps,
        guidance_scale=1.0,
        seed=1,
    )
    times = [time.perf_counter()]
    conditioning = parts.family.encode(request)
    times.append(time.perf_counter())
    sample = parts.family.start(request, conditioning, b"")
    for _ in range(steps):
        parts.family.step([sample])
        times.append(time.perf_counter())
    with parts.around_decode():
        parts.family.decode(sample)
    times.append(time.perf_counter())
    spans = [round(after - before, 2) for before, after in pairwise(times)]
    return {
        "engine": f"imagefarm {policy}",
        "dtype": parts.info.dtype,
        "matmul": parts.info.versions["matmul"],
        "load_seconds": round(parts.info.load_seconds, 2),
        "prompt_seconds": spans[0],
        "first_step_seconds": spans[1],
        "step_seconds": spans[2:-1],
        "decode_seconds": spans[-1],
        "image_seconds": round(times[-1] - times[0], 2),
        "anonymous_gb": memory("RssAnon"),
        "peak_gb": memory("VmHWM"),
        "threads": torch.get_num_threads(),
    }


def write(folder: Path, *, with_peer: bool) -> None:
    """Write the weights of both engines, unless they are there."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    from transformers import Qwen3Config, Qwen3Model

    from worker.models.tiny_models.tokenizers import qwen_tokenizer

    whole = folder / "whole"
    with torch.device("meta"):
        text, vae = Qwen3Model(Qwen3Config(**QWEN3)), AutoencoderKL(**VAE)
    if not (whole / "model_index.json").exists():
        transformer = empty_transformer()
        for name, model in (("transformer", transformer), ("vae", vae), ("text_encoder", text)):
            (whole / name).mkdir(parents=True, exist_ok=True)
            file = "model" if name == "text_encoder" else "diffusion_pytorch_model"
            (model.config.save_pretrained if name == "text_encoder" else model.save_config)(str(whole / name))
            write_bf16(whole / name / f"{file}.safetensors", model)
        qwen_tokenizer().save_pretrained(str(whole / "tokenizer"))
        FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0).save_pretrained(str(whole / "scheduler"))
        (whole / "model_index.json").write_text(json.dumps(_index()), encoding="utf-8")
    if with_peer and not (folder / "z_image.gguf").exists():
        write_gguf(folder / "z_image.gguf", empty_transformer())
    if with_peer and not (folder / "qwen3.gguf").exists():
        write_q8(folder / "qwen3.gguf", {_llama_name(n): tuple(p.shape) for n, p in text.named_parameters()}, "qwen3")
    if with_peer and not (folder / "vae.safetensors").exists():
        write_bf16(folder / "vae.safetensors", vae)


def _index() -> dict[str, object]:
    return {
        "_class_name": "ZImagePipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def _llama_name(name: str) -> str:
    if name == "norm.weight":
        return "output_norm.weight"
    for own, theirs in LLAMA_NAMES.items():
        name = name.replace(own, theirs)
    return name


if __name__ == "__main__":
    main()
