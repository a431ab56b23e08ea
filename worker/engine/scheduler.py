"""Choose which requests share the next forward pass (the micro-batch)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar


class Schedulable(Protocol):
    """`group`: only equal groups share a pass. `tokens`: its size in a pass. `due`: see `VirtualClock`."""

    @property
    def group(self) -> Hashable: ...
    @property
    def tokens(self) -> int: ...
    @property
    def due(self) -> int: ...


C = TypeVar("C", bound=Schedulable)


def choose_micro_batch(candidates: Sequence[C], token_budget: int) -> list[C]:
    """Return the candidate that is due first and those that may share its pass, in order of `due`, within the budget.

    The first is taken whatever its size, so that a request above the budget runs alone instead of never.
    """
    in_order = sorted(candidates, key=lambda candidate: candidate.due)
    if not in_order:
        return []
    leader = in_order[0]
    batch, tokens = [leader], leader.tokens
    for candidate in in_order[1:]:
        if candidate.group == leader.group and tokens + candidate.tokens <= token_budget:
            batch.append(candidate)
            tokens += candidate.tokens
    return batch


class VirtualClock:
    """Count the tokens that the device has processed; a request is due at its arrival plus its own cost.

    Requests of equal cost run in arrival order, and a short one may overtake a long one. No request starves: only
    requests that arrive before the device has done as much work as the request costs can overtake it.
    """

    def __init__(self) -> None:
        self._now = 0

    def due(self, cost_tokens: int) -> int:
        """Return when a request that arrives now is due; `cost_tokens`: its tokens over all its steps."""
        return self._now + cost_tokens

    def advance(self, tokens: int) -> None:
        self._now += tokens
