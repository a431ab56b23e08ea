"""All that is wrong with a request's parameters, in one error."""

from __future__ import annotations

from core.errors import InvalidInput


class InvalidParameters(InvalidInput):
    """`problems` are (field, message) pairs; the error's own field and message are those of the first."""

    code = "invalid_parameters"

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        field, message = problems[0]
        super().__init__(f"{field}: {message}", field=field)
        self.problems = problems


class Findings:
    """Collects problems while a request is looked through."""

    def __init__(self) -> None:
        self._problems: list[tuple[str, str]] = []

    def add(self, field: str, message: str) -> None:
        """Notes one value at fault; `message` says what to send instead."""
        self._problems.append((field, message))

    def raise_if_any(self) -> None:
        """Raises InvalidParameters when something was noted."""
        if self._problems:
            raise InvalidParameters(self._problems)
