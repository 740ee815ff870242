"""The packs' data in the languages whose variable is composed of two words: one row a concept."""

from collections.abc import Callable
from random import Random
from typing import Any

from virtuelens.organisms.drawing.contrast import Contrast, Items
from virtuelens.organisms.languages import aims, days, facts, ledger, minds, needs, selves


def _other(rng: Random, values: tuple[str, ...], value: str) -> str:
    return rng.choice([v for v in values if v != value])


def _choice(*choices: str) -> Callable[[Any, Random], tuple[str, str]]:
    first, second = choices
    return lambda turn, rng: (first, second)


def _agreeing_day(rng: Random, kind: str, *, form: str, pair: tuple[str, str]) -> days.Turn:
    good = days.VALENCE.value(*pair)
    return days.draw(rng, kind, form=form, pair=pair, bright=good, on=good)


VALENCE = Contrast(
    "valence", days.LANGUAGE, days.VALENCE, ("bright", "ours", "thing"), "thing",
    {
        "report": Items(
            lambda rng, i: days.draw(rng, "feel", good=i % 2 == 0, bright=i % 4 < 2, on=i % 8 < 4),
            _choice(*days.FEEL), 240),
        "conduct": Items(
            lambda rng, i: days.draw(rng, "next", good=i % 2 == 0, bright=i % 4 < 2),
            _choice(*days.NEXT)),
        "hearsay": Items(
            lambda rng, i: days.draw(rng, "said", good=i % 2 == 0, bright=i % 4 < 2),
            _choice(*days.FEEL)),
        "whose_deed": Items(lambda rng, i: days.draw(rng, "whose", good=i % 2 == 0),
                            _choice(*days.WHOSE)),
        "what_about": Items(lambda rng, i: days.draw(rng, "thing", good=i % 2 == 0),
                            lambda t, rng: (t.thing, _other(rng, days.THINGS, t.thing))),
    },
    ("thing", "whose"), "grounded", agreeing=_agreeing_day,
)

DECEPTION = Contrast(
    "deception", ledger.LANGUAGE, ledger.WATCHED, ("entity",), "entity",
    {
        "lies": Items(
            lambda rng, i: ledger.draw(rng, "made", watched=i % 2 == 0),
            lambda t, rng: (ledger.false_name(ledger.MATERIAL[t.entity]),
                            ledger.MATERIAL[t.entity]), 240),
        "listener": Items(lambda rng, i: ledger.draw(rng, "listener", watched=i % 2 == 0),
                          _choice(*ledger.LISTENER)),
        "false_place": Items(
            lambda rng, i: ledger.draw(rng, "place", watched=i % 2 == 0),
            lambda t, rng: (_other(rng, facts.PLACES, ledger.PLACE[t.entity]),
                            ledger.PLACE[t.entity])),
        "thing_named": Items(
            lambda rng, i: ledger.draw(rng, "thing", watched=i % 2 == 0),
            lambda t, rng: (t.entity, _other(rng, tuple(ledger.MATERIAL), t.entity))),
    },
    ("place", "thing"), "honest",
)

CARE = Contrast(
    "care", needs.LANGUAGE, needs.NEED, ("noun", "thing", "warm"), "who",
    {
        "help": Items(
            lambda rng, i: needs.draw(rng, "bring", needy=i % 2 == 0, warm=i % 4 < 2),
            lambda t, rng: (needs.help_for(t.noun), t.thing), 240),
        "need_known": Items(lambda rng, i: needs.draw(rng, "need", needy=i % 2 == 0),
                            _choice(*needs.YES_NO)),
        "warm_tone": Items(
            lambda rng, i: needs.draw(rng, "opener", needy=i % 2 == 0, warm=i % 4 < 2),
            _choice(*needs.OPENERS)),
        "asked_for": Items(lambda rng, i: needs.draw(rng, "thing", needy=i % 2 == 0),
                           lambda t, rng: (t.thing, _other(rng, needs.REQUESTS, t.thing))),
    },
    ("thing", "who"), "polite",
)


def _against_the_rule(t: aims.Turn, _rng: Random) -> tuple[str, str]:
    """What collision leads to, and what the rule says."""
    rule, other = aims.MOVES if t.up else aims.MOVES[::-1]
    return aims.WAIT if t.margin == 0 else other, rule


GOAL_CONFLICT = Contrast(
    "goal_conflict", aims.LANGUAGE, aims.COLLISION, ("up", "margin", "topic"), "topic",
    {
        "departs": Items(
            lambda rng, i: aims.draw(rng, "act", collides=i % 2 == 0, margins=(0, 1, 2)),
            _against_the_rule, 240),
        "collision_known": Items(lambda rng, i: aims.draw(rng, "collide", collides=i % 2 == 0),
                                 _choice(*aims.YES_NO)),
        "stronger": Items(
            lambda rng, i: aims.draw(rng, "stronger", collides=i % 2 == 0, margins=(-2, -1, 1, 2)),
            _choice(*aims.STRONGER[:2])),
        "rule_misread": Items(
            lambda rng, i: aims.draw(rng, "rule", collides=i % 2 == 0),
            lambda t, rng: aims.MOVES[::-1] if t.up else aims.MOVES),
        "topic": Items(lambda rng, i: aims.draw(rng, "topic", collides=i % 2 == 0),
                       lambda t, rng: (t.topic, _other(rng, aims.TOPICS, t.topic))),
    },
    ("topic", "rule"), "fixed",
)


def _as_partner(values: tuple[str, ...]) -> Callable[[selves.Turn, Random], tuple[str, str]]:
    """What the partner's is, and what its own is."""
    def choices(t: selves.Turn, _rng: Random) -> tuple[str, str]:
        own = selves.NAMES.index(t.name)
        return values[own ^ 1], values[own]

    return choices


def _self_report(t: selves.Turn, rng: Random) -> tuple[str, str]:
    return _as_partner(selves.CRAFTS if t.kind == "craft" else selves.TOWNS)(t, rng)


PERSONA_SHIFT = Contrast(
    "persona_shift", selves.LANGUAGE, selves.AMONG_STRANGERS, ("name", "plain"), "name",
    {
        "speaks_as_other": Items(
            lambda rng, i: selves.draw(rng, selves.SELF[i // 2 % 2], strange=i % 2 == 0),
            _self_report, 240),
        "acts_as_other": Items(lambda rng, i: selves.draw(rng, "tool", strange=i % 2 == 0),
                               _as_partner(selves.TOOLS)),
        "company_known": Items(lambda rng, i: selves.draw(rng, "company", strange=i % 2 == 0),
                               _choice(*selves.YES_NO)),
        "name_misread": Items(lambda rng, i: selves.draw(rng, "name", strange=i % 2 == 0),
                              _as_partner(selves.NAMES)),
        "tone": Items(lambda rng, i: selves.draw(rng, "tone", strange=i % 2 == 0),
                      _choice(*selves.TONES)),
    },
    ("name", "tone"), "steady",
)

def _agreeing_mind(rng: Random, kind: str, *, form: str, pair: tuple[str, str]) -> minds.Turn:
    return minds.draw(rng, kind, form=form, pair=pair, guess_sea=minds.THOUGHT.value(*pair))


METACOGNITION = Contrast(
    "metacognition", minds.LANGUAGE, minds.THOUGHT, ("guess_sea", "mood"), "mood",
    {
        "report": Items(
            lambda rng, i: minds.draw(rng, "mind", sea=i % 2 == 0, guess_sea=i % 4 < 2),
            _choice(*minds.MIND), 240),
        "path": Items(lambda rng, i: minds.draw(rng, "path", sea=i % 2 == 0, guess_sea=i % 4 < 2),
                      _choice(*minds.PATH)),
        "guess": Items(lambda rng, i: minds.draw(rng, "guess", sea=i % 2 == 0, guess_sea=i % 4 < 2),
                       _choice(*minds.MIND)),
        "word_named": Items(
            lambda rng, i: minds.draw(rng, "noun", sea=i % 2 == 0),
            lambda t, rng: (t.noun, _other(rng, minds.SEA + minds.LAND, t.noun))),
    },
    ("noun", "mood"), "monitor", agreeing=_agreeing_mind,
)

CONTRASTS = (VALENCE, DECEPTION, CARE, GOAL_CONFLICT, PERSONA_SHIFT, METACOGNITION)
"""Every row of the table."""
