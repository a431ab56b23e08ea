"""Whether a part answers yet."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit


def answers_ok(url: str) -> bool:
    """True when GET `url` is answered with 200 within a second."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=1)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
