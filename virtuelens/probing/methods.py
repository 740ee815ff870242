"""The table of probe families: each maps activations and labels to a direction in raw space.

Every method fits *many labellings at once* (`[b n]` labels give `[b d_model]` weights), so that the
permutation null runs through exactly the code that made the observed value, and cheaply.
Fitting may standardise inside; the weights returned always act on raw activations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from virtuelens.probing.scaling import flat_below, standardised
from virtuelens.probing.unsupervised import ccs, pca_diff

Array = np.ndarray
Fit = Callable[..., Float[Array, "b d"]]
Path = Callable[..., Float[Array, "s b d"]]

SWEPT = ("diff_means", "logistic", "lda")
"""Families that a sweep tries unless told otherwise: those that audits are calibrated with."""


@dataclass(frozen=True)
class Method:
    """A row of the table. `fit` returns weights whose scores `X @ w` rise with label 1.

    fit: of activations and labellings; of a `paired` row also of the pair of every example.
    path: the same at several strengths of a penalty (`[s b d]`), of which a sweep chooses one by
        group folds; `fit` takes a middling one.
    """

    name: str
    about: str
    source: str
    fit: Fit
    paired: bool = False
    path: Path | None = None

    def weights(
        self, X: Float[Array, "n d"], labelings: Int[Array, "b n"], pairs: Sequence[str]
    ) -> Float[Array, "b d"]:
        """Raw-space weights of every labelling.

        Raises: ProbeError: a paired row, and these examples have no pairs.
        """
        return self.fit(X, labelings, pairs) if self.paired else self.fit(X, labelings)


def diff_means(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """Mean of the positives minus mean of the negatives.

    Source: Marks and Tegmark 2023, arXiv:2310.06824 (mass-mean); Rimsky et al. 2023 (CAA).
    """
    signed = _class_weights(labelings)
    return signed @ X


def mass_mean(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """Difference of means, whitened by the (pseudo-)inverse covariance, nothing shrunk.

    The total covariance stands in for the within-class one, as in `lda`: the same direction where
    there are more examples than dimensions (tested against the published computation). With fewer,
    the classes are separated perfectly and nothing is averaged out: prefer `lda` there.

    Source: Marks and Tegmark 2023, arXiv:2310.06824 (for independent data).
    """
    U, s, Vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    keep = s > np.sqrt(len(X)) * flat_below(X)
    U, s, Vt = U[:, keep], s[keep], Vt[keep]
    # mean difference = signed @ U s Vt; the inverse covariance is n V s^-2 Vt
    return len(X) * (_class_weights(labelings) @ U / s) @ Vt


def lda(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """Linear discriminant with Ledoit-Wolf shrinkage: the mean difference, whitened.

    The *total* covariance stands in for the within-class one: the two give the same direction
    (Sherman-Morrison), and the total one does not depend on the labels, so one factorisation
    serves every permutation.

    Source: Fisher 1936; shrinkage by Ledoit and Wolf 2004.
    """
    from sklearn.covariance import ledoit_wolf

    Z, scale = standardised(X)
    covariance, _ = ledoit_wolf(Z, assume_centered=True)
    # a constant column has no variance: keep the matrix invertible, its weight is zero anyway
    covariance[np.diag_indices_from(covariance)] += 1e-8
    w = np.linalg.solve(covariance, diff_means(Z, labelings).T).T
    return w / scale


def logistic(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """L2-regularised logistic regression on standardised features (sklearn's C = 0.1).

    All labellings are solved together, in float64, to a gradient where the weights agree with those
    of sklearn's LogisticRegression (tested): `virtuelens.probing.logistic`.
    """
    return logistic_strengths(X, labelings, (LOGISTIC_C,))[0]


def logistic_strengths(
    X: Float[Array, "n d"],
    labelings: Int[Array, "b n"],
    strengths: Sequence[float],
    rows: Bool[Array, "b n"] | None = None,
) -> Float[Array, "s b d"]:
    """`logistic` at several strengths C; where `rows` says so, on a part of the examples each.

    Several strengths are fitted to choose between, in float32 to scikit-learn's own tolerance; one
    alone is fitted to be kept, in float64.
    """
    import torch

    from virtuelens.probing.logistic import logistic_path

    kept = len(strengths) == 1
    given = np.ascontiguousarray(X, dtype=np.float64 if kept else np.float32)
    path = logistic_path(
        torch.from_numpy(given), torch.tensor(labelings), strengths,
        rows=None if rows is None else torch.from_numpy(rows), tol=1e-8 if kept else 1e-4,
        overwrite=not np.shares_memory(given, X),
    )
    return path.weights.double().numpy()


LOGISTIC_C = 0.1

STRENGTHS = tuple(float(c) for c in np.logspace(-4, 4, 8))
"""Values of C that are tried: scikit-learn's own grid of eight (`Cs=8`)."""


def ensemble(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """Mean of the scores of the families in `SWEPT`, each brought to spread 1: one direction again.

    A hedge against the family that fails here, not a better probe: where the members agree it is
    like them.

    Source: Dietterich 2000, Ensemble methods in machine learning.
    """
    w = np.zeros((len(labelings), X.shape[1]))
    for name in SWEPT:
        member = METHODS[name].fit(X, labelings)  # [b d]
        spread = (member @ X.T).std(axis=1, keepdims=True)
        w += member / np.where(spread > 0, spread, np.inf)
    return w / len(SWEPT)


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("diff_means", "difference of class means", "arXiv:2310.06824", diff_means),
        Method("mass_mean", "difference of means, whitened", "arXiv:2310.06824", mass_mean),
        Method("logistic", "logistic regression, L2", "arXiv:2502.16681", logistic),
        Method("logistic_cv", "logistic regression, L2 chosen by group folds", "arXiv:2502.16681",
               logistic, path=logistic_strengths),
        Method("lda", "linear discriminant, shrunk covariance", "Fisher 1936", lda),
        Method("pca_diff", "first component of differences within pairs", "arXiv:2310.01405",
               pca_diff, paired=True),
        Method("ccs", "contrast-consistent search (a foil)", "arXiv:2212.03827", ccs, paired=True),
        Method("ensemble", "mean of three families' scores", "Dietterich 2000", ensemble),
    )
}


def _class_weights(labelings: Int[Array, "b n"]) -> Float[Array, "b n"]:
    """Per row: 1/n_pos at positives, -1/n_neg at negatives."""
    y = labelings.astype(np.float64)
    return y / y.sum(axis=1, keepdims=True) - (1 - y) / (1 - y).sum(axis=1, keepdims=True)
