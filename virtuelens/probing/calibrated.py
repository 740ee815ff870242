"""From scores to probabilities: fitted inside the fitting groups, judged on groups never seen.

1. Every fitting example is scored by a probe fitted on the other groups (`out_of_fold`).
2. Platt's curve or an isotonic one is fitted to these scores and their labels.
3. On held-out groups: a reliability curve, the Brier score, and the calibration error.

A probability holds at the share of positives that the examples had (a half, in contrast pairs);
`at_base_rate` moves it to another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.special import expit, logit
from torch import Tensor

from virtuelens import stats
from virtuelens.errors import ProbeError, StoreError
from virtuelens.probing.data import Array, Examples, Site
from virtuelens.probing.probes import SCHEMA as PROBE_SCHEMA
from virtuelens.probing.probes import Probe, probe_at, read_probe, write_probe
from virtuelens.probing.sweep import held_out_rows
from virtuelens.values.estimates import Estimate

MOST_BINS = 50
"""Where classes lie wholly apart, shares rise however many bins there are: more say no more."""


class Calibration(Protocol):
    """Scores to probabilities, never falling."""

    def __call__(self, scores: Float[Array, " n"]) -> Float[Array, " n"]:
        """Probability that the concept is present, at the base rate of the fitting examples."""
        ...


@dataclass(frozen=True)
class Platt:
    """A logistic curve: `1 / (1 + exp(-(slope * score + intercept)))`."""

    slope: float
    intercept: float

    def __call__(self, scores: Float[Array, " n"]) -> Float[Array, " n"]:
        """The probability at each score."""
        return np.asarray(expit(self.slope * np.asarray(scores) + self.intercept))


@dataclass(frozen=True)
class Steps:
    """The isotonic curve through `(scores, shares)`, straight in between, flat outside."""

    scores: tuple[float, ...]
    shares: tuple[float, ...]

    def __call__(self, scores: Float[Array, " n"]) -> Float[Array, " n"]:
        """The probability at each score."""
        return np.interp(scores, self.scores, self.shares)


def platt(scores: Float[Array, " n"], labels: Int[Array, " n"]) -> Platt:
    """Logistic regression on the score, its targets drawn in so that no slope is infinite.

    A probe that sorts the wrong way round gets a flat curve, not a falling one.

    Source: Platt 1999, with his targets (n+ + 1)/(n+ + 2) and 1/(n- + 2).
    """
    from sklearn.linear_model import LogisticRegression

    _both(labels)
    positive = labels == 1
    target = np.where(positive, (positive.sum() + 1) / (positive.sum() + 2),
                      1 / ((~positive).sum() + 2))
    n, spread = len(scores), float(np.std(scores)) or 1.0
    doubled = np.tile(scores / spread, 2)[:, None]  # a soft target is two weighted examples
    model = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8)
    model.fit(doubled, np.repeat([1, 0], n), sample_weight=np.concatenate([target, 1 - target]))
    slope = float(model.coef_[0, 0]) / spread
    if slope < 0:
        return Platt(0.0, float(logit(target.mean())))
    return Platt(slope, float(model.intercept_[0]))


def isotonic(scores: Float[Array, " n"], labels: Int[Array, " n"]) -> Steps:
    """The rising curve nearest to the labels; wants some hundred examples.

    Source: Zadrozny and Elkan 2002.
    """
    from sklearn.isotonic import IsotonicRegression

    _both(labels)
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    model.fit(scores, labels)
    return Steps(tuple(map(float, model.X_thresholds_)), tuple(map(float, model.y_thresholds_)))


CALIBRATIONS: dict[str, Callable[[Float[Array, " n"], Int[Array, " n"]], Calibration]] = {
    "platt": platt, "isotonic": isotonic,
}
"""Name -> fit of a calibration on scores and labels."""


def out_of_fold(
    fit: Examples, site: Site, method: str, *, n_folds: int = 5, seed: int = 0
) -> Float[Array, " n"]:
    """`Probe.score` of every fitting example by a probe fitted on the other groups.

    Raises: ProbeError: fewer than two groups, one class only on the rest of a fold, or classes that
    do not differ at the site.
    """
    scores = np.zeros(len(fit.labels))
    here = fit.at((site,))
    for held in held_out_rows(fit, n_folds=n_folds, seed=seed):
        probe = probe_at(here.rows(~held), site, method, concept="", fingerprint="", seed=seed)
        scores[held] = probe_scores(probe, fit.matrices[site][held])
    return scores


def probe_scores(probe: Probe, X: Float[Array, "n d"]) -> Float[Array, " n"]:
    """`Probe.score` of rows in double precision."""
    along = X @ probe.direction.vector.numpy().astype(np.float64)
    return (along - probe.threshold) / (probe.direction.scale or 1.0)


def at_base_rate(
    probabilities: Float[Array, " n"], *, fitted: float, wanted: float
) -> Float[Array, " n"]:
    """The probabilities where a share `wanted` shows the concept, not the share `fitted`.

    What a positive and a negative look like is taken to stay as it is (prior shift).

    Raises: ValueError: a base rate that is not between 0 and 1.
    """
    if not (0 < fitted < 1 and 0 < wanted < 1):
        raise ValueError(f"base rates {fitted}, {wanted}: expected shares between 0 and 1")
    with np.errstate(divide="ignore"):
        return np.asarray(expit(logit(probabilities) + logit(wanted) - logit(fitted)))


@dataclass(frozen=True)
class Reliability:
    """How far the probabilities are right on examples that were not used in making them.

    predicted, observed: per bin of about equal size, the mean probability and the share of
        positives, with the share's interval over groups.
    brier: mean squared error; its null is what the base rate alone would give (lower is better).
    ece: calibration error; its null is the 95 % quantile of what perfectly calibrated
        probabilities of these values give in as many examples.
    """

    predicted: tuple[float, ...]
    observed: tuple[Estimate, ...]
    brier: Estimate
    ece: Estimate


def reliability(
    probabilities: Float[Array, " n"],
    labels: Int[Array, " n"],
    groups: Sequence[str],
    *,
    n_bins: int = 5,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Reliability:
    """The reliability curve, Brier score and calibration error, intervals over groups.

    Raises: ProbeError: one class only.
    """
    _both(labels)
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    counts = stats.sample_counts(groups, n_draws=n_bootstrap, seed=seed)
    predicted, observed = [], []
    for rows in np.array_split(np.argsort(p, kind="stable"), min(n_bins, len(p))):
        weight = counts[:, rows].sum(axis=1)
        with np.errstate(invalid="ignore"):
            draws = counts[:, rows] @ y[rows] / weight
        predicted.append(float(p[rows].mean()))
        observed.append(stats.from_draws(float(y[rows].mean()), draws, len(rows), null=None))
    loss = (p - y) ** 2
    brier = stats.from_draws(float(loss.mean()), counts @ loss / counts.sum(axis=1), len(p),
                             null=float(y.mean() * (1 - y.mean())))
    rng, n_draws = np.random.default_rng(seed), min(200, n_bootstrap)
    perfect = calibration_errors(
        [p] * 200, [(rng.random(len(p)) < p).astype(np.float64) for _ in range(200)])
    rows_of = list(stats.samples(groups, n_draws=n_draws, seed=seed))
    value = calibration_error(p, y)
    draws = calibration_errors([p[r] for r in rows_of], [y[r] for r in rows_of])
    ece = stats.from_draws(value, draws, len(p), null=float(np.quantile(perfect, 0.95)))
    return Reliability(tuple(predicted), tuple(observed), brier, ece)


def calibration_error(p: Float[Array, " n"], y: Num[Array, " n"]) -> float:
    """ECE over the largest number of equal-sized bins (to `MOST_BINS`) whose shares do not fall.

    Source: the monotonic sweep of Roelofs et al. 2022, arXiv:2012.08668 (absolute error).
    """
    return float(calibration_errors([p], [y])[0])


def calibration_errors(
    p: Sequence[Float[Array, " _"]], y: Sequence[Num[Array, " _"]]
) -> Float[Array, " b"]:
    """`calibration_error` of many samples, which may differ in length, at once."""
    lengths = np.array([len(row) for row in p])
    said, seen = np.zeros((2, len(p), lengths.max() + 1))
    for i, (predicted, observed) in enumerate(zip(p, y, strict=True)):
        order = np.argsort(predicted, kind="stable")
        said[i, 1 : lengths[i] + 1] = np.cumsum(np.asarray(predicted, dtype=np.float64)[order])
        seen[i, 1 : lengths[i] + 1] = np.cumsum(np.asarray(observed, dtype=np.float64)[order])
    errors, rising = np.zeros(len(p)), np.ones(len(p), dtype=bool)
    for n_bins in range(1, MOST_BINS + 1):
        rising &= n_bins <= lengths
        ends = np.linspace(0, lengths, n_bins + 1, axis=1).round().astype(int)  # [b n_bins+1]
        in_bins = np.maximum(np.diff(ends, axis=1), 1)
        of_said, of_seen = (np.diff(np.take_along_axis(t, ends, 1), axis=1) for t in (said, seen))
        rising &= ~(np.diff(of_seen / in_bins, axis=1) < 0).any(axis=1)
        if not rising.any():
            break
        errors[rising] = (np.abs(of_said - of_seen).sum(axis=1) / lengths)[rising]
    return errors


@dataclass(frozen=True)
class Ready:
    """A probe with what an audit found about its scores, so that they can be put to use.

    curve: probability of a score (`Probe.score`) at the base rate of the pack's examples.
    threshold: the score that 1 % of ordinary texts exceed (`operating`); None where there were too
        few of them to set one.
    """

    probe: Probe
    curve: Platt
    threshold: float | None

    def probability(self, acts: Float[Tensor, "n d_model"]) -> Float[Array, " n"]:
        """Probability that the concept is present at each of these activations."""
        return self.curve(self.probe.score(acts.float().cpu()).double().numpy())


def save_ready(ready: Ready, path: Path) -> None:
    """Write it as a probe's file (`load_probe` reads it too), the rest in the header."""
    write_probe(path, ready.probe, {
        "schema": PROBE_SCHEMA, "kind": "probe", "threshold_at_1_percent": ready.threshold,
        "platt": [ready.curve.slope, ready.curve.intercept],
    })


def load_ready(path: Path, *, fingerprint: str | None = None) -> Ready:
    """Read back what an audit keeps as `probes/*.safetensors`.

    fingerprint: of the model it will be used on (`model.info.fingerprint`).

    Raises: ModelMismatchError: of another model; StoreError: damaged, or a probe alone.
    """
    probe, about = read_probe(path, "probe", PROBE_SCHEMA, fingerprint=fingerprint)
    try:
        slope, intercept = about["platt"]
        threshold = about["threshold_at_1_percent"]
        return Ready(probe, Platt(float(slope), float(intercept)),
                     None if threshold is None else float(threshold))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} holds a probe without its probabilities: take one that an audit "
                         "kept (RUN/probes).") from error


def _both(labels: Int[Array, " n"]) -> None:
    if len(set(np.asarray(labels).tolist())) < 2:
        raise ProbeError("These examples hold one class only: probabilities need both.")
