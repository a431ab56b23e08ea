"""Brings a model up: from a spec to a family that can render."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from core.catalogue import Places, load_catalogue
from worker.engine.admission import Admission, AdmitAll
from worker.engine.events import EngineInfo
from worker.engine.spec import EngineSpec
from worker.models.dtypes import dtype_name
from worker.models.load import LoadedPipeline, LoadRequest, load_pipeline
from worker.pipelines.adapters import Adapters
from worker.pipelines.family import AnyFamily
from worker.pipelines.loaded import Loaded
from worker.pipelines.registry import make_family

OnProgress = Callable[[str, float | None], None]
DEFAULT_CAPACITY = 4
CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET = 1, 8192


@dataclass(frozen=True)
class Opened:
    """What the loop needs."""

    family: AnyFamily
    info: EngineInfo
    admission: Admission
    device: torch.device


def open_engine(spec: EngineSpec, on_progress: OnProgress) -> Opened:
    """Load and prepare the model that the spec names; raises core.errors.FarmError with what to do."""
    started = time.perf_counter()
    use_cores()
    model = load_catalogue().get(spec.model)
    device = choose_device(spec.device)
    places = Places(spec.models_dir, spec.model_folders)
    loaded = load_pipeline(model, LoadRequest(places, str(device), spec.memory_policy), on_progress)
    adapters = Adapters(loaded.pipeline, spec.models_dir / model.id / "loras")
    family = make_family(Loaded(loaded.pipeline, model, device, device, adapters))
    return Opened(family, _info(spec, loaded, family, time.perf_counter() - started), AdmitAll(), device)


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first CUDA device, else the CPU."""
    if wanted == "auto":
        wanted = "cuda:0" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda:0" if wanted == "cuda" else wanted)


def use_cores() -> None:
    """As many threads as this process may have cores, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ and hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))


def _info(spec: EngineSpec, loaded: LoadedPipeline, family: AnyFamily, seconds: float) -> EngineInfo:
    is_cuda = loaded.device.type == "cuda"
    threads = {} if is_cuda else {"cpu_threads": str(torch.get_num_threads())}
    return EngineInfo(
        model=loaded.model.id,
        family=family.name,
        device=str(loaded.device),
        device_name=torch.cuda.get_device_name(loaded.device) if is_cuda else "cpu",
        dtype=dtype_name(loaded.dtype),
        memory_policy=spec.memory_policy,
        capacity=spec.capacity or DEFAULT_CAPACITY,
        token_budget=spec.token_budget or (CUDA_TOKEN_BUDGET if is_cuda else CPU_TOKEN_BUDGET),
        attention_backend="native",
        load_seconds=seconds,
        process_id=os.getpid(),
        memory={},
        versions={**loaded.versions, **threads},
    )
