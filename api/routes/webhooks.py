"""Webhooks: endpoints and the delivery log."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, SubmitterDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from api.threads import in_thread
from core.api_keys import Scope
from core.errors import InvalidInput, NotFound
from core.ids import is_id
from core.schemas.base import iso
from core.schemas.webhooks import Delivery, DeliveryPage, Endpoint, EndpointList, EndpointRequest
from core.webhooks import check_literal_address, generate_secret
from db.tables import WebhookDelivery, WebhookEndpoint
from db.webhook_deliveries import list_deliveries, redeliver
from db.webhooks import add_endpoint, list_endpoints, remove_endpoint

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=LazyRoute)


@router.post(
    "",
    status_code=201,
    response_model=Endpoint,
    summary="Register a webhook for settled jobs",
    responses=error_responses(400, 408, 409, 413, 415),
)
async def create_webhook(farm: FarmDependency, caller: SubmitterDependency, wanted: EndpointRequest) -> Response:
    """Register an endpoint for your own jobs. Only this response contains the secret."""
    if wanted.all_owners:
        caller.require(Scope.ADMIN)
    check_literal_address(wanted.url, allow_private=farm.settings.webhook_allow_private, field="url")
    owner = None if wanted.all_owners else caller.owner
    secret = wanted.secret or generate_secret()
    stored = await in_thread(farm.cipher.encrypt, secret)
    limit = farm.settings.max_webhooks_per_owner
    row = await in_thread(add_endpoint, farm.database, owner, wanted.url, stored, list(wanted.events), limit=limit)
    return json_response(_endpoint(row, secret), 201)


@router.get("", response_model=EndpointList, summary="List webhooks", responses=error_responses())
async def read_webhooks(farm: FarmDependency, caller: CallerDependency) -> Response:
    """List webhooks without their secrets."""
    rows = await in_thread(list_endpoints, farm.database, caller.visible_owner)
    return json_response(EndpointList(items=[_endpoint(row) for row in rows]))


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook", responses=error_responses(404))
async def delete_webhook(farm: FarmDependency, caller: SubmitterDependency, webhook_id: str) -> Response:
    """Remove a webhook; its pending messages are not sent."""
    if not is_id(webhook_id):
        raise NotFound("There is no webhook with this id.", code="webhook_not_found")
    await in_thread(remove_endpoint, farm.database, webhook_id, caller.acting_owner)
    return Response(status_code=204)


@router.get("/deliveries", response_model=DeliveryPage, summary="The delivery log", responses=error_responses())
async def read_deliveries(
    farm: FarmDependency,
    caller: CallerDependency,
    job_id: Annotated[str | None, Query(max_length=36, pattern="^[0-9a-f-]*$")] = None,
    status: Annotated[Literal["pending", "delivered", "failed"] | None, Query()] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List messages, newest first, with the result of their last try."""
    if cursor is not None and not is_id(cursor):
        raise InvalidInput("The cursor is malformed: pass next_cursor of the previous page.", field="cursor")
    rows = await in_thread(
        list_deliveries,
        farm.database,
        caller.visible_owner,
        job_id=job_id,
        status=status,
        before=cursor,
        limit=limit + 1,
    )
    items = [_delivery(row) for row in rows[:limit]]
    return json_response(DeliveryPage.model_construct(items=items, next_cursor=items[-1].id if len(rows) > limit else None))


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    status_code=202,
    response_model=Delivery,
    summary="Send a message again",
    responses=error_responses(404, 409),
)
async def redeliver_message(farm: FarmDependency, caller: SubmitterDependency, delivery_id: str) -> Response:
    """Send a message again under the same webhook-id, even if it was delivered before."""
    if not is_id(delivery_id):
        raise NotFound("There is no delivery with this id.", code="delivery_not_found")
    row = await in_thread(redeliver, farm.database, delivery_id, caller.acting_owner)
    farm.webhooks.wake()
    return json_response(_delivery(row), 202)


def _endpoint(row: WebhookEndpoint, secret: str | None = None) -> Endpoint:
    return Endpoint.model_construct(
        id=row.id,
        url=row.url,
        owner=row.owner,
        events=row.events,
        secret=secret,
        created_at=iso(row.created_at),  # type: ignore[arg-type]
        disabled_at=iso(row.disabled_at),
    )


def _delivery(row: WebhookDelivery) -> Delivery:
    return Delivery.model_construct(
        id=row.id,
        job_id=row.job_id,
        event=row.event,
        url=row.url,
        status=row.status,  # type: ignore[arg-type]
        tries=row.tries,
        next_try_at=iso(row.next_at),
        last_status=row.last_status,
        last_error=row.last_error,
        last_seconds=row.last_seconds,
        created_at=iso(row.created_at),  # type: ignore[arg-type]
        delivered_at=iso(row.delivered_at),
    )
