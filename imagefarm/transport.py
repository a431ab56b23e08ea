"""Send HTTP requests that survive a restart of the farm, and parse responses into schemas."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from imagefarm.address import Address
from imagefarm.errors import error_of, not_a_farm, retry_after, unreachable
from imagefarm.retry_budget import RetryBudget

FIRST_CONTACT_SECONDS = 1.0
"""A farm that has never answered and refuses the connection is most likely not there."""
ANSWER_SECONDS = 60.0
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_NOT_TAKEN = frozenset({429, 503})
"""Answers that say that nothing was done."""

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Transport:
    """May be used by many threads. `retry_seconds`: how long a farm that is away or full is tried again."""

    def __init__(self, address: Address, retry_seconds: float, label: str | None) -> None:
        headers = {"Accept": "application/json"}
        if address.api_key:
            headers["Authorization"] = f"Bearer {address.api_key}"
        if label:
            headers["X-Client-Label"] = label
        self._http = httpx.Client(
            base_url=address.url,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=10.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=not address.is_loopback,
        )
        self.url = address.url
        self._retry_seconds = retry_seconds
        self._answered = False
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends waiting tries at once, then the connections."""
        self._closed.set()
        self._http.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def read(self, kind: type[AnswerT], method: str, path: str, **how: Any) -> AnswerT:  # noqa: ANN401 -- of `send`
        """The answer's body as `kind`."""
        return self.parse(kind, self.send(method, path, **how))

    def parse(self, kind: type[AnswerT], response: httpx.Response) -> AnswerT:
        """An answer's body as `kind`; FarmError `not_a_farm` when it is none."""
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise not_a_farm(self.url, f"{error.error_count()} fields of {kind.__name__} do not fit") from error

    def send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_seconds: float = 0.0,
        repeatable: bool = True,
    ) -> httpx.Response:
        """The answer, once it is neither an error nor a reason to try again.

        `repeatable`: doing it twice does no more than doing it once; otherwise it is sent again only when it is sure
        that nothing was done. `wait_seconds`: how long the farm itself may hold the answer back.
        """
        retry_budget = self.retry_budget()
        request = self._http.build_request(
            method,
            path,
            json=json,
            content=content,
            params=params,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS + wait_seconds, connect=10.0),
        )
        while True:
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                self.sleep_or_raise(retry_budget, error, repeatable=repeatable)
                continue
            self._answered = True
            if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
                return response
            failure = error_of(response)
            if response.status_code not in (_TRY_AGAIN if repeatable else _NOT_TAKEN):
                raise failure
            retry_budget.sleep_or_raise(failure, retry_after(response))

    @contextmanager
    def stream(self, path: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """An answer whose body is still to come; one try, its TransportError is the caller's to bear."""
        with self._http.stream("GET", path, params=params, headers=headers) as response:
            self._answered = True
            if response.is_error:
                response.read()
                raise error_of(response)
            yield response

    def retry_budget(self) -> RetryBudget:
        """Fresh patience, for a request that begins now."""
        return RetryBudget(self._retry_seconds, self._closed)

    def sleep_or_raise(self, retry_budget: RetryBudget, error: httpx.TransportError, *, repeatable: bool = True) -> None:
        """Sleeps before another try; raises Unavailable `farm_unreachable` when there should be none."""
        trouble = unreachable(self.url, error)
        never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        if not (repeatable or never_sent):
            raise trouble from error
        if not self._answered:
            retry_budget.shorten(FIRST_CONTACT_SECONDS)
        retry_budget.sleep_or_raise(trouble)
