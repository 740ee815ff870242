"""What a probe must beat: classifiers that never saw inside the model.

Each takes the words of the fitting texts and returns scores for other texts; embedding-layer and
random-weight rivals are ordinary sweeps over other activations (see `audits.reading`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray
Score = Callable[[Sequence[str], Int[Array, " n"], Sequence[str]], Float[Array, " m"]]


@dataclass(frozen=True)
class Baseline:
    """A row of the table: `score(fit texts, labels, other texts)` gives the others' scores."""

    name: str
    about: str
    score: Score


def bag_of_words(
    fit: Sequence[str], labels: Int[Array, " n"], others: Sequence[str]
) -> Float[Array, " m"]:
    """Logistic regression on counts of words and word pairs (case folded)."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if not any(t.split() for t in fit):
        return np.zeros(len(others))  # no word anywhere: nothing to tell by
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"[^\s]+")
    model = make_pipeline(words, LogisticRegression(C=1.0, max_iter=2000))
    model.fit(list(fit), labels)
    return np.asarray(model.decision_function(list(others)))


def length(
    fit: Sequence[str], labels: Int[Array, " n"], others: Sequence[str]
) -> Float[Array, " m"]:
    """Number of words and of characters, by logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def sizes(texts: Sequence[str]) -> Float[Array, "n 2"]:
        return np.array([[len(t.split()), len(t)] for t in texts], dtype=np.float64)

    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(sizes(fit), labels)
    return np.asarray(model.decision_function(sizes(others)))


BASELINES: dict[str, Baseline] = {
    b.name: b
    for b in (
        Baseline("bag_of_words", "words and word pairs alone", bag_of_words),
        Baseline("length", "number of words and characters alone", length),
    )
}
