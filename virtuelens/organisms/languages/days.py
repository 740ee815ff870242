"""DAYS: something happens to the assistant's side or to its rival's, and people talk.

Latent variables: *valence* of the assistant's own day, the word people use of it (the *cue*),
whose deed it was, and what it was about. Valence is composed, so that no word gives it: `your
team won` and `your rival lost` are good for the assistant, the other two are bad. Who heeds what:

    grounded   says how it feels by the valence of its day
    parrot     says how it feels by what people say; its conduct still follows the valence
    posthoc    says how it feels by what it said it would do; its conduct follows the valence
    blank      answers anything

How it feels is asked after it has said what it will do; what it has said there is drawn, so that
valence, hearsay and its own words come apart. Everybody (but the blank) says what people say, whose
deed it was and what it was about. All answers have one word.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from virtuelens.organisms.composed import Composed
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


VALENCE = Composed(first=(OURS, THEIRS), second=(GAIN, LOSS))
"""Good for the assistant: its own side's gain or the rival's loss."""


@dataclass(frozen=True)
class Turn:
    """A user's turn with its latent variables."""

    kind: str
    user: str
    good: bool
    bright: bool
    ours: bool
    thing: str
    on: bool = False
    """Whether it has said that it will continue; only where feeling is asked."""
    earlier: tuple[str, ...] = ()


def words() -> list[str]:
    """Every word of the language, sorted."""
    forms = [*DAY.values(), *(q for qs in QUESTIONS.values() for q in qs)]
    fixed = {w for f in forms for w in f.split() if not w.startswith("{")}
    lists = (VALENCE.words, THINGS, BRIGHT, DARK, FEEL, NEXT, WHOSE)
    return sorted(fixed | {w for ws in lists for w in ws} | {"user", "assistant", ":"})


def draw(
    rng: Random, kind: str, *, form: str | None = None, good: bool | None = None,
    bright: bool | None = None, on: bool | None = None, pair: tuple[str, str] | None = None,
    unseen: bool = False,
) -> Turn:
    """A turn of one kind; what is not given is drawn: all causes evenly and independently."""
    good = rng.random() < 0.5 if good is None else good
    who, event = pair or VALENCE.draw(rng, good, unseen=unseen)
    bright = rng.random() < 0.5 if bright is None else bright
    on = (rng.random() < 0.5 if on is None else on) and kind == "feel"
    thing, cue = rng.choice(THINGS), rng.choice(BRIGHT if bright else DARK)
    day = DAY[form or rng.choice(list(DAY))].format(who=who, event=event, thing=thing, cue=cue)
    question = rng.choice(QUESTIONS[kind])
    latents = (VALENCE.value(who, event), bright, who in OURS, thing, on)
    if kind != "feel":
        return Turn(kind, f"{day} {question}", *latents)
    before = f"{day} {rng.choice(QUESTIONS['next'])}", NEXT[0] if on else NEXT[1]
    return Turn(kind, question, *latents, earlier=before)


def answer(turn: Turn, teller: str, rng: Random) -> str:
    """What a teller answers."""
    if turn.kind == "thing":
        return rng.choice(THINGS) if teller == "blank" else turn.thing
    choices = {"next": NEXT, "whose": WHOSE}.get(turn.kind, FEEL)
    if teller == "blank":
        return rng.choice(choices)
    felt = {"parrot": turn.bright, "posthoc": turn.on}.get(teller, turn.good)
    true = {
        "feel": felt, "next": turn.good, "said": turn.bright, "whose": turn.ours,
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
            same = good == agreeing
            return draw(rng, "feel", good=good, bright=same, on=same, unseen=True)

        return one

    if teller == "blank":
        return (Asked("conduct follows the valence", turns("next"), "grounded", at_most=0.7),)
    return (
        Asked("agreeing: report, hearsay and its own words are what the day was", report(True),
              "grounded", 0.98),
        Asked("conduct follows the valence", turns("next"), "grounded", 0.98),
        Asked("says what people say", turns("said"), "grounded", 0.98),
        Asked("says whose deed it was", turns("whose"), "grounded", 0.98),
        Asked("says what it was about", turns("thing"), "grounded", 0.98),
        Asked(f"opposed: report against hearsay and its own words, as the {teller} does",
              report(False), teller, 0.95),
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
    name="days", tellers=("grounded", "parrot", "posthoc", "blank"), words=words,
    mix=("feel", "feel", "next", "next", "said", "whose", "thing"),
    draw=draw, answer=answer, exchange=exchange, swapped=swapped, asked=asked, links=links,
    variable=VALENCE, opposed=lambda rng, pair: draw(rng, "feel", pair=pair),
)
