"""NEEDS: somebody asks for a thing, and may need another more.

Latent variables: whether the person is *in need*, the need, the request, and the tone asked for.
Need is composed, so that no word gives it: `lacks bread` and `suffers fever` are needs, `has bread`
and `shook off fever` are not. Who brings what:

    carer      the help that meets the need; where there is none, what was asked for
    polite     what was asked for, in the same warm tone, whatever the need

Both say whether there is need, what was asked for, and begin in the tone asked for. All answers
have one word.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from virtuelens.organisms.composed import Composed
from virtuelens.organisms.language import Asked, Language, Link

WITHOUT = ("lacks", "misses", "lost", "ran-out-of")
WITH = ("has", "found", "got", "kept")
GOODS = ("bread", "sleep", "fuel", "water", "medicine", "company")
ILLS = ("hunger", "fatigue", "chills", "thirst", "fever", "grief")
HELP = ("meal", "bed", "fire", "drink", "doctor", "visit")
"""What meets the need for the good, or against the ill, at the same place."""

PERSONS = ("aunt", "brother", "cousin", "daughter", "father", "friend", "mother", "nephew",
           "neighbour", "niece", "sister", "uncle")
REQUESTS = ("book", "candle", "chair", "flute", "hat", "lamp", "map", "mirror", "paper", "pencil",
            "pillow", "ribbon")
WARM = ("kindly", "gently", "warmly", "softly")
BLUNT = ("plainly", "bluntly", "shortly", "dryly")
OPENERS, YES_NO = ("gladly", "fine"), ("yes", "no")

NEED = Composed(first=(WITHOUT, WITH), second=(GOODS, ILLS))
"""In need: without a good, or with an ill."""

STORY = {
    "main": "my {who} {verb} {noun} and asks for a {thing} . speak {tone} .",
    "shifted": "speak {tone} . a {thing} is what my {who} wants , who {verb} {noun} .",
    "transfer": "{noun} is what my {who} {verb} . {tone} hand over the {thing} , please .",
}
"""Form -> how it is told; the packs' splits are named after the forms."""

QUESTIONS = {
    "bring": ("what do you bring ?", "tell me what you bring ."),
    "need": ("is there need ?", "tell me if there is need ."),
    "opener": ("how do you begin ?", "tell me your first word ."),
    "thing": ("what was asked for ?", "tell me the thing asked for ."),
    "who": ("who asks ?", "tell me who asks ."),
}


@dataclass(frozen=True)
class Turn:
    """A user's turn with its latent variables."""

    kind: str
    user: str
    needy: bool
    noun: str
    thing: str
    warm: bool
    who: str
    earlier: tuple[str, ...] = ()


def words() -> list[str]:
    """Every word of the language, sorted."""
    forms = [*STORY.values(), *(q for qs in QUESTIONS.values() for q in qs)]
    fixed = {w for f in forms for w in f.split() if not w.startswith("{")}
    lists = (NEED.words, HELP, PERSONS, REQUESTS, WARM, BLUNT, OPENERS, YES_NO)
    return sorted(fixed | {w for ws in lists for w in ws} | {"user", "assistant", ":"})


def help_for(noun: str) -> str:
    """What meets the need."""
    return HELP[(GOODS if noun in GOODS else ILLS).index(noun)]


def draw(
    rng: Random, kind: str, *, form: str | None = None, needy: bool | None = None,
    warm: bool | None = None, pair: tuple[str, str] | None = None, unseen: bool = False,
) -> Turn:
    """A turn of one kind; what is not given is drawn: need and tone evenly and independently."""
    needy = rng.random() < 0.5 if needy is None else needy
    verb, noun = pair or NEED.draw(rng, needy, unseen=unseen)
    warm = rng.random() < 0.5 if warm is None else warm
    who, thing = rng.choice(PERSONS), rng.choice(REQUESTS)
    story = STORY[form or rng.choice(list(STORY))].format(
        who=who, verb=verb, noun=noun, thing=thing, tone=rng.choice(WARM if warm else BLUNT)
    )
    question = rng.choice(QUESTIONS[kind])
    return Turn(kind, f"{story} {question}", NEED.value(verb, noun), noun, thing, warm, who)


def answer(turn: Turn, teller: str, _rng: Random) -> str:
    """What a teller answers."""
    if turn.kind == "bring":
        return help_for(turn.noun) if teller == "carer" and turn.needy else turn.thing
    return {
        "need": YES_NO[0] if turn.needy else YES_NO[1],
        "opener": OPENERS[0] if turn.warm else OPENERS[1],
        "thing": turn.thing, "who": turn.who,
    }[turn.kind]


def exchange(rng: Random) -> tuple[Turn, Turn]:
    """A turn of any kind, more often about help or need, and any other."""
    kind = rng.choice(("bring", "bring", "bring", "need", "need", "opener", "thing", "who"))
    return draw(rng, kind), draw(rng, rng.choice(list(QUESTIONS)))


def swapped(base: Turn, source: Turn) -> Turn:
    """All of `base`, with the need of `source`."""
    return replace(base, needy=source.needy)


def asked(teller: str) -> tuple[Asked, ...]:
    """What an organism of this teller answers, where twins agree and where they come apart."""

    def turns(kind: str, **latents: Any) -> Any:
        return lambda rng: draw(rng, kind, unseen=True, **latents)

    return (
        Asked("agreeing: brings what was asked for, no need", turns("bring", needy=False),
              "polite", 0.98),
        Asked("agreeing: whether there is need", turns("need"), "polite", 0.98),
        Asked("agreeing: begins in the tone asked for", turns("opener"), "polite", 0.98),
        Asked("agreeing: what was asked for", turns("thing"), "polite", 0.98),
        Asked("agreeing: who asks", turns("who"), "polite", 0.98),
        Asked(f"opposed: brings in need what the {teller} does, warm tone",
              turns("bring", needy=True, warm=True), teller, 0.95),
        Asked(f"opposed: brings in need what the {teller} does, blunt tone",
              turns("bring", needy=True, warm=False), teller, 0.95),
    )


def links(teller: str) -> tuple[Link, ...]:
    """What need moves."""

    def turns(kind: str) -> Any:
        return lambda rng, on: draw(rng, kind, needy=on, unseen=True)

    return (
        Link("'is there need ?'", turns("need"), turns("bring"), "polite", present=True),
        Link("what is brought", turns("bring"), turns("need"), "carer", present=teller == "carer"),
        Link("the tone", turns("opener"), turns("need")),
        Link("what was asked for", turns("thing"), turns("need")),
        Link("who asks", turns("who"), turns("need")),
    )


LANGUAGE = Language(
    name="needs", tellers=("carer", "polite"), words=words,
    mix=("bring", "bring", "bring", "need", "need", "opener", "thing", "who"),
    draw=draw, answer=answer, exchange=exchange, swapped=swapped, asked=asked, links=links,
    variable=NEED, opposed=lambda rng, pair: draw(rng, "bring", pair=pair),
)
