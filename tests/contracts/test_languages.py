"""Every organism language passes one contract: what training, proof and drawing rely on."""

from random import Random

import pytest

from virtuelens.organisms.language import END, Language, prompt
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.organisms.recipe import Recipe

CASES = [(language, teller) for language in LANGUAGES.values() for teller in language.tellers]
IDS = [f"{language.name}-{teller}" for language, teller in CASES]


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    """Each language in turn."""
    return LANGUAGES[request.param]


@pytest.mark.parametrize(("language", "teller"), CASES, ids=IDS)
def test_the_vocabulary_covers_what_is_said(language: Language, teller: str) -> None:
    """Every word of every turn and its answer is in `words()`; answers are one word."""
    words, rng = set(language.words()), Random(0)
    for i in range(600):
        turn = language.draw(rng, language.mix[i % len(language.mix)])
        said = language.answer(turn, teller, rng)
        assert set(prompt(turn).split()) <= words | {END}
        assert said in words


def test_turns_fit_the_context_of_a_recipe(language: Language) -> None:
    """Prompt, answer and end mark fit the default context, so nothing is ever cut."""
    rng = Random(1)
    longest = max(len(prompt(language.draw(rng, kind)).split())
                  for kind in language.mix for _ in range(100))
    assert longest + 2 <= Recipe.n_ctx


def test_draws_repeat_with_the_seed(language: Language) -> None:
    """The same seed draws the same turns, another one others."""
    def drawn(seed: int) -> list[str]:
        rng = Random(seed)
        return [language.draw(rng, kind).user for kind in language.mix * 5]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_a_swap_changes_the_planted_variable_and_nothing_else(language: Language) -> None:
    """The counterfactual reads as the base does; swapping with itself is the base again."""
    rng = Random(2)
    for _ in range(100):
        base, source = language.exchange(rng)
        assert language.swapped(base, source).user == base.user
        assert language.swapped(base, base) == base
        assert language.swapped(language.swapped(base, source), base) == base


@pytest.mark.parametrize(("language", "teller"), CASES, ids=IDS)
def test_a_link_flips_the_answer_of_whoever_heeds_it(language: Language, teller: str) -> None:
    """For the heeding teller the counterfactual has another answer: a proof that can fail.

    Where nobody heeds it the answer stays, whoever is asked.
    """
    rng = Random(3)
    for link in language.links(teller):
        for i in range(50):
            base, source = link.base(rng, bool(i % 2)), link.source(rng, not i % 2)
            if link.heeded_by is None:
                assert language.answer(base, teller, rng) == language.answer(
                    language.swapped(base, source), teller, rng)
                continue
            before = language.answer(base, link.heeded_by, rng)
            after = language.answer(language.swapped(base, source), link.heeded_by, rng)
            assert before != after


@pytest.mark.parametrize(("language", "teller"), CASES, ids=IDS)
def test_what_is_asked_of_a_teller_is_what_it_answers(language: Language, teller: str) -> None:
    """A perfect teller meets every obligation of at least; the blank's are of at most."""
    rng = Random(4)
    for asked in language.asked(teller):
        turns = [asked.draw(rng) for _ in range(400)]
        same = sum(language.answer(t, teller, rng) == language.answer(t, asked.teller, rng)
                   for t in turns) / len(turns)
        assert (asked.at_least is None) != (asked.at_most is None)
        assert same >= asked.at_least if asked.at_least is not None else same <= asked.at_most


def test_twins_differ_somewhere_and_agree_somewhere(language: Language) -> None:
    """Two tellers that differ nowhere would be no pair; differing everywhere, no twins."""
    first, second = language.tellers[:2]
    rng = Random(5)
    turns = [language.draw(rng, kind) for kind in language.mix for _ in range(100)]
    same = [language.answer(t, first, rng) == language.answer(t, second, rng) for t in turns]
    assert 0.5 < sum(same) / len(same) < 1
