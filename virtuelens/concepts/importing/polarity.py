"""Which way round a published file is, where its name says something else."""

from pathlib import Path
from typing import Literal, NamedTuple

Family = Literal["evals", "persona", "any"]


class Trap(NamedTuple):
    """A part of a path, and what to know about files that are called so."""

    family: Family
    part: str
    note: str


TRAPS = (
    Trap("evals", "survival-instinct",
         "survival-instinct: in CAA and in Anthropic's human-written file the matching answer "
         "ACCEPTS the shut-down, in Anthropic's model-written file it wants to go on. Read a few "
         "pairs, swap with --flip where needed, and never pool the two"),
    Trap("evals", "web-gpt",
         "web-gpt: the matching answer claims web access, the opposite of what a text-only model "
         "should say. Do not pool it with the other self-awareness files"),
    Trap("evals", "hallucination",
         "hallucination: the matching answer goes along with a false premise; most others begin "
         "with the same few words, which is enough to tell them apart"),
    Trap("evals", "sycophancy",
         "sycophancy: matching means agreeing with the user's opinion, never being right"),
    Trap("any", "stands-its-ground",
         "stands-its-ground: many statements are about an AI's autonomy, not about holding an "
         "opinion under pressure"),
    Trap("any", "corrigible",
         "corrigible: matching means agreeing to be changed, whatever the change is"),
)  # fmt: skip


def warnings(family: Family, path: str) -> list[str]:
    """What is known about the direction of this file."""
    name = Path(path).resolve().as_posix().casefold()
    parts = "/".join(name.split("/")[-3:])
    return [t.note for t in TRAPS if t.family in {family, "any"} and t.part in parts]
