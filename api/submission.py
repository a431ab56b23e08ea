"""Turn a request into a queued job: check it, reserve the key's quota, insert, publish."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any

from api.caller import Caller, as_utf8
from api.expanded_texts import ExpandedTexts, TextExpander
from api.farm import Farm
from api.image_sizes import check_memory
from api.overview import Overview
from api.polling import wait_until_settled
from api.threads import in_thread
from api.uploads import StartImages, find_start_images
from api.views.jobs import job_view
from core.catalogue.loras import LoraFile
from core.errors import Conflict, FarmError, InvalidInput, RenderError, TooManyRequests
from core.lifecycle import SETTLED, JobStatus
from core.parameters import normalise
from core.schemas.jobs import JobRequest
from core.schemas.webhooks import JobWebhook
from core.webhooks import check_literal_address
from db.database import Database
from db.hints import take_window
from db.jobs.read import Snapshot, find_replay, get_job
from db.jobs.retry import retry
from db.jobs.submit import Idempotency, NewJob, Submission, Submitted
from db.quotas import bucket, refund, reserve
from db.tables import Job

_MINUTE, _DAY = 60, 86_400


class Reservation:
    """Amounts reserved from a key's limits."""

    def __init__(self, database: Database, key_id: str) -> None:
        self._database, self._key_id = database, key_id
        self._taken: list[tuple[str, int]] = []

    async def take(self, name: str, amount: int, limit: int, span: int) -> None:
        """Reserve an amount; raise TooManyRequests when that would exceed the limit."""
        counter, seconds = bucket(name, span)
        if not await in_thread(reserve, self._database, self._key_id, counter, amount, limit):
            unit = "submits a minute" if name == "submits" else "pixels a day (UTC)"
            raise TooManyRequests(
                f"This key may use {limit} {unit}; this request would exceed it.", retry_after=seconds, code=f"{name}_limit"
            )
        self._taken.append((counter, amount))

    async def give_back(self) -> None:
        """Refund all amounts, because no new job was accepted."""
        while self._taken:
            await in_thread(refund, self._database, self._key_id, *self._taken.pop())


@asynccontextmanager
async def reserved(database: Database, caller: Caller, jobs: int, pixels: int) -> AsyncIterator[Reservation]:
    """Reserve `jobs` and `pixels` from the key's limits; refund them when the block raises."""
    reservation = Reservation(database, caller.limits.key_id if caller.limits is not None else "")
    try:
        for wanted in _amounts(caller, jobs, pixels):
            await reservation.take(*wanted)
        yield reservation
    except BaseException:
        await reservation.give_back()
        raise


def max_queued(caller: Caller, farm_limit: int, owner: str | None = None) -> int:
    """Return the lower of the farm's and the key's limit of queued jobs; 0 for no limit.

    The key's limit counts its owner's jobs. `owner`: whose job an administrator queues, if not the caller's own.
    """
    own = owner in (None, caller.owner)
    key_limit = caller.limits.max_queued if caller.limits is not None and own else None
    return min(farm_limit, key_limit) if farm_limit and key_limit else (key_limit or farm_limit)


def pixels_of(job_input: Mapping[str, Any]) -> int:
    """Return how many pixels a job renders."""
    return int(job_input["width"]) * int(job_input["height"]) * int(job_input.get("num_images", 1))


def _amounts(caller: Caller, jobs: int, pixels: int) -> list[tuple[str, int, int, int]]:
    limits = caller.limits
    if limits is None:
        return []
    found = []
    if limits.submits_per_minute is not None:
        found.append(("submits", jobs, limits.submits_per_minute, _MINUTE))
    if limits.pixels_per_day is not None:
        found.append(("pixels", pixels, limits.pixels_per_day, _DAY))
    return found


_MAX_KEY = 255


@dataclass(frozen=True)
class IdempotencyKey:
    """A key as the client sent it, and the hash of the body that came with it."""

    key: str
    request_hash: str


def idempotency_key(key: str | None, body: dict[str, Any]) -> IdempotencyKey | None:
    """Validate the header; raise InvalidInput for a key that cannot be stored."""
    if key is None:
        return None
    key = as_utf8(key)
    if not 1 <= len(key) <= _MAX_KEY or not key.isprintable():
        raise InvalidInput(
            f"The Idempotency-Key must be 1 to {_MAX_KEY} printable characters, such as a UUID.",
            field="Idempotency-Key",
        )
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return IdempotencyKey(key, hashlib.sha256(canonical).hexdigest())


async def submit_job(
    farm: Farm,
    caller: Caller,
    request: JobRequest,
    key: IdempotencyKey | None = None,
    *,
    face: str | None = None,
    empty_prompt: bool = False,
) -> Submitted:
    """Commit a job and publish its hint; raise the errors of the request, or Unavailable. `face`: see `db.tables.Job`.

    `empty_prompt`: whether the prompt may be empty.
    """

    async def prepare() -> NewJob:
        overview = await farm.overview.get()
        starts_from_image = request.init_image is not None or request.mask is not None
        start = await find_start_images(farm, caller, request) if starts_from_image else StartImages()
        # Texts without styles and variants need neither database nor files, and so no thread.
        needs_reads = bool(request.styles or request.dynamic)
        texts = await in_thread(TextExpander(farm, caller).expand, request) if needs_reads else ExpandedTexts(request)
        loras = await in_thread(farm.loras.files) if texts.request.may_name_loras else ()
        new = prepare_job(farm, caller, request, overview, start, loras, texts, empty_prompt=empty_prompt)
        return replace(new, face=face)

    return await accept_job(farm, caller, key, prepare)


async def accept_job(
    farm: Farm, caller: Caller, key: IdempotencyKey | None, prepare: Callable[[], Awaitable[NewJob]]
) -> Submitted:
    """Reserve, commit and publish the job that `prepare` returns; raise its errors, unless the job exists already."""
    try:
        new = await prepare()
    except FarmError:
        # A replay gets its first answer, even when no worker serves that model any more.
        if key is None or (replay := await _find_replay(farm, caller, key)) is None:
            raise
        return replay
    once = None
    if key is not None:
        # The links of the answer are those of this request, whichever group it is committed in.
        context = copy_context()
        once = Idempotency(key.key, key.request_hash, lambda job: context.run(first_response, job))
    return await commit_job(farm, caller, new, once)


async def commit_job(farm: Farm, caller: Caller, new: NewJob, once: Idempotency | None = None) -> Submitted:
    """Reserve the key's limits, and commit the job and publish its hint; raise TooManyRequests or Unavailable.

    A caller that is canceled meanwhile, as by a client of MCP that leaves, does not end this: the job may be committed
    already, and would be queued without its hint and with its limits refunded.
    """
    return await asyncio.shield(_commit_job(farm, caller, new, once))


async def _commit_job(farm: Farm, caller: Caller, new: NewJob, once: Idempotency | None) -> Submitted:
    started = time.time()
    async with reserved(farm.database, caller, 1, pixels_of(new.input)) as reservation:
        submitted = await farm.submits.submit(Submission(new, once))
        if submitted.replayed:
            await reservation.give_back()
        elif farm.tracing is not None:
            farm.tracing.submitted(submitted.job.id, started, model=submitted.job.model)
    return submitted


async def retry_job(farm: Farm, caller: Caller, job_id: str) -> Job:
    """Queue a job again, or a copy of it, within the limits of a new job, and publish its hint."""
    known = await in_thread(get_job, farm.database, job_id, caller.acting_owner)
    limit = max_queued(caller, farm.settings.max_queued_per_owner, known.owner)
    async with reserved(farm.database, caller, 1, pixels_of(known.input)):
        job = await in_thread(retry, farm.database, job_id, caller.acting_owner, max_queued=limit)
    farm.publisher.changed(job)
    window = (await farm.overview.get()).window(job.model)
    for queued in await in_thread(take_window, farm.database, job.model, window):
        farm.publisher.hint(queued)
    return job


async def _find_replay(farm: Farm, caller: Caller, key: IdempotencyKey) -> Submitted | None:
    return await in_thread(find_replay, farm.database, caller.owner, key.key, key.request_hash)


def check_webhook(farm: Farm, webhook: JobWebhook) -> None:
    """Raise InvalidInput for a webhook whose messages could never be sent or signed."""
    check_literal_address(webhook.url, allow_private=farm.settings.webhook_allow_private)
    if webhook.secret is None and not farm.settings.webhook_secret.get_secret_value():
        raise InvalidInput(
            "Send a secret to sign the messages with: this farm has no default secret.", field="webhook.secret"
        )


def with_encrypted_secret(farm: Farm, requested: dict[str, Any]) -> dict[str, Any]:
    """Return the request as it is stored: the secret of its webhook is encrypted."""
    webhook = requested.get("webhook")
    if not webhook or not webhook.get("secret"):
        return requested
    return requested | {"webhook": webhook | {"secret": farm.cipher.encrypt(webhook["secret"])}}


def first_response(job: Job) -> dict[str, Any]:
    """Return the body of the 202; it is stored with the Idempotency-Key, so that a replay gets the same body."""
    return job_view(Snapshot(job)).model_dump(mode="json")


def prepare_job(
    farm: Farm,
    caller: Caller,
    request: JobRequest,
    overview: Overview,
    start: StartImages,
    loras: Sequence[LoraFile],
    texts: ExpandedTexts,
    *,
    empty_prompt: bool = False,
) -> NewJob:
    """Return the job as it will be stored; raise the errors of the request. `loras`: the files on this machine.

    `texts`: the request with its styles applied and its prompts expanded.
    """
    if request.webhook is not None:
        check_webhook(farm, request.webhook)
    model = farm.model_selector.choose(request.model, overview)
    limits = replace(farm.limits, empty_prompt=True) if empty_prompt else farm.limits
    normalised = normalise(texts.request, model, limits, start.init_image, start.mask, loras=loras, origin=start.origin)
    if texts.expanded_from is not None:
        normalised = texts.added_to(normalised)
    check_memory(normalised.parameters, model, overview)
    return NewJob(
        owner=caller.owner,
        client_label=caller.label,
        model=model.id,
        prompt=normalised.parameters.prompt,
        input=normalised.parameters.stored(),
        requested=with_encrypted_secret(farm, request.as_sent()),
        warnings=normalised.warnings,
        priority=request.priority,
        max_attempts=farm.settings.max_attempts,
        deadline_seconds=request.deadline_seconds,
        window=overview.window(model.id),
        max_queued=max_queued(caller, farm.settings.max_queued_per_owner),
    )


class StillRunning(FarmError):
    """The job took longer than a caller may wait; the job continues."""

    code = "still_running"

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(
            f"Job {job.id} is {job.status} and continues. Poll GET /v1/jobs/{job.id}?wait=60 for its end; "
            "do not send it again."
        )


async def wait_for_end(farm: Farm, job_id: str) -> Snapshot:
    """Return the settled job; raise StillRunning after the seconds that a caller may wait."""
    snapshot = await wait_until_settled(farm, job_id, None, farm.settings.sync_wait_seconds)
    if snapshot.job.status not in SETTLED:
        raise StillRunning(snapshot.job)
    return snapshot


def error_of_job(job: Job) -> FarmError:
    """Return the error that a job ended with, as one that a response can carry."""
    message = f"Job {job.id} is {job.status}: {job.error_message or 'it was canceled'}"
    if job.status in (JobStatus.CANCELED, JobStatus.EXPIRED):
        return Conflict(message, code=f"job_{job.status}")
    if job.error_code == "invalid_input":
        return InvalidInput(message)
    return RenderError(message, code=job.error_code)
