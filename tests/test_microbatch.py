"""Calls that are computed in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from search.microbatch import Microbatcher


async def test_a_batch_fills_up_while_the_previous_one_is_computed() -> None:
    sizes: list[int] = []

    def double(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return [2 * item for item in items]

    batch = Microbatcher(double, max_cost=8)
    assert await asyncio.gather(*map(batch, range(20))) == [2 * i for i in range(20)]
    assert sizes == [8, 8, 4]


async def test_a_batch_is_bounded_by_its_cost_and_a_larger_item_runs_alone() -> None:
    batches: list[Sequence[int]] = []

    def note(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        return items

    batch = Microbatcher(note, max_cost=5, cost=lambda item: item)
    await asyncio.gather(*map(batch, [9, 2, 3, 1]))
    assert batches == [[9], [2, 3], [1]]


async def test_an_error_fails_its_own_batch_only() -> None:
    def fail_on_3(items: Sequence[int]) -> Sequence[int]:
        if 3 in items:
            raise RuntimeError("out of memory")
        return items

    batch = Microbatcher(fail_on_3, max_cost=2)
    got = await asyncio.gather(*map(batch, range(6)), return_exceptions=True)
    assert got[:2] + got[4:] == [0, 1, 4, 5]
    assert all(isinstance(error, RuntimeError) for error in got[2:4])


async def test_a_wrong_number_of_results_is_an_error() -> None:
    batch: Microbatcher[int, int] = Microbatcher(lambda items: items[1:], max_cost=9)
    with pytest.raises(ValueError, match="1 items went in, 0 results came out"):
        await batch(1)


async def test_items_cancelled_in_the_queue_are_not_computed() -> None:
    computed: list[int] = []

    def note(items: Sequence[int]) -> Sequence[int]:
        computed.extend(items)
        return items

    batch = Microbatcher(note, max_cost=1)
    tasks = [asyncio.ensure_future(batch(i)) for i in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert computed == [0, 2]
