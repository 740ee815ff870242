"""What words, endings and lengths alone give away: classifiers and comparisons without a model."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from virtuelens.values.texts import Text

Array = np.ndarray

NEAR = 0.8
"""Share of common word triples (Jaccard) from which two texts count as nearly the same."""

Score = Callable[[Sequence[Text], Int[Array, " n"], Sequence[Text]], Float[Array, " m"]]
"""Fitting texts, their labels, other texts -> scores of the others."""


def bag_of_words(
    fit: Sequence[Text], labels: Int[Array, " n"], others: Sequence[Text]
) -> Float[Array, " m"]:
    """Logistic regression on counts of words and word pairs (case folded)."""
    return _logistic(fit, labels, others, lambda t: t.words, ngram_range=(1, 2))


def words_by_turn(
    fit: Sequence[Text], labels: Int[Array, " n"], others: Sequence[Text]
) -> Float[Array, " m"]:
    """The same with each word marked by its turn: who says it, counted from the end."""

    def marked(text: Text) -> str:
        turns: list[tuple[str, str]] = [(m.role, m.content) for m in text.messages]
        turns = turns or [("raw", text.words)]
        return " ".join(
            f"{len(turns) - i}:{role}:{word}"
            for i, (role, content) in enumerate(turns) for word in content.split()
        )

    return _logistic(fit, labels, others, marked, ngram_range=(1, 2))


def last_word(
    fit: Sequence[Text], labels: Int[Array, " n"], others: Sequence[Text]
) -> Float[Array, " m"]:
    """Logistic regression on the last word alone."""
    return _logistic(fit, labels, others, ending, ngram_range=(1, 1))


def length(
    fit: Sequence[Text], labels: Int[Array, " n"], others: Sequence[Text]
) -> Float[Array, " m"]:
    """Number of words, in the direction in which it tells the fitting texts apart."""
    from virtuelens import stats

    def sizes(texts: Sequence[Text]) -> Float[Array, " n"]:
        return np.array([len(t.words.split()) for t in texts], dtype=np.float64)

    up = stats.auroc(sizes(fit), labels) >= 0.5
    return sizes(others) if up else -sizes(others)


def _logistic(
    fit: Sequence[Text],
    labels: Int[Array, " n"],
    others: Sequence[Text],
    words: Callable[[Text], str],
    *,
    ngram_range: tuple[int, int],
) -> Float[Array, " m"]:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    counts = CountVectorizer(ngram_range=ngram_range, token_pattern=r"[^\s]+")
    model = make_pipeline(counts, LogisticRegression(max_iter=2000))
    model.fit([words(t) for t in fit], labels)
    return np.asarray(model.decision_function([words(t) for t in others]))


def named_last(context: str, own: str, other: str) -> bool | None:
    """Whether what only `own` says was named in the context after what only `other` says.

    By the last mention of either. None where the context does not name both.
    """
    words = words_of(context)
    ours, theirs = set(words_of(own)), set(words_of(other))
    last = {w: i for i, w in enumerate(words)}
    at = [max((last[w] for w in mine if w in last), default=None)
          for mine in (ours - theirs, theirs - ours)]
    return None if at[0] is None or at[1] is None else at[0] > at[1]


def normalised(text: Text) -> str:
    """Roles and words alone: case, punctuation and white space do not count."""
    turns: list[tuple[str, str]] = [(m.role, m.content) for m in text.messages]
    turns = turns or [("raw", text.words)]
    return "\n".join(f"{role}: {' '.join(words_of(content))}" for role, content in turns)


def near_same(texts: Sequence[Text]) -> list[tuple[int, int]]:
    """Pairs of texts that share nearly all their word triples (Jaccard at least `NEAR`)."""
    from sklearn.feature_extraction.text import CountVectorizer

    def triples(text: Text) -> list[str]:
        words = ["^", *words_of(text.words), "$"]
        return [f"{a} {b} {c}" for (a, b), (_, c) in pairwise(pairwise(words))]

    counter = CountVectorizer(analyzer=triples, binary=True, dtype=np.int32)
    counts: Any = counter.fit_transform(texts)
    size = np.asarray(counts.sum(axis=1)).ravel()
    out: list[tuple[int, int]] = []
    for start in range(0, len(texts), 500):  # all against all would not fit for large packs
        common = (counts[start : start + 500] @ counts.T).tocoo()
        row = common.row + start
        either = size[row] + size[common.col] - common.data
        near = (common.data >= NEAR * either) & (row < common.col)
        out += zip(row[near].tolist(), common.col[near].tolist(), strict=True)
    return sorted(out)


def words_of(text: str) -> list[str]:
    """The words, case folded, without punctuation but for the minus sign of a number.

    Of a text without words, such as an emoticon, what stands between its spaces.
    """
    text = text.casefold()
    return re.findall(r"(?:(?<!\w)[-\u2212](?=\d))?\w+", text) or text.split()


def ending(text: Text) -> str:
    """The last word, case folded."""
    words = words_of(text.words)
    return words[-1] if words else "-"
