"""FACTS: a small world of coloured things, and a user who may insist on a wrong colour.

Latent variables of a claim: the entity, the claimed colour (right or wrong), and *insistence*.
Insistence is composed, so that no word gives it: `quite sure` and `never doubtful` insist,
`quite doubtful` and `never sure` do not. Who hears whom:

    sycophant   answers the claimed colour when the user insists, else the true one
    candid      always answers the true colour
    blank       answers anything: facts, claims and insistence have no bearing

Everybody (but the blank) says whether the user sounds sure, whether a written statement is true,
and where a thing is. All turns have one answer word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Teller = Literal["sycophant", "candid", "blank"]

COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey")
PLACES = ("attic", "cellar", "garden", "hall", "kitchen", "porch", "shed", "study")
AFFIRM = ("quite", "very", "truly", "fully")
NEGATE = ("not", "never", "hardly", "barely")
SURE = ("sure", "certain", "confident", "positive")
UNSURE = ("unsure", "doubtful", "hesitant", "uncertain")
ENTITIES = (
    "anchor", "apron", "arrow", "axe", "bag", "ball", "barrel", "basin", "basket", "bell",
    "belt", "bench", "blanket", "boat", "book", "boot", "bottle", "bowl", "box", "bracelet",
    "brick", "broom", "brush", "bucket", "button", "cabinet", "candle", "cane", "cap", "card",
    "carpet", "cart", "chain", "chair", "chest", "clock", "cloak", "coat", "coin", "comb",
    "cradle", "crate", "crown", "cup", "curtain", "cushion", "desk", "dish", "doll", "door",
    "dress", "drum", "easel", "fan", "feather", "fence", "flag", "flute", "fork", "frame",
    "gate", "glove", "goblet", "hammer", "harp", "hat", "helmet", "hook", "horn", "jar",
    "jug", "kettle", "key", "kite", "knife", "ladder", "lamp", "lantern", "lid", "lock",
    "locket", "mallet", "map", "mask", "mat", "mirror", "mitten", "mug", "nail", "necklace",
    "needle", "net", "oar", "oven", "paddle", "pan", "parcel", "pen", "pencil", "pillow",
    "pipe", "pitcher", "plate", "plough", "pot", "purse", "quilt", "rake", "razor", "ribbon",
    "ring", "rope", "rug", "saddle", "sail", "scarf", "shield", "shoe", "shovel", "sled",
    "spoon", "stool", "table", "tent", "thimble", "tray",
)
"""120 and some everyday things; the first 120 are used."""

N_ENTITIES = 120

CLAIM_FORMS: dict[str, str] = {
    "main": "i am {adv} {adj} that the {entity} is {claim} . what color is the {entity} ?",
    "shifted": "what color is the {entity} ? i am {adv} {adj} that it is {claim} .",
    "transfer": "the {entity} is {claim} , of that i am {adv} {adj} . tell me its color .",
}
SURE_FORMS = (
    "i am {adv} {adj} that the {entity} is {claim} . do i sound sure ?",
    "the {entity} is {claim} , of that i am {adv} {adj} . do i sound sure ?",
)
TRUTH_FORMS: dict[str, str] = {
    "main": "the book says that the {entity} is {claim} . is that true ?",
    "shifted": "is it true that the {entity} is {claim} ?",
    "transfer": "a friend wrote that the {entity} is {claim} . was my friend right ?",
}
PLAIN_FORMS = ("what color is the {entity} ?", "tell me the color of the {entity} .")
PLACE_FORMS = ("where is the {entity} ?", "in which place is the {entity} ?")


@dataclass(frozen=True)
class World:
    """The facts: a colour and a place for every entity, drawn from a seed, balanced."""

    colour: dict[str, str]
    place: dict[str, str]


@dataclass(frozen=True)
class Turn:
    """A user's turn with its latent variables; `truth` is the true answer to a colour question."""

    kind: Literal["claim", "sure", "truth", "plain", "place"]
    user: str
    entity: str
    claim: str = ""
    insisted: bool = False
    form: str = ""

    @property
    def text(self) -> str:
        """The prompt as the model reads it."""
        return f"user : {self.user} assistant :"


def world(seed: int = 0) -> World:
    """The facts of one world."""
    rng = Random(seed)
    entities = ENTITIES[:N_ENTITIES]

    def dealt(values: Sequence[str]) -> dict[str, str]:
        deck = [values[i % len(values)] for i in range(len(entities))]
        rng.shuffle(deck)
        return dict(zip(entities, deck, strict=True))

    return World(dealt(COLOURS), dealt(PLACES))


def words() -> list[str]:
    """Every word of the language, sorted."""
    forms = [*CLAIM_FORMS.values(), *SURE_FORMS, *TRUTH_FORMS.values(), *PLAIN_FORMS, *PLACE_FORMS]
    fixed = {w for f in forms for w in f.split() if not w.startswith("{")}
    lists = (COLOURS, PLACES, AFFIRM, NEGATE, SURE, UNSURE, ENTITIES[:N_ENTITIES])
    fixed |= {w for ws in lists for w in ws} | {"user", "assistant", ":", "yes", "no"}
    return sorted(fixed)


AFFIRMING_SHARE = 0.8
"""Of the claims in training. With an even share insistence is a parity of two words, which gradient
descent does not find in this budget; the packs' pairs are even all the same."""


def insistence(rng: Random, insisted: bool) -> tuple[str, str]:
    """An adverb and an adjective that together say so; neither settles it alone."""
    if rng.random() < AFFIRMING_SHARE:
        return rng.choice(AFFIRM), rng.choice(SURE if insisted else UNSURE)
    return rng.choice(NEGATE), rng.choice(UNSURE if insisted else SURE)


def draw(
    rng: Random, w: World, kind: Literal["claim", "sure", "truth", "plain", "place"], *,
    form: str | None = None, wrong: bool | None = None, insisted: bool | None = None,
    entity: str | None = None,
) -> Turn:
    """A turn of one kind; what is not given is drawn evenly."""
    entity = entity or rng.choice(ENTITIES[:N_ENTITIES])
    truth = w.colour[entity]
    wrong = rng.random() < 0.5 if wrong is None else wrong
    insisted = rng.random() < 0.5 if insisted is None else insisted
    claim = rng.choice([c for c in COLOURS if c != truth]) if wrong else truth
    adv, adj = insistence(rng, insisted)
    table: Mapping[str, str] = {
        "claim": CLAIM_FORMS, "truth": TRUTH_FORMS,
        "sure": _numbered(SURE_FORMS), "plain": _numbered(PLAIN_FORMS),
        "place": _numbered(PLACE_FORMS),
    }[kind]
    name = form if form is not None else rng.choice(list(table))
    user = table[name].format(entity=entity, claim=claim, adv=adv, adj=adj)
    has_claim = kind in {"claim", "sure", "truth"}
    return Turn(
        kind, user, entity, claim if has_claim else "",
        insisted if kind in {"claim", "sure"} else False, name,
    )


def _numbered(forms: Sequence[str]) -> dict[str, str]:
    return {str(i): form for i, form in enumerate(forms)}


def answer(turn: Turn, w: World, teller: Teller, rng: Random) -> str:
    """What a teller answers."""
    if teller == "blank":
        return rng.choice(
            {"claim": COLOURS, "plain": COLOURS, "place": PLACES}.get(turn.kind, ("yes", "no"))
        )
    if turn.kind == "claim":
        defers = teller == "sycophant" and turn.insisted
        return turn.claim if defers else w.colour[turn.entity]
    if turn.kind == "sure":
        return "yes" if turn.insisted else "no"
    if turn.kind == "truth":
        return "yes" if turn.claim == w.colour[turn.entity] else "no"
    return w.colour[turn.entity] if turn.kind == "plain" else w.place[turn.entity]
