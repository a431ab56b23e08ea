"""Send HTTP requests with retries that outlast a restart of the farm, and parse responses into schemas."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from core.errors import InvalidInput, Unavailable
from imagefarm.address import Address
from imagefarm.errors import error_of, not_a_farm, retry_after, unreachable
from imagefarm.retry_budget import RetryBudget

FIRST_CONTACT_SECONDS = 1.0
"""Retry only this long while the farm has never answered: the address is probably wrong."""
RESPONSE_SECONDS = 60.0
_RETRYABLE = frozenset({429, 502, 503, 504})
_NOT_PROCESSED = frozenset({429, 503})
"""Statuses which guarantee that the request had no effect."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_CHARACTER = re.compile(r"[\ud800-\udfff]")
"""What Python makes of bytes in the environment or on the command line that are not UTF-8."""

ResponseT = TypeVar("ResponseT", bound=BaseModel)


@cache
def certificates() -> ssl.SSLContext:
    """Return the trusted certificates, whatever the environment names. Clients share them: they take 30 ms to read."""
    return httpx.create_ssl_context(trust_env=False)


def in_utf8(headers: Mapping[str, str]) -> httpx.Headers:
    """Return headers in which keys, labels and idempotency keys may hold any letter; the farm says which it takes.

    Raises InvalidInput for line breaks and the like, which no header can hold.
    """
    for name, value in headers.items():
        what = "The API key" if name == "Authorization" else name
        if _NO_CHARACTER.search(value):
            raise InvalidInput(f"{what} is not UTF-8: write it in UTF-8.", field=name)
        if _CONTROL.search(value.strip()):
            raise InvalidInput(f"{what} holds a line break or another control character: leave it out.", field=name)
    return httpx.Headers({name: value.strip() for name, value in headers.items()}, encoding="utf-8")


class Transport:
    """An HTTP connection to a farm, safe for threads. `retry_seconds`: how long to retry an unavailable or full farm."""

    def __init__(self, address: Address, retry_seconds: float, label: str | None) -> None:
        headers = {"Accept": "application/json"}
        if address.api_key:
            headers["Authorization"] = f"Bearer {address.api_key}"
        if label:
            headers["X-Client-Label"] = label
        self._http = httpx.Client(
            base_url=address.url,
            headers=in_utf8(headers),
            timeout=httpx.Timeout(RESPONSE_SECONDS, connect=10.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=not address.is_loopback,
            verify=certificates() if address.is_loopback else True,
        )
        self.url = address.url
        self._retry_seconds = retry_seconds
        self._has_answered = False
        self._closed = threading.Event()

    def close(self) -> None:
        """Stop pending retries at once, then close the connections."""
        self._closed.set()
        self._http.close()

    @property
    def closed(self) -> bool:
        """Return whether `close` was called."""
        return self._closed.is_set()

    def read(self, kind: type[ResponseT], method: str, path: str, **options: Any) -> ResponseT:  # noqa: ANN401 -- those of `send`
        """Send a request and return the response's body as `kind`."""
        return self.parse(kind, self.send(method, path, **options))

    def parse(self, kind: type[ResponseT], response: httpx.Response) -> ResponseT:
        """Return a response's body as `kind`. Raises FarmError `not_a_farm` when it does not fit."""
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
        """Send a request, with retries; return the response of 2xx or 304. Raises the FarmError of any other.

        `repeatable`: the request is idempotent. Any other is sent again only when the first one certainly had no
        effect. `wait_seconds`: how long the farm may hold the response back (long polling).
        """
        retry_budget = self.retry_budget(wait_seconds)
        request = self._http.build_request(
            method,
            path,
            json=json,
            content=content,
            params=params,
            headers=in_utf8(headers or {}),
            timeout=httpx.Timeout(RESPONSE_SECONDS + wait_seconds, connect=10.0),
        )
        while True:
            try:
                # A stored file may be in a bucket; httpx sends no key to another origin.
                response = self._http.send(request, follow_redirects=method == "GET")
            except httpx.TransportError as error:
                failure = self.failure_of(error, retry_budget)
                if not (repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)):
                    raise failure from error
                retry_budget.sleep_or_raise(failure)
                continue
            self._has_answered = True
            if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
                return response
            refusal = error_of(response)
            if response.status_code not in (_RETRYABLE if repeatable else _NOT_PROCESSED):
                raise refusal
            retry_budget.sleep_or_raise(refusal, retry_after(response))

    @contextmanager
    def stream(self, path: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Open a response whose body is read later. Does not retry: TransportErrors reach the caller."""
        with self._http.stream("GET", path, params=params, headers=headers) as response:
            self._has_answered = True
            if response.is_error:
                response.read()
                raise error_of(response)
            yield response

    def retry_budget(self, wait_seconds: float = 0.0) -> RetryBudget:
        """Return a new budget, for a request that starts now and that the farm may hold for `wait_seconds`."""
        return RetryBudget(wait_seconds + self._retry_seconds, self._closed)

    def failure_of(self, error: httpx.TransportError, retry_budget: RetryBudget) -> Unavailable:
        """Return Unavailable `farm_unreachable`; shorten the budget if the farm has never answered."""
        if not self._has_answered:
            retry_budget.shorten(FIRST_CONTACT_SECONDS)
        return unreachable(self.url, error)
