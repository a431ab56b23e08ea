"""The error tree; every error carries a stable code, a message that says what to do, and whether a retry can help.

    FarmError
    ├── InvalidInput          invalid_input     422  the request is wrong; `field` names where
    ├── NotFound              not_found         404
    ├── Gone                  gone              410  existed once, removed by retention or by its owner
    ├── Conflict              conflict          409
    ├── Unauthorized          unauthorized      401
    ├── Forbidden             forbidden         403
    ├── TooManyRequests       queue_full        429  carries `retry_after`
    ├── Unavailable           unavailable       503  carries `retry_after`; database, broker or storage is away
    └── RenderError           render_failed          an attempt went wrong; its code decides what happens next

HTTP statuses live in one table, `api/problems.py`. What a render error's code leads to lives in `core/retries.py`.
"""

from __future__ import annotations


class FarmError(Exception):
    """Base of all errors that a user may see. `message` is shown as it is."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code


class InvalidInput(FarmError):
    """The request cannot be accepted; `field` is the JSON path of the value at fault, such as `width`."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class NotFound(FarmError):
    """No such thing, or not this caller's."""

    code = "not_found"


class Gone(FarmError):
    """It existed and has been deleted."""

    code = "gone"


class Conflict(FarmError):
    """The thing's present state does not allow what was asked."""

    code = "conflict"


class Unauthorized(FarmError):
    """No key, or a key that is not valid."""

    code = "unauthorized"


class Forbidden(FarmError):
    """The key is valid but lacks the scope."""

    code = "forbidden"


class TooManyRequests(FarmError):
    """A limit of this owner is reached; `retry_after` is in seconds."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unavailable(FarmError):
    """A part the farm stands on is away for now; `retry_after` is in seconds."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float = 5.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class RenderError(FarmError):
    """A render attempt went wrong; `code` is one of `core.retries.RULES`."""

    code = "render_failed"
