"""Control tasks tell a probe that knows the concept from one that learns anything."""

from dataclasses import replace

import numpy as np
import pytest

from tests.probing.packs import SITE, made
from virtuelens.errors import ProbeError
from virtuelens.probing.control_task import last_words, selectivity
from virtuelens.probing.data import Examples
from virtuelens.probing.sweep import split_fit_test
from virtuelens.values.texts import Text

TYPES = [f"word{i}" for i in range(10)]


def typed(*, concept: float, surface: float) -> tuple[Examples, Examples, list[str], list[str]]:
    """A pack whose activations hold the label, and the type (one axis a type) if asked."""
    rng = np.random.default_rng(0)
    e = made("a", 0, seed=0, gap=concept).examples
    types = np.array([TYPES[i] for i in rng.integers(len(TYPES), size=len(e.labels))])
    held = {t: surface * (types == t) for t in TYPES}
    X = np.concatenate([e.matrices[SITE], np.stack([held[t] for t in TYPES], axis=1)], axis=1)
    whole = replace(e, matrices={SITE: X})
    fit, rest = split_fit_test(whole, seed=0)
    of = dict(zip(e.ids, types, strict=True))
    return fit, rest, [of[i] for i in fit.ids], [of[i] for i in rest.ids]


def test_a_concept_without_surface_is_selective() -> None:
    """High on the concept, chance on random labels of types that are not in the activations."""
    fit, held, a, b = typed(concept=4.0, surface=0.0)
    found = selectivity(fit, held, SITE, "diff_means", fit_types=a, held_out_types=b,
                        n_bootstrap=200)
    assert found.concept.low > 0.9
    assert abs(found.control.value - 0.5) < 0.08
    assert found.difference.low > 0.3
    assert (found.types, found.tasks) == (10, 20)


def test_a_surface_that_can_be_learned_shows_in_the_control() -> None:
    """Where types stand in the activations, random labels of them are read as well: selectivity
    is small, and negative where there is no concept."""
    fit, held, a, b = typed(concept=4.0, surface=6.0)
    both = selectivity(fit, held, SITE, "lda", fit_types=a, held_out_types=b, n_bootstrap=100)
    assert both.control.low > 0.9
    assert both.difference.value < 0.1
    fit, held, a, b = typed(concept=0.0, surface=6.0)
    none = selectivity(fit, held, SITE, "lda", fit_types=a, held_out_types=b, n_bootstrap=100)
    assert none.difference.high < -0.2


def test_only_types_seen_in_fitting_are_judged() -> None:
    """Groups as types are refused, because none is on both sides; unseen types are left out."""
    fit, held, a, b = typed(concept=4.0, surface=0.0)
    with pytest.raises(ProbeError, match="0 types stand on both sides"):
        selectivity(fit, held, SITE, "diff_means", fit_types=fit.groups,
                    held_out_types=held.groups)
    some = [t if i % 3 else f"new {i}" for i, t in enumerate(b)]
    found = selectivity(fit, held, SITE, "diff_means", fit_types=a, held_out_types=some,
                        n_bootstrap=50)
    assert found.concept.n == sum(not t.startswith("new") for t in some)


def test_the_type_of_a_text_is_its_last_word() -> None:
    """Case and punctuation do not count."""
    assert last_words([Text(raw="Go by the River."), Text(raw="a river")]) == ["river", "river"]
