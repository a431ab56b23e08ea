"""The settings of a farm, by theme in the other modules of this package."""

from __future__ import annotations

import logging
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings.network import NetworkSettings
from core.settings.requests import RequestSettings
from core.settings.stores import StoreSettings
from core.settings.value_types import FolderOrNone
from core.settings.worker import WorkerSettings


class _DotenvLines(logging.Filter):
    """Says once for each line of .env that python-dotenv cannot read what is wrong with it."""

    def __init__(self) -> None:
        super().__init__()
        self._reported: set[object] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the library's message; leave out a repeated one."""
        if "could not parse" not in str(record.msg) or not isinstance(record.args, tuple):
            return True
        line = record.args[0]
        record.msg = "Line %s of .env, or the next that is not empty, is not NAME=value and has no effect: correct it."
        is_new = line not in self._reported
        self._reported.add(line)
        return is_new


_dotenv_lines = _DotenvLines()
_reading = threading.Lock()
"""Whoever is done first would remove the filter of all."""


# pydantic lists fields from the last base to the first; the reference of settings has them in that order.
class Settings(RequestSettings, WorkerSettings, NetworkSettings, StoreSettings, BaseSettings):
    """All settings of imagefarm. The reference of settings in docs/ prints each field's description."""

    model_config = SettingsConfigDict(
        env_prefix="IMAGEFARM_",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    if not TYPE_CHECKING:  # a checker knows the fields

        def __init__(self, **values: Any) -> None:  # noqa: ANN401 -- values of any setting
            log = logging.getLogger("dotenv.main")
            with _reading:  # only meanwhile: a program that uses the client may read files with python-dotenv
                log.addFilter(_dotenv_lines)
                try:
                    super().__init__(**values)
                finally:
                    log.removeFilter(_dotenv_lines)

    outputs_dir: FolderOrNone = Field(
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

    @cached_property
    def resolved_models_dir(self) -> Path:
        """Return the root folder of converted and locally built models."""
        return self.models_dir or self.data_dir / "models"

    @cached_property
    def upscaler_dirs(self) -> tuple[Path, ...]:
        """Return the folders of upscalers' weight files."""
        roots = [root / inner for root in self.weights_dirs for inner in ("upscale_models", "models/upscale_models")]
        return (self.resolved_models_dir / "upscalers", *roots)
