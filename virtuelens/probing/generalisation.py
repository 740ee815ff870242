"""The generalisation matrix: a probe of every pack on the held-out groups of every pack.

1. Each pack's main set is split by group; site and family are chosen inside the fitting groups,
   the probe is fitted on them and its scores made probabilities there (`calibrated`).
2. Every probe scores the held-out groups of every pack, its own included, so that a column holds
   the same examples throughout. Texts that stand nearly the same in the probe's fitting set are
   left out and counted.
3. Intervals: groups of the test pack drawn with replacement; the probes stay as they were fitted.
   Null: sides of pairs swapped. Two-sided, because a probe that reads another pack the wrong way
   round has found something too. False-discovery rate over the whole matrix.
4. The headline is the mean of the cells off the diagonal: packs that were never fitted on.

No cell is chosen by what is reported in it, so no maximum over a search is needed in the null.

Source: leave-one-dataset-out, Marks and Tegmark 2023, arXiv:2310.06824; off-diagonal first,
Kantamneni et al. 2025, arXiv:2502.16681.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from virtuelens import stats
from virtuelens.activations.harvest import harvest
from virtuelens.concepts.surface import near_same
from virtuelens.errors import ProbeError
from virtuelens.probing.calibrated import Calibration, out_of_fold, platt, probe_scores
from virtuelens.probing.data import Array, Examples, Site
from virtuelens.probing.probes import Probe, examples_of, probe_at
from virtuelens.probing.sweep import best, cross_validate, split_fit_test
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.concepts.pack import Concept
    from virtuelens.models import HookedModel


@dataclass(frozen=True)
class Pack:
    """The main set of a pack as one model reads it; `texts` row by row as in `examples`."""

    name: str
    examples: Examples
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Trained:
    """A pack's probe with what makes its scores probabilities, and what is kept from it.

    held_out: the pack's examples that every probe is judged on.
    """

    pack: Pack
    probe: Probe
    calibration: Calibration
    fit: Examples
    held_out: Examples

    def scores(self, other: "Trained") -> Float[Array, " n"]:
        """This probe's score of the held-out examples of another."""
        return probe_scores(self.probe, other.held_out.matrices[site_of(self.probe)])


@dataclass(frozen=True)
class Comparison:
    """Probes of several packs, each on all of them.

    usable: (train, test) -> which held-out examples of `test` are not nearly the same as texts
        that `train` was fitted on.
    matrix: a row a cell: `train`, `test`, `point`, `position`, `method`, `metric` (auroc), `value`,
        `low`, `high`, `n`, `groups`, `null` (95 % of swapped sides lie nearer to 0.5), `p`, `q`,
        `left_out`.
    summary: a row a mean over cells: `kind` is "elsewhere" (off the diagonal, the headline), "own"
        (on it), "lost" (own minus elsewhere), "carries" (one pack's probe elsewhere), "is read"
        (one pack by the probes of the others).
    """

    trained: Mapping[str, Trained]
    usable: Mapping[tuple[str, str], Bool[Array, " n"]]
    matrix: "pd.DataFrame"
    summary: "pd.DataFrame"
    seed: int
    n_bootstrap: int


def read_packs(
    model: "HookedModel", concepts: "Sequence[Concept]", *, positions: Sequence[str] = ()
) -> tuple[Pack, ...]:
    """The main sets of several packs, every layer's residual stream at positions all of them name.

    Raises: ProbeError: fewer than two packs, two of one name, or no position in common.
    """
    names = [c.name for c in concepts]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ProbeError(f"Packs to compare: {', '.join(names) or 'none'}. Give at least two, "
                         "each once.")
    common = [p for p in concepts[0].positions if all(p in c.positions for c in concepts)]
    if not (positions or common):
        each = "; ".join(f"{c.name}: {', '.join(c.positions)}" for c in concepts)
        raise ProbeError(f"These packs name no reading position in common ({each}): choose one "
                         "that suits all of them with --positions.")
    found = []
    for concept in concepts:
        main = concept.in_split("main")
        acts = harvest(model, main, points="resid_post", positions=list(positions or common))
        found.append(Pack(concept.name, examples_of(acts), tuple(e.text for e in main)))
    return tuple(found)


def compare_packs(
    packs: Sequence[Pack],
    *,
    fingerprint: str,
    methods: Sequence[str] = ("diff_means",),
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Comparison:
    """The generalisation matrix of packs that one model has read (`read_packs`).

    fingerprint: of that model, for the probes.

    Raises: ProbeError: fewer than two packs, or one that cannot be fitted on (one class, one
    group).
    """
    if len(packs) < 2:
        raise ProbeError("Generalisation needs at least two packs.")
    trained = {
        p.name: train(p, methods=methods, fingerprint=fingerprint, seed=seed) for p in packs
    }
    usable = _usable(trained)
    cells = _Cells(len(packs))
    for j, test in enumerate(trained.values()):
        held = test.held_out
        # one set of draws a column: probes are compared on the same samples, packs are independent
        counts = stats.sample_counts(held.groups, n_draws=n_bootstrap, seed=seed + 1000 * j)
        swapped = stats.permuted_labels(
            held.labels, held.pairs, n_draws=n_permutations, seed=seed + 1000 * j
        )
        for i, source in enumerate(trained.values()):
            keep = usable[source.pack.name, test.pack.name]
            cells.add((i, j), source.scores(test)[keep], held.rows(keep), counts[:, keep],
                      swapped[:, keep], left_out=int((~keep).sum()))
    return Comparison(trained, usable, cells.matrix(list(trained.values())),
                      cells.summary(list(trained)), seed, n_bootstrap)


def train(pack: Pack, *, methods: Sequence[str], fingerprint: str, seed: int) -> Trained:
    """The probe of one pack, everything chosen inside its fitting groups.

    Raises: ProbeError: one class only, fewer than two groups, an unknown method.
    """
    if len(set(pack.examples.labels.tolist())) < 2:
        raise ProbeError(f"{pack.name} holds one class only: a probe needs both.")
    fit, held_out = split_fit_test(pack.examples, seed=seed)
    cell = best(cross_validate(fit, methods=methods, seed=seed))
    probe = probe_at(fit, cell.site, cell.method, concept=pack.name, fingerprint=fingerprint,
                     seed=seed)
    curve = platt(out_of_fold(fit, cell.site, cell.method, seed=seed), fit.labels)
    return Trained(pack, probe, curve, fit, held_out)


def site_of(probe: Probe) -> Site:
    """Where a probe reads."""
    return Site(probe.direction.point, probe.direction.position)


def _usable(trained: Mapping[str, Trained]) -> dict[tuple[str, str], Bool[Array, " n"]]:
    """(train, test) -> which held-out texts of `test` are like none that `train` was fitted on."""
    places = [(t.pack.name, i, text) for t in trained.values()
              for i, text in zip(t.pack.examples.ids, t.pack.texts, strict=True)]
    like: dict[tuple[str, str], set[tuple[str, str]]] = {(n, i): {(n, i)} for n, i, _ in places}
    for a, b in near_same([text for _, _, text in places]):
        like[places[a][:2]].add(places[b][:2])
        like[places[b][:2]].add(places[a][:2])
    out = {}
    for source in trained.values():
        fitted = {(source.pack.name, i) for i in source.fit.ids}
        for test in trained.values():
            mine = [(test.pack.name, i) for i in test.held_out.ids]
            out[source.pack.name, test.pack.name] = np.array([not like[k] & fitted for k in mine])
    return out


@dataclass
class _Cells:
    """The matrix while it is filled: values, bootstrap draws and null draws, source by test."""

    n: int
    about: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    draws: dict[tuple[int, int], Float[Array, " b"]] = field(default_factory=dict)
    nulls: dict[tuple[int, int], Float[Array, " b"]] = field(default_factory=dict)

    def add(
        self,
        cell: tuple[int, int],
        scores: Float[Array, " n"],
        held: Examples,
        counts: Int[Array, "b n"],
        swapped: Int[Array, "p n"],
        *,
        left_out: int,
    ) -> None:
        """One cell. Where texts left out leave one class only, it has no value."""
        whole = len(set(held.labels.tolist())) == 2
        self.draws[cell] = (stats.auroc_weighted(scores, held.labels, counts) if whole
                            else np.full(len(counts), np.nan))
        # swapping sides cannot empty a class unless a side was left out: those draws do not count
        self.nulls[cell] = np.full(len(swapped), np.nan)
        mixed = swapped.any(axis=1) & ~swapped.all(axis=1)
        if whole and mixed.any():
            self.nulls[cell][mixed] = stats.auroc_labelings(scores[:, None], swapped[mixed])[:, 0]
        self.about[cell] = {
            "value": stats.auroc(scores, held.labels) if whole else float("nan"),
            "n": len(held.labels), "groups": len(set(held.groups)), "left_out": left_out,
        }

    def matrix(self, trained: Sequence[Trained]) -> "pd.DataFrame":
        """A row a cell."""
        import pandas as pd

        rows = []
        for (i, j), about in sorted(self.about.items()):
            probe = trained[i].probe.direction
            e = stats.from_draws(about["value"], self.draws[i, j], about["n"],
                                 null=_null(self.nulls[i, j]))
            rows.append({
                "train": trained[i].pack.name, "test": trained[j].pack.name, "point": probe.point,
                "position": probe.position, "method": probe.method, "metric": "auroc",
                **e.to_json(), "p": _p(about["value"], self.nulls[i, j]),
                "groups": about["groups"], "left_out": about["left_out"],
            })
        table = pd.DataFrame(rows)
        known = table["p"].notna()
        table["q"] = np.nan
        table.loc[known, "q"] = stats.benjamini_hochberg(table["p"][known].tolist())
        return table

    def summary(self, names: Sequence[str]) -> "pd.DataFrame":
        """A row a mean over cells."""
        import pandas as pd

        every = range(self.n)
        own = [(i, i) for i in every]
        elsewhere = [(i, j) for i in every for j in every if i != j]
        rows = [("elsewhere", "", *self._mean(elsewhere)), ("own", "", *self._mean(own)),
                ("lost", "", *self._lost(own, elsewhere))]
        for k, name in enumerate(names):
            carries = [c for c in elsewhere if c[0] == k]
            read = [c for c in elsewhere if c[1] == k]
            rows += [("carries", name, *self._mean(carries)), ("is read", name, *self._mean(read))]
        return pd.DataFrame([
            {"kind": kind, "pack": name, **e.to_json(), "p": p} for kind, name, e, p in rows
        ])

    def _values(self, cells: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return [c for c in cells if np.isfinite(self.about[c]["value"])]

    def _mean(self, cells: Sequence[tuple[int, int]]) -> tuple[Estimate, float]:
        """Mean over cells, each counting alike; `n` is the number of cells."""
        cells = self._values(cells)
        if not cells:
            return Estimate(float("nan"), float("-inf"), float("inf"), 0), float("nan")
        value = float(np.mean([self.about[c]["value"] for c in cells]))
        null = np.mean([self.nulls[c] for c in cells], axis=0)
        draws = np.mean([self.draws[c] for c in cells], axis=0)
        return stats.from_draws(value, draws, len(cells), null=_null(null)), _p(value, null)

    def _lost(
        self, own: Sequence[tuple[int, int]], elsewhere: Sequence[tuple[int, int]]
    ) -> tuple[Estimate, float]:
        """Own minus elsewhere, on the same samples; not tested against a null of its own."""
        own, elsewhere = self._values(own), self._values(elsewhere)
        if not own or not elsewhere:
            return Estimate(float("nan"), float("-inf"), float("inf"), 0), float("nan")
        sides = [(np.mean([self.about[c]["value"] for c in cells]),
                  np.mean([self.draws[c] for c in cells], axis=0)) for cells in (own, elsewhere)]
        value = float(sides[0][0] - sides[1][0])
        e = stats.from_draws(value, sides[0][1] - sides[1][1], len(elsewhere), null=0.0)
        return e, float("nan")


def _null(draws: Float[Array, " b"]) -> float | None:
    """0.5 plus the distance from it that 95 % of the null draws stay within."""
    known = draws[np.isfinite(draws)]
    return float(0.5 + np.quantile(np.abs(known - 0.5), 0.95)) if len(known) else None


def _p(value: float, draws: Float[Array, " b"]) -> float:
    """Two-sided permutation p-value; NaN where there is no value or no null."""
    known = draws[np.isfinite(draws)]
    if not len(known) or not np.isfinite(value):
        return float("nan")
    return stats.permutation_p(abs(value - 0.5), np.abs(known - 0.5))
