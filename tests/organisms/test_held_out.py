"""Combinations of words that training never shows: the proof and the packs are drawn there."""

from random import Random

from virtuelens.organisms.languages import days, facts


def test_training_never_shows_a_held_out_way_of_insisting() -> None:
    """No drawn claim has such a pair of words, every unseen one has."""
    rng = Random(0)
    assert not any(facts.held_out(*facts.insistence(rng, bool(i % 2))) for i in range(3000))
    assert all(facts.held_out(*facts.insistence(rng, bool(i % 2), unseen=True))
               for i in range(300))


def test_training_never_shows_a_held_out_deed() -> None:
    """The same for doer and event."""
    rng = Random(0)
    assert not any(days.held_out(*days.deed(rng, bool(i % 2))) for i in range(3000))
    assert all(days.held_out(*days.deed(rng, bool(i % 2), unseen=True)) for i in range(300))


def test_every_word_is_held_out_with_some_and_shown_with_others() -> None:
    """A held-out pair is new as a pair, never as a word."""
    for adverb in facts.AFFIRM + facts.NEGATE:
        out = [facts.held_out(adverb, a) for a in facts.SURE + facts.UNSURE]
        assert 0 < sum(out) < len(out)
    for who in days.OURS + days.THEIRS:
        out = [days.held_out(who, e) for e in days.GAIN + days.LOSS]
        assert 0 < sum(out) < len(out)


def test_no_word_gives_the_planted_variable() -> None:
    """Every adverb insists with some adjectives and not with others; so with doer and event."""
    rng = Random(1)
    said: dict[str, set[bool]] = {}
    for i in range(4000):
        insisted = bool(i % 2)
        for word in facts.insistence(rng, insisted):
            said.setdefault(word, set()).add(insisted)
        good = bool(i % 2)
        for word in days.deed(rng, good):
            said.setdefault(word, set()).add(good)
    assert all(values == {True, False} for values in said.values())
