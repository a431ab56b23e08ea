"""OpenTelemetry traces of jobs, from submit to stored; without a configured endpoint there are none, and no import.

The ids of a job's trace and of its first span follow from the job's id, so that API and worker need not pass them on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from core.extras import MissingExtra, install_command
from core.settings import Settings
from core.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Tracer

Values = Mapping[str, "str | int | float"]
NANOSECONDS = 10**9


def trace_ids(job_id: str) -> tuple[int, int]:
    """Return the 128-bit id of a job's trace and the 64-bit id of its first span."""
    digest = hashlib.sha256(job_id.encode()).digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1


class Tracing:
    """Records spans. Thread-safe."""

    def __init__(self, exporter: SpanExporter, process: str, *, at_once: bool = False) -> None:
        """Send spans to `exporter` from a thread, or in the caller's when `at_once`."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        about = {"service.name": "imagefarm", "service.version": VERSION, "imagefarm.process": process}
        self._provider = TracerProvider(resource=Resource.create(about), id_generator=_generator(), shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(exporter) if at_once else BatchSpanProcessor(exporter))
        self._tracer: Tracer = self._provider.get_tracer("imagefarm", VERSION)

    def submitted(self, job_id: str, started: float, **values: str | int | float) -> None:
        """Record the first span of a job's trace, from `started` (seconds since 1970) until now."""
        token = _FORCED.set(trace_ids(job_id))
        try:
            span = self._tracer.start_span(
                "job.submit", _no_parent(), start_time=int(started * NANOSECONDS), attributes=_of_job(job_id, values)
            )
        finally:
            _FORCED.reset(token)
        span.end()

    def past(self, name: str, job_id: str, started: float, ended: float, **values: str | int | float) -> None:
        """Record a span that is over, below the present one or else below the job's first. Times: seconds since 1970."""
        span = self._tracer.start_span(
            name, _parent(job_id), start_time=int(started * NANOSECONDS), attributes=_of_job(job_id, values)
        )
        span.end(int(max(ended, started) * NANOSECONDS))

    @contextmanager
    def span(self, name: str, job_id: str, **values: str | int | float) -> Iterator[dict[str, str | int | float]]:
        """Record a span around a block; the block may add attributes to the dictionary that it gets."""
        added: dict[str, str | int | float] = {}
        with self._tracer.start_as_current_span(name, _parent(job_id), attributes=_of_job(job_id, values)) as span:
            try:
                yield added
            finally:
                span.set_attributes({f"imagefarm.{key}": value for key, value in added.items()})

    def close(self) -> None:
        """Send the remaining spans, for at most two seconds."""
        self._provider.force_flush(2000)
        self._provider.shutdown()


def tracing_of(settings: Settings, process: str) -> Tracing | None:
    """Return what records a process's spans; None unless the settings name an endpoint.

    Raises MissingExtra when they do and OpenTelemetry is not installed.
    """
    if not settings.otlp_endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise MissingExtra(
            f"IMAGEFARM_OTLP_ENDPOINT is set, and imagefarm[tracing] is not installed: run {install_command('tracing')}."
        ) from error
    return Tracing(OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=5), process)


_FORCED: ContextVar[tuple[int, int] | None] = ContextVar("forced_trace_ids", default=None)


def _generator() -> IdGenerator:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class JobIds(RandomIdGenerator):
        """Random ids, except for a job's first span."""

        def generate_trace_id(self) -> int:
            forced = _FORCED.get()
            return forced[0] if forced is not None else super().generate_trace_id()

        def generate_span_id(self) -> int:
            forced = _FORCED.get()
            return forced[1] if forced is not None else super().generate_span_id()

    return JobIds()


def _no_parent() -> Context:
    from opentelemetry.context import Context

    return Context()


def _parent(job_id: str) -> Context:
    """Return the context of the present span if it is one of this job, else of the job's first span."""
    from opentelemetry import trace

    trace_id, span_id = trace_ids(job_id)
    present = trace.get_current_span()
    if present.get_span_context().trace_id == trace_id:
        return trace.set_span_in_context(present, _no_parent())
    first = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    return trace.set_span_in_context(trace.NonRecordingSpan(first), _no_parent())


def _of_job(job_id: str, values: Values) -> dict[str, str | int | float]:
    return {"imagefarm.job_id": job_id, **{f"imagefarm.{key}": value for key, value in values.items()}}
