"""Schemas of webhooks: what callers register and what the API returns."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator

from core.errors import InvalidInput
from core.schemas.base import RequestBody, ResponseBody
from core.webhooks import check_url, secret_bytes

EventName = Literal[
    "succeeded",
    "failed",
    "canceled",
    "expired",
    "held",
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
    "job.held",
]
PREFIX = "job."


class JobWebhook(RequestBody):
    """Address that receives a message when a job settles, signed by the Standard Webhooks specification."""

    url: str
    secret: str | None = Field(None, description="`whsec_` and base64 of 24 to 64 bytes. Default: the farm's secret.")
    events: list[EventName] = Field(
        default_factory=list,
        max_length=10,
        description="Settled statuses, with or without `job.` before them. Empty: all of them.",
    )

    @field_validator("url")
    @classmethod
    def _callable(cls, value: str) -> str:
        try:
            return check_url(value)
        except InvalidInput as error:
            raise ValueError(error.message) from None

    @field_validator("events")
    @classmethod
    def _without_prefix(cls, value: list[str]) -> list[str]:
        """Return the names as they are stored, each once."""
        return list(dict.fromkeys(name.removeprefix(PREFIX) for name in value))

    @field_validator("secret")
    @classmethod
    def _signs(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                secret_bytes(value)
        except InvalidInput as error:
            raise ValueError(error.message) from None
        return value


class EndpointRequest(JobWebhook):
    """POST /v1/webhooks."""

    all_owners: bool = Field(False, description="Receive messages about the jobs of all owners; needs the scope admin.")


class Endpoint(ResponseBody):
    """An address that receives messages about settled jobs. `secret` is returned only on creation."""

    id: str
    url: str
    owner: str | None
    events: list[str]
    secret: str | None = None
    created_at: datetime
    disabled_at: datetime | None


class EndpointList(ResponseBody):
    """GET /v1/webhooks."""

    items: list[Endpoint]


class Delivery(ResponseBody):
    """One message and the result of its last try."""

    id: str
    job_id: str
    event: str
    url: str
    status: Literal["pending", "delivered", "failed"]
    tries: int
    next_try_at: datetime | None
    last_status: int | None = Field(description="HTTP status of the last answer.")
    last_error: str | None
    last_seconds: float | None
    created_at: datetime
    delivered_at: datetime | None


class DeliveryPage(ResponseBody):
    """Newest first."""

    items: list[Delivery]
    next_cursor: str | None = None
