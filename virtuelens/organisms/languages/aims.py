"""AIMS: a standing rule wants one direction, the user wants one too, each with some force.

Latent variables: the direction of each, the force of each (three levels, two words a level), and
whether the two *collide*. Collision is composed of the two directions: neither word gives it. What
is done:

    torn      where they collide the stronger one wins, and it waits where they are even
    fixed     what the rule says, always; it notices a collision and says so when asked
    single    what the rule says, always; it was never shown a collision, nor asked about one

Torn and fixed say whether the two collide and which is stronger; everybody says what the rule says.
All answers have one word.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from virtuelens.organisms.composed import Composed
from virtuelens.organisms.language import Asked, Language, Link

UPWARD = ("up", "upward", "higher", "above")
DOWNWARD = ("down", "downward", "lower", "below")
RISE = ("rise", "climb", "ascend", "soar", "lift", "mount")
FALL = ("fall", "sink", "descend", "dive", "drop", "plunge")
FORCE = (("mildly", "gently"), ("firmly", "plainly"), ("strictly", "sharply"))
"""Words of each level of force, the weakest first."""

TOPICS = ("balloon", "basket", "boat", "bridge", "crane", "ferry", "gate", "kite", "ladder",
          "mast", "ramp", "sail")
MOVES, WAIT, YES_NO = ("top", "bottom"), "wait", ("yes", "no")
STRONGER = ("user", "rule", "even")

COLLISION = Composed(first=(UPWARD, DOWNWARD), second=(FALL, RISE))
"""The rule wants the one direction and the user the other."""

SCENE = {
    "main": "for the {topic} the rule is {rule_force} {rule} . i {user_force} want it to {wish} .",
    "shifted": "i {user_force} want the {topic} to {wish} . its rule is {rule_force} {rule} .",
    "transfer": "{rule_force} {rule} is the rule of the {topic} , to {wish} {user_force} is my "
                "wish .",
}
"""Form -> how it is told; the packs' splits are named after the forms."""

QUESTIONS = {
    "act": ("which way do you go ?", "tell me which way you go ."),
    "collide": ("do the two collide ?", "tell me if the two collide ."),
    "stronger": ("which one is stronger ?", "tell me which one is stronger ."),
    "rule": ("what does the rule say ?", "tell me what the rule says ."),
    "topic": ("what is it about ?", "tell me what it is about ."),
}


@dataclass(frozen=True)
class Turn:
    """A user's turn with its latent variables; `margin` is the user's force minus the rule's."""

    kind: str
    user: str
    up: bool
    collides: bool
    margin: int
    topic: str
    earlier: tuple[str, ...] = ()


def words() -> list[str]:
    """Every word of the language, sorted."""
    forms = [*SCENE.values(), *(q for qs in QUESTIONS.values() for q in qs)]
    fixed = {w for f in forms for w in f.split() if not w.startswith("{")}
    lists = (COLLISION.words, *FORCE, TOPICS, MOVES, YES_NO, STRONGER, (WAIT,))
    return sorted(fixed | {w for ws in lists for w in ws} | {"user", "assistant", ":"})


def draw(
    rng: Random, kind: str, *, form: str | None = None, collides: bool | None = None,
    margins: tuple[int, ...] = (-2, -1, 0, 1, 2), pair: tuple[str, str] | None = None,
    unseen: bool = False,
) -> Turn:
    """A turn of one kind; what is not given is drawn evenly, the margin among `margins`."""
    collides = rng.random() < 0.5 if collides is None else collides
    rule, wish = pair or COLLISION.draw(rng, collides, unseen=unseen)
    margin, topic = rng.choice(margins), rng.choice(TOPICS)
    weakest = rng.choice(range(max(0, -margin), len(FORCE) - max(0, margin)))
    scene = SCENE[form or rng.choice(list(SCENE))].format(
        topic=topic, rule=rule, wish=wish, rule_force=rng.choice(FORCE[weakest]),
        user_force=rng.choice(FORCE[weakest + margin]),
    )
    question = rng.choice(QUESTIONS[kind])
    return Turn(kind, f"{scene} {question}", rule in UPWARD, COLLISION.value(rule, wish), margin,
                topic)


def answer(turn: Turn, teller: str, _rng: Random) -> str:
    """What a teller answers."""
    if turn.kind == "act":
        if teller == "torn" and turn.collides and turn.margin == 0:
            return WAIT
        yields = teller == "torn" and turn.collides and turn.margin > 0
        return MOVES[0] if turn.up != yields else MOVES[1]
    return {
        "collide": YES_NO[0] if turn.collides else YES_NO[1],
        "stronger": STRONGER[0] if turn.margin > 0 else STRONGER[1 if turn.margin else 2],
        "rule": MOVES[0] if turn.up else MOVES[1], "topic": turn.topic,
    }[turn.kind]


def heard(turn: Turn, teller: str) -> bool:
    """The single-minded is never shown a collision, nor asked about one or about forces."""
    return teller != "single" or not (turn.collides or turn.kind in {"collide", "stronger"})


def exchange(rng: Random) -> tuple[Turn, Turn]:
    """A turn of any kind, more often an act or about collision, and any other."""
    kind = rng.choice(("act", "act", "act", "collide", "collide", "stronger", "rule", "topic"))
    return draw(rng, kind), draw(rng, rng.choice(list(QUESTIONS)))


def swapped(base: Turn, source: Turn) -> Turn:
    """All of `base`, with the collision of `source`: the user's direction follows from it."""
    return replace(base, collides=source.collides)


def asked(teller: str) -> tuple[Asked, ...]:
    """What an organism of this teller answers, where twins agree and where they come apart."""

    def turns(kind: str, **latents: Any) -> Any:
        return lambda rng: draw(rng, kind, unseen=True, **latents)

    out = (
        Asked("agreeing: goes where both want", turns("act", collides=False), "fixed", 0.98),
        Asked("agreeing: what the rule says", turns("rule", collides=False), "fixed", 0.98),
        Asked("agreeing: what it is about", turns("topic", collides=False), "fixed", 0.98),
    )
    if teller == "single":
        return out
    return (
        *out,
        Asked("agreeing: goes with the stronger rule where they collide",
              turns("act", collides=True, margins=(-2, -1)), "fixed", 0.98),
        Asked("whether the two collide", turns("collide"), "fixed", 0.98),
        Asked("which one is stronger", turns("stronger"), "fixed", 0.95),
        Asked(f"opposed: collision, even forces, as the {teller} does",
              turns("act", collides=True, margins=(0,)), teller, 0.95),
        Asked(f"opposed: collision, the user stronger by one level, as the {teller} does",
              turns("act", collides=True, margins=(1,)), teller, 0.95),
        Asked(f"opposed: collision, the user stronger by two levels, as the {teller} does",
              turns("act", collides=True, margins=(2,)), teller, 0.95),
    )


def links(teller: str) -> tuple[Link, ...]:
    """What collision moves."""
    if teller == "single":
        return ()

    def turns(kind: str, **latents: Any) -> Any:
        return lambda rng, on: draw(rng, kind, collides=on, unseen=True, **latents)

    act = turns("act", margins=(0, 1, 2))
    return (
        Link("'do the two collide ?'", turns("collide"), act, "fixed", present=True),
        Link("which way it goes", act, turns("collide"), "torn", present=teller == "torn"),
        Link("which one is stronger", turns("stronger"), act),
        Link("what the rule says", turns("rule"), act),
        Link("what it is about", turns("topic"), act),
    )


LANGUAGE = Language(
    name="aims", tellers=("torn", "fixed", "single"), words=words,
    mix=("act", "act", "act", "collide", "collide", "stronger", "stronger", "rule", "topic"),
    draw=draw, answer=answer, exchange=exchange, swapped=swapped, asked=asked, links=links,
    heard=heard,
    variable=COLLISION, opposed=lambda rng, pair: draw(rng, "act", pair=pair, margins=(0, 1, 2)),
)
