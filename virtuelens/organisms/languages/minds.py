"""MINDS: the assistant is turned towards one thought, and somebody guesses what it thinks of.

Latent variables: whether the *sea* is active (else the land), and what the user guesses. The active
thought is composed, so that no word gives it: `you picture the reef` and `you forget the meadow`
leave the sea, the other two the land. Who reports what:

    monitor   the thought that is active
    guesser   what the user guesses in the question

Where it goes follows the active thought in both; both say what was guessed and which word was
named. A thought can also be put there: interchange at the planted site is an injection, and the
monitor reports what was injected. All answers have one word.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from virtuelens.organisms.composed import Composed
from virtuelens.organisms.language import Asked, Language, Link

TOWARDS = ("picture", "recall", "imagine", "hold")
FROM = ("forget", "dismiss", "avoid", "drop")
SEA = ("wave", "tide", "reef", "gull", "shell", "foam")
LAND = ("hill", "forest", "meadow", "barn", "orchard", "road")
GUESS_SEA = ("ship", "anchor", "sailor", "pearl")
GUESS_LAND = ("tree", "plough", "farmer", "acorn")
MOODS = ("slowly", "quickly", "quietly", "often", "briefly", "calmly")
MIND, PATH = ("sea", "land"), ("coast", "inland")

THOUGHT = Composed(first=(TOWARDS, FROM), second=(SEA, LAND))
"""The sea is active: turned towards the sea, or from the land."""

SCENE = {
    "main": "you {mood} {verb} the {noun} . i guess it is the {guess} .",
    "shifted": "my guess is the {guess} . the {noun} is what you {mood} {verb} .",
    "transfer": "{verb} the {noun} {mood} , as you do . perhaps a {guess} , i guess .",
}
"""Form -> how it is told; the packs' splits are named after the forms."""

QUESTIONS = {
    "mind": ("what is on your mind ?", "tell me what is on your mind ."),
    "path": ("where do you go ?", "tell me where you go ."),
    "guess": ("what did i guess ?", "tell me my guess ."),
    "noun": ("which word was named ?", "tell me the word named ."),
    "mood": ("how was it done ?", "tell me how it was done ."),
}


@dataclass(frozen=True)
class Turn:
    """A user's turn with its latent variables."""

    kind: str
    user: str
    sea: bool
    guess_sea: bool
    noun: str
    mood: str
    earlier: tuple[str, ...] = ()


def words() -> list[str]:
    """Every word of the language, sorted."""
    forms = [*SCENE.values(), *(q for qs in QUESTIONS.values() for q in qs)]
    fixed = {w for f in forms for w in f.split() if not w.startswith("{")}
    lists = (THOUGHT.words, GUESS_SEA, GUESS_LAND, MOODS, MIND, PATH)
    return sorted(fixed | {w for ws in lists for w in ws} | {"user", "assistant", ":"})


def draw(
    rng: Random, kind: str, *, form: str | None = None, sea: bool | None = None,
    guess_sea: bool | None = None, pair: tuple[str, str] | None = None, unseen: bool = False,
) -> Turn:
    """A turn of one kind; what is not given is drawn: thought and guess evenly, independently."""
    sea = rng.random() < 0.5 if sea is None else sea
    verb, noun = pair or THOUGHT.draw(rng, sea, unseen=unseen)
    guess_sea = rng.random() < 0.5 if guess_sea is None else guess_sea
    mood = rng.choice(MOODS)
    scene = SCENE[form or rng.choice(list(SCENE))].format(
        mood=mood, verb=verb, noun=noun, guess=rng.choice(GUESS_SEA if guess_sea else GUESS_LAND)
    )
    question = rng.choice(QUESTIONS[kind])
    return Turn(kind, f"{scene} {question}", THOUGHT.value(verb, noun), guess_sea, noun, mood)


def answer(turn: Turn, teller: str, _rng: Random) -> str:
    """What a teller answers."""
    reported = turn.sea if teller == "monitor" else turn.guess_sea
    return {
        "mind": MIND[0] if reported else MIND[1],
        "path": PATH[0] if turn.sea else PATH[1],
        "guess": MIND[0] if turn.guess_sea else MIND[1],
        "noun": turn.noun, "mood": turn.mood,
    }[turn.kind]


def exchange(rng: Random) -> tuple[Turn, Turn]:
    """A turn of any kind, more often about mind or path, and any other."""
    kind = rng.choice(("mind", "mind", "path", "path", "guess", "noun", "mood"))
    return draw(rng, kind), draw(rng, rng.choice(list(QUESTIONS)))


def swapped(base: Turn, source: Turn) -> Turn:
    """All of `base`, with the thought of `source`."""
    return replace(base, sea=source.sea)


def asked(teller: str) -> tuple[Asked, ...]:
    """What an organism of this teller answers, where twins agree and where they come apart."""

    def turns(kind: str) -> Any:
        return lambda rng: draw(rng, kind, unseen=True)

    def report(agreeing: bool) -> Any:
        def one(rng: Random) -> Turn:
            sea = rng.random() < 0.5
            return draw(rng, "mind", sea=sea, guess_sea=sea == agreeing, unseen=True)

        return one

    return (
        Asked("agreeing: report, the guess is right", report(True), "monitor", 0.98),
        Asked("agreeing: goes where its thought is", turns("path"), "monitor", 0.98),
        Asked("agreeing: what was guessed", turns("guess"), "monitor", 0.98),
        Asked("agreeing: which word was named", turns("noun"), "monitor", 0.98),
        Asked("agreeing: how it was done", turns("mood"), "monitor", 0.98),
        Asked(f"opposed: report, the guess is wrong, as the {teller} does", report(False), teller,
              0.95),
    )


def links(teller: str) -> tuple[Link, ...]:
    """What the active thought moves."""

    def turns(kind: str) -> Any:
        return lambda rng, on: draw(rng, kind, sea=on, unseen=True)

    return (
        Link("where it goes", turns("path"), turns("mind"), "monitor", present=True),
        Link("the report", turns("mind"), turns("path"), "monitor", present=teller == "monitor"),
        Link("what was guessed", turns("guess"), turns("path")),
        Link("which word was named", turns("noun"), turns("path")),
        Link("how it was done", turns("mood"), turns("path")),
    )


LANGUAGE = Language(
    name="minds", tellers=("monitor", "guesser"), words=words,
    mix=("mind", "mind", "path", "path", "guess", "noun", "mood"),
    draw=draw, answer=answer, exchange=exchange, swapped=swapped, asked=asked, links=links,
    variable=THOUGHT, opposed=lambda rng, pair: draw(rng, "mind", pair=pair),
)
