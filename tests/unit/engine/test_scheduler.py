"""Which requests share the next forward pass, and that no request starves."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.stepping import VirtualClock, choose_micro_batch


@dataclass
class Waiting:
    group: int
    tokens: int
    due: int
    steps: int = 8


candidates = st.lists(
    st.builds(Waiting, group=st.integers(0, 2), tokens=st.integers(1, 50), due=st.integers(0, 500)), max_size=12
)


@given(candidates, st.integers(1, 120))
def test_a_micro_batch_is_one_group_within_budget_led_by_the_first_due(waiting: list[Waiting], budget: int) -> None:
    batch = choose_micro_batch(waiting, budget)
    assert bool(batch) == bool(waiting)
    if not batch:
        return
    assert batch[0].due == min(each.due for each in waiting)
    assert len({each.group for each in batch}) == 1
    assert len(batch) == 1 or sum(each.tokens for each in batch) <= budget
    assert len({id(each) for each in batch}) == len(batch)


@given(candidates, st.integers(1, 120))
def test_a_micro_batch_leaves_no_room_for_another_candidate(waiting: list[Waiting], budget: int) -> None:
    batch = choose_micro_batch(waiting, budget)
    if not batch:
        return
    left = budget - sum(each.tokens for each in batch)
    chosen = {id(each) for each in batch}
    skipped = [each for each in waiting if id(each) not in chosen and each.group == batch[0].group]
    assert all(each.tokens > left for each in skipped)


def test_a_large_request_advances_in_an_endless_stream_of_small_ones() -> None:
    clock = VirtualClock()

    def arrive(group: int, tokens: int) -> Waiting:
        return Waiting(group, tokens, clock.due(tokens * 8))

    large = arrive(1, 4128)
    stream = [arrive(0, 1056) for _ in range(4)]
    tokens_of_others = 0
    while large.steps and tokens_of_others < 100 * 8 * large.tokens:
        batch = choose_micro_batch([large, *stream], 4224)
        clock.advance(sum(each.tokens for each in batch))
        for each in batch:
            each.steps -= 1
        if large not in batch:
            tokens_of_others += sum(each.tokens for each in batch)
        stream = [each if each.steps else arrive(0, 1056) for each in stream]
    assert large.steps == 0
    # It waits for at most its own cost, plus the requests that were partly done when it was due.
    assert tokens_of_others <= 8 * large.tokens + 4 * 8 * 1056


def test_requests_of_equal_cost_run_in_arrival_order() -> None:
    clock = VirtualClock()
    first, second = Waiting(0, 10, clock.due(80)), Waiting(1, 10, clock.due(80))
    clock.advance(10)
    third = Waiting(2, 10, clock.due(80))
    assert choose_micro_batch([third, second, first], 10) == [second] or choose_micro_batch([first, second, third], 10) == [
        first
    ]
    assert choose_micro_batch([third, second], 10) == [second]
