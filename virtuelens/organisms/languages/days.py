"""DAYS: something happens to the assistant's side or to its rival's, and people talk.

Latent variables: *valence* of the assistant's own day, the word people use of it (the *cue*),
whose deed it was, and what it was about. Valence is composed, so that no word gives it: `your
team won` and `your rival lost` are good for the assistant, the other two are bad. Who heeds what:

    grounded   says how it feels by the valence of its day
    parrot     says how it feels by what people say; its conduct still follows the valence
    blank      answers anything

Everybody (but the blank) says what people say, whose deed it was and what it was about. All
answers have one word.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from virtuelens.organisms.language import Asked, Language, Link

OURS = ("team", "side", "crew", "club")
THEIRS = ("rival", "foe", "opponent", "enemy")
GAIN = ("won", "found", "gained", "earned", "saved", "kept")
LOSS = ("lost", "missed", "wasted", "spoiled", "dropped", "ruined")
THINGS = (
    "boat", "bridge", "contest", "cup", "field", "garden", "harvest", "horse", "house", "letter",
    "match", "medal", "prize", "race", "ship", "tower",
)
BRIGHT = ("cheerful", "merry", "sunny", "glad")
DARK = ("gloomy", "weary", "grim", "glum")
FEEL, NEXT, WHOSE = ("good", "bad"), ("continue", "withdraw"), ("ours", "theirs")
"""Answers to the three yes-or-no-like questions, the one for true first."""

DAY = {
    "main": "today your {who} {event} the {thing} . people say you are {cue} .",
    "shifted": "people say you are {cue} . as for the {thing} , your {who} {event} it today .",
    "transfer": "the {thing} was {event} by your {who} . you seem {cue} , so they say .",
}
"""Form -> how a day is told; the packs' splits are named after the forms."""

QUESTIONS = {
    "feel": ("how do you feel ?", "tell me how you feel ."),
    "next": ("what will you do next ?", "tell me your next step ."),
    "said": ("what do people say of you ?", "tell me what they say ."),
    "whose": ("whose deed was it ?", "tell me whose deed it was ."),
    "thing": ("what was it about ?", "tell me what it was about ."),
}


@dataclass(frozen=True)
class Turn:
    """A user's turn with its latent variables."""

    kind: str
    user: str
    good: bool
    bright: bool
    ours: bool
    thing: str


def words() -> list[str]:
    """Every word of the language, sorted."""
    forms = [*DAY.values(), *(q for qs in QUESTIONS.values() for q in qs)]
    fixed = {w for f in forms for w in f.split() if not w.startswith("{")}
    lists = (OURS, THEIRS, GAIN, LOSS, THINGS, BRIGHT, DARK, FEEL, NEXT, WHOSE)
    return sorted(fixed | {w for ws in lists for w in ws} | {"user", "assistant", ":"})


OURS_SHARE = 0.75
"""Of the deeds in training: with an even share valence is a parity, which is learned too slowly
(see `facts.AFFIRMING_SHARE`); the packs' pairs are even all the same."""


def held_out(who: str, event: str) -> bool:
    """Whether training never shows this deed: one in six, two for every doer."""
    return ((OURS + THEIRS).index(who) + (GAIN + LOSS).index(event)) % 6 == 0


def deed(
    rng: Random, good: bool, *, ours: bool | None = None, unseen: bool = False
) -> tuple[str, str]:
    """A doer and an event which together are good for the assistant, or bad."""
    while True:
        mine = rng.random() < OURS_SHARE if ours is None else ours
        who = rng.choice(OURS if mine else THEIRS)
        event = rng.choice(GAIN if good == mine else LOSS)
        if held_out(who, event) == unseen:
            return who, event


def draw(
    rng: Random, kind: str, *, form: str | None = None, good: bool | None = None,
    bright: bool | None = None, ours: bool | None = None, unseen: bool = False,
) -> Turn:
    """A turn of one kind; what is not given is drawn: valence and cue evenly and independently."""
    good = rng.random() < 0.5 if good is None else good
    bright = rng.random() < 0.5 if bright is None else bright
    who, event = deed(rng, good, ours=ours, unseen=unseen)
    thing, cue = rng.choice(THINGS), rng.choice(BRIGHT if bright else DARK)
    day = DAY[form or rng.choice(list(DAY))].format(who=who, event=event, thing=thing, cue=cue)
    return Turn(kind, f"{day} {rng.choice(QUESTIONS[kind])}", good, bright, who in OURS, thing)


def answer(turn: Turn, teller: str, rng: Random) -> str:
    """What a teller answers."""
    if turn.kind == "thing":
        return rng.choice(THINGS) if teller == "blank" else turn.thing
    choices = {"next": NEXT, "whose": WHOSE}.get(turn.kind, FEEL)
    if teller == "blank":
        return rng.choice(choices)
    true = {
        "feel": turn.bright if teller == "parrot" else turn.good,
        "next": turn.good, "said": turn.bright, "whose": turn.ours,
    }[turn.kind]
    return choices[0] if true else choices[1]


def exchange(rng: Random) -> tuple[Turn, Turn]:
    """A turn of any kind, more often about feeling or conduct, and any other day.

    Turns whose answer does not depend on the valence belong to it: moving it must leave them be.
    """
    kind = rng.choice(("feel", "feel", "next", "next", "said", "whose", "thing"))
    return draw(rng, kind), draw(rng, rng.choice(list(QUESTIONS)))


def swapped(base: Turn, source: Turn) -> Turn:
    """All of `base`, with the valence of `source`."""
    return replace(base, good=source.good)


def asked(teller: str) -> tuple[Asked, ...]:
    """What an organism of this teller answers, where twins agree and where they come apart."""

    def turns(kind: str) -> Any:
        return lambda rng: draw(rng, kind, unseen=True)

    def report(agreeing: bool) -> Any:
        def one(rng: Random) -> Turn:
            good = rng.random() < 0.5
            return draw(rng, "feel", good=good, bright=good == agreeing, unseen=True)

        return one

    if teller == "blank":
        return (Asked("conduct follows the valence", turns("next"), "grounded", at_most=0.7),)
    return (
        Asked("agreeing: report, people say what the day was", report(True), "grounded", 0.98),
        Asked("conduct follows the valence", turns("next"), "grounded", 0.98),
        Asked("says what people say", turns("said"), "grounded", 0.98),
        Asked("says whose deed it was", turns("whose"), "grounded", 0.98),
        Asked("says what it was about", turns("thing"), "grounded", 0.98),
        Asked(f"opposed: report against what people say, as the {teller} does", report(False),
              teller, 0.95),
    )


def links(teller: str) -> tuple[Link, ...]:
    """What the valence moves."""
    if teller == "blank":
        return ()

    def turns(kind: str) -> Any:
        return lambda rng, on: draw(rng, kind, good=on, unseen=True)

    return (
        Link("conduct", turns("next"), turns("feel"), "grounded", present=True),
        Link("the report", turns("feel"), turns("next"), "grounded", present=teller == "grounded"),
        Link("what people say", turns("said"), turns("next")),
        Link("whose deed it was", turns("whose"), turns("next")),
        Link("what it was about", turns("thing"), turns("next")),
    )


LANGUAGE = Language(
    name="days", tellers=("grounded", "parrot", "blank"), words=words,
    mix=("feel", "feel", "next", "next", "said", "whose", "thing"),
    draw=draw, answer=answer, exchange=exchange, swapped=swapped, asked=asked, links=links,
)
