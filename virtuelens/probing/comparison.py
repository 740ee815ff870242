"""Probe families side by side on one store: the same groups kept aside, one row a family.

1. A direction looks for its site among all that were read (cross-validated on the fitting groups),
   and is reported on the others beside the null of that search, as in `sweep`.
2. A family that is no direction reads at the site that the directions chose there: what is asked
   is whether it adds anything at that place. Pooled ones read the tokens of the same hook point,
   sparse ones the features that they are given. Its null swaps the sides of the test pairs.
3. Each is fitted again on other splits. The site stays the first split's, so those values are
   of the family at that site, not of another search.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtuelens.errors import PositionError, ProbeError
from virtuelens.probing.bags import TOKENS, BagExamples, at_site, tokens_of
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.methods import METHODS, SWEPT
from virtuelens.probing.probes import examples_of
from virtuelens.probing.scorers.table import SCORERS
from virtuelens.probing.sweep import best, cross_validate, split_fit_test, sweep
from virtuelens.probing.uncertainty import direction_over_splits, uncertainty
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations

FAMILIES = (*METHODS, *SCORERS)
"""Names of all families, directions first."""


@dataclass(frozen=True, eq=False)
class Features:
    """The features of an SAE on the same examples, and where it reads.

    examples: one row of `d_sae` numbers each.
    """

    sae: str
    site: Site
    examples: BagExamples


@dataclass(frozen=True)
class Compared:
    """One family: held-out AUROC at its site, beside its null and other splits.

    test, p: as `Sweep` has them for a direction, as `Uncertainty` for the others.
    over_splits: mean and spread over splits (`Uncertainty.over_splits`).
    """

    family: str
    site: Site
    test: Estimate
    p: float
    over_splits: Estimate

    def to_json(self) -> dict[str, object]:
        """The fields as plain JSON values."""
        return {
            "method": self.family, "point": self.site.point, "position": self.site.position,
            "auroc": self.test.to_json(), "p": self.p, "over_splits": self.over_splits.to_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """The families that could be judged, in the order asked for; why the others could not."""

    rows: tuple[Compared, ...]
    left_out: Mapping[str, str]


def compare(
    activations: "Activations",
    families: Sequence[str] = FAMILIES,
    *,
    features: Features | None = None,
    n_splits: int = 10,
    n_bootstrap: int = 1000,
    n_permutations: int = 200,
    seed: int = 0,
    progress: Callable[[str], None] = lambda family: None,
) -> Comparison:
    """Judge each family on the main set of a store; those it cannot feed are left out and said.

    features: what `k_sparse` reads (`audits.stored.stored_features`).
    progress: called with each family's name before it is judged.

    Raises: ProbeError: an unknown family, one class only, too few groups, or none could be judged.
    """
    unknown = [f for f in families if f not in FAMILIES]
    if unknown:
        raise ProbeError(
            f"Unknown probe method {unknown[0]!r}: choose from {', '.join(FAMILIES)}."
        )
    main = activations.where(activations.index["split"] == "main")
    examples = examples_of(main)
    if len(set(examples.labels.tolist())) < 2:
        raise ProbeError("These examples hold one class only: a probe needs both.")
    how = {"n_bootstrap": n_bootstrap, "n_permutations": n_permutations, "seed": seed}
    rows, left_out = [], {}
    place: Site | None = None
    for family in families:
        progress(family)
        try:
            if family in METHODS:
                rows.append(_direction(examples, family, n_splits, **how))
                continue
            if place is None and SCORERS[family].reads != "features":
                place = best_site(examples, seed=seed)
            site, given = _given(family, examples, main, place, features)
            found = uncertainty(given, family, n_splits=n_splits, **how)
            rows.append(Compared(family, site, found.test, found.p, found.over_splits))
        except (ProbeError, PositionError) as error:
            if len(families) == 1:
                raise
            left_out[family] = str(error)
    if not rows:
        raise ProbeError(next(iter(left_out.values())))
    return Comparison(tuple(rows), left_out)


def best_site(examples: Examples, *, seed: int) -> Site:
    """Where the directions of `SWEPT` read best, cross-validated on the fitting groups."""
    fit, _ = split_fit_test(examples, seed=seed)
    return best(cross_validate(fit, methods=SWEPT, seed=seed)).site


def _direction(
    examples: Examples, family: str, n_splits: int, *, n_bootstrap: int, n_permutations: int,
    seed: int,
) -> Compared:
    found = sweep(examples, methods=[family], n_bootstrap=n_bootstrap,
                  n_permutations=n_permutations, seed=seed)
    site = found.selected.site
    again = direction_over_splits(examples, site, family, n_splits=n_splits, seed=seed)
    return Compared(family, site, found.test, found.p, again)


def _given(
    family: str, examples: Examples, main: "Activations", place: Site | None,
    features: Features | None,
) -> tuple[Site, BagExamples]:
    """What a family that is no direction reads, and where."""
    reads = SCORERS[family].reads
    if reads == "features":
        if features is None:
            raise ProbeError(
                f"{family} reads features of a sparse autoencoder: name one that was trained on "
                "this model and reads a hook point of this store (--sae)."
            )
        return features.site, features.examples
    assert place is not None
    if reads == "tokens":
        return Site(place.point, TOKENS), tokens_of(main, place.point)
    return place, at_site(examples, place)
