"""The search in one pass: exact on every feature, whatever ties, signs, blocks and tokens."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.sparse_coding.conftest import identity_sae, save_sae
from virtuelens import stats
from virtuelens.errors import NotFiniteError, SaeError
from virtuelens.sparse_coding import (
    Sae,
    beside_direction,
    encode,
    feature_sets,
    load_sae,
    rank_features,
    search_features,
)
from virtuelens.sparse_coding.entries import Entries, auroc_entries, encode_blocks
from virtuelens.sparse_coding.rank import fitting_rows

SETTINGS = {"standard": {}, "gated": {}, "jumprelu": {}, "topk": {"k": 4}, "batchtopk": {"k": 4}}


def entries(acts: np.ndarray) -> Entries:
    """Those of a dense matrix."""
    rows, features = np.nonzero(acts)
    return Entries(0, acts.shape[1], rows.astype(np.int32), features.astype(np.int32),
                   acts[rows, features])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(4, 60), n_examples=st.integers(2, 30),
       decimals=st.integers(0, 3), shift=st.floats(-2, 2))
def test_aurocs_are_those_of_the_dense_columns(
    seed: int, n: int, n_examples: int, decimals: int, shift: float
) -> None:
    """To the last bit, with ties, negative values, dense and silent columns, among some rows."""
    rng = np.random.default_rng(seed)
    acts = np.maximum(np.round(rng.normal(size=(n, 9)) - shift, decimals), 0).astype(np.float32)
    acts[:, 0], acts[:, 1] = 0, 2
    acts[:, 2] = np.round(rng.normal(size=n), decimals)
    acts[:, 3] *= -1
    owner = rng.integers(0, n_examples, n)
    inside = rng.random(n) < 0.7
    labelings = (rng.random((70, n_examples)) < 0.5).astype(int)
    rows = labelings[:, owner][:, inside]
    labelings = labelings[(rows.min(axis=1, initial=1) == 0) & (rows.max(axis=1, initial=0) == 1)]
    if not len(labelings):
        return
    found = auroc_entries(entries(acts), owner, inside, labelings)
    dense = stats.auroc_labelings(acts[inside], labelings[:, owner][:, inside])
    assert np.array_equal(found.values, dense)
    assert np.array_equal(found.varies, np.ptp(acts[inside], axis=0) > 0)


def test_aurocs_are_those_of_scikit_learn() -> None:
    """Column by column, and one class is refused."""
    rng = np.random.default_rng(0)
    acts = np.maximum(np.round(rng.normal(size=(300, 12)), 1), 0).astype(np.float32)
    labels = rng.integers(0, 2, 300)
    everywhere = np.ones(300, dtype=bool)
    found = auroc_entries(entries(acts), np.arange(300), everywhere, labels[None]).values[0]
    assert found == pytest.approx([roc_auc_score(labels, c) for c in acts.T], abs=1e-12)
    with pytest.raises(ValueError, match="both classes"):
        auroc_entries(entries(acts), np.arange(300), everywhere, np.ones((1, 300), dtype=int))


def test_many_examples_split_the_features() -> None:
    """Where feature, value and example do not fit into 64 bits together: the same."""
    rng = np.random.default_rng(1)
    n = 2**17
    acts = np.maximum(rng.normal(size=(n, 3)) - 1.5, 0).astype(np.float32)
    labels = rng.integers(0, 2, n)
    one = entries(acts)
    spread = one._replace(width=2**15 + 40, features=one.features * (2**14 + 7))
    found = auroc_entries(spread, np.arange(n), np.ones(n, dtype=bool), labels[None])
    live = np.arange(3) * (2**14 + 7)
    assert np.array_equal(found.values[0, live], stats.auroc_columns(acts, labels))
    assert np.flatnonzero(found.varies).tolist() == live.tolist()


@pytest.mark.parametrize("architecture", SETTINGS)
@pytest.mark.parametrize("budget", [1, 20_000, 1 << 29])
def test_blocks_hold_what_encoding_gives(tmp_path: Path, architecture: str, budget: int) -> None:
    """Every feature once, whatever the memory allowed, as `encode` gives it."""
    sae = load_sae(save_sae(tmp_path / "sae", architecture, **SETTINGS[architecture]))
    acts = torch.randn(70, 32, generator=torch.Generator().manual_seed(0))
    whole = encode(sae, acts)
    seen = np.zeros(48, dtype=int)
    for block in encode_blocks(sae, acts, budget=budget):
        seen[block.first : block.first + block.width] += 1
        if architecture != "topk" and block.width > 1:
            assert len(block.rows) <= budget // 96
        for feature in range(block.first, block.first + block.width):
            torch.testing.assert_close(torch.from_numpy(block.column(feature, 70)),
                                       whole[:, feature], atol=1e-5, rtol=1e-5)
    assert (seen == 1).all()


Planted = tuple[Sae, torch.Tensor, np.ndarray, list[str], list[str], np.ndarray]


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """Tokens of 120 examples; coordinate 5 carries the label at half of the tokens."""
    rng = np.random.default_rng(3)
    labels = np.tile([1, 0], 60)
    owner = np.sort(rng.integers(0, 120, 900))
    acts = torch.from_numpy(rng.normal(size=(900, 32)).astype(np.float32))
    acts[:, 5] += torch.from_numpy(4.0 * labels[owner] * (rng.random(900) < 0.5)).float()
    groups = [f"g{i // 10}" for i in range(120)]
    return (load_sae(identity_sae(tmp_path / "sae")), acts, labels, groups,
            [f"p{i // 2}" for i in range(120)], owner)


def test_the_search_over_tokens_is_that_of_the_whole_matrix(planted: Planted) -> None:
    """Same table as ranking the dense matrix by the same labellings, block by block or at once."""
    sae, acts, labels, groups, pairs, owner = planted
    found = search_features(sae, acts, labels, groups=groups, pairs=pairs, owner=owner,
                            n_permutations=30, n_bootstrap=50, budget=5_000)
    whole = search_features(sae, acts, labels, groups=groups, pairs=pairs, owner=owner,
                            n_permutations=30, n_bootstrap=50)
    for column in found.ranking.table:
        np.testing.assert_array_equal(found.ranking.table[column], whole.ranking.table[column])
    table = found.ranking.table
    dense = encode(sae, acts).numpy()
    test = ~found.fit
    for row in table.itertuples():
        exact = stats.auroc(row.sign * dense[test, row.feature], labels[owner][test])
        assert row.auroc == pytest.approx(exact, abs=1e-12)
    assert found.top[0] == 5
    assert np.array_equal(found.columns, dense[:, list(found.top)])
    assert found.ranking.estimate().low > found.ranking.estimate().null  # type: ignore[operator]
    assert table["q"].iloc[0] < 0.05


def test_with_one_row_an_example_it_is_rank_features(planted: Planted) -> None:
    """Every column of the table, bit for bit."""
    sae, acts, labels, groups, pairs, _ = planted
    acts = acts[:120]
    found = search_features(sae, acts, labels, groups=groups, pairs=pairs, n_permutations=20)
    reference = rank_features(encode(sae, acts).numpy(), labels, groups=groups, pairs=pairs,
                              n_permutations=20)
    for column in reference.table:
        np.testing.assert_array_equal(found.ranking.table[column], reference.table[column])
    np.testing.assert_array_equal(found.ranking.null_max, reference.null_max)


def test_false_discoveries_are_held_where_nothing_is_planted() -> None:
    """Labels that mean nothing: in nearly every draw no feature has q below .05."""
    called = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        acts = np.maximum(rng.normal(size=(160, 200)) - 1, 0)
        found = rank_features(
            acts, np.tile([1, 0], 80), groups=[f"g{i // 16}" for i in range(160)],
            pairs=[f"p{i // 2}" for i in range(160)], n_permutations=100, n_top=1, seed=seed)
        called += bool((found.table["q"] <= 0.05).any())
    assert called <= 4


def test_sets_reach_what_needs_several_features(tmp_path: Path) -> None:
    """A concept spread over four coordinates: one feature is not enough, eight are."""
    rng = np.random.default_rng(0)
    labels = np.tile([1, 0], 300)
    acts = torch.from_numpy(rng.normal(size=(600, 32)).astype(np.float32))
    direction = torch.zeros(32)
    direction[:4] = 0.5
    acts += torch.from_numpy(labels).float()[:, None] * 2.5 * direction
    sae = load_sae(identity_sae(tmp_path / "sae"))
    found = search_features(
        sae, acts, labels, groups=[f"g{i // 20}" for i in range(600)],
        pairs=[f"p{i // 2}" for i in range(600)], n_top=8, n_permutations=20)
    sets = feature_sets(found, ks=(1, 2, 8, 64))
    assert [len(s.features) for s in sets] == [1, 2, 8]
    assert sets[0].auroc.value < sets[1].auroc.value < sets[2].auroc.value
    both = beside_direction(found, sae, acts, direction)
    assert both.direction.value > sets[0].auroc.high
    assert both.needed is None or both.needed > 2
    assert {f for f, _ in both.cosines[:8]} == {0, 1, 2, 3, 32, 33, 34, 35}
    assert abs(both.cosines[0][1]) == pytest.approx(0.5, abs=1e-5)
    assert both.rank_of_top < 8


def test_a_class_without_rows_is_said(planted: Planted) -> None:
    """Both classes are among the examples of a side, but one of them has no token there."""
    sae, acts, labels, groups, pairs, owner = planted
    kept = (labels[owner] == 0) | fitting_rows(groups, labels, 0)[owner]
    with pytest.raises(SaeError, match="one class only"):
        search_features(sae, acts[torch.from_numpy(kept)], labels, groups=groups, pairs=pairs,
                        owner=owner[kept])


@pytest.mark.parametrize(("change", "error", "says"), [
    (lambda a, o: (a[:, :5], o), SaeError, "reads 32 dimensions"),
    (lambda a, o: (a, o[:-1]), SaeError, "one a row"),
    (lambda a, o: (a, o + 1), SaeError, "number the example"),
    (lambda a, o: (a * float("nan"), o), NotFiniteError, "NaN"),
])
def test_what_cannot_be_searched_is_said(
    planted: Planted, change: Callable, error: type[Exception], says: str
) -> None:
    """In one line."""
    sae, acts, labels, groups, pairs, owner = planted
    acts, owner = change(acts, owner)
    with pytest.raises(error, match=says):
        search_features(sae, acts, labels, groups=groups, pairs=pairs, owner=owner)
