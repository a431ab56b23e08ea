"""The error tree. Every error has a stable code and a message with what to do about it.

    FarmError
    ├── InvalidInput          invalid_input     422  the request is wrong; `field` names the value
    ├── NotFound              not_found         404
    ├── Gone                  gone              410  existed, deleted by retention or by its owner
    ├── Conflict              conflict          409
    ├── Unauthorized          unauthorized      401
    ├── Forbidden             forbidden         403
    ├── TooManyRequests       queue_full        429  carries `retry_after`
    ├── Unavailable           unavailable       503  carries `retry_after`; database, broker or storage does not answer
    └── RenderError           render_failed          an attempt failed; its code decides on the retry

The table of HTTP statuses is `api/problems.py`; the table of retries by render error code is `core/retries.py`.
"""

from __future__ import annotations


class FarmError(Exception):
    """Base of all errors that a user may see. `message` is shown unchanged."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code


class InvalidInput(FarmError):
    """The request cannot be accepted; `field` is the JSON path of the invalid value, such as `width`."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class NotFound(FarmError):
    """The object does not exist, or belongs to another owner."""

    code = "not_found"


class Gone(FarmError):
    """The object existed and was deleted."""

    code = "gone"


class Conflict(FarmError):
    """The object's present state does not allow the operation."""

    code = "conflict"


class Unauthorized(FarmError):
    """The API key is missing or not valid."""

    code = "unauthorized"


class Forbidden(FarmError):
    """The API key is valid but lacks the scope."""

    code = "forbidden"


class TooManyRequests(FarmError):
    """A limit of this owner is reached; `retry_after` is in seconds."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unavailable(FarmError):
    """The database, the broker or the storage does not answer at the moment; `retry_after` is in seconds."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float = 5.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class RenderError(FarmError):
    """A render attempt failed; `code` is one of `core.retries.RULES`."""

    code = "render_failed"
