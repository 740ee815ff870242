"""Every probe method passes one contract; what only some of them claim follows after it."""

import numpy as np
import pytest

from virtuelens import stats
from virtuelens.errors import ModelMismatchError, ProbeError
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.methods import LOGISTIC_C, METHODS, SWEPT, Method
from virtuelens.probing.probes import load_probe, probe_at, save_probe


def planted(seed: int, n: int = 400, d: int = 24, gap: float = 3.0) -> tuple:
    """Pairs in a round cloud: half of their spread is the pair's, and one side lies ahead."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    labels = np.array([rng.permutation([0, 1]) for _ in range(n // 2)]).ravel()
    shared = np.repeat(rng.normal(size=(n // 2, d)), 2, axis=0)
    X = (shared + rng.normal(size=(n, d))) / np.sqrt(2) + gap * np.outer(labels - 0.5, direction)
    return X, labels, direction


def pairs_of(labels: np.ndarray) -> list[str]:
    """The pair of every example of `planted`."""
    return [f"p{i // 2}" for i in range(labels.shape[-1])]


def fit(method: Method, X: np.ndarray, labelings: np.ndarray, pairs: list[str] | None = None):
    """Weights of every labelling; the pairs are those of `planted` unless given."""
    return method.weights(X, labelings, pairs or pairs_of(labelings))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the angle between two vectors."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@each_method
def test_recovers_a_planted_direction(method: Method) -> None:
    """In a round cloud the weights point along the planted direction, towards label 1."""
    X, y, direction = planted(0)
    w = fit(method, X, y[None])[0]
    assert cosine(w, direction) > 0.9


@each_method
def test_is_indifferent_to_the_order_of_examples(method: Method) -> None:
    """Shuffling the examples changes nothing but rounding."""
    X, y, _ = planted(1)
    order = np.random.default_rng(0).permutation(len(y))
    a = fit(method, X, y[None])[0]
    b = fit(method, X[order], y[None, order], [pairs_of(y)[i] for i in order])[0]
    assert cosine(a, b) > 1 - 1e-6


@each_method
def test_is_indifferent_to_a_common_scale_and_shift(method: Method) -> None:
    """Scores rank the same when all activations are scaled and shifted together."""
    X, y, _ = planted(2)
    held = planted(3)[0]
    a = held @ fit(method, X, y[None])[0]
    b = (held * 50 + 7) @ fit(method, X * 50 + 7, y[None])[0]
    assert np.corrcoef(a, b)[0, 1] > 1 - 1e-5


@each_method
def test_weights_act_on_raw_activations_even_where_features_differ_in_scale(
    method: Method,
) -> None:
    """Whatever is standardised inside is mapped back (EasySteer's bug)."""
    X, y, _ = planted(4)
    held, y_held, _ = planted(4, n=402)
    scale = np.geomspace(1e-2, 1e2, X.shape[1])
    w = fit(method, X * scale, y[None])[0]
    between = (X * scale)[y == 1] - (X * scale)[y == 0]  # the pairs' differences
    if method.name == "diff_means":  # not scale-free by nature: it must only be the raw means
        assert w == pytest.approx(between.mean(0))
    elif method.name == "pca_diff":  # nor is this
        assert abs(cosine(w, np.linalg.svd(between)[2][0])) > 1 - 1e-9
    else:
        assert stats.auroc((held * scale) @ w, y_held) > 0.9


@each_method
def test_is_at_chance_on_shuffled_labels(method: Method) -> None:
    """Over 200 label shuffles, held-out AUROC is 0.5 on average."""
    X, y, _ = planted(5)
    held, y_held, _ = planted(6)
    drawn = stats.permuted_labels(y, ["all"] * len(y), n_draws=200, seed=0)
    scores = held @ fit(method, X, drawn).T
    assert abs(stats.auroc_columns(scores, y_held).mean() - 0.5) < 0.12


@each_method
def test_many_labellings_at_once_equal_one_at_a_time(method: Method) -> None:
    """The batch that the permutation null uses is the same fit."""
    X, y, _ = planted(7, n=120)
    drawn = np.stack([y, 1 - y, np.roll(y, 3)])
    together = fit(method, X, drawn)
    for labels, w in zip(drawn, together, strict=True):
        assert cosine(w, fit(method, X, labels[None])[0]) > 1 - 1e-6


@each_method
def test_constant_and_duplicate_features_do_no_harm(method: Method) -> None:
    """Columns without variance, and copies of columns, give finite weights."""
    X, y, _ = planted(8)
    X = np.concatenate([X, X[:, :3], np.full((len(X), 2), 5.0)], axis=1)
    w = fit(method, X, y[None])[0]
    assert np.isfinite(w).all()
    assert stats.auroc(X @ w, y) > 0.9


@each_method
def test_is_saved_and_loaded_equal(method: Method, tmp_path) -> None:
    """A probe of this family comes back bit for bit, and is refused on another model."""
    X, y, _ = planted(10)
    site = Site("blocks.1.hook_resid_post", "last")
    examples = Examples({site: X}, y, tuple(f"g{i % 8}" for i in range(len(y))),
                        tuple(pairs_of(y)), tuple(map(str, range(len(y)))))
    probe = probe_at(examples, site, method.name, concept="c", fingerprint="f" * 64)
    save_probe(probe, tmp_path / "p.safetensors")
    back = load_probe(tmp_path / "p.safetensors", fingerprint="f" * 64)
    assert (back.direction.vector == probe.direction.vector).all()
    assert (back.threshold, back.direction.method) == (probe.threshold, method.name)
    with pytest.raises(ModelMismatchError):
        load_probe(tmp_path / "p.safetensors", fingerprint="0" * 64)


@pytest.mark.parametrize("method", [m for m in METHODS.values() if m.paired], ids=lambda m: m.name)
def test_a_family_that_sees_pairs_only_finds_what_differs_most(method: Method) -> None:
    """Let something else differ more within pairs, and that is found (Farquhar et al. 2023)."""
    X, y, direction = planted(11, gap=2.0)
    rng = np.random.default_rng(0)
    other = np.linalg.svd(direction[None])[2][-1]  # at a right angle
    side = np.array([rng.permutation([-1, 1]) for _ in range(len(y) // 2)]).ravel()
    X = X + 4.0 * np.outer(side, other)
    w = fit(method, X, y[None])[0]
    assert abs(cosine(w, other)) > 0.9
    assert abs(cosine(w, direction)) < 0.3
    labelled = fit(METHODS["logistic"], X, y[None])[0]
    assert cosine(labelled, direction) > 0.9


@pytest.mark.parametrize("method", [m for m in METHODS.values() if m.paired], ids=lambda m: m.name)
def test_a_family_that_sees_pairs_refuses_examples_without(method: Method) -> None:
    """The error names families that need none."""
    X, y, _ = planted(12)
    with pytest.raises(ProbeError, match="use diff_means"):
        fit(method, X, y[None], [str(i) for i in range(len(y))])


def test_mass_mean_is_the_published_one() -> None:
    """Mean difference times the pseudo-inverse of the covariance within classes."""
    X, y, _ = planted(13, n=600)
    X = X * np.geomspace(0.1, 10, X.shape[1])
    means = np.stack([X[y == 0].mean(0), X[y == 1].mean(0)])
    centred = X - means[y]
    published = np.linalg.pinv(centred.T @ centred / len(X)) @ (means[1] - means[0])
    assert cosine(fit(METHODS["mass_mean"], X, y[None])[0], published) > 1 - 1e-9


def test_pca_diff_is_repe_in_wide_matrices_too() -> None:
    """With more dimensions than examples the same component comes from the other Gram matrix."""
    X, y, _ = planted(14, n=40, d=90)
    between = X[y == 1] - X[y == 0]
    w = fit(METHODS["pca_diff"], X, y[None])[0]
    assert abs(cosine(w, np.linalg.svd(between)[2][0])) > 1 - 1e-9


def test_ensemble_scores_are_the_mean_of_its_members() -> None:
    """Each member's scores are brought to spread 1 and averaged."""
    X, y, _ = planted(15)
    members = [X @ fit(METHODS[m], X, y[None])[0] for m in SWEPT]
    mean = np.mean([s / s.std() for s in members], axis=0)
    assert X @ fit(METHODS["ensemble"], X, y[None])[0] == pytest.approx(mean)


def test_logistic_is_sklearns() -> None:
    """The batched solver finds scikit-learn's solution on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    for seed, gap in ((0, 0.5), (1, 4.0)):
        X, y, _ = planted(seed, n=200, d=60, gap=gap)
        X = X * np.geomspace(0.1, 10, 60)
        scaler = StandardScaler().fit(X)
        reference = LogisticRegression(C=LOGISTIC_C, tol=1e-8, max_iter=5000)
        theirs = reference.fit(scaler.transform(X), y).coef_[0] / scaler.scale_
        ours = METHODS["logistic"].fit(X, y[None])[0]
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6)


def test_lda_is_sklearns_direction() -> None:
    """The total covariance gives the direction of scikit-learn's within-class discriminant."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y, _ = planted(9, n=2000, d=10)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y).coef_[0]
    ours = METHODS["lda"].fit(X, y[None])[0]
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.999
