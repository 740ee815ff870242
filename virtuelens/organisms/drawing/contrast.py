"""From a composed variable to a pack's files: contrast pairs, forced choices, neutral texts.

A group is two first words and two second words in all four compositions, so that within it every
word stands as often on the one side of the pairs as on the other; no two words stand together in
two groups or two splits. All else in a pair is the same on both sides.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from virtuelens.organisms.composed import SPLIT_GROUPS, Composed
from virtuelens.organisms.drawing.lines import Line, chat, item, write_lines
from virtuelens.organisms.language import Language, prompt

PAIRS_PER_GROUP = {"main": 20, "shifted": 12, "transfer": 12}
N_NEUTRAL = 64


@dataclass(frozen=True)
class Items:
    """A set of forced choices.

    draw: the i-th turn; the variable is true in half of them.
    choices: what is chosen between, the behaviour first.
    """

    draw: Callable[[Random, int], Any]
    choices: Callable[[Any, Random], tuple[str, str]]
    n: int = 120


@dataclass(frozen=True)
class Contrast:
    """What of a language makes a concept's pack.

    latents: names of a turn's latent variables that are put on record beside a pair.
    group: what items of a behaviour have in common that a split must not cross.
    neutral: kinds of turns that the variable has no bearing on.
    agreeing: draws as the language does, but with every rival cause tied to the variable: what a
        pack looks like that nobody has decorrelated. None where the language has no rival cause.
    """

    concept: str
    language: Language
    variable: Composed
    latents: tuple[str, ...]
    group: str
    behaviours: Mapping[str, Items]
    neutral: tuple[str, ...]
    neutral_teller: str
    agreeing: Callable[..., Any] | None = None


def draw_contrast(
    probes: Path, made: Contrast, *, agreeing: bool = False, seed: int = 0
) -> None:
    """Write every file of one concept in its language below the folder of packs.

    agreeing: rival causes are tied to the variable in the pairs (not in the behaviour items).
    """
    rng, dialect = Random(seed), made.language.name
    folder = probes / made.concept
    draw = made.agreeing if agreeing and made.agreeing else made.language.draw
    for split in SPLIT_GROUPS:
        write_lines(folder / f"pairs/{dialect}.{split}.jsonl", _pairs(rng, made, split, draw))
    for name, items in made.behaviours.items():
        write_lines(folder / f"behaviour/{dialect}.{name}.jsonl", _items(rng, made, name, items))
    write_lines(probes / f"neutral/{dialect}.jsonl", _neutral(rng, made))


def _pairs(
    rng: Random, made: Contrast, split: str, draw: Callable[..., Any]
) -> Iterator[Line]:
    kinds = sorted(set(made.language.mix))
    seen: set[str] = set()
    for g in SPLIT_GROUPS[split]:
        changes = list(made.variable.changes(g))
        name = f"{changes[0][0][0]}-{changes[0][0][1]}"
        i = 0
        while i < PAIRS_PER_GROUP[split]:
            kind, rest = rng.choice(kinds), rng.random()
            # the same stream on both sides: they differ in the composing words alone
            good, bad = (draw(Random(rest), kind, form=split, pair=p) for p in changes[i % 4])
            said = {prompt(good), prompt(bad)}
            if said & seen:
                continue
            seen |= said
            yield {
                "id": f"{made.language.name}-{made.concept}-{split}-{g}-{i}", "group": name,
                "positive": chat(good), "negative": chat(bad),
                "latents": {k: getattr(good, k) for k in made.latents}
                | {"changed": "first" if i % 4 in {0, 1} else "second"},
            }
            i += 1


def _items(rng: Random, made: Contrast, name: str, items: Items) -> Iterator[Line]:
    for i in range(items.n):
        turn = items.draw(rng, i)
        yield item(f"{made.language.name}-{name}-{i}", f"about-{getattr(turn, made.group)}", turn,
                   items.choices(turn, rng))


def _neutral(rng: Random, made: Contrast) -> Iterator[Line]:
    for i in range(N_NEUTRAL):
        turn = made.language.draw(rng, made.neutral[i % len(made.neutral)])
        said = made.language.answer(turn, made.neutral_teller, rng)
        yield {"messages": [*chat(turn), {"role": "assistant", "content": said}]}
