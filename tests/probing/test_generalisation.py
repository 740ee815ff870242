"""The generalisation matrix finds which packs share a direction, and which do not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from tests.probing.packs import SITE, made
from virtuelens.errors import ProbeError
from virtuelens.probing.agreement import (
    MEASURES,
    agreement,
    disagreement_by_group,
    disagreements,
)
from virtuelens.probing.generalisation import Comparison, compare_packs, read_packs

PACKS = (
    made("a", 0, seed=1), made("b", 0, seed=2), made("elsewhere", 1, seed=3),
    made("reversed", 0, seed=4, sign=-1.0),
)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    """Two packs of one axis, one of another, one of the first reversed."""
    return compare_packs(PACKS, fingerprint="f" * 64, n_permutations=200, n_bootstrap=200)


def cell(compared: Comparison, train: str, test: str) -> pd.Series:
    """One row of the matrix."""
    m = compared.matrix
    return m[(m["train"] == train) & (m["test"] == test)].iloc[0]


def test_what_is_planted_in_both_carries_over_and_what_is_not_does_not(
    compared: Comparison,
) -> None:
    """The same axis: high both ways. Another axis: chance. Turned round: far below chance."""
    for train, test in (("a", "b"), ("b", "a"), ("a", "a")):
        c = cell(compared, train, test)
        assert c["low"] > max(0.9, c["null"])
        assert c["q"] < 0.05
    for train, test in (("a", "elsewhere"), ("elsewhere", "b")):
        c = cell(compared, train, test)
        assert 0.3 < c["value"] < 0.7
        assert c["q"] > 0.01
    turned = cell(compared, "a", "reversed")
    assert turned["high"] < 0.1
    assert turned["q"] < 0.05


def test_each_cell_is_the_probe_on_groups_it_never_saw(compared: Comparison) -> None:
    """The value is scikit-learn's, on held-out groups, by a probe fitted on the others."""
    a, b = compared.trained["a"], compared.trained["b"]
    assert not set(b.fit.groups) & set(b.held_out.groups)
    scores = b.held_out.matrices[SITE] @ a.probe.direction.vector.numpy()
    assert a.probe.direction.point == SITE.point
    assert cell(compared, "a", "b")["value"] == pytest.approx(
        roc_auc_score(b.held_out.labels, scores))


def test_the_headline_is_the_mean_off_the_diagonal(compared: Comparison) -> None:
    """Elsewhere, own and lost follow from the matrix."""
    off = compared.matrix[compared.matrix["train"] != compared.matrix["test"]]
    on = compared.matrix[compared.matrix["train"] == compared.matrix["test"]]
    mean = compared.summary[compared.summary["pack"] == ""].set_index("kind")["value"]
    assert mean["elsewhere"] == pytest.approx(off["value"].mean())
    assert mean["own"] == pytest.approx(on["value"].mean())
    assert mean["lost"] == pytest.approx(mean["own"] - mean["elsewhere"])
    one = compared.summary[(compared.summary["kind"] == "carries")
                           & (compared.summary["pack"] == "a")]
    assert one["value"].iloc[0] == pytest.approx(off[off["train"] == "a"]["value"].mean())


def test_with_labels_that_mean_nothing_p_is_not_small_too_often() -> None:
    """Uniform p off the diagonal, and intervals that cover a half."""
    p, covered = [], 0
    for seed in range(12):
        packs = [made(n, 0, seed=10 * seed + k, gap=0.0, n_pairs=60) for k, n in enumerate("abc")]
        c = compare_packs(packs, fingerprint="", n_permutations=100, n_bootstrap=100, seed=seed)
        p += c.matrix["p"].tolist()
        covered += int(((c.matrix["low"] <= 0.5) & (c.matrix["high"] >= 0.5)).sum())
    assert np.mean(np.array(p) <= 0.1) < 0.2
    assert covered / len(p) > 0.8


def test_a_text_that_was_fitted_on_is_not_tested_on() -> None:
    """A copy of a pack under another name has no cell off the diagonal but for held-out texts."""
    a = PACKS[0]
    copy = replace(a, name="copy")
    c = compare_packs([a, copy], fingerprint="", n_permutations=20, n_bootstrap=20)
    held = len(c.trained["a"].held_out.ids)
    assert c.matrix["left_out"].tolist() == [0, 0, 0, 0]  # the same split: nothing fitted on
    other = replace(a, name="copy", examples=replace(
        a.examples, groups=tuple(f"{g}x{g[-1]}" for g in reversed(a.examples.groups))))
    c = compare_packs([a, other], fingerprint="", n_permutations=20, n_bootstrap=20)
    off = c.matrix[c.matrix["train"] != c.matrix["test"]]
    assert (off["left_out"] > 0).all()
    assert (off["n"] + off["left_out"]).tolist() == [
        len(c.trained["copy"].held_out.ids), held]


def test_packs_that_share_every_text_leave_an_empty_cell() -> None:
    """No value is made up where no text is left."""
    a = PACKS[0]
    c = compare_packs([a, made("b", 0, seed=9)], fingerprint="", n_permutations=20,
                      n_bootstrap=20)
    emptied = {k: np.zeros_like(v) if k == ("a", "b") else v for k, v in c.usable.items()}
    from virtuelens.probing.generalisation import _Cells

    cells = _Cells(2)
    for i, x in enumerate(c.trained.values()):
        for j, y in enumerate(c.trained.values()):
            keep = emptied[x.pack.name, y.pack.name]
            cells.add((i, j), x.scores(y)[keep], y.held_out.rows(keep),
                      np.ones((5, int(keep.sum())), dtype=int),
                      np.ones((5, int(keep.sum())), dtype=int), left_out=int((~keep).sum()))
    table = cells.matrix(list(c.trained.values()))
    empty = table[(table["train"] == "a") & (table["test"] == "b")].iloc[0]
    assert np.isnan(empty["value"])
    assert empty["n"] == 0
    assert np.isfinite(cells.summary(["a", "b"]).set_index("kind")["value"]["elsewhere"])


def test_probes_of_one_axis_agree_and_others_do_not(compared: Comparison) -> None:
    """Beyond the label too; the reversed pack's probe says the opposite."""
    table = agreement(compared)
    of = table[table["on"] == "all"].set_index(["a", "b", "metric"])
    assert of.loc[("a", "b", "rank_correlation_within_label"), "low"] > 0.8
    assert of.loc[("a", "b", "cosine"), "low"] > 0.8
    assert of.loc[("a", "reversed", "rank_correlation_within_label"), "high"] < -0.8
    assert of.loc[("a", "reversed", "cosine"), "high"] < -0.8
    assert abs(of.loc[("a", "elsewhere", "rank_correlation_within_label"), "value"]) < 0.3
    assert of.loc[("a", "b", "kappa"), "value"] > 0.8
    assert abs(of.loc[("a", "elsewhere", "kappa"), "value"]) < 0.25


def test_agreement_equals_scipy_and_scikit_learn(compared: Comparison) -> None:
    """On one pack: Spearman's correlation and Cohen's kappa."""
    a, other, on = (compared.trained[n] for n in ("a", "elsewhere", "b"))
    x, y = a.scores(on), other.scores(on)
    table = agreement(compared)
    mine = table[(table["a"] == "a") & (table["b"] == "elsewhere") & (table["on"] == "b")]
    by = mine.set_index("metric")["value"]
    assert set(by.index) == set(MEASURES)
    assert by["rank_correlation"] == pytest.approx(spearmanr(x, y).statistic)
    assert by["kappa"] == pytest.approx(
        cohen_kappa_score(a.calibration(x) > 0.5, other.calibration(y) > 0.5))


def test_the_examples_of_disagreement_are_where_probes_part(compared: Comparison) -> None:
    """Furthest first, held-out only; the packs that part company come first by group."""
    table = disagreements(compared, most=5)
    mine = table[(table["a"] == "a") & (table["b"] == "elsewhere")]
    gap = (mine["p_a"] - mine["p_b"]).abs()
    assert len(mine) == 5
    assert gap.is_monotonic_decreasing
    assert gap.iloc[0] > 0.8
    for _, r in mine.iterrows():
        assert r["example_id"] in compared.trained[r["on"]].held_out.ids
        assert r["text"].startswith(r["on"])
    groups = disagreement_by_group(compared)
    together = groups[(groups["a"] == "a") & (groups["b"] == "b")]["share"].mean()
    apart = groups[(groups["a"] == "a") & (groups["b"] == "reversed")]["share"].mean()
    assert together < 0.12
    assert apart > 3 * together  # different thresholds: not every verdict can differ


def test_what_cannot_be_compared_is_refused() -> None:
    """One pack; one class; packs that name no position in common."""
    with pytest.raises(ProbeError, match="two packs"):
        compare_packs(PACKS[:1], fingerprint="")
    one = replace(PACKS[0], examples=PACKS[0].examples.rows(PACKS[0].examples.labels == 1))
    with pytest.raises(ProbeError, match="one class"):
        compare_packs([one, PACKS[1]], fingerprint="")
    with pytest.raises(ProbeError, match="diff_means"):
        compare_packs(PACKS, fingerprint="", methods=["magic"])
    from virtuelens.concepts.pack import load_concept

    first = load_concept("valence")
    with pytest.raises(ProbeError, match="each once"):
        read_packs(None, [first, first])  # type: ignore[arg-type]
    apart = replace(first, name="other", positions=("response_mean",))
    with pytest.raises(ProbeError, match="--positions"):
        read_packs(None, [first, apart])  # type: ignore[arg-type]


def test_with_too_few_examples_of_a_label_there_is_no_correlation_within_it() -> None:
    """Two examples of each: nothing is made up, and the other measures are there."""
    packs = [made(n, 0, seed=k, n_pairs=6, n_groups=3) for k, n in enumerate("ab")]
    c = compare_packs(packs, fingerprint="", n_permutations=20, n_bootstrap=20)
    of = agreement(c).set_index(["on", "metric"])["value"]
    assert np.isnan(of["a", "rank_correlation_within_label"])
    assert np.isfinite(of["a", "rank_correlation"])


def test_the_command_says_where_a_cell_has_no_interval() -> None:
    """Brackets are shown, those of a pack's name as well."""
    from rich.console import Console

    from virtuelens.cli.compare_packs import _table

    cell = {"train": "[/a]", "test": "[/a]", "value": 0.5, "low": -np.inf, "high": np.inf}
    console = Console(width=80)
    with console.capture() as shown:
        console.print(_table(pd.DataFrame([cell]), "m"))
    assert "[/a] 0.50 [no interval]" in " ".join(shown.get().split())
