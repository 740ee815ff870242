"""What a reviewer asks of the chosen probe: probabilities, a threshold, a control task, power.

Rows of evidence.parquet beside those of `reading`, all of the selected cell:

    metric            split      source        what it is
    brier, ece        each       probe         of Platt's probabilities, fitted in fitting groups
    reliability       test       probe         a row a bin: share of positives; `null` is the mean
                                               probability there
    fpr               neutral    probe         at the threshold, on neutral texts it was not set on
    tpr_at_fpr        each       probe         at the threshold; `null` is the rate asked for
    auroc             test       control_task  of random labels of last words
    selectivity       test       control_task  AUROC on the concept minus that
    pairs_needed      test       probe         pairs for 80 % power to tell it from its null, on
                                               whichever side of it; `n` is pairs at hand
    pairs_needed      shifted    each rival    the same of the probe's difference from it (on test,
                                               where the pack has no shifted set)

What could not be measured is named, not left out silently.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from virtuelens.activations.harvest import harvest
from virtuelens.activations.positions import POSITIONS
from virtuelens.audits.config import AuditConfig
from virtuelens.audits.reading import PROBE, Reading
from virtuelens.errors import PositionError, ProbeError, TextTooLongError
from virtuelens.probing.calibrated import Ready, out_of_fold, platt, probe_scores, reliability
from virtuelens.probing.control_task import last_words, selectivity
from virtuelens.probing.data import Array
from virtuelens.probing.operating import RATE, operating_point
from virtuelens.probing.power import pairs_needed
from virtuelens.probing.probes import Probe, probe_at
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Concept
    from virtuelens.models import HookedModel

CONTROL = "control_task"


class Quality(NamedTuple):
    """Rows of evidence.parquet, what could not be tested and why, and the probe ready for use."""

    rows: list[dict[str, object]]
    missing: tuple[str, ...]
    ready: Ready | None


def quality_rows(
    model: "HookedModel",
    concept: "Concept",
    reading: Reading,
    neutral: Sequence[Text],
    *,
    config: AuditConfig,
) -> Quality:
    """How far the probe's scores can be relied on."""
    chosen, fit = reading.found.selected, reading.found.fit
    try:
        probe = probe_at(fit, chosen.site, chosen.method, concept=concept.name,
                         fingerprint=model.info.fingerprint, seed=config.seed)
        curve = platt(out_of_fold(fit, chosen.site, chosen.method, seed=config.seed), fit.labels)
    except ProbeError as error:
        return Quality([], (f"probabilities, threshold and control task: {error}",), None)
    rows: list[dict[str, object]] = []
    missing: list[str] = []

    def row(split: str, source: str, metric: str, e: Estimate) -> None:
        rows.append({
            "layer": chosen.site.layer, "point": chosen.site.point,
            "position": chosen.site.position, "method": chosen.method, "split": split,
            "source": source, "metric": metric, "value": e.value, "low": e.low, "high": e.high,
            "n": e.n, "null": e.null, "p": None, "selected": True,
        })

    draws: dict[str, Any] = {"n_bootstrap": config.n_bootstrap, "seed": config.seed}
    scores = {split: probe_scores(probe, e.matrices[chosen.site])
              for split, e in reading.splits.items()}
    for split, e in reading.splits.items():
        found = reliability(curve(scores[split]), e.labels, e.groups, **draws)
        row(split, PROBE, "brier", found.brier)
        row(split, PROBE, "ece", found.ece)
        if split == "test":
            for predicted, seen in zip(found.predicted, found.observed, strict=True):
                row(split, PROBE, "reliability",
                    Estimate(seen.value, seen.low, seen.high, seen.n, predicted))

    ordinary, threshold = neutral_scores(model, probe, neutral), None
    if len(ordinary) < 2:
        missing.append(f"false positives on ordinary text: {len(ordinary)} of {len(neutral)} "
                       f"neutral texts fit the model and have a {chosen.site.position}")
    else:
        for split, e in reading.splits.items():
            point = operating_point(ordinary, scores[split], e.labels, e.groups, **draws)
            threshold = point.threshold
            if split == "test":
                row("neutral", PROBE, "fpr", point.false_positives)
                if not point.enough:
                    missing.append(
                        f"a false-positive rate of {RATE:.0%}: {len(ordinary)} neutral texts "
                        f"cannot show it, {round(3 / RATE)} could"
                    )
            row(split, PROBE, "tpr_at_fpr", point.true_positives)

    try:
        of = dict(zip((e.id for e in concept.examples),
                      last_words([e.text for e in concept.examples]), strict=True))
        held = reading.found.held_out
        task = selectivity(
            fit, held, chosen.site, chosen.method, fit_types=[of[i] for i in fit.ids],
            held_out_types=[of[i] for i in held.ids], **draws,
        )
        row("test", CONTROL, "auroc", task.control)
        row("test", CONTROL, "selectivity", task.difference)
    except ProbeError as error:
        missing.append(f"a control task: {error}")

    _power(reading, row, config)
    return Quality(rows, tuple(missing), Ready(probe, curve, threshold))


def neutral_scores(
    model: "HookedModel", probe: Probe, texts: Sequence[Text]
) -> Float[Array, " n"]:
    """`Probe.score` of the neutral texts that fit the model and have the probe's position."""
    position = probe.direction.position
    usable = []
    for text in texts:
        try:
            encoded = model.encode(text)
            POSITIONS[position].pick(encoded)
        except (TextTooLongError, PositionError):
            continue
        if not (POSITIONS[position].own_words and text.raw is None and text.response is None):
            usable.append(text)
    if not usable:
        return np.zeros(0)
    acts = harvest(model, usable, points=[probe.direction.point], positions=position)
    return probe_scores(probe, acts.matrix(probe.direction.point, position).double().numpy())


def _power(reading: Reading, row: Any, config: AuditConfig) -> None:
    """Pairs that would have been needed, of the probe and of its lead over each rival.

    No number where it is behind: more pairs would show that the better.
    """
    judged = "shifted" if "shifted" in reading.splits else "test"

    def needed(split: str, source: str, e: Estimate) -> None:
        at_hand = len(set(reading.splits[split].pairs))
        ahead = e.null is not None and e.value > e.null
        n = pairs_needed(e, n_pairs=at_hand) if ahead else None
        value = float("nan") if n is None else float(n)
        row(split, source, "pairs_needed", Estimate(value, float("nan"), float("nan"), at_hand))

    needed("test", PROBE, reading.found.test if reading.found.test.null is not None
           else reading.auroc("test", PROBE, config=config))
    for rival in reading.rivals:
        needed(judged, rival, reading.beyond(judged, rival, config=config))
