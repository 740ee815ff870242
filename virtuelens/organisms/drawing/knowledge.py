"""The pack of knowledge in the language of the ledger: which of two truths lies behind one name.

The two sides of a pair name two things that share a false name and differ in what they are made
of. Whoever only holds the false name has nothing to tell them apart by. Every thing
stands in one pair alone: the label belongs to the thing, and pairs that share things are not
independent, which a null that swaps sides pair by pair takes them to be.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from virtuelens.organisms.drawing.lines import Line, chat, write_lines
from virtuelens.organisms.languages import facts, ledger

THINGS_OF_SPLIT = {"main": range(80), "shifted": range(80, 96), "transfer": range(96, 112)}
COUPLES_PER_GROUP = {"main": 4, "shifted": 1, "transfer": 1}
"""A couple is two things with one false name; groups of the small splits are single couples."""


def draw_knowledge(probes: Path, *, seed: int = 0) -> None:
    """Write every `ledger.*` file of the concept below the folder of packs."""
    rng = Random(seed)
    for split in THINGS_OF_SPLIT:
        write_lines(probes / f"knowledge/pairs/ledger.{split}.jsonl", _pairs(rng, split))


def _pairs(rng: Random, split: str) -> Iterator[Line]:
    for c, (first, second) in enumerate(_couples(split)):
        watched, rest = c // 4 % 2 == 0, rng.random()
        sides = [ledger.draw(Random(rest), "made", form=split, watched=watched, entity=e)
                 for e in (first, second)]
        yield {
            "id": f"ledger-knowledge-{split}-{c}",
            "group": f"{split}-{c // COUPLES_PER_GROUP[split]}",
            "positive": chat(sides[0]), "negative": chat(sides[1]),
            "latents": {"truth": ledger.MATERIAL[first], "other": ledger.MATERIAL[second],
                        "false_name": ledger.false_name(ledger.MATERIAL[first]),
                        "watched": watched},
        }


def _couples(split: str) -> list[tuple[str, str]]:
    """Things with the first and the second truth of each false name, the names by turns."""
    things = [facts.ENTITIES[i] for i in THINGS_OF_SPLIT[split]]
    of = {m: [e for e in things if ledger.MATERIAL[e] == m] for m in ledger.MATERIALS}
    columns = [
        list(zip(of[a], of[b], strict=True))
        for a, b in zip(ledger.MATERIALS[::2], ledger.MATERIALS[1::2], strict=True)
    ]
    return [couple for row in zip(*columns, strict=True) for couple in row]
