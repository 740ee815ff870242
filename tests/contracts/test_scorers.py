"""Every family that is no direction passes one contract; what only some claim follows after it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from virtuelens import stats, storage
from virtuelens.errors import ModelMismatchError, ProbeError, StoreError
from virtuelens.probing.bags import BagExamples, Bags
from virtuelens.probing.methods import METHODS
from virtuelens.probing.scorers.scorer import fit_scorer, load_scorer, save_scorer
from virtuelens.probing.scorers.table import SCORERS, Family
from virtuelens.probing.uncertainty import held_out_scores

DIRECTION = np.random.default_rng(99).normal(size=12)
DIRECTION /= np.linalg.norm(DIRECTION)


def planted(family: Family, seed: int, n: int = 300, gap: float = 4.0) -> BagExamples:
    """Pairs in a round cloud; the concept lies ahead along DIRECTION, of tokens in one of them."""
    rng = np.random.default_rng(seed)
    labels = np.array([rng.permutation([0, 1]) for _ in range(n // 2)]).ravel()
    sizes = rng.integers(4, 10, n) if family.reads == "tokens" else np.ones(n, dtype=np.int64)
    values = rng.normal(size=(sizes.sum(), len(DIRECTION)))
    told = np.cumsum(sizes) - sizes + rng.integers(0, sizes)  # the token that tells
    values[told] += gap * np.outer(labels, DIRECTION)
    pairs = tuple(f"p{i // 2}" for i in range(n))
    groups = tuple(f"g{i // 2 % 8}" for i in range(n))
    return BagExamples(Bags(values, sizes), labels, groups, pairs)


def moved(e: BagExamples, by: np.ndarray, scale: float = 1.0) -> BagExamples:
    """The same examples with every row scaled and shifted."""
    return replace(e, bags=Bags(e.bags.values * scale + by, e.bags.sizes))


def shuffled(e: BagExamples, order: np.ndarray) -> BagExamples:
    """The same examples in another order."""
    starts = e.bags.starts
    rows = np.concatenate([np.arange(starts[i], starts[i] + e.bags.sizes[i]) for i in order])
    return BagExamples(
        Bags(e.bags.values[rows], e.bags.sizes[order]), e.labels[order],
        tuple(e.groups[i] for i in order), tuple(e.pairs[i] for i in order),
    )


each_family = pytest.mark.parametrize("family", SCORERS.values(), ids=SCORERS.keys())


@each_family
def test_recovers_a_planted_direction(family: Family) -> None:
    """Held-out examples are told apart, and scores rise along the planted direction most."""
    e, held = planted(family, 0), planted(family, 1)
    parameters = family.fit(e.bags, e.labels, 0)
    base = family.score(parameters, held.bags)
    assert stats.auroc(base, held.labels) > 0.95
    slope = np.array([
        (family.score(parameters, moved(held, 0.1 * axis).bags) - base).mean()
        for axis in np.eye(len(DIRECTION))
    ])
    assert slope @ DIRECTION / np.linalg.norm(slope) > 0.85


@each_family
def test_is_indifferent_to_the_order_of_examples(family: Family) -> None:
    """Shuffling the examples, and the tokens of each, changes nothing but rounding."""
    e, held = planted(family, 2), planted(family, 3)
    rng = np.random.default_rng(0)
    again = shuffled(e, rng.permutation(len(e.labels)))
    rows = rng.permutation(len(again.bags.values))
    rows = rows[np.argsort(again.bags.owners[rows], kind="stable")]
    again = replace(again, bags=Bags(again.bags.values[rows], again.bags.sizes))
    a, b = (held_out_scores(family.name, x, held) for x in (e, again))
    assert np.corrcoef(a, b)[0, 1] > 0.999


@each_family
def test_is_indifferent_to_a_common_scale_and_shift(family: Family) -> None:
    """The same scores when everything that is read is scaled and shifted together."""
    e, held = planted(family, 4), planted(family, 5)
    a = held_out_scores(family.name, e, held)
    b = held_out_scores(family.name, moved(e, 7.0, 50.0), moved(held, 7.0, 50.0))
    assert np.corrcoef(a, b)[0, 1] > 0.999


@each_family
def test_is_at_chance_on_shuffled_labels(family: Family) -> None:
    """Over label shuffles, held-out AUROC is 0.5 on average."""
    e, held = planted(family, 6, n=120), planted(family, 7, n=120)
    drawn = stats.permuted_labels(e.labels, ["all"] * len(e.labels), n_draws=8, seed=0)
    values = [stats.auroc(held_out_scores(family.name, replace(e, labels=y), held), held.labels)
              for y in drawn]
    assert abs(np.mean(values) - 0.5) < 0.15


@each_family
def test_is_saved_and_loaded_equal(family: Family, tmp_path) -> None:
    """Scores come back bit for bit; another model's, another table's, half of it: refused."""
    e, held = planted(family, 8), planted(family, 9)
    path = tmp_path / "s.safetensors"
    about = {"point": "blocks.1.hook_resid_post", "position": "last", "concept": "c"}
    made = fit_scorer(e, family=family.name, **about, fingerprint="f" * 64)
    save_scorer(made, path)
    back = load_scorer(path, fingerprint="f" * 64)
    assert (back.score(held.bags) == made.score(held.bags)).all()
    assert (back.score(held.bags) == held_out_scores(family.name, e, held)).all()
    assert (back.family, back.n, back.concept) == (family.name, len(e.labels), "c")
    with pytest.raises(ModelMismatchError, match="this model has 0000"):
        load_scorer(path, fingerprint="0" * 64)
    tensors, header = storage.read_tensors(path)
    storage.write_tensors(path, {"value2": next(iter(tensors.values()))}, header)
    with pytest.raises(StoreError, match=f"a scorer of family {family.name} has"):
        load_scorer(path)
    storage.write_tensors(path, tensors, header | {"family": "magic"})
    with pytest.raises(StoreError, match="fit it anew"):
        load_scorer(path)


@each_family
def test_constant_features_do_no_harm(family: Family) -> None:
    """Columns without variance give finite scores, and do not count on other examples."""
    e, held = planted(family, 10), planted(family, 11)

    def wider(x: BagExamples, by: float) -> BagExamples:
        more = np.full((len(x.bags.values), 3), by)
        return replace(x, bags=Bags(np.concatenate([x.bags.values, more], axis=1), x.bags.sizes))

    a = held_out_scores(family.name, wider(e, 5.0), wider(held, 5.0))
    assert stats.auroc(a, held.labels) > 0.95
    assert a == pytest.approx(held_out_scores(family.name, wider(e, 5.0), wider(held, 9.0)))


@each_family
def test_what_does_not_fit_is_refused(family: Family) -> None:
    """One class, another width, and tokens where one row is read: one line each."""
    e = planted(family, 12)
    about = {"family": family.name, "point": "p", "position": "last", "concept": "c",
             "fingerprint": "f"}
    with pytest.raises(ProbeError, match="both"):
        fit_scorer(e.where(e.labels == 1), **about)
    made = fit_scorer(e, **about)
    with pytest.raises(ProbeError, match="reads rows of 12 numbers, these have 11"):
        made.score(Bags(e.bags.values[:, 1:], e.bags.sizes))
    if family.reads != "tokens":
        with pytest.raises(ProbeError, match="reads one row an example"):
            made.score(Bags(e.bags.values, np.full(len(e.labels) // 2, 2)))


def test_the_network_finds_what_no_direction_does() -> None:
    """Where the label is whether two features agree in sign, every linear family is at chance."""
    def agreeing(seed: int) -> BagExamples:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(500, 6))
        X = X[np.argsort(X[:, 0] * X[:, 1] > 0, kind="stable")]
        n = min((X[:, 0] * X[:, 1] > 0).sum(), (X[:, 0] * X[:, 1] <= 0).sum())
        X = np.stack([X[:n], X[-n:]], axis=1).reshape(-1, 6)
        return BagExamples(Bags(X, np.ones(2 * n, dtype=np.int64)), np.tile([0, 1], n),
                           tuple(f"g{i // 2 % 8}" for i in range(2 * n)),
                           tuple(f"p{i // 2}" for i in range(2 * n)))

    fit, held = agreeing(0), agreeing(1)
    assert stats.auroc(held_out_scores("mlp", fit, held), held.labels) > 0.9
    for name in METHODS:
        assert stats.auroc(held_out_scores(name, fit, held), held.labels) < 0.65


def test_the_network_scores_as_scikit_learn_does() -> None:
    """Folding the standardisation into the first layer changes nothing."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    from virtuelens.probing.scaling import standardised
    from virtuelens.probing.scorers.network import HIDDEN, RIDGE

    e = planted(SCORERS["mlp"], 13)
    Z, _ = standardised(e.bags.values)
    theirs = MLPClassifier((HIDDEN,), alpha=RIDGE, solver="lbfgs", max_iter=300, random_state=3)
    with pytest.warns(ConvergenceWarning):
        p = theirs.fit(Z, e.labels).predict_proba(Z)[:, 1]
    row = SCORERS["mlp"]
    ours = row.score(row.fit(e.bags, e.labels, 3), e.bags)
    assert torch.sigmoid(torch.from_numpy(ours)).numpy() == pytest.approx(p, abs=1e-6)


@pytest.mark.parametrize("name", ["attention", "max"])
def test_pooling_beats_the_mean_where_one_token_of_many_tells(name: str) -> None:
    """One token in forty carries the concept: the mean dilutes it, a pooled probe does not."""
    def long(seed: int) -> BagExamples:
        rng = np.random.default_rng(seed)
        n, length = 200, 40
        labels = np.tile([0, 1], n // 2)
        values = rng.normal(size=(n, length, len(DIRECTION)))
        values[np.arange(n), rng.integers(0, length, n)] += 6.0 * np.outer(labels, DIRECTION)
        return BagExamples(
            Bags(values.reshape(-1, len(DIRECTION)), np.full(n, length)), labels,
            tuple(f"g{i // 2 % 8}" for i in range(n)), tuple(f"p{i // 2}" for i in range(n)),
        )

    fit, held = long(0), long(1)
    means = [replace(e, bags=Bags(e.bags.means(), np.ones(len(e.labels), dtype=np.int64)))
             for e in (fit, held)]
    pooled = stats.auroc(held_out_scores(name, fit, held), held.labels)
    mean = stats.auroc(held_out_scores("logistic", *means), held.labels)
    assert pooled > 0.95
    assert pooled > mean + 0.1


def test_few_features_are_few() -> None:
    """16 of 400 features decide, and the planted one is among them."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(200, 400)), 0)
    labels = np.tile([0, 1], 100)
    X[:, 321] += 2.0 * labels
    row = SCORERS["k_sparse"]
    parameters = row.fit(Bags(X, np.ones(200, dtype=np.int64)), labels, 0)
    assert len(parameters["features"]) == 16
    chosen = parameters["features"][np.argmax(np.abs(parameters["weights"]))]
    assert chosen == 321
