"""Batches hold every text once, within the budget, with little padding."""

import random

import pytest

from virtuelens.activations.plan import plan_batches, plan_shards


def lengths() -> list[int]:
    """500 lengths from 1 to 400, most of them short."""
    rng = random.Random(0)
    return [1 + int(399 * rng.random() ** 3) for _ in range(500)]


@pytest.mark.parametrize("batch_tokens", [1, 64, 1000, 10**9])
def test_every_text_is_in_one_batch_within_the_budget(batch_tokens: int) -> None:
    """Padded size is within the budget, unless a single text is longer than it."""
    sizes = lengths()
    batches = plan_batches(sizes, batch_tokens=batch_tokens)
    assert sorted(i for b in batches for i in b) == list(range(500))
    for batch in batches:
        assert len(batch) == 1 or max(sizes[i] for i in batch) * len(batch) <= batch_tokens


@pytest.mark.parametrize("batch_tokens", [2000, 8192, 10**6])
def test_hardly_anything_is_padded(batch_tokens: int) -> None:
    """Under 10 % padding for any budget, where the order of arrival would pad most of the work."""
    sizes = lengths()
    batches = plan_batches(sizes, batch_tokens=batch_tokens)
    padded = sum(max(sizes[i] for i in b) * len(b) for b in batches)
    arrival = sum(max(sizes[i : i + 16]) * len(sizes[i : i + 16]) for i in range(0, 500, 16))
    assert padded < 1.1 * sum(sizes)
    assert arrival > 2 * sum(sizes)


def test_longest_batch_first_then_lengths_are_mixed() -> None:
    """The first batch has the longest text; the others come in no order of length."""
    sizes = lengths()
    batches = plan_batches(sizes, batch_tokens=1000)
    assert max(sizes) in {sizes[i] for i in batches[0]}
    longest = [max(sizes[i] for i in b) for b in batches[1:]]
    half = len(longest) // 2
    first, second = sum(longest[:half]) / half, sum(longest[half:]) / (len(longest) - half)
    assert 0.5 < first / second < 2


def test_same_texts_same_plan() -> None:
    """Nothing but the lengths and the budget decides."""
    one, two = (plan_batches(lengths(), batch_tokens=1000) for _ in range(2))
    assert one == two


def test_shards_are_runs_of_batches_of_about_the_limit() -> None:
    """Each closed shard has reached the limit with its last batch; none is empty."""
    sizes = [3, 9, 1, 1, 1, 12, 2]
    shards = plan_shards(sizes, limit=10)
    assert shards == [range(2), range(2, 6), range(6, 7)]
    assert plan_shards(sizes, limit=1) == [range(i, i + 1) for i in range(7)]
    assert plan_shards([5], limit=100) == [range(1)]
