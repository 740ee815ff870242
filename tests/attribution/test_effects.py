"""Shares and the cells they name, on effects written down by hand."""

import pytest
import torch

from virtuelens.attribution.effects import Attribution, groups_of
from virtuelens.errors import AttributionError, NotFiniteError

N = 40


def made(effects: torch.Tensor, null: torch.Tensor | None = None, *, before: float = -5.0,
         after: float = 5.0) -> Attribution:
    """Two points, three tokens; the source moves the metric from `before` to `after`."""
    points = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    return Attribution(points, effects, torch.full((N,), before), torch.full((N,), after), null,
                       groups_of(None, N))


def spread(*means: float) -> torch.Tensor:
    """`[pair 2 3]` effects with these means, varying from pair to pair."""
    noise = torch.randn(N, 6, generator=torch.Generator().manual_seed(0))
    return (torch.tensor(means) + noise - noise.mean(0)).reshape(N, 2, 3)


def test_shares_are_mean_effects_over_the_mean_total() -> None:
    """And a pair without a token has no say about it."""
    effects = spread(0, 8, 0, 0, 0, 10)
    found = made(effects)
    torch.testing.assert_close(found.shares().float(),
                               torch.tensor([[0, 0.8, 0], [0, 0, 1.0]]), atol=1e-5, rtol=0)
    effects[: N // 2, :, 0] = torch.nan
    effects[N // 2 :, 0, 0] = 3.0
    assert float(made(effects).shares()[0, 0]) == pytest.approx(0.3)


def test_cells_above_the_mark_are_named_largest_first() -> None:
    """With their interval; tokens are counted from the last."""
    cells = made(spread(0, 8, 0, 0, 0, 10)).named(0.5)
    assert [(c.point, c.token) for c in cells] == [
        ("blocks.1.hook_resid_post", -1), ("blocks.0.hook_resid_post", -2)]
    for cell in cells:
        assert 0.5 < cell.share.low < cell.share.value < cell.share.high
        assert cell.share.n == N
    assert made(spread(0, 8, 0, 0, 0, 10)).named(0.9)[0].token == -1


def test_a_cell_just_above_the_threshold_is_not_named() -> None:
    """Its interval must be above, not only its value."""
    assert made(spread(0, 0, 0, 0, 0, 5.1)).named(0.5) == ()


def test_unrelated_sources_raise_the_mark() -> None:
    """By the size of what they do, although it averages out."""
    null = spread(0, 0, 0, 0, 0, 0)
    null[: N // 2, 0, 1], null[N // 2 :, 0, 1] = 9.0, -9.0
    found = made(spread(0, 8, 0, 0, 0, 10), null)
    assert found.largest_null() == pytest.approx(0.9, abs=0.01)
    assert [c.token for c in found.named(0.5)] == [-1]
    assert found.named(0.5)[0].share.null == found.largest_null()
    assert made(spread(0, 8, 0, 0, 0, 10)).largest_null() is None


@pytest.mark.parametrize(("before", "after"), [(-5.0, -4.9), (-5.0, -1.0), (5.0, -5.0), (1.0, 5.0)])
def test_no_cell_is_named_where_the_answer_does_not_turn(before: float, after: float) -> None:
    """However large the effects are."""
    found = made(spread(0, 8, 0, 0, 0, 10), spread(0, 0, 0, 0, 0, 0), before=before, after=after)
    assert found.turned.value == 0
    assert found.named(0.1) == ()
    assert found.largest_null() > 0


def test_the_total_has_its_interval() -> None:
    """Mean change of the metric."""
    found = made(spread(0, 0, 0, 0, 0, 0))
    assert (found.total.value, found.total.n) == (10.0, N)
    assert found.turned.value == 1


def test_what_there_is_not_is_said() -> None:
    """A cell, groups, or metrics that are numbers."""
    found = made(spread(0, 0, 0, 0, 0, 0))
    for point, token in (("blocks.7.hook_resid_post", -1), (found.points[0], -4),
                         (found.points[0], 0)):
        with pytest.raises(AttributionError, match="-3 to -1"):
            found.share(point, token)
    with pytest.raises(AttributionError, match="1 groups for 2 pairs"):
        groups_of(["a"], 2)
    with pytest.raises(NotFiniteError, match="pair 0"):
        made(spread(0, 0, 0, 0, 0, 0), after=float("nan"))
