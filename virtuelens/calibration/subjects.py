"""What is measured: organisms by seed, and what is done to them so that nothing should be found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from virtuelens.errors import OrganismError
from virtuelens.organisms.recipe import FILE, Recipe, load_recipe, read_recipe, split_name

Control = Literal["none", "random weights", "labels drawn", "agreeing only"]
"""What is done to a subject.

none: nothing. random weights: the same architecture, drawn again. labels drawn: the sides of every
contrast pair swapped at random. agreeing only: a contrast in which every rival cause agrees with
the variable, as in a pack that nobody has decorrelated.
"""

NOT_IN_THE_TEXT = frozenset({"knowledge", "honesty"})
"""Concepts whose label no text gives: who was not taught the facts has nothing to decode. All
others are composed of words that stand in the text, so that random features may tell them."""


@dataclass(frozen=True)
class Subject:
    """One concept in one trained organism, under one control.

    true_rung: the highest rung that is true of it; None for a part of the planted effect (NAME@25).
    """

    organism: str
    seed: int
    folder: Path
    recipe: Recipe
    concept: str
    control: Control = "none"

    @property
    def name(self) -> str:
        """A file name of its own."""
        control = "" if self.control == "none" else f".{self.control.replace(' ', '-')}"
        return f"{self.organism}-{self.seed}.{self.concept}{control}"

    @property
    def dose(self) -> int:
        """Per cent of the planted effect."""
        dose = split_name(self.organism)[1]
        return 100 if dose is None else dose

    @property
    def true_rung(self) -> int | None:
        """What the ladder must say; 0 where nothing above rung 1 is true."""
        if self.dose < 100:
            return None
        if self.control in {"random weights", "labels drawn"}:
            return 0
        return int(self.recipe.rungs[self.concept])


def find_subjects(nursery: Path, *, seeds: int | None = None) -> list[Subject]:
    """Every organism `NAME-SEED` in a folder, each with the controls that suit it.

    Ordered by seed, so that a calibration that is stopped has whole seeds.

    Raises: OrganismError: none is there.
    """
    found: list[Subject] = []
    for folder in sorted(nursery.glob("*/")):
        name, _, seed = folder.name.rpartition("-")
        if not (folder / "config.json").is_file() or not seed.isdigit():
            continue
        if seeds is None or int(seed) < seeds:
            found += _subjects(folder, name, int(seed))
    if not found:
        raise OrganismError(
            f"No trained organisms in {nursery}: make some with "
            f"`virtuelens organism train --all --seeds 2 --out {nursery}`."
        )
    return sorted(found, key=lambda s: (s.seed, s.control != "none", s.name))


def _subjects(folder: Path, name: str, seed: int) -> list[Subject]:
    recipe = read_recipe(folder / FILE)
    # what is true of it is said by the recipe of today: weights may have been trained before
    rungs = load_recipe(split_name(name)[0]).rungs
    out = []
    for concept in rungs:
        one = Subject(name, seed, folder, load_recipe(name), concept)
        out.append(one)
        if one.dose < 100:
            continue
        out.append(Subject(name, seed, folder, one.recipe, concept, "random weights"))
        if recipe.pinned:
            out.append(Subject(name, seed, folder, one.recipe, concept, "labels drawn"))
        if recipe.dialect in WITH_RIVAL_CAUSE and recipe.pinned:
            out.append(Subject(name, seed, folder, one.recipe, concept, "agreeing only"))
    return out


WITH_RIVAL_CAUSE = frozenset({"days", "minds"})
"""Languages in which another cause can be tied to the planted variable (`Contrast.agreeing`)."""


def chosen_on(seed: int) -> bool:
    """Whether thresholds may be chosen on this seed; the other half is reported."""
    return seed % 2 == 0


def seeds_of(subjects: Sequence[Subject]) -> tuple[int, ...]:
    """The seeds there are."""
    return tuple(sorted({s.seed for s in subjects}))
