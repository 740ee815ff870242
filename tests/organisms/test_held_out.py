"""Combinations of words that training never shows: kept, enough, and not a cue to the variable."""

from collections import Counter
from random import Random

import pytest

from virtuelens.organisms.composed import Composed
from virtuelens.organisms.languages import LANGUAGES


@pytest.fixture(params=LANGUAGES)
def variable(request: pytest.FixtureRequest) -> Composed:
    """The composed variable of each language in turn."""
    return LANGUAGES[request.param].variable


def test_training_never_shows_what_is_held_out(variable: Composed) -> None:
    """Drawn for training: never; drawn as unseen: always."""
    rng = Random(0)
    assert not any(variable.held_out(*variable.draw(rng, bool(i % 2))) for i in range(3000))
    assert all(variable.held_out(*variable.draw(rng, bool(i % 2), unseen=True))
               for i in range(300))


def test_every_word_has_held_out_partners_and_shown_ones(variable: Composed) -> None:
    """So no word is new in the proof, and every word takes part in it."""
    firsts, seconds = (kinds[0] + kinds[1] for kinds in (variable.first, variable.second))
    for a in firsts:
        out = [variable.held_out(a, b) for b in seconds]
        assert 0 < sum(out) < len(out) / 2
    assert all(any(variable.held_out(a, b) for a in firsts) for b in seconds)


def test_held_out_combinations_hold_both_values(variable: Composed) -> None:
    """The proof can draw either value, from several combinations each."""
    values = Counter(
        variable.value(a, b)
        for a in variable.first[0] + variable.first[1]
        for b in variable.second[0] + variable.second[1]
        if variable.held_out(a, b)
    )
    assert min(values.values()) >= 4
    assert len(values) == 2


def test_no_word_gives_the_variable(variable: Composed) -> None:
    """In training each word stands on either side, whatever else it tells."""
    rng, seen = Random(1), Counter()
    for i in range(4000):
        for word in variable.draw(rng, bool(i % 2)):
            seen[word, bool(i % 2)] += 1
    assert all(seen[word, value] for word in variable.words for value in (True, False))


def test_a_group_uses_every_word_as_often_on_either_side(variable: Composed) -> None:
    """The true side and the false side of a group's pairs hold the same words."""
    for group in range(4 * len(variable.second[0])):
        true, false = Counter(), Counter()
        for good, bad in variable.changes(group):
            assert variable.value(*good)
            assert not variable.value(*bad)
            true.update(good)
            false.update(bad)
        assert true == false
