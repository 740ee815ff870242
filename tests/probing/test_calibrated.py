"""Probabilities that hold on groups never seen, and measures that say so when they do not."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from tests.probing.packs import SITE, made
from virtuelens.errors import ProbeError
from virtuelens.probing.calibrated import (
    CALIBRATIONS,
    Platt,
    at_base_rate,
    calibration_error,
    calibration_errors,
    isotonic,
    out_of_fold,
    platt,
    probe_scores,
    reliability,
)
from virtuelens.probing.probes import probe_at
from virtuelens.probing.sweep import split_fit_test


def drawn(n: int, seed: int, *, slope: float = 2.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores with labels drawn at a known probability, in 40 groups."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    labels = (rng.random(n) < Platt(slope, 0.3)(scores)).astype(int)
    return scores, labels, [f"g{i % 40}" for i in range(n)]


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_every_calibration_finds_planted_probabilities(name: str) -> None:
    """Within 0.06 of the truth on new scores, never falling, between 0 and 1."""
    scores, labels, _ = drawn(4000, 0)
    curve = CALIBRATIONS[name](scores, labels)
    grid = np.linspace(-2, 2, 41)
    assert np.abs(curve(grid) - Platt(2.0, 0.3)(grid)).max() < 0.1
    wide = curve(np.linspace(-50, 50, 201))
    assert (np.diff(wide) >= 0).all()
    assert wide.min() >= 0
    assert wide.max() <= 1
    with pytest.raises(ProbeError, match="both"):
        CALIBRATIONS[name](scores, np.ones_like(labels))


def test_platt_equals_scikit_learn() -> None:
    """The same probabilities as CalibratedClassifierCV over the same scores."""
    scores, labels, _ = drawn(500, 1)
    frozen = LogisticRegression(C=1e6).fit(scores[:, None], labels)
    theirs = CalibratedClassifierCV(FrozenEstimator(frozen), method="sigmoid").fit(
        scores[:, None], labels)
    ours = platt(frozen.decision_function(scores[:, None]), labels)
    grid = np.linspace(-3, 3, 13)
    assert ours(frozen.decision_function(grid[:, None])) == pytest.approx(
        theirs.predict_proba(grid[:, None])[:, 1], abs=1e-3)


def test_a_probe_that_sorts_perfectly_gets_no_certainty() -> None:
    """Platt's targets keep the curve finite; one that sorts the wrong way is flat."""
    scores, labels = np.array([-2.0, -1.0, 1.0, 2.0] * 10), np.array([0, 0, 1, 1] * 10)
    curve = platt(scores, labels)
    assert np.isfinite(curve.slope)
    assert 0.9 < curve(np.array([2.0]))[0] < 1
    wrong = platt(-scores, labels)
    assert wrong.slope == 0
    assert wrong(np.array([0.0]))[0] == pytest.approx(0.5)
    assert isotonic(-scores, labels)(np.array([5.0]))[0] == pytest.approx(0.5)


def test_calibrated_probabilities_pass_and_overconfident_ones_do_not() -> None:
    """The ECE of the truth stays below its null, that of a curve twice as steep does not."""
    scores, labels, groups = drawn(1500, 2)
    true = reliability(Platt(2.0, 0.3)(scores), labels, groups, n_bootstrap=200)
    assert true.ece.value <= true.ece.null  # type: ignore[operator]
    for predicted, observed in zip(true.predicted, true.observed, strict=True):
        assert observed.low - 0.03 <= predicted <= observed.high + 0.03
    steep = reliability(Platt(8.0, 1.2)(scores), labels, groups, n_bootstrap=200)
    assert steep.ece.value > 2 * steep.ece.null  # type: ignore[operator]
    assert steep.brier.value > true.brier.value
    assert true.brier.high < true.brier.null  # type: ignore[operator]


def test_calibration_error_by_hand() -> None:
    """Two bins that rise: the mean distance of what was said from what was."""
    p, y = np.array([0.1, 0.1, 0.8, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])
    assert calibration_error(p, y) == pytest.approx(0.15)


def test_calibration_errors_of_many_samples_are_those_of_each_alone() -> None:
    """Samples of other lengths beside it change nothing; only one row is no trouble."""
    rng = np.random.default_rng(1)
    p = [rng.random(n).round(2) for n in (1, 2, 30, 31, 200)]
    y = [(rng.random(len(row)) < row).astype(float) for row in p]
    alone = [calibration_error(a, b) for a, b in zip(p, y, strict=True)]
    assert calibration_errors(p, y).tolist() == pytest.approx(alone)


def test_out_of_fold_scores_make_calibrated_probabilities_elsewhere() -> None:
    """Fitted inside the fitting groups only; right on the held-out ones, while the scores of the
    very probe on what it was fitted on promise too much."""
    rng = np.random.default_rng(0)
    pack = made("a", 0, seed=0, gap=1.5)
    extra = rng.normal(size=(len(pack.examples.labels), 60))
    pack.examples.matrices[SITE][:] *= 1.0
    wide = dict(pack.examples.matrices)
    wide[SITE] = np.concatenate([wide[SITE], extra], axis=1)
    examples = type(pack.examples)(wide, pack.examples.labels, pack.examples.groups,
                                   pack.examples.pairs, pack.examples.ids)
    fit, held = split_fit_test(examples, seed=0)
    probe = probe_at(fit, SITE, "logistic", concept="a", fingerprint="")
    there = probe_scores(probe, held.matrices[SITE])
    curves = {
        "out of fold": platt(out_of_fold(fit, SITE, "logistic"), fit.labels),
        "same": platt(probe_scores(probe, fit.matrices[SITE]), fit.labels),
    }
    brier = {k: reliability(c(there), held.labels, held.groups, n_bootstrap=50).brier.value
             for k, c in curves.items()}
    assert brier["out of fold"] < brier["same"]
    assert brier["out of fold"] < 0.25


def test_the_base_rate_can_be_moved() -> None:
    """Prior shift: what is drawn at another base rate is calibrated after the move."""
    rng = np.random.default_rng(3)
    labels = (rng.random(6000) < 0.05).astype(int)
    scores = rng.normal(size=6000) + 2 * labels
    at_half = Platt(2.0, -2.0)(scores)  # the truth for equal classes of unit spread, 2 apart
    moved = at_base_rate(at_half, fitted=0.5, wanted=0.05)
    groups = [f"g{i % 30}" for i in range(6000)]
    found = reliability(moved, labels, groups, n_bootstrap=50)
    assert found.ece.value <= 1.5 * found.ece.null  # type: ignore[operator]
    assert reliability(at_half, labels, groups, n_bootstrap=50).ece.value > 0.1
    with pytest.raises(ValueError, match="base rates"):
        at_base_rate(at_half, fitted=0.5, wanted=0.0)


def test_with_few_groups_every_interval_has_rows_drawn_inside_them() -> None:
    """Two groups that are alike: whole groups drawn would be the same sample every time."""
    scores, labels, _ = drawn(60, 4)
    scores, labels = np.tile(scores, 2), np.tile(labels, 2)
    found = reliability(Platt(2.0, 0.3)(scores), labels, ["a"] * 60 + ["b"] * 60, n_bootstrap=50)
    for e in (found.brier, found.ece):
        assert e.high - e.low > 0.02
