"""Choose which requests share the next forward pass (the micro-batch)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar


class Schedulable(Protocol):
    """`due`: see `VirtualClock`. `tokens`: what it adds to a pass."""

    @property
    def group(self) -> Hashable: ...
    @property
    def tokens(self) -> int: ...
    @property
    def due(self) -> int: ...


C = TypeVar("C", bound=Schedulable)


def choose_micro_batch(candidates: Sequence[C], token_budget: int) -> list[C]:
    """The candidate that is due first, and whoever may share its pass, in order of due, within the budget.

    The first is taken whatever it needs: a request above the budget is rendered alone, not never.
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
    """Counts the tokens that the device has worked through; a request is due at its arrival plus its own cost.

    So equal requests are served in order of arrival, a short one may overtake a long one, and each can be overtaken
    only by what arrives before the device has done as much work as the request itself asks for: none starves.
    """

    def __init__(self) -> None:
        self._now = 0

    def due(self, cost_tokens: int) -> int:
        """When a request that arrives now, and needs that many tokens over all its steps, should be done."""
        return self._now + cost_tokens

    def advance(self, tokens: int) -> None:
        self._now += tokens
