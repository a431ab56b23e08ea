"""Settings of requests: their limits, the faces that take them, and webhooks that report their end."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr


class RequestSettings(BaseModel):
    """What a caller may send, and what the farm sends back."""

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
