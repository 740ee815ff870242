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

    def sizes(text: str) -> list[int]:
        return [len(text.split()), len(text)]

    return _by_numbers(fit, labels, others, sizes)


def position(
    fit: Sequence[str], labels: Int[Array, " n"], others: Sequence[str]
) -> Float[Array, " m"]:
    """Where in the text the tokens that are read stand, by logistic regression.

    That is after so many turns (lines), so many words in the turns before, and so many in the
    last: a model knows the place of a token whatever the words are.
    """

    def places(text: str) -> list[int]:
        *before, last = text.split("\n")
        return [len(before), sum(len(line.split()) for line in before), len(last.split())]

    return _by_numbers(fit, labels, others, places)


def _by_numbers(
    fit: Sequence[str],
    labels: Int[Array, " n"],
    others: Sequence[str],
    numbers: Callable[[str], list[int]],
) -> Float[Array, " m"]:
    """Logistic regression on a few numbers of each text, standardised."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(np.array([numbers(t) for t in fit], dtype=np.float64), labels)
    return np.asarray(
        model.decision_function(np.array([numbers(t) for t in others], dtype=np.float64))
    )


BASELINES: dict[str, Baseline] = {
    b.name: b
    for b in (
        Baseline("bag_of_words", "words and word pairs alone", bag_of_words),
        Baseline("length", "number of words and characters alone", length),
        Baseline("position", "place of the tokens that are read alone", position),
    )
}
