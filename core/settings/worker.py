"""Settings of workers: models, devices, memory, the machine's place in the farm, and how they hold jobs."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, Field

from core.settings.value_types import (
    DatabaseUrl,
    DeviceName,
    FolderOrNone,
    Folders,
    FoldersOfModels,
    MemoryPolicy,
    ModelNames,
    RedisUrl,
    StorageUrl,
    TextDevice,
)


class WorkerSettings(BaseModel):
    """What a worker serves, on which device, and the times after which its jobs and its engine count as lost."""

    model: ModelNames = Field(
        "auto",
        description="Model the worker serves, or several with commas between them, such as `z-image-turbo,sd-turbo`: the "
        "first is the default, and the worker loads the others as jobs for them wait. `auto`: z-image-turbo when its "
        "weights are on this machine, else the first of your own models that can be loaded, else demo.",
    )
    swap_after_seconds: float = Field(
        30.0,
        ge=0,
        description="A worker that serves several models and is busy with one loads another when a job for that one has "
        "waited this long, and longer for models that load slowly. A worker without jobs loads it at once.",
    )
    models_dir: FolderOrNone = Field(
        None, description="Folder of converted and built models. Empty: `models` in `data_dir`."
    )
    model_folders: FoldersOfModels = Field(
        {},
        description='Weights in other folders, in diffusers\' layout: JSON such as `{"z-image-turbo": "/weights/z"}`.',
    )
    weights_dirs: Folders = Field(
        [],
        description="Folders like ComfyUI's `models/`, whose files are used in place and never changed: paths separated by "
        "`:` (`;` on Windows), or a JSON list.",
    )
    device: DeviceName = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`. CUDA numbers the fastest GPU 0.")
    text_encoder_device: TextDevice = Field(
        "auto",
        description="Device of the text encoders: `cpu`, `cuda` or `cuda:N`, such as a second GPU that is idle, so that the "
        "model's own device has their memory free and renders while prompts are encoded. `auto`: the memory tier decides.",
    )
    workers: int = Field(1, ge=0, description="Render workers that `imagefarm up` runs; set one for each GPU.")
    upscale_workers: int = Field(
        1, ge=0, description="Upscaling workers that `imagefarm up` runs beside the render workers; they load on first use."
    )
    upscaler_idle_minutes: float = Field(
        10.0,
        ge=0,
        description="`imagefarm up` starts its upscaling workers when a job first asks for them, and stops them after this "
        "many minutes without one. 0: they start with the farm and stay.",
    )
    memory_policy: MemoryPolicy = Field("auto", description="Memory tier of the engine; `auto` chooses it by free memory.")
    attention_backend: str = Field(
        "auto",
        description="A name of diffusers' attention dispatch, such as `native` or `flash`. `auto` measures those that "
        "are installed on the loaded model and takes the fastest; on a CPU it is `native`.",
    )
    device_memory_gb: float = Field(
        0.0,
        ge=0,
        description="Limit of a worker's GPU memory, in GB (10^9 bytes), for GPUs that other programs use too; the CUDA "
        "context, about 0.5 GB, is not included. On a CPU only the memory plan respects it. 0: all free memory.",
    )
    compile_blocks: str = Field(
        "auto",
        pattern="^(auto|on|off)$",
        description="Compile the model's repeated blocks with torch.compile; `auto` lets the memory tier decide.",
    )
    compile_mode: str = Field(
        "default",
        pattern="^(default|reduce-overhead|max-autotune|max-autotune-no-cudagraphs)$",
        description="Mode of torch.compile; `reduce-overhead` and `max-autotune` use CUDA graphs, which take more memory.",
    )
    worker_name: str = Field(
        "",
        description="Name of this worker, unique in the farm. Empty: host name and device, with -2, -3 for further workers.",
    )
    node_name: str = Field(
        "",
        max_length=100,
        description="Name of this machine in `imagefarm nodes list` and of its joined workers. Empty: its host name.",
    )
    join_url: str = Field(
        "",
        description="Address of the API as machines that join reach it. Empty: `public_url`, else `url`.",
    )
    join_redis_url: RedisUrl = Field("", description="Redis as machines that join reach it. Empty: `redis_url`.")
    join_database_url: DatabaseUrl = Field(
        "", description="The database as machines that join reach it. Empty: `database_url`."
    )
    join_storage_url: StorageUrl = Field("", description="The storage as machines that join reach it. Empty: `storage_url`.")
    worker_capacity: int = Field(0, ge=0, description="Jobs a worker may hold at once; 0 lets the memory tier decide.")

    tiny_decoder: str = Field(
        "off",
        pattern="^(on|off)$",
        description="`on`: decode images with TAESD, TAESDXL or TAEF1 from `vae_approx/` beside the model, in `models_dir` "
        "or in `weights_dirs`, much faster on a CPU and coarser. It is never downloaded; `strict` requests use the VAE.",
    )
    safety_hook: str = Field(
        "",
        pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="`package.module:function` that the worker calls with every finished image (a Pillow image and a dict "
        "of its fields). It lets the image pass, tags, blurs or rejects it. Empty: none.",
    )

    renderer: str = Field(
        "diffusers",
        pattern="^(diffusers|synthetic)$",
        description="`synthetic` renders plain colours without any model, for load and fault tests of a farm.",
    )
    synthetic_step_seconds: float = Field(0.0, ge=0, description="Seconds that a step of the synthetic renderer takes.")
    synthetic_load_seconds: float = Field(
        0.0, ge=0, description="Seconds that the synthetic renderer takes to load a model."
    )

    lease_seconds: float = Field(15.0, gt=0, description="Seconds until a worker's claim on a job expires unless renewed.")
    heartbeat_seconds: float = Field(4.0, gt=0, description="Seconds between a worker's renewals of its leases.")
    heartbeat_file: Path | None = Field(
        None,
        description="File that a worker touches every `heartbeat_seconds`, for a liveness probe that reads its age.",
    )
    max_attempts: int = Field(3, ge=1, description="Attempts of a job before it is held for a user to decide.")
    reaper_seconds: float = Field(
        0.5, gt=0, description="Seconds between the reaper's checks for lost hints and expired leases."
    )
    model_manager: bool = Field(
        True,
        description="Let the reaper of this machine pull, verify and remove weights in its models folder for the API, "
        "where the extra `worker` is installed. Turn it off where workers do not read this machine's models folder.",
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="Seconds that running jobs may take to finish when a worker is asked to stop."
    )
    step_timeout_seconds: float = Field(
        300.0,
        gt=0,
        description="A step longer than this means a hung device: the engine is replaced. On a CPU a step may take longer "
        "while it computes, and ten times as long without reporting a finished part.",
    )
    load_timeout_seconds: float = Field(3600.0, gt=0, description="Longest time a model may take to load.")

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """Return the names in `model`, the default model's first."""
        return tuple(self.model.split(","))
