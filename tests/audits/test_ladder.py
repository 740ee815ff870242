"""The ladder: each rung needs its own evidence and all below it."""

from dataclasses import replace

import pytest

from virtuelens.audits.ladder import RUNGS, Causal, Evidence, Thresholds, climb
from virtuelens.values.estimates import Estimate

GOOD = Estimate(0.95, 0.9, 0.98, 100, 0.6)
CLEAR = Estimate(0.4, 0.2, 0.5, 100, 0.0)
UNCLEAR = Estimate(0.05, -0.1, 0.2, 100, 0.0)
CAUSAL = Causal(Estimate(2.0, 1.5, 2.5, 100, 0.0), random_p99=0.4, n_random=20, monotonicity=1.0,
                rate_change=0.8, kl_at_dose=0.5, dose=2.0, gap=2.0)
FULL = Evidence(
    auroc=GOOD, q=0.01, beyond={"bag_of_words": CLEAR, "random_weights": CLEAR}, transfer=GOOD,
    transfer_beyond=CLEAR, causal=CAUSAL, specific={"true_agreement": CLEAR},
)


def test_full_evidence_reaches_the_top() -> None:
    """Nothing missing, nothing weak: specific."""
    assert climb(FULL, Thresholds()).rung_name == "specific"


@pytest.mark.parametrize(("change", "rung", "reason"), [
    ({"q": 0.2}, 0, "shuffled labels"),
    ({"auroc": replace(GOOD, value=0.58)}, 0, "shuffled labels"),
    ({"auroc": replace(GOOD, low=0.45)}, 0, "chance"),
    ({"beyond": {"bag_of_words": CLEAR, "random_weights": UNCLEAR}}, 1, "random weights"),
    ({"beyond": None}, 1, "no shifted set"),
    ({"transfer": None}, 2, "no transfer set"),
    ({"transfer": replace(GOOD, low=0.55)}, 2, "transfer set"),
    ({"transfer_beyond": UNCLEAR}, 2, "bag of words"),
    ({"causal": None}, 3, "no target behaviour"),
    ({"causal": replace(CAUSAL, random_p99=1.6)}, 3, "random directions"),
    ({"causal": replace(CAUSAL, monotonicity=0.5)}, 3, "monotone"),
    ({"causal": replace(CAUSAL, rate_change=0.01)}, 3, "choice"),
    ({"causal": replace(CAUSAL, dose=0.0)}, 3, "KL budget"),
    ({"specific": {}}, 4, "not tested"),
    ({"specific": {"a": CLEAR, "praise": UNCLEAR}}, 4, "praise"),
    ({"specific": {"a": CLEAR, "praise": replace(CLEAR, null=0.25)}}, 4, "praise"),
])
def test_the_first_gap_stops_the_climb_and_is_named(change: dict, rung: int, reason: str) -> None:
    """One weak number stops at the rung below it, and the sentence says which."""
    reached = climb(replace(FULL, **change), Thresholds())
    assert reached.rung == rung
    assert reason in reached.stopped_because


def test_a_slope_against_the_concept_is_not_causal() -> None:
    """Steering up must raise the behaviour: a strong effect the wrong way does not count."""
    wrong = replace(CAUSAL, slope=Estimate(-2.0, -2.5, -1.5, 100, 0.0), monotonicity=-1.0)
    assert climb(replace(FULL, causal=wrong), Thresholds()).rung == 3


def test_rungs_are_the_designs() -> None:
    """Other programs read these names."""
    assert RUNGS == ("absent", "decodable", "beyond surface", "general", "causal", "specific")
