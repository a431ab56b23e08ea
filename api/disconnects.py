"""Wait for a job for one connected client; cancel the job if the client leaves before it starts."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import Request

from api.farm import Farm
from api.submission import wait_for_end
from api.threads import in_thread
from core.errors import FarmError, Gone, NotFound
from db.jobs.cancel import cancel_waiting
from db.jobs.read import Snapshot
from db.jobs.submit import Submitted


class ClientLeft(FarmError):
    """The client closed the connection; nobody reads the response."""

    code = "client_left"


async def wait_while_connected(farm: Farm, request: Request, submitted: Submitted, *, keep: bool) -> Snapshot:
    """Return the settled job like `wait_for_end`. Raises ClientLeft when the client closes the connection.

    The job is then canceled if it waits, unless `keep` says that the client can ask for it again.
    """
    ended = asyncio.create_task(wait_for_end(farm, submitted.job.id))
    left = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        if not keep:
            await cancel_unstarted(farm, submitted.job.id)
        raise ClientLeft("The client closed the connection.")
    finally:
        for task in (ended, left):
            task.cancel()
        await asyncio.gather(ended, left, return_exceptions=True)


async def cancel_unstarted(farm: Farm, job_id: str) -> None:
    """Cancel a waiting job and publish the change; a job that runs or has ended is not changed."""
    with suppress(NotFound, Gone):
        if (job := await in_thread(cancel_waiting, farm.database, job_id)) is not None:
            farm.job_changed(job)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
