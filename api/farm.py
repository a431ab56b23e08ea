"""Parts of a running API process: created at start, closed at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from api.api_keys import ApiKeyAuthenticator
from api.encryption import SecretCipher
from api.image_formats import ImageVariants
from api.metrics import Metrics
from api.model_selection import ModelSelector
from api.operation_waits import OperationWaits
from api.overview import OverviewCache
from api.publisher import Publisher
from api.readiness import Readiness
from api.single_flight import SingleFlight
from api.submit_groups import SubmitGroups
from api.threads import QuickCalls, in_thread, make_threads
from api.watch import Watcher
from api.webhooks import WebhookDispatcher
from core.catalogue import FarmCatalogue, catalogue_of
from core.catalogue.loras import LoraLibrary
from core.parameters import RequestLimits
from core.settings import Settings
from core.tracing import tracing_of
from core.wildcards import WildcardLibrary
from db.database import Database
from db.jobs.read import change_of
from db.statistics import RecentMean, recent_means
from db.tables import Job
from storage.stores import open_images, open_uploads

_POOL = 16
_MEANS_FRESH_SECONDS = 5.0


def _database_of_submits(settings: Settings, database: Database) -> Database:
    """Return connections that only submits use: on Postgres each would else plan their statements, again and again."""
    return database if database.is_sqlite else Database(settings.resolved_database_url, pool_size=2, few_plans=True)


class Farm:
    """The database, stores, publisher and background tasks of one API process."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.metrics = metrics
        self.settings = settings
        self.loras = LoraLibrary.of(settings)
        self.wildcards = WildcardLibrary(settings.wildcards_dir)
        self.database = Database(settings.resolved_database_url, pool_size=_POOL)
        self.quick_reads = QuickCalls(are_quick=self.database.is_sqlite)
        self.store = open_images(settings)
        self.uploads = open_uploads(settings)
        self.image_variants = ImageVariants(self.store)
        self.decoding = asyncio.Semaphore(2)
        self.hashing = asyncio.Semaphore(1)
        """Held while LoRA files are read as a whole: calls about many of them may not take all threads and the disk."""
        self.checkpoints: dict[str, str] = {}  # A1111 clients choose their model in a call of its own
        self.publisher = Publisher(settings, self.database)
        self._submitting = _database_of_submits(settings, self.database)
        self.submits = SubmitGroups(self._submitting, self.publisher.hint, self.publisher.hint_here)
        self.watcher = Watcher(settings, self.database)
        self.overview = OverviewCache(self.database)
        self.model_selector = ModelSelector(settings)
        self.cipher = SecretCipher.of(settings)
        self.webhooks = WebhookDispatcher(settings, self.database, self.cipher, self.quick_reads)
        self.watcher.hub.on_settled = self.webhooks.job_settled
        self.authenticator = ApiKeyAuthenticator(settings, self.database)
        self.limits = RequestLimits(settings.max_prompt_chars, settings.max_images_per_job)
        self.readiness = Readiness(self)
        self.closing = asyncio.Event()
        self.operations = OperationWaits(self.database, self.closing)
        self.single_flight = SingleFlight()
        self.tracing = tracing_of(settings, "api")
        self._recent: tuple[float, Mapping[str, RecentMean]] = (float("-inf"), {})

    @property
    def catalogue(self) -> FarmCatalogue:
        """The catalogue as it is now, with the models that were added since the start."""
        return catalogue_of(self.settings)

    def start(self) -> None:
        """Start the background tasks; call on the event loop."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(make_threads())
        self._catalogue_read = loop.run_in_executor(None, catalogue_of, self.settings)  # Before a request waits for it.
        self.watcher.start()
        self.webhooks.start()

    def job_changed(self, job: Job) -> None:
        """Tell the waiters of this process and other processes that the job has changed; call after the commit."""
        self.watcher.hub.changed(job.id, job.revision, job.status, may_have_webhook=change_of(job).has_webhook)
        self.publisher.changed(job)

    def stop_waiting(self) -> None:
        """Answer every waiting caller with the present state."""
        self.closing.set()
        self.watcher.hub.wake_all()

    async def close(self) -> None:
        """Answer waiting callers, publish pending messages and close connections."""
        self.stop_waiting()
        await self.webhooks.stop()
        await self.watcher.stop()
        await in_thread(self.publisher.close)
        if self.tracing is not None:
            await in_thread(self.tracing.close)
        # The tasks stopped above may have left a query on its thread, which would return its connection to a disposed pool.
        await asyncio.get_running_loop().shutdown_default_executor()
        self._submitting.dispose()
        self.database.dispose()

    async def recent_means(self) -> Mapping[str, RecentMean]:
        """Return model -> means over its recent jobs, at most a few seconds old."""
        taken_at, means = self._recent
        if time.monotonic() - taken_at > _MEANS_FRESH_SECONDS:
            means = await self.single_flight.join("means", lambda: in_thread(recent_means, self.database))
            self._recent = time.monotonic(), means
        return means
