"""Every surface baseline passes one contract: what it is for, and what it must not see."""

from random import Random

import numpy as np
import pytest

from virtuelens import stats
from virtuelens.probing.baselines import BASELINES, Baseline

WORDS = ("river", "tree", "song", "bird", "time", "answer", "story", "lamp")


def texts(n: int, seed: int) -> list[str]:
    """Sentences of five words, none of which means anything."""
    rng = Random(seed)
    return [" ".join(rng.choices(WORDS, k=5)) for _ in range(n)]


def telling(name: str, text: str, label: int) -> str:
    """The text with what that baseline looks for planted in it."""
    if name == "length":
        return text + " and so on and on" * label
    if name == "position":
        return text + ("\n" if label else " ") + "yes"  # a turn more, not a word more
    return text + (" good" if label else " bad")


@pytest.fixture(params=BASELINES)
def baseline(request: pytest.FixtureRequest) -> Baseline:
    """Each row of the table in turn."""
    return BASELINES[request.param]


LABELS = np.array([0, 1] * 60)


def test_finds_what_it_looks_for(baseline: Baseline) -> None:
    """A word, or the length, that gives the label away is found on new texts."""
    fit, new = ([telling(baseline.name, t, int(y)) for t, y in zip(texts(120, s), LABELS,
                                                                  strict=True)] for s in (0, 1))
    assert stats.auroc(baseline.score(fit, LABELS, new), LABELS) > 0.95


def test_is_at_chance_where_texts_tell_nothing(baseline: Baseline) -> None:
    """Over twenty draws the mean AUROC is about a half."""
    found = [stats.auroc(baseline.score(texts(120, 2 * s), LABELS, texts(120, 2 * s + 1)), LABELS)
             for s in range(20)]
    assert abs(np.mean(found) - 0.5) < 0.06


def test_scores_each_text_by_itself(baseline: Baseline) -> None:
    """The score of a text does not depend on what else is scored; nor does order matter."""
    fit = [telling(baseline.name, t, int(y)) for t, y in zip(texts(120, 0), LABELS, strict=True)]
    new = [telling(baseline.name, t, i % 2) for i, t in enumerate(texts(10, 3))]
    whole = baseline.score(fit, LABELS, new)
    assert whole.shape == (10,)
    assert whole[::-1] == pytest.approx(baseline.score(fit, LABELS, new[::-1]))
    assert whole[4:5] == pytest.approx(baseline.score(fit, LABELS, new[4:5]))


def test_text_without_words_does_no_harm(baseline: Baseline) -> None:
    """Empty, punctuation only, and words never seen are scored, not refused."""
    fit = [telling(baseline.name, t, int(y)) for t, y in zip(texts(120, 0), LABELS, strict=True)]
    assert np.isfinite(baseline.score(fit, LABELS, ["", "?!", "unseen words"])).all()
    assert np.isfinite(baseline.score([""] * 120, LABELS, texts(3, 1))).all()
