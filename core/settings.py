"""All settings: environment variables `IMAGEFARM_*`, or a `.env` file in the working directory."""

from __future__ import annotations

import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.connection_urls import database_url_problem, redis_url_problem, sqlite_url
from core.public_address import parse_networks, parse_public_url
from core.storage_url import FileLocation, Location, parse_storage_url

_TEXT_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")


def _absolute_path(path: Path) -> Path:
    """Return the path without links and `~`. Raises ValueError for one that neither SQLite nor JSON can name."""
    absolute = path.expanduser().resolve()
    try:
        str(absolute).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{os.fsencode(absolute)!r} is not text in UTF-8: rename that folder or choose another; if the name is UTF-8 "
            "but the locale is not, set PYTHONUTF8=1"
        ) from None
    return absolute


class Settings(BaseSettings):
    """All settings of imagefarm. The reference of settings in docs/ prints each field's description."""

    model_config = SettingsConfigDict(
        env_prefix="IMAGEFARM_",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(Path("data"), description="Folder of the database, images, the embedded Redis and built models.")
    data_dir_shared: bool = Field(
        False,
        description="Leave the permissions of `data_dir` to you and your umask, for people who share it. Otherwise only the "
        "farm's user can read it.",
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL, such as `postgresql+psycopg://user:pass@host/db`. Empty: SQLite in `data_dir`."
    )
    redis_url: str = Field(
        "",
        description="Such as `redis://host:6379/0`, or with Sentinels "
        "`redis+sentinel://:password@one:26379,two:26379/mymaster/0`. Empty: `imagefarm up` runs a Redis server itself.",
    )
    redis_prefix: str = Field("farm:", description="Prefix of every Redis key, so that several farms can share a server.")

    storage_url: str = Field(
        "",
        description="Where images and uploads are stored: a folder that all machines share, such as `file:///srv/farm`, or "
        "an S3-compatible bucket, `s3://bucket/prefix?endpoint=https://s3.example:9000` (extra `s3`), with `KEY:SECRET@` "
        "before the bucket or credentials where AWS tools look for them. Empty: `data_dir`.",
    )
    storage_links: bool = Field(
        False,
        description="Send clients that fetch a stored file to the bucket, with a link that is valid for ten minutes, "
        "instead of passing the file through the API. They must reach the bucket.",
    )

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(7860, ge=0, le=65535, description="Port of the API and the web page; 0 takes a free one.")
    open_access: bool = Field(
        False,
        description="Listen off loopback before any API key was created. Set it only behind a proxy or the like that "
        "authenticates callers. Once a key was created, every caller needs one, whatever is set here.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names, separated by commas, that the API answers to besides loopback names and `host`, such as "
        "`farm.example,host.docker.internal`. Empty and `host` is `0.0.0.0` or `::`: also the machine's own name and "
        "addresses. `*`: every name, which lets web sites use DNS rebinding.",
    )
    url: str = Field(
        "", description="URL of the farm for commands and the client. Empty: `host` and `port` on this machine."
    )
    public_url: str = Field(
        "",
        description="Where clients see the farm behind a proxy, such as `https://example.com/farm`: links in answers follow "
        "it. Empty: links are paths without a prefix.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses and networks of proxies, with commas between them, whose X-Forwarded-Proto, -Host and "
        "-Prefix are used, such as `127.0.0.1, 10.0.0.0/8`. Empty: no proxy's.",
    )
    api_key: SecretStr = Field(SecretStr(""), description="API key that commands and the client send.")
    flower_host: str = Field("127.0.0.1", description="Address Flower listens on.")
    flower_port: int = Field(5555, ge=0, le=65535, description="Port of Flower; 0 takes a free one.")
    flower_basic_auth: SecretStr = Field(SecretStr(""), description="`user:password` for Flower; required off loopback.")

    model: str = Field(
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
    models_dir: Path | None = Field(None, description="Folder of converted and built models. Empty: `models` in `data_dir`.")
    model_folders: Annotated[dict[str, Path], NoDecode] = Field(
        {},
        description='Weights in other folders, in diffusers\' layout: JSON such as `{"z-image-turbo": "/weights/z"}`.',
    )
    weights_dirs: Annotated[list[Path], NoDecode] = Field(
        [],
        description="Folders like ComfyUI's `models/`, whose files are used in place and never changed: paths separated by "
        "`:` (`;` on Windows), or a JSON list.",
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    text_encoder_device: str = Field(
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
    memory_policy: str = Field("auto", description="Memory tier of the engine; `auto` chooses it by free memory.")
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
    join_redis_url: str = Field("", description="Redis as machines that join reach it. Empty: `redis_url`.")
    join_database_url: str = Field("", description="The database as machines that join reach it. Empty: `database_url`.")
    join_storage_url: str = Field("", description="The storage as machines that join reach it. Empty: `storage_url`.")
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

    max_body_bytes: int = Field(32 * 2**20, gt=0, description="Largest request body.")
    max_prompt_chars: int = Field(10_000, gt=0, description="Longest prompt or negative prompt, in characters.")
    max_images_per_job: int = Field(16, gt=0, description="Largest `num_images`.")
    max_queued_per_owner: int = Field(20_000, ge=0, description="Queued jobs one owner may have; 0 means no limit.")
    max_jobs_per_batch: int = Field(1000, gt=0, description="Largest number of jobs in one batch.")
    max_upload_pixels: int = Field(
        4096 * 4096, gt=0, description="Largest image that may be uploaded for image-to-image, in pixels."
    )
    max_upscale_pixels: int = Field(16_384 * 16_384, gt=0, description="Largest result of an upscale job, in pixels.")
    max_upload_bytes_per_owner: int = Field(
        10 * 2**30, ge=0, description="Total size of the uploads that one owner may keep, in bytes; 0 means no limit."
    )
    sync_wait_seconds: float = Field(
        300.0,
        gt=0,
        description="Seconds that the OpenAI and A1111 faces wait for an image before they respond with a URL to poll.",
    )
    comfyui: bool = Field(
        True,
        description="Serve ComfyUI's calls (`/prompt`, `/queue`, `/history`, `/view`, `/ws` and others, also under `/api/`) "
        "for graphs of standard nodes.",
    )
    webhook_url: str = Field(
        "",
        description="URL that receives a message about every job that settles. Empty: only other webhooks get messages.",
    )
    webhook_body: str = Field(
        "standard",
        pattern="^(standard|job)$",
        description="Body of webhook messages: `standard` is `{type, timestamp, data}` of Standard Webhooks with the job "
        "under `data`; `job` is the job alone, as in version 0.1.",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="Signs the messages to `webhook_url`: `whsec_` and base64 of 24 to 64 bytes."
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="Encrypts the secrets of webhooks in the database: any text of 32 characters or more, the same for "
        "every `imagefarm api` of a farm. Empty: a random key in `secret.key` in `data_dir`.",
    )
    max_webhooks_per_owner: int = Field(
        20, ge=0, description="Webhook endpoints one owner may have; 0 means no limit. Jobs may name others themselves."
    )
    webhook_allow_private: bool = Field(False, description="Allow webhooks to private, loopback and link-local addresses.")
    idempotency_hours: float = Field(24.0, gt=0, description="Hours until an Idempotency-Key is deleted.")
    preview_every: int = Field(2, ge=0, description="Steps between previews; 0 turns them off.")

    outputs_dir: Path | None = Field(
        None,
        description="Folder in which every finished image appears by itself as `outputs_YYYYMMDDHHMMSS.png`, for all jobs "
        "of this worker. Empty: none. `scripts/start_app.sh` sets `outputs`.",
    )
    outputs_by_day: bool = Field(False, description="Sort `outputs_dir` into a folder for each day, such as `2026-11-28`.")

    keep_days: float = Field(
        0.0, ge=0, description="Delete settled jobs and their images after this many days; 0 keeps them."
    )
    keep_gigabytes: float = Field(
        0.0, ge=0, description="Delete the oldest jobs with images above this total; 0 keeps them."
    )
    keep_uploads_hours: float = Field(
        24.0, ge=0, description="Delete uploads that no job uses after this many hours; 0 keeps them."
    )

    log_format: str = Field("text", pattern="^(text|json)$", description="`text` for people, `json` for collectors.")
    otlp_endpoint: str = Field(
        "",
        description="Address of an OpenTelemetry collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`: API "
        "and workers send it a trace of each job. Needs the extra `tracing`. Empty: no traces.",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _names_from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        if wrong := [name for name in names if name != "*" and not _HOST_NAME.fullmatch(name)]:
            raise ValueError(
                f"{wrong[0]!r} is not a host name: write names or addresses without scheme, port and path, "
                "such as `farm.example,192.168.1.5,::1`, or `*` alone for every name"
            )
        return names

    @field_validator("model_folders", mode="before")
    @classmethod
    def _folders_from_json(cls, value: object) -> object:
        """Decode here, so that invalid JSON is reported like any other invalid value and an empty text means no folders."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else {}
        except json.JSONDecodeError as error:
            raise ValueError(f"it is not JSON ({error})") from error

    @field_validator("weights_dirs", mode="before")
    @classmethod
    def _dirs_from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not value.strip().startswith("["):
            return [part.strip() for part in value.split(os.pathsep) if part.strip()]
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"it is not JSON ({error})") from error

    @field_validator("weights_dirs", mode="after")
    @classmethod
    def _absolute_dirs(cls, value: list[Path]) -> list[Path]:
        return [folder.expanduser().resolve() for folder in value]

    @field_validator("model_folders", mode="after")
    @classmethod
    def _absolute_folders(cls, value: dict[str, Path]) -> dict[str, Path]:
        return {model: _absolute_path(folder) for model, folder in value.items()}

    @field_validator("text_encoder_device", mode="after")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not _TEXT_DEVICE.fullmatch(value):
            raise ValueError(f"{value!r} is not a device for text encoders: write auto, cpu, cuda or cuda:N")
        return value

    @field_validator("public_url", mode="after")
    @classmethod
    def _sound_public_url(cls, value: str) -> str:
        return parse_public_url(value).url if value.strip() else ""

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _sound_networks(cls, value: str) -> str:
        parse_networks(value)
        return value

    @field_validator("redis_url", "join_redis_url", mode="after")
    @classmethod
    def _usable_redis_url(cls, value: str) -> str:
        if value and (problem := redis_url_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("database_url", "join_database_url", mode="after")
    @classmethod
    def _usable_database_url(cls, value: str) -> str:
        if value and (problem := database_url_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("storage_url", "join_storage_url", mode="after")
    @classmethod
    def _usable_storage_url(cls, value: str) -> str:
        if value:
            parse_storage_url(value)
        return value

    @field_validator("outputs_dir", mode="before")
    @classmethod
    def _no_folder(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("data_dir", "models_dir", "outputs_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return _absolute_path(value) if value is not None else None

    @field_validator("model", mode="after")
    @classmethod
    def _named_models(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        if not all(names):
            raise ValueError("write the names of models with commas between them, such as `z-image-turbo,sd-turbo`")
        if "auto" in names[1:] or (names[0] == "auto" and len(names) > 1):
            raise ValueError("`auto` is one model: write it alone, or name every model")
        return ",".join(names)

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """Return the names in `model`, the default model's first."""
        return tuple(self.model.split(","))

    @cached_property
    def resolved_database_url(self) -> str:
        """Return `database_url`, or the URL of SQLite in the data directory."""
        return self.database_url or sqlite_url(self.data_dir / "imagefarm.db")

    @cached_property
    def storage_location(self) -> Location:
        """Return where images and uploads are stored."""
        return parse_storage_url(self.storage_url) if self.storage_url else FileLocation(self.data_dir)

    @cached_property
    def _storage_root(self) -> Path:
        location = self.storage_location
        return location.root if isinstance(location, FileLocation) else self.data_dir

    @cached_property
    def images_dir(self) -> Path:
        """Return the root folder of the local image store."""
        return self._storage_root / "images"

    @cached_property
    def wildcards_dir(self) -> Path:
        """Return the folder of wildcards, text files that dynamic prompts choose from."""
        return self.data_dir / "wildcards"

    @property
    def uploads_dir(self) -> Path:
        """Return the root folder of the store of uploads."""
        return self._storage_root / "uploads"

    @cached_property
    def spool_dir(self) -> Path:
        """Return the folder of results on their way from an engine to the image store."""
        return self.data_dir / "spool"

    @cached_property
    def upscaler_dirs(self) -> tuple[Path, ...]:
        """Return the folders of upscalers' weight files."""
        roots = [root / inner for root in self.weights_dirs for inner in ("upscale_models", "models/upscale_models")]
        return (self.resolved_models_dir / "upscalers", *roots)

    @cached_property
    def resolved_models_dir(self) -> Path:
        """Return the root folder of converted and locally built models."""
        return self.models_dir or self.data_dir / "models"
