"""Thresholds are chosen by verdicts alone, and evidence is moved to another share exactly."""

from dataclasses import replace

from virtuelens.audits.ladder import Causal, Evidence, Thresholds
from virtuelens.calibration.thresholds import at, choose, verdict_right
from virtuelens.values.estimates import Estimate

GOOD = Estimate(0.95, 0.9, 0.98, 100, 0.6)
CLEAR = Estimate(0.4, 0.2, 0.5, 100, 0.0)
SHIPPED = Thresholds()


def evidence(*, rate_change: float = 0.8, lead: float = 1.2, asked: float = 1.0) -> Evidence:
    """Everything passes but what is varied; the target's own effect is 2."""
    causal = Causal(Estimate(2.0, 1.5, 2.5, 100, 0.0), 0.4, 20, 1.0, rate_change, 0.5, 2.0, 2.0)
    return Evidence(
        auroc=GOOD, q=0.01, beyond={"bag_of_words": CLEAR}, transfer=GOOD, transfer_beyond=CLEAR,
        causal=causal, specific={"neighbour": Estimate(lead + 0.1, lead, lead + 0.2, 100, asked)},
    )


def test_the_cell_with_most_verdicts_right_is_chosen() -> None:
    """A companion that moves 0.25 of choices is no cause: the stricter mark is chosen."""
    known = [(evidence(), (5, 5))] * 3 + [(evidence(rate_change=0.25), (3, 3))] * 2
    choice = choose(known, SHIPPED)
    assert choice.thresholds.rate_change == 0.3
    assert (choice.right, choice.shipped_right, choice.n) == (5, 3, 5)


def test_among_equals_the_shipped_ones_stay() -> None:
    """Where the grid does not matter, nothing is changed; with nothing known neither."""
    assert choose([(evidence(), (5, 5))], SHIPPED).thresholds == SHIPPED
    assert choose([], SHIPPED).thresholds == SHIPPED


def test_the_neighbour_share_moves_what_is_asked_of_a_neighbour() -> None:
    """Own effect 2: a share of 0.5 asks for a lead of 1, of 0.25 for 1.5, of 0.75 for 0.5."""
    for share, asked in ((0.25, 1.5), (0.5, 1.0), (0.75, 0.5)):
        moved = at(evidence(), replace(SHIPPED, neighbour_share=share), SHIPPED)
        assert moved.specific["neighbour"].null == asked


def test_where_nothing_is_true_decodable_is_not_wrong() -> None:
    """Random features may decode; anything above rung 1 is a false claim."""
    bare = replace(evidence(), beyond=None)
    assert verdict_right(bare, SHIPPED, SHIPPED, (0, 1))
    assert not verdict_right(evidence(), SHIPPED, SHIPPED, (0, 1))
    assert verdict_right(evidence(), SHIPPED, SHIPPED, (5, 5))
    assert not verdict_right(evidence(), SHIPPED, SHIPPED, (3, 3))
