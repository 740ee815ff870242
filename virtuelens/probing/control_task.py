"""Control tasks: what the same probe learns where there is nothing to know but the surface.

Every *type* (by default the last word of a text) gets a random label; a probe that can be fitted
to such a task finds the types, not the concept. Selectivity is its AUROC on the concept minus that
on control tasks; it is small where the probe is strong enough to learn anything.

A type must stand on both sides of the split, else its random label cannot be known on the other
side and the task would be at chance for every probe. So groups will not do as types here: no group
is on both sides.

Source: Hewitt and Liang 2019, arXiv:1909.03368.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from virtuelens import stats
from virtuelens.concepts.surface import ending
from virtuelens.errors import ProbeError
from virtuelens.probing.data import Array, Examples, Site
from virtuelens.probing.methods import METHODS
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

FEW_TYPES = 4
"""With fewer shared types, random labels hardly differ from one another."""


@dataclass(frozen=True)
class Selectivity:
    """A probe on the concept beside the same family, at the same site, on control tasks.

    Both are judged on the held-out examples whose type was seen in fitting.

    concept: AUROC there; control: mean AUROC over the control tasks (0.5: nothing learned).
    difference: concept minus control; its null is 0.
    types: types that stand on both sides. tasks: random labellings drawn.
    """

    concept: Estimate
    control: Estimate
    difference: Estimate
    types: int
    tasks: int


def last_words(texts: Sequence[Text]) -> list[str]:
    """The type of each text by default: its last word."""
    return [ending(t) for t in texts]


def selectivity(
    fit: Examples,
    held_out: Examples,
    site: Site,
    method: str,
    *,
    fit_types: Sequence[str],
    held_out_types: Sequence[str],
    n_tasks: int = 20,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Selectivity:
    """How much better the probe is at the concept than at random labels of types.

    Intervals are over groups; the tasks are averaged over, not drawn again.

    Raises: ProbeError: fewer than `FEW_TYPES` types stand on both sides, or one class is left.
    """
    seen = set(fit_types)
    known = np.array([t in seen for t in held_out_types])
    shared = sorted({t for t in held_out_types if t in seen})
    if len(shared) < FEW_TYPES:
        raise ProbeError(
            f"Only {len(shared)} types stand on both sides of the split, at least {FEW_TYPES} are "
            "needed for control tasks: give types that recur across groups."
        )
    judged = held_out.rows(known)
    here = [t for t, k in zip(held_out_types, known, strict=True) if k]
    fit_tasks, tasks = _tasks(fit_types, here, n_tasks=n_tasks, seed=seed)
    row = METHODS[method]
    X, new = fit.matrices[site], judged.matrices[site]
    control_scores = new @ row.weights(X, fit_tasks, fit.pairs).T  # [m tasks]
    concept_scores = new @ row.weights(X, fit.labels[None, :], fit.pairs)[0]
    if len(set(judged.labels.tolist())) < 2:
        raise ProbeError("One class only has types seen in fitting: give other types.")
    counts = stats.sample_counts(judged.groups, n_draws=n_bootstrap, seed=seed)
    concept = stats.auroc_weighted(concept_scores, judged.labels, counts)
    of_tasks = np.array([stats.auroc_weighted(control_scores[:, k], labels, counts)
                         for k, labels in enumerate(tasks)])  # [tasks b]
    with np.errstate(invalid="ignore"):
        control = np.nanmean(of_tasks, axis=0)
    n, value = len(judged.labels), stats.auroc(concept_scores, judged.labels)
    mean = float(stats.auroc_each(control_scores, tasks).mean())
    return Selectivity(
        stats.from_draws(value, concept, n, null=0.5),
        stats.from_draws(mean, control, n, null=0.5),
        stats.from_draws(value - mean, concept - control, n, null=0.0),
        len(shared), n_tasks,
    )


def _tasks(
    fit_types: Sequence[str], other_types: Sequence[str], *, n_tasks: int, seed: int
) -> tuple[Int[Array, "b n"], Int[Array, "b m"]]:
    """Random labels of types, as labels of the examples on either side.

    Half of the types get 1; a task in which one side would hold one class only is drawn again.
    """
    rng = np.random.default_rng(seed)
    names = sorted({*fit_types, *other_types})
    of = {name: i for i, name in enumerate(names)}
    sides = [np.array([of[t] for t in types]) for types in (fit_types, other_types)]
    found: tuple[list[Array], list[Array]] = ([], [])
    for _ in range(200 * n_tasks):
        labels = rng.permutation(np.arange(len(names)) % 2)
        drawn = [labels[side] for side in sides]
        if all(0 < d.sum() < len(d) for d in drawn):
            for kept, d in zip(found, drawn, strict=True):
                kept.append(d)
        if len(found[0]) == n_tasks:
            return np.array(found[0]), np.array(found[1])
    raise ProbeError("No random labels of these types put both classes on both sides.")
