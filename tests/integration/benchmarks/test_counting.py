"""The simulation counts what a GPU's allocator would allocate: storages, not views, until they are freed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional

from benchmarks.simulated_memory.counting import Allocations
from benchmarks.simulated_memory.cuda_like import CudaLike
from benchmarks.simulated_memory.pool import MIB, GpuFull, Pool

KIB = 1024


@pytest.fixture
def counted() -> Iterator[Allocations]:
    with CudaLike(), Allocations(Pool()) as allocations:
        yield allocations


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def test_storages_count_until_they_are_freed(counted: Allocations) -> None:
    first = meta(KIB)
    assert counted.now == 2 * KIB
    second = first.float()
    assert counted.now == 6 * KIB
    del first
    assert counted.now == 4 * KIB
    part = second.view(32, 32)[3:]
    del second
    assert counted.now == 4 * KIB, "the view holds the whole storage"
    del part
    assert (counted.now, counted.highest) == (0, 6 * KIB)


def test_views_and_in_place_operations_allocate_nothing(counted: Allocations) -> None:
    numbers = meta(64, 64)
    with counted.watched() as peak:
        numbers.mul_(2).add_(1)
        numbers.view(32, 128).unsqueeze(0).chunk(2, dim=2)
    assert peak.increase == 0
    with counted.watched() as peak:
        numbers.t().flatten()
    assert peak.increase == numbers.nbytes, "a transposed matrix is copied to be flat"


def test_repeated_operations_count_like_the_first(counted: Allocations) -> None:
    numbers, peaks = meta(64, 64), []
    for each in (numbers, numbers, meta(64, 64)):
        with counted.watched() as peak:
            each.mul_(2)
            view = torch.ops.aten._unsafe_view(each, [32, 128])
            made, least = (view.t() + 1).min(dim=0)
        peaks.append(peak.increase)
        assert (made.shape, least.dtype, made.dtype) == ((32,), torch.int64, torch.bfloat16)
        del made, least
    assert peaks[0] == peaks[1] == peaks[2] > 0


def test_intermediates_of_an_expression_count(counted: Allocations) -> None:
    numbers = meta(64, 64)
    with counted.watched() as peak:
        kept = numbers + numbers * 2
    assert (peak.increase, counted.now) == (2 * numbers.nbytes, 2 * numbers.nbytes)
    assert kept.shape == numbers.shape


def test_small_requests_are_rounded_up(counted: Allocations) -> None:
    kept = meta(1)
    assert counted.now == 512
    del kept


@pytest.mark.parametrize(("width", "extra"), [(128, 4 * 2 * 3000), (512, 4 * 2 * 3000 * 512)])
def test_attention_does_not_allocate_the_score_matrix(counted: Allocations, width: int, extra: int) -> None:
    query = meta(1, 2, 3000, width)
    with counted.watched() as peak:
        out = functional.scaled_dot_product_attention(query, query, query)
    assert out.shape == query.shape
    assert peak.increase - query.nbytes == pytest.approx(extra, abs=512)


def test_a_segment_is_split_and_merged() -> None:
    pool = Pool()
    first, second = pool.take(4 * MIB), pool.take(4 * MIB)
    assert pool.reserved == 20 * MIB
    pool.give(first)
    pool.give(second)
    pool.give(pool.take(19 * MIB))
    assert pool.reserved == 20 * MIB
    pool.empty_cache()
    assert pool.reserved == 0


def test_large_requests_are_rounded_up_to_whole_segments() -> None:
    pool = Pool()
    kept = [pool.take(15 * MIB) for _ in range(3)]
    assert pool.reserved == 3 * 16 * MIB
    assert kept


def test_a_full_gpu_releases_free_segments_first() -> None:
    pool = Pool(limit=40 * MIB)
    pool.give(pool.take(30 * MIB))
    kept = pool.take(40 * MIB)
    with pytest.raises(GpuFull):
        pool.take(1)
    assert (kept.size, pool.reserved, pool.highest) == (40 * MIB, 40 * MIB, 40 * MIB)
