"""Families side by side: their uncertainty, where they read, and what they refuse."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from virtuelens.activations.activations import Activations
from virtuelens.errors import PositionError, ProbeError
from virtuelens.probing.bags import Bags, at_site, one_row_each, tokens_of
from virtuelens.probing.comparison import FAMILIES, Features, compare
from virtuelens.probing.data import Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.probes import examples_of
from virtuelens.probing.sweep import sweep
from virtuelens.probing.uncertainty import split, uncertainty
from virtuelens.values.models import ModelInfo

INFO = ModelInfo("m", "f" * 64, "llama", 2, 8, 50, 64, "float32", "cpu", "english", "t", "c")
POINTS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def stored(
    seed: int = 0, *, gap: float = 3.0, n: int = 160, response: int = 4,
    positions: tuple[str, ...] = ("last", "tokens"), split: str = "main",
) -> Activations:
    """Pairs of texts in eight groups; at the second layer the last token tells."""
    rng = np.random.default_rng(seed)
    labels = np.tile([1, 0], n // 2)
    sizes = rng.integers(6, 9, n)
    tokens = {p: torch.from_numpy(rng.normal(size=(sizes.sum(), 8))).float() for p in POINTS}
    ends = np.cumsum(sizes)
    tokens[POINTS[1]][ends - 1, 0] += torch.from_numpy(gap * labels).float()
    parts = []
    for position in positions:
        last = position == "last"
        starts, stops = (np.arange(n), np.arange(n) + 1) if last else (ends - sizes, ends)
        parts.append(pd.DataFrame({
            "example_id": [f"e{i}" for i in range(n)], "pair": [f"p{i // 2}" for i in range(n)],
            "group": [f"g{i // 2 % 8}" for i in range(n)], "label": labels, "split": split,
            "position": position, "start": starts, "end": stops, "n_tokens": sizes,
            "n_prompt": sizes - response,
        }))

    def read(point: str, position: str) -> torch.Tensor:
        return tokens[point][ends - 1] if position == "last" else tokens[point]

    return Activations(INFO, pd.concat(parts, ignore_index=True), POINTS, positions, "c", {}, read)


@pytest.mark.parametrize("family", METHODS)
def test_the_first_split_is_the_sweeps_own(family: str) -> None:
    """Same groups, same weights, same interval: one number, whoever asks."""
    examples = examples_of(stored(gap=1.0))
    found = sweep(examples, methods=[family], n_permutations=1)
    ours = uncertainty(at_site(examples, found.selected.site), family, n_splits=1)
    assert (ours.test.value, ours.test.low, ours.test.high) == (
        found.test.value, found.test.low, found.test.high)


@pytest.mark.parametrize("family", ["diff_means", "mlp"])
def test_intervals_cover_what_is_true(family: str) -> None:
    """Without a concept, the interval of most draws holds 0.5 and p is not small too often."""
    covered, p = 0, []
    for seed in range(20):
        examples = at_site(examples_of(stored(seed, gap=0.0, n=96)), Site(POINTS[1], "last"))
        found = uncertainty(examples, family, n_splits=1, n_permutations=40, n_bootstrap=200,
                            seed=seed)
        covered += found.test.low <= 0.5 <= found.test.high
        p.append(found.p)
    assert covered >= 15
    assert np.mean(np.array(p) <= 0.1) <= 0.3


def test_the_spread_is_over_splits_of_groups() -> None:
    """One estimate a seed, each on other groups; their mean and quantiles are the spread."""
    examples = at_site(examples_of(stored(gap=1.0)), Site(POINTS[1], "last"))
    found = uncertainty(examples, "logistic", n_splits=6, n_bootstrap=50)
    values = [e.value for e in found.splits]
    assert found.over_splits.value == pytest.approx(np.mean(values))
    assert min(values) <= found.over_splits.low < found.over_splits.high <= max(values)
    assert found.over_splits.n == 6
    assert [r["value"] for r in found.rows()] == values
    for seed in range(3):
        fit, held = split(examples, seed=seed)
        assert not set(fit.groups) & set(held.groups)


def test_all_families_are_compared_on_one_store() -> None:
    """Directions choose the planted layer; the others read there; all find the concept."""
    acts = stored()
    given = at_site(examples_of(acts), Site(POINTS[1], "last"))
    relu = np.maximum(np.concatenate([given.bags.values, -given.bags.values], axis=1), 0)
    features = Features("s", Site(POINTS[1], "last"),
                        one_row_each(relu, given.labels, groups=given.groups, pairs=given.pairs))
    told: list[str] = []
    found = compare(acts, features=features, n_splits=2, n_permutations=20, n_bootstrap=50,
                    progress=told.append)
    assert [r.family for r in found.rows] == list(FAMILIES) == told
    assert not found.left_out
    for r in found.rows:
        assert r.site.point == POINTS[1]
        assert r.test.value > 0.85, r
        assert r.test.null is not None
        assert r.over_splits.n == 2


def test_what_a_store_cannot_feed_is_left_out_and_said() -> None:
    """Without tokens and without an SAE: three families, each with its reason."""
    found = compare(stored(positions=("last",)), n_splits=1, n_permutations=5, n_bootstrap=20)
    assert set(found.left_out) == {"attention", "max", "k_sparse"}
    assert "--positions tokens" in found.left_out["attention"]
    assert "--sae" in found.left_out["k_sparse"]
    with pytest.raises(PositionError, match="--positions tokens"):
        compare(stored(positions=("last",)), ["max"])
    with pytest.raises(ProbeError, match="every token"):
        compare(stored(positions=("tokens",)), ["lda"])
    with pytest.raises(ProbeError, match="choose their layer"):  # not: use a family that pools
        compare(stored(positions=("tokens",)), ["attention"])
    with pytest.raises(ProbeError, match="diff_means, mass_mean"):
        compare(stored(), ["magic"])


def test_of_a_response_only_its_tokens_are_pooled() -> None:
    """Where every text has a response, the prompt is left out; else only the first token is."""
    acts = stored(response=4)
    assert (tokens_of(acts, POINTS[1]).bags.sizes == 4).all()
    sizes = acts.index["n_tokens"][acts.index["position"] == "tokens"].to_numpy()
    whole = tokens_of(stored(response=0), POINTS[1])
    assert (whole.bags.sizes == sizes - 1).all()
    rows = acts.matrix(POINTS[1], "tokens").numpy()
    assert (whole.bags.values[: sizes[0] - 1] == rows[1 : sizes[0]]).all()
    last = np.cumsum(whole.bags.sizes) - 1
    assert (whole.bags.values[last] == acts.matrix(POINTS[1], "last").numpy()).all()


def test_groups_of_one_class_are_refused() -> None:
    """A split that leaves a side with one class says which, and what to give."""
    examples = at_site(examples_of(stored()), Site(POINTS[1], "last"))
    one_sided = replace(examples, groups=tuple(f"g{y}" for y in examples.labels))
    with pytest.raises(ProbeError, match="one side holds one class only"):
        uncertainty(one_sided, "lda")
    with pytest.raises(ProbeError, match="both"):
        uncertainty(examples.where(examples.labels == 1), "lda")


@pytest.mark.parametrize("family", ["lda", "mlp"])
def test_a_family_of_one_row_refuses_tokens(family: str) -> None:
    """The error names families that pool."""
    with pytest.raises(ProbeError, match="use a family that reads tokens"):
        uncertainty(tokens_of(stored(), POINTS[1]), family)


def test_an_example_without_rows_is_refused() -> None:
    """Pooling nothing has no answer."""
    with pytest.raises(ValueError, match="at least one"):
        Bags(np.zeros((3, 2)), np.array([3, 0]))
