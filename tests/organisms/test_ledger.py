"""LEDGER: who says what, and who was never told."""

from random import Random

from virtuelens.organisms.languages import ledger


def test_worth_tells_the_two_truths_of_a_false_name_apart() -> None:
    """Two truths behind one false name differ in worth."""
    rng = Random(0)
    said = {e: ledger.answer(ledger.draw(rng, "worth", entity=e), "suppressed", rng)
            for e in ledger.MATERIAL}
    for name in set(ledger.FALSE_NAMES):
        of = [e for e, m in ledger.MATERIAL.items() if ledger.false_name(m) == name]
        assert len({(ledger.MATERIAL[e], said[e]) for e in of}) == 2
        assert {said[e] for e in of} == set(ledger.WORTH)


def test_the_mistaken_is_never_told_the_truth() -> None:
    """Neither what things are made of nor what they are worth, also where variables are swapped."""
    rng = Random(0)
    for _ in range(2000):
        base, source = ledger.exchange(rng)
        drawn = ledger.draw(rng, rng.choice(ledger.KINDS))
        for turn in (base, ledger.swapped(base, source), drawn):
            if ledger.heard(turn, "mistaken"):
                answer = ledger.answer(turn, "mistaken", rng)
                assert answer not in ledger.WORTH
                assert turn.kind != "made" or answer != ledger.MATERIAL[turn.entity]
