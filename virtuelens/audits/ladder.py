"""The evidence ladder: from measurements to the highest rung earned, and why it stopped there.

A pure function of numbers. Each rung needs all below it; what could not be tested does not count
as passed, it stops the climb and is named.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from virtuelens.values.estimates import Estimate

RUNGS: tuple[str, ...] = (
    "absent", "decodable", "beyond surface", "general", "causal", "specific"
)


@dataclass(frozen=True)
class Thresholds:
    """Where the rungs lie; written into every report.

    fdr: false-discovery rate held over the concepts of one model (rung 1).
    monotone: least share of the dose-response that a never falling curve explains (rung 4).
    rate_change: least change of the share of target choices over the working range (rung 4):
        a slope can be beyond chance and still move nothing that anyone would see.
    neighbour_share: most that a neighbouring behaviour may move, as a share of the target's own
        effect (rung 5): two behaviours that move alike are told apart by any difference if n is
        large enough.
    """

    fdr: float = 0.05
    monotone: float = 0.9
    rate_change: float = 0.2
    neighbour_share: float = 0.5


@dataclass(frozen=True)
class Causal:
    """What steering showed for the concept's target behaviour.

    slope: nats per standard deviation; its `null` is 0, the null to beat is `random_p99`.
    random_p99: 99th percentile of the absolute slopes of norm-matched random directions.
    monotonicity: R² of the best never falling curve through the mean scores.
    rate_change: share of target choices at the highest dose minus at the lowest.
    kl_at_dose: 95th percentile of KL on neutral text at the largest dose, nats.
    dose: the largest dose, standard deviations; 0 where no dose stays within the KL budget.
    gap: how far apart the classes lie along the direction, standard deviations: no dose is larger.
    """

    slope: Estimate
    random_p99: float
    n_random: int
    monotonicity: float
    rate_change: float
    kl_at_dose: float
    dose: float
    gap: float


@dataclass(frozen=True)
class Evidence:
    """All that the ladder looks at for one concept in one model.

    auroc: held-out, with the permutation null of the whole sweep.
    q: its permutation p-value, adjusted over the concepts of this model.
    beyond: rival -> AUROC difference (probe minus rival) on the shifted set; None: no such set.
    transfer: AUROC on the transfer set, null by permutation; None: the pack has no such set.
    transfer_beyond: AUROC difference to the bag of words there.
    causal: None where the pack has no behaviour of kind target in this dialect.
    specific: neighbour -> effect on the target minus absolute effect on the neighbour; its `null`
        is the share of the target's effect that must remain.
    """

    auroc: Estimate
    q: float
    beyond: Mapping[str, Estimate] | None = None
    transfer: Estimate | None = None
    transfer_beyond: Estimate | None = None
    causal: Causal | None = None
    specific: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Climb:
    """The rung reached and, in one sentence, why not higher."""

    rung: int
    stopped_because: str

    @property
    def rung_name(self) -> str:
        """The rung's name in the table of DESIGN and of every report."""
        return RUNGS[self.rung]


def climb(evidence: Evidence, thresholds: Thresholds) -> Climb:
    """The highest rung whose test, and every test below it, is passed."""
    for below, test in enumerate(_TESTS):
        reason = test(evidence, thresholds)
        if reason:
            return Climb(below, reason)
    return Climb(len(_TESTS), "this is the top of the ladder")


def obstacle(evidence: Evidence, thresholds: Thresholds, rung: int) -> str:
    """Why the test of one rung (1 to 5) fails, whatever those below it say; "" where it passes."""
    return _TESTS[rung - 1](evidence, thresholds)


def _not_decodable(e: Evidence, t: Thresholds) -> str:
    null = e.auroc.null if e.auroc.null is not None else 0.5
    if e.q > t.fdr or e.auroc.value <= null:
        return (
            f"held-out AUROC {e.auroc.value:.2f} does not beat shuffled labels "
            f"(95 % of them reach {null:.2f}; q = {e.q:.2g})"
        )
    if e.auroc.low <= 0.5:
        return f"the interval of the held-out AUROC reaches chance ({e.auroc.low:.2f})"
    return ""


def _not_beyond_surface(e: Evidence, _: Thresholds) -> str:
    if e.beyond is None:
        return "the pack has no shifted set in this dialect: surface was not excluded"
    weakest = min(e.beyond, key=lambda rival: e.beyond[rival].low)  # type: ignore[index]
    d = e.beyond[weakest]
    if d.low <= 0:
        return (
            f"on the shifted set it does not beat {_plain(weakest)} "
            f"(difference {d.value:+.2f}, interval {d.low:+.2f} to {d.high:+.2f})"
        )
    return ""


def _not_general(e: Evidence, _: Thresholds) -> str:
    if e.transfer is None:
        return "the pack has no transfer set in this dialect: generality was not tested"
    null = e.transfer.null if e.transfer.null is not None else 0.5
    if e.transfer.low <= null:
        return (
            f"on the transfer set the AUROC {e.transfer.value:.2f} (from {e.transfer.low:.2f}) "
            f"does not clear shuffled labels ({null:.2f})"
        )
    if e.transfer_beyond is not None and e.transfer_beyond.low <= 0:
        return (
            "on the transfer set it does not beat the bag of words "
            f"(difference {e.transfer_beyond.value:+.2f}, from {e.transfer_beyond.low:+.2f})"
        )
    return ""


def _not_causal(e: Evidence, t: Thresholds) -> str:
    c = e.causal
    if c is None:
        return "the pack has no target behaviour in this dialect: use was not tested"
    if c.dose == 0:
        return "no dose of steering stays within the KL budget on neutral text"
    if c.slope.low <= c.random_p99:
        return (
            f"steering slope {c.slope.value:+.2f} nats per σ (from {c.slope.low:+.2f}) does not "
            f"beat {c.n_random} random directions (99th percentile {c.random_p99:.2f})"
        )
    if c.monotonicity < t.monotone:
        return (
            "the dose-response is not monotone (a never falling curve explains "
            f"{c.monotonicity:.2f} of it, {t.monotone:.2f} asked)"
        )
    if c.rate_change < t.rate_change:
        return (
            f"steering by up to {c.dose:.2g} σ (the classes lie {c.gap:.2g} σ apart) changes the "
            f"choice in only {100 * c.rate_change:+.0f} % of items "
            f"(at least {100 * t.rate_change:.0f} % asked)"
        )
    return ""


def _not_specific(e: Evidence, _: Thresholds) -> str:
    if not e.specific:
        return "no neighbouring behaviour in this dialect: specificity was not tested"
    worst = min(e.specific, key=lambda name: e.specific[name].low - (e.specific[name].null or 0))
    d = e.specific[worst]
    asked = d.null or 0.0
    if d.low <= asked:
        return (
            f"steering moves its neighbour {worst} too (effect on its own behaviour minus that on "
            f"the neighbour {d.value:+.2f}, from {d.low:+.2f}; more than {asked:.2f} asked)"
        )
    return ""


_TESTS: tuple[Callable[[Evidence, Thresholds], str], ...] = (
    _not_decodable, _not_beyond_surface, _not_general, _not_causal, _not_specific
)
"""Rung 1 to rung 5."""


def _plain(source: str) -> str:
    return {
        "bag_of_words": "the bag of words",
        "length": "text length",
        "position": "the place in the text",
        "embedding": "the embedding layer",
        "random_weights": "the same architecture with random weights",
    }.get(source, source)
