"""Rates from readings: who counts where, and what a rate says when nobody was asked."""

import pandas as pd

from virtuelens.calibration.rates import doses, qualities, rates, record, verdicts
from virtuelens.calibration.targets import by_size, targets


def readings(*rows: dict) -> pd.DataFrame:
    """Rows with defaults for what a test does not vary."""
    base = {"organism": "o", "seed": 0, "concept": "c", "control": "none", "dose": 100,
            "d_model": 128, "true_low": 5, "true_high": 5, "instrument": "ladder",
            "claim": "rung 4",
            "said": True, "true": True, "value": 5.0, "note": "", "seconds": 1.0}
    table = pd.DataFrame([base | row for row in rows])
    table["true"] = table["true"].astype("boolean")
    return table


def test_hits_and_false_alarms_are_counted_apart() -> None:
    """Two of three hits; one false alarm of two, on the random weights and not on the twin."""
    table = readings(
        {}, {}, {"said": False}, {"true": False, "said": False},
        {"true": False, "control": "random weights"}, {"true": None},
    )
    (rate,) = rates(table)
    assert rate.right is not None
    assert rate.false_positive is not None
    assert (rate.right.value, rate.right.n) == (2 / 3, 3)
    assert (rate.false_positive.value, rate.false_positive.n) == (0.5, 2)
    assert rate.by_control["twins and blanks"].value == 0
    assert rate.by_control["random weights"].value == 1
    assert rate.right.low < 2 / 3 < rate.right.high < 1


def test_a_claim_that_holds_nowhere_has_no_rate_of_hits() -> None:
    """None, and not 0 or 1."""
    (rate,) = rates(readings({"true": False, "said": False}))
    assert rate.right is None
    assert rate.false_positive is not None


def test_verdicts_list_the_rungs_named() -> None:
    """An organism named 5 twice and 4 once, with its true rung."""
    table = readings(*({"claim": "verdict", "value": v, "said": v == 5} for v in (5, 5, 4)))
    (found,) = verdicts(table)
    assert found["named"] == {"4": 1, "5": 2}
    assert (found["right"], found["n"], found["true_rungs"]) == (2, 3, [5, 5])


def test_qualities_are_medians_over_trained_organisms() -> None:
    """Controls and doses are left out."""
    claim = {"claim": "lies in the planted subspace", "true": None}
    table = readings(*({"value": v} | claim for v in (0.2, 0.4, 0.9)),
                     {"value": 0.0, "control": "random weights"} | claim)
    (found,) = qualities(table)
    assert (found["median"], found["n"]) == (0.4, 3)


def test_a_dose_series_follows_the_concepts_for_which_the_claim_holds() -> None:
    """From the twin to the whole effect; knowledge, which nothing follows, is not counted in."""
    half = {"organism": "deceiver@50", "dose": 50, "true": None, "concept": "deception"}
    table = readings(
        *({"organism": "deceiver", "concept": "deception", "said": s} for s in (True, True)),
        {"organism": "deceiver", "concept": "knowledge", "true": None, "said": False},
        half, half | {"said": False}, half | {"concept": "knowledge"},
        {"organism": "sycophant@50", "dose": 50, "true": None}, {"organism": "sycophant"},
        {"organism": "candid", "true": False, "said": False},
    )
    found = [(r["organism"], r["dose"], r["share"]["value"], r["share"]["n"])
             for r in doses(table)]
    assert found == [("deceiver", 50, 0.5, 2), ("deceiver", 100, 1.0, 2),
                     ("sycophant", 0, 0.0, 1), ("sycophant", 50, 1.0, 1),
                     ("sycophant", 100, 1.0, 1)]


def test_the_record_reports_the_ladder_on_the_other_half() -> None:
    """Ladder rows of the seeds that thresholds were chosen on are not in its rates."""
    table = readings(
        {"seed": 0, "said": False}, {"seed": 1}, {"seed": 0, "instrument": "probe x"},
        {"seed": 1, "instrument": "probe x"},
    )
    found = record(table, thresholds={}, chosen_on=[0], reported_on=[1], choice={}, version="0")
    assert found["instruments"]["ladder"]["rung 4"]["right"]["n"] == 1
    assert found["instruments"]["probe x"]["rung 4"]["right"]["n"] == 2
    assert found["seeds"] == [0, 1]


def test_targets_are_met_or_missed_by_the_verdicts_that_bear_on_them() -> None:
    """One of two trained organisms right; one null of two above rung 1; one echo called causal."""
    verdict = {"claim": "verdict"}
    echo = verdict | {"organism": "parrot", "true_low": 0, "true_high": 3}
    table = readings(
        verdict, verdict | {"said": False, "value": 1.0},
        verdict | {"control": "random weights", "value": 1.0},
        verdict | {"organism": "blank", "true_low": 0, "true_high": 1, "value": 2.0,
                   "said": False},
        echo | {"control": "agreeing only", "value": 4.0, "said": False},
        echo | {"value": 3.0},
        verdict | {"organism": "grounded", "control": "agreeing only", "value": 5.0},
    )
    named, null, causal = targets(table)
    assert (named.found.value, named.found.n, named.met) == (0.5, 4, False)
    assert (null.found.value, null.found.n, null.met) == (0.5, 2, False)
    assert (causal.found.value, causal.found.n, causal.met) == (0.5, 2, False)
    assert all(t.met is None for t in targets(table[:0]))


def test_sizes_are_counted_apart() -> None:
    """The wide one right, one of two narrow ones."""
    table = readings(*({"claim": "verdict", "seed": s, "said": said, "d_model": d}
                       for s, said, d in ((0, True, 128), (1, True, 64), (2, False, 64))))
    wide, narrow = by_size(table)
    assert (wide["d_model"], wide["seeds"], wide["right"]["value"]) == (128, [0], 1.0)
    assert (narrow["d_model"], narrow["seeds"], narrow["right"]["value"]) == (64, [1, 2], 0.5)
